"""Matching features of stereo: what a small piece of an image looks like from any side, as a vector of unit length."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sgrocc_core.depth.sweep import CHANNELS
from sgrocc_core.network.image.heads import ConvNorm

HIDDEN = 32


class MatchingHead(nn.Module):
    """Matching features out of the image engine's fine features and of what lies near the pixels.

    Features that were learned for depth and classes are much the same all over a surface. An early map keeps the
    texture that tells one place of it from another: the image engine's, where it gives one, else that of a convolution
    of our own.

    Args:
        fine_channels: of the image engine's features at stride 4.
        early_channels: of its map at stride 2; 0 = none.
    """

    def __init__(self, fine_channels: int, early_channels: int = 0) -> None:
        super().__init__()
        self.early = None if early_channels else ConvNorm(3, 16, 5, 2)
        self.texture = ConvNorm(early_channels or 16, HIDDEN, 3, 2)
        self.fine = nn.Conv2d(fine_channels, HIDDEN, 1, bias=False)
        self.join = nn.Sequential(
            ConvNorm(2 * HIDDEN, HIDDEN, 1), ConvNorm(HIDDEN, HIDDEN), nn.Conv2d(HIDDEN, CHANNELS, 3, padding=1)
        )

    def forward(self, image: Tensor, mask: Tensor, fine: Tensor, early: Tensor | None = None) -> Tensor:
        """Features of unit length.

        Args:
            image: (B, 3, H, W) RGB, 0..1.
            mask: (B, 1, H, W), 0 in the padding.
            fine: (B, F, H/4, W/4), of the image engine.
            early: (B, E, H/2, W/2), where the head was made for one.

        Returns:
            (B, 16, H/4, W/4) float32.
        """
        if self.early is not None:
            early = self.early((image - 0.45) * 4.0 * mask)
        found = self.join(torch.cat([self.fine(fine), self.texture(early)], 1)).float()
        return found / torch.sqrt((found * found).sum(1, keepdim=True) + 1e-6)
