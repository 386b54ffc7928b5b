"""Engine for CPUs: OpenVINO, compiled from the same ONNX graphs, and the compiled graphs kept from start to start."""

from __future__ import annotations

import io
import platform
from pathlib import Path
from typing import Any

import numpy as np

from sgrocc_core.engines.cache import cache_folder, key_of, load_or_make
from sgrocc_core.engines.engine import (
    check_shapes,
)
from sgrocc_core.engines.model import ModelSpec, require_file
from sgrocc_core.engines.runtimes.graphs import GraphEngine
from sgrocc_core.errors import ModelError

HINTS = {"fp32": "f32", "bf16": "bf16"}
"""OpenVINO's names of the precisions. Without the hint it would choose bf16 by itself where the CPU has it."""


class _Graph:
    """A compiled graph and its one request."""

    def __init__(self, compiled: Any, path: Path) -> None:
        self._path, self._request = path, compiled.create_infer_request()
        self._inputs = _numbers(compiled.inputs)
        self._outputs = _numbers(compiled.outputs)

    def run(self, outputs: tuple[str, ...], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Run; the outputs are new arrays in the order of their names."""
        inputs = {self._inputs[name]: value for name, value in feed.items()}
        try:
            self._request.infer(inputs, share_inputs=True, share_outputs=True)
            return [self._request.get_output_tensor(self._outputs[name]).data.copy() for name in outputs]
        except RuntimeError as error:
            raise ModelError(f"OpenVINO failed to run {self._path.name}: {error}") from error


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
        self._core = self._ov.Core()
        capabilities = self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision == "bf16" and "BF16" not in capabilities:
            raise ModelError(f"precision bf16: OpenVINO has {', '.join(capabilities)} on this CPU; use precision fp32")
        self._cpu = (self._core.get_property("CPU", "FULL_DEVICE_NAME"), *capabilities, _cpu_flags())
        self._threads, self._afresh, self.from_cache = threads, afresh, False
        precisions = {name: "fp32" if name in single else precision for name in spec.files}
        self._graphs = {name: self._open(name, precisions) for name in spec.graphs}
        kept = f" ({', '.join(sorted(single))} in fp32)" if single else ""
        self.description = f"OpenVINO {self._version}, CPU, {threads or 'all'} threads, {precision}{kept}"

    def _open(self, name: str, precisions: dict[str, str]) -> _Graph:
        path = require_file(self.spec, name)
        # Threads must not be bound to cores: two processes would be bound to the same ones.
        properties: dict[str, Any] = {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": HINTS[precisions[name]],
            "ENABLE_CPU_PINNING": False,
        }
        if self._threads:
            properties["INFERENCE_NUM_THREADS"] = self._threads
        # A graph refers into weights.safetensors: both files must be part of the key.
        files = [f"{file} {self.spec.files[file]}" for file in sorted(self.spec.files)]
        key = key_of(name, *files, self._ov.__version__, *self._cpu, sorted(properties.items()))

        def compile_it() -> tuple[Any, bytes]:
            try:
                compiled = self._core.compile_model(str(path), "CPU", properties)
                exported = io.BytesIO()
                compiled.export_model(exported)
            except RuntimeError as error:
                raise ModelError(f"OpenVINO {self._version} does not take {path}: {_cause(error)}") from error
            return compiled, exported.getvalue()

        def load(content: bytes) -> Any:
            tensor = self._ov.Tensor(np.frombuffer(content, np.uint8).copy())
            return self._core.import_model(tensor, "CPU", properties)

        kept = cache_folder("openvino") / f"{path.stem}-{key}.blob"
        compiled, loaded = load_or_make(kept, load, compile_it, self._afresh)
        self.from_cache = self.from_cache or loaded
        for ports, inputs in ((compiled.inputs, True), (compiled.outputs, False)):
            shapes = {name: list(port.get_shape()) for port in ports for name in port.get_names()}
            check_shapes(self.spec, path.name, shapes, inputs)
        return _Graph(compiled, path)

    def _run(self, graph: str, outputs: tuple[str, ...], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        return self._graphs[graph].run(outputs, feed)


def _numbers(ports: Any) -> dict[str, int]:
    """The number of an input or output by each of its names; OpenVINO may give one several."""
    return {name: number for number, port in enumerate(ports) for name in port.get_names()}


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
