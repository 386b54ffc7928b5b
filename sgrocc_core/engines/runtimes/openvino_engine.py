"""Engine for CPUs: OpenVINO, compiled from the same ONNX graphs, and the compiled graphs kept from start to start."""

from __future__ import annotations

import io
import platform
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError

from sgrocc_core.engines.cache import cache_folder, key_of, load_or_make
from sgrocc_core.engines.engine import EXPERT_OUTPUTS, check_shapes
from sgrocc_core.engines.model import ModelSpec, require_file
from sgrocc_core.engines.runtimes.graphs import GraphEngine
from sgrocc_core.engines.split.pieces import Arrays, Cut, SplitExpert, can_be_cut, cuts, gates, piece
from sgrocc_core.engines.split.whole import WholeExpert, can_be_whole
from sgrocc_core.errors import ModelError

HINTS = {"fp32": "f32", "bf16": "bf16"}
"""OpenVINO's names of the precisions. Without the hint it would choose bf16 by itself where the CPU has it."""


class _Graph:
    """A compiled graph and its one request.

    Args:
        compiled: by OpenVINO.
        file: name of the graph's file, for errors.
        outputs: names of its outputs in their order; None: those of the tensors.
    """

    def __init__(self, compiled: Any, file: str, outputs: Sequence[str] | None = None) -> None:
        self._file, self._request = file, compiled.create_infer_request()
        self._inputs = {port.get_any_name(): number for number, port in enumerate(compiled.inputs)}
        named = None if outputs is None else {name: number for number, name in enumerate(outputs)}
        self._outputs = _numbers(compiled.outputs) if named is None else named

    def run(self, outputs: tuple[str, ...], feed: Arrays) -> list[np.ndarray]:
        """Run; new arrays in the order of the outputs' names."""
        found = self.infer(feed)
        return [found[name].copy() for name in outputs]

    def infer(self, feed: Arrays) -> Arrays:
        """Run, with those of the arrays that the graph takes; the outputs are overwritten by the next run."""
        inputs = {number: feed[name] for name, number in self._inputs.items()}
        try:
            self._request.infer(inputs, share_inputs=True, share_outputs=True)
            return {name: self._request.get_output_tensor(number).data for name, number in self._outputs.items()}
        except RuntimeError as error:
            raise ModelError(f"OpenVINO failed to run {self._file}: {error}") from error


