"""The stereo network: matching features of every image, and depth and spread out of the sweep over its earlier images.

Between the two stands the plane sweep, which has no weights: depth/sweep.py on CPUs, `sweep_torch` elsewhere. What
feeds it is any image engine with fine features at the resolution of its depth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from sgrocc_core.depth.sweep import PLANES, plane_depths
from sgrocc_core.errors import ConfigError
from sgrocc_core.network.stereo.cascade import Cascade
from sgrocc_core.network.stereo.matching import MatchingHead
from sgrocc_core.network.stereo.regulariser import Regulariser


@dataclass(frozen=True)
class StereoConfig:
    """Sizes of the stereo network.

    Attributes:
        planes: of the sweep.
        fine: channels of the regulariser at the resolution of the sweep.
        half: at half of it.
        quarter: at a quarter of it.
        blocks: residual blocks that each of the three resolutions has more than the first version; a new one changes
            nothing until it is trained, so that weights without them can be trained on.
        cascade: hypotheses of each pixel in the second, finer sweep; 0 = one sweep only. It, too, changes nothing
            until it is trained.

    Raises:
        ConfigError: names the key, the value and what is allowed.
    """

    planes: int = PLANES
    fine: int = 40
    half: int = 64
    quarter: int = 96
    blocks: int = 0
    cascade: int = 0

    def __post_init__(self) -> None:
        for key, low, high in (
            ("planes", 8, 256), ("fine", 8, 512), ("half", 8, 512), ("quarter", 8, 1024), ("blocks", 0, 16),
            ("cascade", 0, 64),
        ):  # fmt: skip
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"{key} is {value!r}; it must be a whole number from {low} to {high}")


class StereoNetwork(nn.Module):
    """All parts, which are trained together; `matching` runs with the image engine, `regulariser` after the sweep.

    With a second sweep there are both of each, the finer ones in `cascade`.

    Args:
        config: sizes.
        fine_channels: of the image engine's features at stride 4.
        early_channels: of its map at stride 2, 0 = none.
    """

    def __init__(self, config: StereoConfig, fine_channels: int, early_channels: int = 0) -> None:
        super().__init__()
        self.config, self.fine_channels = config, fine_channels
        self.matching = MatchingHead(fine_channels, early_channels)
        widths = config.fine, config.half, config.quarter
        self.regulariser = Regulariser(fine_channels, config.planes, widths, config.blocks)
        self.cascade = Cascade(fine_channels, early_channels, config.cascade) if config.cascade else None
        inverse = torch.from_numpy(1 / plane_depths(config.planes)).float()
        self.register_buffer("inverse_depths", inverse, persistent=False)
        self.inverse_depths: Tensor

    def forward(
        self, score: Tensor, count: Tensor, context: Tensor, depth: Tensor, spread: Tensor
    ) -> dict[str, Tensor]:
        """See `Regulariser.forward`."""
        found: dict[str, Tensor] = self.regulariser(score, count, context, depth, spread)
        return found


class ImageWithMatching(nn.Module):
    """An image engine with the matching features of its images: what runs once for every image.

    Args:
        image: the engine.
        stereo: a stereo network that was built for it.
    """

    def __init__(self, image: nn.Module, stereo: StereoNetwork) -> None:
        super().__init__()
        self.image, self.matching = image, stereo.matching
        self.finer = None if stereo.cascade is None else stereo.cascade.matching

    def forward(self, image: Tensor, mask: Tensor, intrinsics: Tensor, gravity: Tensor) -> dict[str, Tensor]:
        """The engine's outputs, and `matching` (B, 16, h, w) and `context` (B, F, h, w) at its depth's resolution.

        With a second sweep also `matching_fine` (B, 16, 2h, 2w).
        """
        outputs: dict[str, Tensor] = self.image(image, mask, intrinsics, gravity)
        given = image, mask, outputs["fine"], outputs.get("early")
        found = {**outputs, "matching": self.matching(*given), "context": outputs["fine"].float()}
        return found if self.finer is None else {**found, "matching_fine": self.finer(*given)}


def build_stereo(options: dict[str, Any], image: nn.Module) -> StereoNetwork:
    """The stereo network behind an image engine, with fresh weights.

    Args:
        options: arguments of `StereoConfig`.
        image: an engine whose outputs hold `fine`, features at the resolution of its depth; it says how many channels
            they have (`fine_channels`), and its map at stride 2 (`early_channels`, 0 = none).

    Raises:
        ConfigError: an argument that is not known or not allowed, or an image engine without fine features.
    """
    channels = getattr(image, "fine_channels", 0)
    if not channels:
        raise ConfigError(
            "this image engine gives no fine features for stereo; leave `stereo` out of the model's configuration"
        )
    try:
        config = StereoConfig(**options)
    except TypeError as error:
        raise ConfigError(f"the stereo network does not take these arguments: {error}") from error
    return StereoNetwork(config, channels, getattr(image, "early_channels", 0))
