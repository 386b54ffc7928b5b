"""Engine for robots without TensorRT: ONNX Runtime on the CPU, or on CUDA where its provider is installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from sgrocc_core.depth.stereo import Sources
from sgrocc_core.engines.engine import (
    EXPERT_OUTPUTS,
    STEREO_OUTPUTS,
    ImageOutputs,
    check_shapes,
    expert_feed,
    expert_outputs,
    image_feed,
    image_names,
    image_outputs,
    stereo_feed,
    stereo_outputs,
)
from sgrocc_core.engines.model import ModelSpec, require_file
from sgrocc_core.errors import ModelError
from sgrocc_core.gaussians.gaussians import History, LocalGaussians


class OnnxRuntimeEngine:
    """ONNX Runtime engine; see `engine.Engine`."""

    def __init__(self, spec: ModelSpec, device: str = "auto", threads: int = 0) -> None:
        """Open the graphs.

        Args:
            spec: description of the model.
            device: `cpu`, `cuda` or `auto` (CUDA where ONNX Runtime has its provider).
            threads: number of CPU threads; 0 = all cores.

        Raises:
            ModelError: a graph is missing or unreadable, or CUDA was requested and is not available.
        """
        self.spec = spec
        available = onnxruntime.get_available_providers()
        if device == "cuda" and "CUDAExecutionProvider" not in available:
            raise ModelError(
                f"device cuda: this ONNX Runtime has only {', '.join(available)}; "
                "install onnxruntime-gpu or use device cpu"
            )
        use_cuda = device != "cpu" and "CUDAExecutionProvider" in available
        self._providers = [*(["CUDAExecutionProvider"] if use_cuda else []), "CPUExecutionProvider"]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # Idle workers must sleep between runs; spinning would take cores from the map's own kernels.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._image = self._open(require_file(spec, "image.onnx"), options)
        self._expert = self._open(require_file(spec, "expert.onnx"), options)
        self._stereo = self._open(require_file(spec, "stereo.onnx"), options) if spec.has_stereo else None
        where = self._image.get_providers()[0].removesuffix("ExecutionProvider")
        self.description = f"ONNX Runtime {onnxruntime.__version__}, {where}, {threads or 'all'} threads, fp32"

    def _open(self, path: Path, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        try:
            session = onnxruntime.InferenceSession(str(path), options, providers=self._providers)
        except Exception as error:  # ONNX Runtime raises classes of its own, one per status code
            raise ModelError(f"ONNX Runtime cannot open {path}: {error}") from error
        check_shapes(self.spec, path.name, {value.name: value.shape for value in session.get_inputs()}, True)
        check_shapes(self.spec, path.name, {value.name: value.shape for value in session.get_outputs()}, False)
        return session

    def image(self, image_u8: np.ndarray, mask: np.ndarray, K: np.ndarray, R_gc: np.ndarray) -> ImageOutputs:
        """See `engine.Engine.image`."""
        return image_outputs(self._image.run(list(image_names(self.spec)), image_feed(image_u8, mask, K, R_gc)))

    def expert(
        self,
        features: np.ndarray,
        depth: np.ndarray,
        spread: np.ndarray,
        thickness: np.ndarray,
        K: np.ndarray,
        T_bc: np.ndarray,
        history: History | None = None,
    ) -> LocalGaussians:
        """See `engine.Engine.expert`."""
        feed = expert_feed(features, depth, spread, thickness, K, T_bc, history, self.spec.feature_channels)
        return expert_outputs(self._expert.run(list(EXPERT_OUTPUTS), feed))

    def stereo(self, seen: ImageOutputs, sources: Sources) -> tuple[np.ndarray, np.ndarray]:
        """See `engine.Engine.stereo`."""
        feed = stereo_feed(seen, sources, self.spec.planes)
        assert self._stereo is not None
        return stereo_outputs(self._stereo.run(list(STEREO_OUTPUTS), feed))
