"""Models that the local evaluation can score: an exported model behind an engine, or the two networks in PyTorch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from sgrocc_core.engines.engine import Engine, ImageOutputs, expert_feed, image_feed
from sgrocc_core.errors import ModelError
from sgrocc_core.gaussians.gaussians import LocalGaussians, constrain_scales, covariance, sigmoid, softmax
from sgrocc_core.geometry.lattice import BOX_VOXELS
from sgrocc_core.voxels.splatting.splat_numba import splat

if TYPE_CHECKING:
    from torch import nn

    from sgrocc_core.network.expert.spatial_expert import SpatialExpert

Voxels = tuple[np.ndarray, np.ndarray]
"""log P(empty) (60, 60, 36) and class weights (60, 60, 36, 11), as computed by the splat."""


class LocalModel(Protocol):
    """Predicts voxels from one image and a depth prior.

    Attributes:
        image_size: (width, height) of the input, pixels.
        name: of the model, for the report.
    """

    image_size: tuple[int, int]
    name: str

    def image(self, image_u8: np.ndarray, mask: np.ndarray, K: np.ndarray, R_gc: np.ndarray) -> ImageOutputs:
        """See `Engine.image`."""
        ...

    def voxels(
        self,
        features: np.ndarray,
        depth: np.ndarray,
        spread: np.ndarray,
        thickness: np.ndarray,
        K: np.ndarray,
        T_bc: np.ndarray,
    ) -> Voxels:
        """Voxels of the box; the arguments are those of `Engine.expert`."""
        ...

    def description(self) -> dict[str, Any]:
        """Description of the model for the report."""
        ...


def splat_local(gaussians: LocalGaussians) -> Voxels:
    """Splat the Gaussians of one box to its voxels."""
    raw = gaussians.opacities.reshape(-1)
    covariances = covariance(constrain_scales(gaussians.scales.reshape(-1, 3)), gaussians.rotations.reshape(-1, 4))
    classes = softmax(gaussians.logits.reshape(len(raw), -1))
    log_empty, class_weights = splat(
        gaussians.means.reshape(-1, 3), covariances, sigmoid(raw), classes, np.zeros(3), BOX_VOXELS
    )
    return log_empty, class_weights


class EngineModel:
    """An exported model; see `LocalModel`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.image_size, self.name = engine.spec.image_size, engine.spec.name

    def image(self, image_u8: np.ndarray, mask: np.ndarray, K: np.ndarray, R_gc: np.ndarray) -> ImageOutputs:
        """See `Engine.image`."""
        return self.engine.image(image_u8, mask, K, R_gc)

    def voxels(
        self,
        features: np.ndarray,
        depth: np.ndarray,
        spread: np.ndarray,
        thickness: np.ndarray,
        K: np.ndarray,
        T_bc: np.ndarray,
    ) -> Voxels:
        """See `LocalModel.voxels`."""
        return splat_local(self.engine.expert(features, depth, spread, thickness, K, T_bc))

    def description(self) -> dict[str, Any]:
        """Name, folder, files and runtime."""
        spec = self.engine.spec
        return {"name": spec.name, "folder": str(spec.folder), "files": spec.files, "engine": self.engine.description}


class NetworkModel:
    """The networks in PyTorch with either head, without an export; see `LocalModel`.

    Args:
        image: the image engine; it is put into eval mode and moved to the device.
        expert: the spatial expert; it is put into eval mode and moved to the device.
        name: of the model, for the report.
        source: path of the weights, for the report.
        device: `cpu` or `cuda`.
        image_size: (width, height) of the input, pixels.
    """

    def __init__(
        self,
        image: nn.Module,
        expert: SpatialExpert,
        name: str,
        source: str,
        device: str = "cpu",
        image_size: tuple[int, int] = (320, 240),
    ) -> None:
        self._image, self._expert = image.eval().to(device), expert.eval().to(device)
        self._channels = int(expert.config.channels)
        self.name, self.source, self.device, self.image_size = name, source, device, image_size

    def _run(self, network: nn.Module, feed: dict[str, np.ndarray]) -> dict[str, Any]:
        import torch

        with torch.inference_mode():
            outputs = network(*(torch.from_numpy(value).to(self.device) for value in feed.values()))
        return {name: value.float().cpu() for name, value in outputs.items()}

    def image(self, image_u8: np.ndarray, mask: np.ndarray, K: np.ndarray, R_gc: np.ndarray) -> ImageOutputs:
        """See `Engine.image`."""
        out = {
            name: value.numpy() for name, value in self._run(self._image, image_feed(image_u8, mask, K, R_gc)).items()
        }
        return ImageOutputs(out["features"], out["depth"][0, 0], out["spread"][0, 0], out["thickness"][0, 0])

    def voxels(
        self,
        features: np.ndarray,
        depth: np.ndarray,
        spread: np.ndarray,
        thickness: np.ndarray,
        K: np.ndarray,
        T_bc: np.ndarray,
    ) -> Voxels:
        """See `LocalModel.voxels`."""
        import torch

        from sgrocc_core.network.expert.spatial_expert import local_head

        outputs = self._run(
            self._expert, expert_feed(features, depth, spread, thickness, K, T_bc, None, self._channels)
        )
        with torch.inference_mode():
            log_empty, class_weights = local_head(outputs, 0)
        return log_empty.numpy(), class_weights.numpy()

    def description(self) -> dict[str, Any]:
        """Name, weights and runtime."""
        import torch

        return {
            "name": self.name,
            "weights": self.source,
            "engine": f"PyTorch {torch.__version__}, {self.device.upper()}, fp32",
        }


def open_weights(
    path: Path,
    name: str,
    sections: dict[str, dict[str, Any]],
    device: str = "auto",
    kind: type[NetworkModel] = NetworkModel,
) -> NetworkModel:
    """Open trained weights as a model that can be scored.

    Args:
        path: safetensors file of both networks.
        name: of the model, for the report.
        sections: keyword arguments of the two networks, `image` and `expert`.
        device: `auto`, `cpu` or `cuda`.
        kind: class of the model.

    Raises:
        ConfigError: an argument of a network is not allowed.
        ModelError: the weights are missing or belong to other networks, or CUDA is not available.
    """
    import torch

    from sgrocc_core.engines.weights import build_networks, load_weights

    if device == "cuda" and not torch.cuda.is_available():
        raise ModelError("device cuda: PyTorch finds no CUDA device; use device cpu")
    image, expert = build_networks(sections)
    load_weights(path, image, expert)
    where = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
    return kind(image, expert, name, str(path), where, image.grid.image_size)
