"""Engine for development machines: the networks in PyTorch, loaded from weights.safetensors."""

from __future__ import annotations

import numpy as np
import torch

from sgrocc_core.depth.stereo import Sources
from sgrocc_core.engines.engine import (
    EXPERT_INPUTS,
    IMAGE_INPUTS,
    ImageOutputs,
    matched,
    stereo_outputs,
)
from sgrocc_core.engines.model import ModelSpec, require_file
from sgrocc_core.engines.runtimes.graphs import GraphEngine
from sgrocc_core.engines.weights import build_networks, load_weights
from sgrocc_core.errors import ModelError
from sgrocc_core.network.expert.spatial_expert import OUTPUTS
from sgrocc_core.network.stereo.network import ImageWithMatching, build_stereo
from sgrocc_core.network.stereo.sweep_torch import run_cascade, sweep


class TorchEngine(GraphEngine):
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
        if self._device == "cuda":  # fp32 as on CPUs: TF32 would be off by a thousandth
            torch.backends.cudnn.allow_tf32 = False
        if threads:
            torch.set_num_threads(threads)
        image, expert = build_networks(spec.networks)
        stereo = build_stereo(spec.networks["stereo"], image) if spec.has_stereo else None
        load_weights(require_file(spec, weights), image, expert, stereo)
        seeing = image if stereo is None else ImageWithMatching(image, stereo)
        self._networks = {
            "image.onnx": (seeing.eval().to(self._device), IMAGE_INPUTS),
            "expert.onnx": (expert.eval().to(self._device), EXPERT_INPUTS),
        }
        self._stereo = None if stereo is None else stereo.eval().to(self._device)
        self.description = (
            f"PyTorch {torch.__version__}, {self._device.upper()}, {torch.get_num_threads()} threads, fp32"
        )

    def _run(self, graph: str, outputs: tuple[str, ...], feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        network, names = self._networks[graph]
        with torch.inference_mode():
            values = network(*(torch.from_numpy(feed[name]).to(self._device) for name in names))
        # The graph may not reuse an input's name, the network may.
        keys = OUTPUTS if graph == "expert.onnx" else outputs
        return [values[key].float().cpu().numpy() for key in keys]

    def stereo(self, seen: ImageOutputs, sources: Sources) -> tuple[np.ndarray, np.ndarray]:
        """See `engine.Engine.stereo`; the sweeps run on the same device as the networks."""
        matching, context = matched(seen)
        assert self._stereo is not None
        with torch.inference_mode():
            target, others = self._features(matching), self._features(sources.features)
            places, edges = (
                torch.from_numpy(array)[None].to(self._device) for array in (sources.transforms, sources.bounds)
            )
            found = sweep(target, others, places, edges, self._stereo.inverse_depths)
            depth, spread = (
                torch.from_numpy(array)[None, None].to(self._device) for array in (seen.depth, seen.spread)
            )
            beside = torch.from_numpy(context).to(self._device)
            values = self._stereo(*found, beside, depth, spread)
            if self._stereo.cascade is not None and sources.fine is not None and seen.matching_fine is not None:
                fine = self._features(seen.matching_fine), self._features(sources.fine)
                values = run_cascade(self._stereo.cascade, *fine, places, edges, beside, values)
        return stereo_outputs([values[name].float().cpu().numpy() for name in ("depth", "spread")])

    def _features(self, features: np.ndarray) -> torch.Tensor:
        """Matching features (..., h, w, 16) as (1, ..., 16, h, w)."""
        return torch.from_numpy(features).to(self._device).movedim(-1, -3)[None]
