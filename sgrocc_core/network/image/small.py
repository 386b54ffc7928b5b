"""The small image engine: a convolutional backbone that gives features, metric depth, its spread and the thickness behind it.

First stage of the spatial expert (method, section 2.1, "Small"). Three channels of gravity-aligned ray directions stand beside
RGB, so that the network knows where the horizon is and how wide the camera looks; depth is learned for one canonical focal length.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.geometry.image_grid import ImageGrid

CANONICAL_FOCAL = 289.0
"""Focal length that depth is learned for, pixels at 320 x 240 (ScanNet's camera at that size)."""
GRID = ImageGrid(image_size=(320, 240), feature_stride=8, head_stride=4)
MIN_DEPTH, MAX_DEPTH = 0.25, 12.0
"""Bounds of the canonical depth, metres."""
DEPTH_BINS = 48
MIN_SPREAD, MAX_SPREAD = 0.02, 3.0
MIN_THICKNESS, MAX_THICKNESS = 0.05, 2.0


class ConvNorm(nn.Sequential):
    """Convolution, batch normalisation and, unless told otherwise, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, activate: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        if activate:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


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


class GlobalContext(nn.Module):
    """Adds a function of the picture's mean feature to every position: scale and light belong to the whole image."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(channels, channels // 2, 1), nn.ReLU(inplace=True), nn.Conv2d(channels // 2, channels, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same shape."""
        return x + self.mix(x.mean((2, 3), keepdim=True))


def gravity_rays(intrinsics: Tensor, gravity: Tensor, height: int, width: int) -> Tensor:
    """Unit viewing directions of all pixels in the gravity-aligned camera frame.

    Args:
        intrinsics: (B, 4) fx, fy, cx, cy, pixels.
        gravity: (B, 3, 3) R_gc, camera axes to the frame with the world's z up and the heading as x.

    Returns:
        (B, 3, height, width) float32.
    """
    fx, fy, cx, cy = (intrinsics[:, k].view(-1, 1, 1) for k in range(4))
    u = torch.arange(width, dtype=torch.float32, device=intrinsics.device).view(1, 1, width)
    v = torch.arange(height, dtype=torch.float32, device=intrinsics.device).view(1, height, 1)
    x = ((u - cx) / fx).expand(-1, height, width)
    y = ((v - cy) / fy).expand(-1, height, width)
    norm = torch.sqrt(x * x + y * y + 1.0)
    camera = torch.stack([x / norm, y / norm, 1.0 / norm], 1).flatten(2)  # (B, 3, H*W)
    return (gravity @ camera).view(-1, 3, height, width)


def focal_scale(intrinsics: Tensor, canonical: float) -> Tensor:
    """(B, 1, 1, 1) factor from the canonical camera's depth to that of cameras (B, 4) fx, fy, cx, cy, pixels."""
    return torch.sqrt(intrinsics[:, 0] * intrinsics[:, 1]).view(-1, 1, 1, 1) / canonical


def spread_and_thickness(shape: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Raw values of the shape head (B, 2, h, w) to spread and thickness, metres, both (B, 1, h, w); depth: (B, 1, h, w) metres."""
    # The spread is learned relative to depth: errors of a learned depth are errors of scale.
    spread = torch.clamp(torch.exp(shape[:, :1] - 2.0) * depth, MIN_SPREAD, MAX_SPREAD)
    return spread, MIN_THICKNESS + (MAX_THICKNESS - MIN_THICKNESS) * torch.sigmoid(shape[:, 1:] - 1.0)


class ImageEngine(nn.Module):
    """RGB and camera to features, depth, spread and thickness.

    Args:
        channels: C, channels of the features handed to the expert.
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
        super().__init__()
        self.channels, self.semantic_head, self.canonical_focal = channels, semantic_head, CANONICAL_FOCAL
        self.grid = GRID
        self.stem = nn.Sequential(ConvNorm(6, 24, 3, 2), ConvNorm(24, widths[0], 3, 2))
        self.stages = nn.ModuleList()
        for level, (width, count) in enumerate(zip(widths, blocks)):
            down = [ConvNorm(widths[level - 1], width, 3, 2)] if level else []
            self.stages.append(nn.Sequential(*down, *[ResidualBlock(width) for _ in range(count)]))
        self.context = GlobalContext(widths[3])
        pyramid = 64
        self.laterals = nn.ModuleList(nn.Conv2d(width, pyramid, 1) for width in widths[1:])
        self.smooth = nn.ModuleList(ConvNorm(pyramid, pyramid) for _ in range(2))
        self.to_features = nn.Conv2d(pyramid, channels, 1)
        self.to_fine = nn.Conv2d(pyramid, 48, 1)
        self.fine_lateral = nn.Conv2d(widths[0], 48, 1)
        self.fine = ConvNorm(48, 48)
        self.depth_head = nn.Conv2d(48, DEPTH_BINS, 1)
        self.shape_head = nn.Conv2d(48, 2, 1)
        if semantic_head:
            self.class_head = nn.Conv2d(48, 12, 1)
        centres = torch.linspace(math.log(MIN_DEPTH), math.log(MAX_DEPTH), DEPTH_BINS)
        self.register_buffer("log_depths", centres.view(1, -1, 1, 1), persistent=False)
        self.log_depths: Tensor
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1), persistent=False)
        self.mean: Tensor
        self.deviation: Tensor

    def pyramid(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised six channels to the pyramid at stride 8, (B, 64, H/8, W/8), and the head's features at stride 4, (B, 48, H/4, W/4)."""
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
        """One batch of images.

        Args:
            image: (B, 3, 240, 320) RGB, 0..1. mask: (B, 1, 240, 320), 0 in the letterbox's padding.
            intrinsics: (B, 4) fx, fy, cx, cy, pixels. gravity: (B, 3, 3) R_gc.

        Returns:
            features (B, C, 30, 40); depth (B, 1, 60, 80), z-depth, m; spread (B, 1, 60, 80), Laplace scale of depth, m;
            thickness (B, 1, 60, 80), m. With the semantic head also semantics (B, 12, 60, 80), logits of labels 0..11,
            depth_bins (B, bins, 60, 80), logits over `log_depths`, and pyramid (B, 64, 30, 40), what features are made from.
        """
        rays = gravity_rays(intrinsics, gravity, image.shape[2], image.shape[3])
        x = torch.cat([(image - self.mean) / self.deviation, rays], 1) * mask
        top, fine = self.pyramid(x)
        bins = self.depth_head(fine).float()
        log_depth = (F.softmax(bins, 1) * self.log_depths).sum(1, keepdim=True)
        scale = focal_scale(intrinsics, CANONICAL_FOCAL)
        depth = torch.exp(log_depth) * scale
        spread, thickness = spread_and_thickness(self.shape_head(fine).float(), depth)
        outputs = {"features": self.to_features(top).float(), "depth": depth, "spread": spread, "thickness": thickness}
        if self.semantic_head:
            outputs["semantics"] = self.class_head(fine).float()
            outputs["depth_bins"] = bins
            outputs["pyramid"] = top
        return outputs
