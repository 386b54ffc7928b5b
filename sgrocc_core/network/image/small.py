"""The small image engine: a convolutional backbone that is trained on generated rooms alone, with the heads on it.

First stage of the spatial expert (method, section 2.1, "Small"). Three channels of gravity-aligned ray directions stand
beside RGB, so that the network knows where the horizon is and how wide the camera looks.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.network.image.heads import ConvNorm, GlobalContext, ImageHeads, gravity_rays


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside an identity; the second starts at zero, so that a new block changes nothing."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNorm(channels, channels)
        self.second = ConvNorm(channels, channels, activate=False)
        nn.init.zeros_(self.second[1].weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return F.relu(x + self.second(self.first(x)), inplace=True)


class ImageEngine(ImageHeads):
    """Features, depth, spread and thickness from an RGB image and its camera.

    Args:
        channels: C, channels of the features passed to the expert.
        widths: channels at strides 4, 8, 16 and 32.
        blocks: residual blocks at those strides.
        semantic_head: build the 2D class head, which only training uses.
    """

    def __init__(
        self,
        channels: int = 32,
        widths: tuple[int, int, int, int] = (40, 80, 144, 208),
        blocks: tuple[int, int, int, int] = (2, 2, 2, 2),
        semantic_head: bool = True,
    ) -> None:
        super().__init__(channels, pyramid=64, fine=48, semantic_head=semantic_head)
        self.stem = nn.Sequential(ConvNorm(6, 24, 3, 2), ConvNorm(24, widths[0], 3, 2))
        self.stages = nn.ModuleList()
        for level, (width, count) in enumerate(zip(widths, blocks)):
            down = [ConvNorm(widths[level - 1], width, 3, 2)] if level else []
            self.stages.append(nn.Sequential(*down, *[ResidualBlock(width) for _ in range(count)]))
        self.context = GlobalContext(widths[3])
        pyramid = 64
        self.laterals = nn.ModuleList(nn.Conv2d(width, pyramid, 1) for width in widths[1:])
        self.smooth = nn.ModuleList(ConvNorm(pyramid, pyramid) for _ in range(2))
        self.to_fine = nn.Conv2d(pyramid, 48, 1)
        self.fine_lateral = nn.Conv2d(widths[0], 48, 1)
        self.fine = ConvNorm(48, 48)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.deviation: Tensor

    def pyramid(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Six normalised channels to the pyramid at stride 8 and the heads' features at stride 4.

        Args:
            x: (B, 6, H, W).

        Returns:
            (B, 64, H / 8, W / 8) and (B, 48, H / 4, W / 4).
        """
        levels = []
        x = self.stem(x)
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        top = self.laterals[2](self.context(levels[3]))
        for k in (1, 0):
            lateral = self.laterals[k](levels[k + 1])
            top = self.smooth[k](lateral + F.interpolate(top, size=lateral.shape[-2:], mode="nearest"))
        fine = F.interpolate(self.to_fine(top), scale_factor=2.0, mode="bilinear", align_corners=False)
        return top, self.fine(fine + self.fine_lateral(levels[0]))

    def forward(self, image: Tensor, mask: Tensor, intrinsics: Tensor, gravity: Tensor) -> dict[str, Tensor]:
        """Process one batch of images.

        Args:
            image: (B, 3, 240, 320) RGB, 0 to 1.
            mask: (B, 1, 240, 320), 0 in the letterbox's padding.
            intrinsics: (B, 4) fx, fy, cx, cy, pixels.
            gravity: (B, 3, 3) R_gc.

        Returns:
            See `ImageHeads.answers`.
        """
        rays = gravity_rays(intrinsics, gravity, image.shape[2], image.shape[3])
        x = torch.cat([(image - self.mean) / self.deviation, rays], 1) * mask
        top, fine = self.pyramid(x)
        return self.answers(top, fine, intrinsics)
