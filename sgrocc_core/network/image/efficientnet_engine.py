"""The image engine on a backbone that was trained on real images: EfficientNet-Lite, with our pyramid and heads on it.

First stage of the spatial expert (method, section 2.1). What the backbone learned of real images is kept by not
touching it: neither its weights nor its batch statistics change, unless `tune` lets the weights follow slowly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from sgrocc_core.errors import ConfigError
from sgrocc_core.network.image.efficientnet_lite import STRIDES, EfficientNetLite
from sgrocc_core.network.image.heads import ImageHeads
from sgrocc_core.network.image.pyramid import RayPyramid

MEAN, DEVIATION = 127.0, 128.0
"""Of the published networks' input, as values of 0 to 255."""


class EfficientNetEngine(ImageHeads):
    """RGB and camera to features, depth, spread and thickness; the interface of `small.ImageEngine`.

    Args:
        channels: C, channels of the features handed to the expert. variant: of the backbone, `lite0` or `lite2`.
        pyramid: channels of the pyramid.
        tune: the backbone's learning rate as a share of everything else's; 0 = frozen. Its batch statistics never
            change.
        semantic_head: build the 2D class head, which only training uses.

    Attributes:
        runner: what training runs a frozen backbone with, in place of PyTorch.
    """

    def __init__(
        self, channels: int = 32, variant: str = "lite0", pyramid: int = 64, tune: float = 0.0,
        semantic_head: bool = True,
    ) -> None:  # fmt: skip
        for key, value, low, high in (
            ("channels", channels, 1, 1024),
            ("pyramid", pyramid, 2, 1024),
        ):
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ConfigError(f"{key} is {value!r}; it must be a whole number from {low} to {high}")
        if isinstance(tune, bool) or not isinstance(tune, (int, float)) or not (math.isfinite(tune) and 0 <= tune <= 1):
            raise ConfigError(f"tune is {tune!r}; it must be a share of the learning rate, from 0 (frozen) to 1")
        super().__init__(channels, pyramid, pyramid, semantic_head)
        self.tune = float(tune)
        self.backbone = EfficientNetLite(variant).eval().requires_grad_(self.tune > 0)
        widths = self.backbone.widths
        self.levels = RayPyramid(widths[1:], STRIDES[1:], pyramid)
        self.early_channels = widths[0]
        self.runner: Callable[[Tensor], list[Tensor]] | None = None

    def load_prior(self, folder: Path | None = None) -> Path:
        """Fill the backbone with its published weights.

        Args:
            folder: that holds their file; None: the package that is installed.

        Returns:
            the file that they came from.

        Raises:
            ModelError: they are not installed, or other ones.
        """
        return self.backbone.load_published(folder)

    def train(self, mode: bool = True) -> EfficientNetEngine:
        """Put pyramid and heads into training mode; the backbone's batch statistics stay as they were published."""
        super().train(mode)
        self.backbone.eval()
        return self

    def maps(self, image: Tensor, mask: Tensor) -> list[Tensor]:
        """The backbone's five maps of (B, 3, H, W) RGB, 0..1, and its mask; without gradients unless it is tuned."""
        x = (image * (255.0 / DEVIATION) - MEAN / DEVIATION) * mask
        if self.runner is not None:
            return self.runner(x)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.tune > 0):
            found: list[Tensor] = self.backbone(x)
        return found

    def forward(self, image: Tensor, mask: Tensor, intrinsics: Tensor, gravity: Tensor) -> dict[str, Tensor]:
        """Process one batch of images.

        Args:
            image: (B, 3, 240, 320) RGB, 0 to 1.
            mask: (B, 1, 240, 320), 0 in the letterbox's padding.
            intrinsics: (B, 4) fx, fy, cx, cy, pixels.
            gravity: (B, 3, 3) R_gc.

        Returns:
            Outputs of `ImageHeads.answers`, and early (B, E, 120, 160), the backbone's map at stride 2, for stereo.
        """
        maps = self.maps(image, mask)
        levels = self.levels(maps[1:], mask, intrinsics, gravity)
        return {**self.answers(levels[1], levels[0], intrinsics), "early": maps[0]}
