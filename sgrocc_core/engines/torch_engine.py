"""Engine for development machines: the networks in PyTorch, loaded from weights.safetensors."""

from __future__ import annotations

import numpy as np
import torch

from sgrocc_core.engines.engine import (
    EXPERT_INPUTS,
    IMAGE_INPUTS,
    IMAGE_OUTPUTS,
    ImageOutputs,
    expert_feed,
    expert_outputs,
    image_feed,
    image_outputs,
)
from sgrocc_core.engines.model import ModelSpec, require_file
from sgrocc_core.engines.weights import build_networks, load_weights
from sgrocc_core.errors import ModelError
from sgrocc_core.gaussians.gaussians import History, LocalGaussians
from sgrocc_core.network.expert.spatial_expert import OUTPUTS


class TorchEngine:
    """PyTorch engine; see `engine.Engine`."""

    def __init__(
        self, spec: ModelSpec, device: str = "auto", threads: int = 0, weights: str = "weights.safetensors"
    ) -> None:
        """Build the networks and load their weights.

        Args:
            spec: description of the model.
            device: `cpu`, `cuda` or `auto`.
            threads: number of CPU threads of PyTorch in this process; 0 keeps the current setting.
            weights: name of the weights file.

        Raises:
            ModelError: the weights are missing or do not fit the networks, or CUDA was requested and is not available.
        """
        self.spec = spec
        if device == "cuda" and not torch.cuda.is_available():
            raise ModelError("device cuda: PyTorch finds no CUDA device; use device cpu")
        self._device = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        if threads:
            torch.set_num_threads(threads)
        image, expert = build_networks(spec.networks)
        load_weights(require_file(spec, weights), image, expert)
        self._image, self._expert = image.eval().to(self._device), expert.eval().to(self._device)
        self.description = (
            f"PyTorch {torch.__version__}, {self._device.upper()}, {torch.get_num_threads()} threads, fp32"
        )

    def _run(
        self, network: torch.nn.Module, names: tuple[str, ...], feed: dict[str, np.ndarray], outputs: tuple[str, ...]
    ) -> list[np.ndarray]:
        with torch.inference_mode():
            values = network(*(torch.from_numpy(feed[name]).to(self._device) for name in names))
        return [values[name].float().cpu().numpy() for name in outputs]

    def image(self, image_u8: np.ndarray, mask: np.ndarray, K: np.ndarray, R_gc: np.ndarray) -> ImageOutputs:
        """See `engine.Engine.image`."""
        return image_outputs(self._run(self._image, IMAGE_INPUTS, image_feed(image_u8, mask, K, R_gc), IMAGE_OUTPUTS))

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
        return expert_outputs(self._run(self._expert, EXPERT_INPUTS, feed, OUTPUTS))