class OpenVinoEngine(GraphEngine):
    """OpenVINO engine; see `engine.Engine`.

    Attributes:
        from_cache: whether a compiled graph was loaded instead of compiled.
    """

    def __init__(
        self,
        spec: ModelSpec,
        device: str = "auto",
        threads: int = 0,
        precision: str = "fp32",
        single: frozenset[str] = frozenset(),
        afresh: bool = False,
    ) -> None:
        """Load the compiled graphs, or compile them (one to two seconds for the small model).

        Args:
            spec: description of the model.
            device: `cpu` or `auto`.
            threads: number of CPU threads; 0 = all cores.
            precision: `fp32`, or `bf16` on CPUs that have it.
            single: graphs that stay in fp32 all the same, e.g. `expert.onnx`.
            afresh: compile even if there is a compiled graph.

        Raises:
            ModelError: OpenVINO is not installed, or does not take a graph, the device or the precision.
        """
        if device == "cuda":
            raise ModelError("device cuda: the openvino engine runs on CPUs; use the onnxruntime or tensorrt engine")
        self.spec = spec
        self._ov = _import_openvino()
        self._version = self._ov.__version__.partition("-")[0]
        self._core = shared_core(self._ov)
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in capabilities:
            raise ModelError(f"precision bf16: OpenVINO has {', '.join(capabilities)} on this CPU; use precision fp32")
        self._cpu = (self._core.get_property("CPU", "FULL_DEVICE_NAME"), *capabilities, _cpu_flags())
        self._threads, self._afresh, self.from_cache = threads, afresh, False
        self._precisions = {name: "fp32" if name in single else precision for name in spec.files}
        self._networks: dict[str, _Graph | SplitExpert | WholeExpert] = {name: self._open(name) for name in spec.graphs}
        kept = f" ({', '.join(sorted(single))} in fp32)" if single else ""
        apart = {SplitExpert: ", geometry in kernels", WholeExpert: ", expert in kernels"}.get(
            type(self._networks["expert.onnx"]), ""
        )
        self.description = f"OpenVINO {self._version}, CPU, {threads or 'all'} threads, {precision}{kept}{apart}"

    def _open(self, name: str) -> _Graph | SplitExpert | WholeExpert:
        path = require_file(self.spec, name)
        if name == "expert.onnx" and can_be_cut(self.spec) and (expert := self._split(path)) is not None:
            return expert
        compiled = self._compiled(name, path.stem, lambda: self._read(path))
        self._check(compiled, name)
        return _Graph(compiled, name)

    def _split(self, path: Path) -> SplitExpert | WholeExpert | None:
        """The expert in kernels or pieces; None if its modules or weights have names that this program never gives."""
        model = self._read(path)
        self._check(model, path.name)
        blocks = sum(op.get_friendly_name().endswith("/query/Add") for op in model.get_ordered_ops())
        try:
            found = cuts(model, blocks)
            weights = require_file(self.spec, "weights.safetensors")
            if self._precisions[path.name] == "fp32" and can_be_whole(self.spec):
                return WholeExpert(weights, blocks, self._threads)
            sharpness = gates(weights, blocks)
        except (KeyError, SafetensorError):
            return None
        pieces = []
        for number, cut in enumerate(found):
            compiled = self._compiled(path.name, f"{path.stem}.{number}", self._maker(path, cut), repr(cut))
            pieces.append(_Graph(compiled, path.name, list(cut.outputs.values())).infer)
        return SplitExpert(pieces, sharpness, self._threads)

    def _check(self, model: Any, name: str) -> None:
        for ports, inputs in ((model.inputs, True), (model.outputs, False)):
            shapes = {name: list(port.get_shape()) for port in ports for name in port.get_names()}
            check_shapes(self.spec, name, shapes, inputs)

    def _maker(self, path: Path, cut: Cut) -> Callable[[], Any]:
        return lambda: piece(self._ov, self._read(path), cut)

    def _read(self, path: Path) -> Any:
        try:
            return self._core.read_model(str(path))
        except RuntimeError as error:
            raise ModelError(f"OpenVINO {self._version} does not take {path}: {_cause(error)}") from error

    def _compiled(self, name: str, stem: str, make: Callable[[], Any], part: str = "") -> Any:
        """A compiled graph, from the cache if it is there.

        Args:
            name: of the graph's file.
            stem: of the kept file's name.
            make: makes the graph.
            part: which part of the file's graph it is.
        """
        # Threads must not be bound to cores: two processes would be bound to the same ones.
        properties: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": HINTS[self._precisions[name]],
            "ENABLE_CPU_PINNING": False,
        }
        if self._threads:
            properties["INFERENCE_NUM_THREADS"] = self._threads
        # A graph refers into weights.safetensors: both files must be part of the key.
        files = [f"{file} {self.spec.files[file]}" for file in sorted(self.spec.files)]
        key = key_of(stem, part, *files, self._ov.__version__, *self._cpu, sorted(properties.items()))

        def compile_it() -> tuple[Any, bytes]:
            try:
                compiled = self._core.compile_model(make(), "CPU", properties)
                exported = io.BytesIO()
                compiled.export_model(exported)
            except RuntimeError as error:
                raise ModelError(
                    f"OpenVINO {self._version} does not take {self.spec.folder / name}: {_cause(error)}"
                ) from error
            return compiled, exported.getvalue()

        def load(content: bytes) -> Any:
            tensor = self._ov.Tensor(np.frombuffer(content, np.uint8).copy())
            return self._core.import_model(tensor, "CPU", properties)

        compiled, loaded = load_or_make(cache_folder("openvino") / f"{stem}-{key}.blob", load, compile_it, self._afresh)
        self.from_cache = self.from_cache or loaded
        return compiled

    def _run(self, graph: str, outputs: tuple[str, ...], feed: Arrays) -> list[np.ndarray]:
        return self._networks[graph].run(outputs, feed)

    def _run_expert(self, feed: Arrays, wanted: np.ndarray | None) -> list[np.ndarray]:
        network = self._networks["expert.onnx"]
        if isinstance(network, WholeExpert):
            return network.run(EXPERT_OUTPUTS, feed, wanted)
        return network.run(EXPERT_OUTPUTS, feed)


def _numbers(ports: Any) -> dict[str, int]:
    """The number of an input or output by each of its names; OpenVINO may give one several."""
    return {name: number for number, port in enumerate(ports) for name in port.get_names()}


@lru_cache
def shared_core(openvino: Any) -> Any:
    """OpenVINO's `Core`, one for the process, which is never released.

    Each `Core` puts a stack of its own in the place of the thread's stack for signals, and puts back what it found when
    it is released. Two that are released in the order in which they were made leave a stack behind that is gone: then
    the next signal ends the process, Ctrl-C and SIGTERM among them, with nothing saved (seen with OpenVINO 2026.4.1).

    Args:
        openvino: the module.
    """
    return openvino.Core()


def _import_openvino() -> Any:
    try:
        import openvino
    except Exception as error:  # a library that cannot be loaded raises an OSError or a class of its own
        hint = "pip install -r requirements/openvino.txt, or use engine onnxruntime"
        raise ModelError(f"the openvino engine needs the Python package openvino ({error}); {hint}") from error
    return openvino


def _cpu_flags() -> str:
    """The CPU's instruction sets: a graph compiled for one set may not run on another CPU that has the same name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    found = (line for line in lines if line.lower().startswith(("flags", "features")))
    return next(found, platform.machine())


def _cause(error: Exception) -> str:
    """The last line of an error of OpenVINO's: those above it say where in its source it arose."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
