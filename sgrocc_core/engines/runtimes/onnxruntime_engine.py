"""Engine that is always there: ONNX Runtime on the CPU, or on CUDA where its provider is installed and works."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from sgrocc_core.engines.engine import check_shapes
from sgrocc_core.engines.model import ModelSpec, require_file
from sgrocc_core.engines.runtimes.graphs import GraphEngine
from sgrocc_core.errors import ModelError

CUDA = "CUDAExecutionProvider"


def session_options(threads: int = 0) -> onnxruntime.SessionOptions:
    """Options of every session.

    Args:
        threads: number of CPU threads; 0 = all cores.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Idle workers must sleep between runs; spinning would take cores from the map's own kernels.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


class OnnxRuntimeEngine(GraphEngine):
    """ONNX Runtime engine; see `engine.Engine`."""

    def __init__(self, spec: ModelSpec, device: str = "auto", threads: int = 0) -> None:
        """Open the graphs.

        Args:
            spec: description of the model.
            device: `cpu`, `cuda` or `auto` (CUDA where ONNX Runtime has its provider).
            threads: number of CPU threads; 0 = all cores.

        Raises:
            ModelError: a graph is missing or unreadable, or CUDA was requested and does not work.
        """
        available = onnxruntime.get_available_providers()
        if device == "cuda" and CUDA not in available:
            raise ModelError(
                f"device cuda: this ONNX Runtime has only {', '.join(available)}; "
                "install onnxruntime-gpu or use device cpu"
            )
        use_cuda = device != "cpu" and CUDA in available
        if use_cuda and hasattr(onnxruntime, "preload_dlls"):
            onnxruntime.preload_dlls()  # CUDA and cuDNN that came as wheels are on no path of the linker
        # Geometry is computed in matrix products, for which TensorFloat-32 has too few digits.
        providers = [(CUDA, {"use_tf32": "0"}), "CPUExecutionProvider"] if use_cuda else ["CPUExecutionProvider"]
        self._open_all(spec, session_options(threads), providers)
        # ONNX Runtime goes on with the CPU when CUDA's libraries cannot be loaded.
        on_cuda = all(CUDA in session.get_providers() for session in self._sessions.values())
        if device == "cuda" and not on_cuda:
            raise ModelError(
                "device cuda: ONNX Runtime has the CUDA provider and cannot load it (a GPU, its driver, CUDA or cuDNN "
                "is missing); mend that, or use device cpu"
            )
        where = "CUDA" if on_cuda else "CPU, since CUDA cannot be loaded" if use_cuda else "CPU"
        self.description = f"ONNX Runtime {onnxruntime.__version__}, {where}, {threads or 'all'} threads, fp32"

    def _open_all(self, spec: ModelSpec, options: onnxruntime.SessionOptions, providers: list[Any] | None) -> None:
        self.spec = spec
        self._sessions = {name: self._open(require_file(spec, name), options, providers) for name in spec.graphs}

    def _open(
        self, path: Path, options: onnxruntime.SessionOptions, providers: list[Any] | None
    ) -> onnxruntime.InferenceSession:
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime raises classes of its own, one per status code
            raise ModelError(f"ONNX Runtime cannot open {path}: {error}") from error
        check_shapes(self.spec, path.name, {value.name: value.shape for value in session.get_inputs()}, True)
        check_shapes(self.spec, path.name, {value.name: value.shape for value in session.get_outputs()}, False)
        return session

    def _run(self, graph: str, outputs: tuple[str, ...], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        found: list[np.ndarray] = self._sessions[graph].run(list(outputs), feed)
        return found
