"""What our own image engines have in common: viewing rays that know the horizon, and the heads.

Depth is learned for one canonical focal length, as a distribution over bins in log depth; its spread relative to depth.
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
    """Convolution, batch normalisation and, by default, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, activate: bool = True) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
        ]
        if activate:
            layers.append(nn.ReLU(inplace=True))
        super().__init__(*layers)


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
        height: of the image, pixels.
        width: of the image, pixels.

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
    """Spread and thickness (B, 1, h, w), metres, from the raw shape head (B, 2, h, w) and the depth (B, 1, h, w)."""
    # The spread is learned relative to depth: errors of a learned depth are errors of scale.
    spread = torch.clamp(torch.exp(shape[:, :1] - 2.0) * depth, MIN_SPREAD, MAX_SPREAD)
    return spread, MIN_THICKNESS + (MAX_THICKNESS - MIN_THICKNESS) * torch.sigmoid(shape[:, 1:] - 1.0)


class ImageHeads(nn.Module):
    """Base of an image engine: the heads on its pyramid.

    Args:
        channels: C, channels of the features handed to the expert. pyramid: channels at stride 8. fine: at stride 4.
        semantic_head: build the 2D class head, which only training uses.

    Attributes:
        fine_channels: of the output `fine`.
        early_channels: of the output `early`, a map at stride 2; 0 = there is none.
    """

    log_depths: Tensor

    def __init__(self, channels: int, pyramid: int, fine: int, semantic_head: bool) -> None:
        super().__init__()
        self.channels, self.semantic_head, self.canonical_focal = channels, semantic_head, CANONICAL_FOCAL
        self.grid, self.fine_channels, self.early_channels = GRID, fine, 0
        self.to_features = nn.Conv2d(pyramid, channels, 1)
        self.depth_head = nn.Conv2d(fine, DEPTH_BINS, 1)
        self.shape_head = nn.Conv2d(fine, 2, 1)
        if semantic_head:
            self.class_head = nn.Conv2d(fine, 12, 1)
        centres = torch.linspace(math.log(MIN_DEPTH), math.log(MAX_DEPTH), DEPTH_BINS)
        self.register_buffer("log_depths", centres.view(1, -1, 1, 1), persistent=False)

    def answers(self, top: Tensor, fine: Tensor, intrinsics: Tensor) -> dict[str, Tensor]:
        """Compute the outputs of all heads.

        Args:
            top: (B, pyramid, 30, 40), features at stride 8.
            fine: (B, fine, 60, 80), features at stride 4.
            intrinsics: (B, 4) fx, fy, cx, cy, pixels.

        Returns:
            features (B, C, 30, 40); depth (B, 1, 60, 80), z-depth, metres; spread (B, 1, 60, 80), Laplace scale of
            depth, metres; thickness (B, 1, 60, 80), metres; fine (B, fine, 60, 80), as given, which stereo uses. With
            the semantic head also semantics (B, 12, 60, 80), logits of the labels 0 to 11, depth_bins (B, bins, 60,
            80), logits over `log_depths`, and pyramid (B, pyramid, 30, 40), from which the features are computed.
        """
        bins = self.depth_head(fine).float()
        log_depth = (F.softmax(bins, 1) * self.log_depths).sum(1, keepdim=True)
        depth = torch.exp(log_depth) * focal_scale(intrinsics, CANONICAL_FOCAL)
        spread, thickness = spread_and_thickness(self.shape_head(fine).float(), depth)
        outputs = {"features": self.to_features(top).float(), "depth": depth, "spread": spread, "thickness": thickness}
        outputs["fine"] = fine
        if self.semantic_head:
            outputs["semantics"] = self.class_head(fine).float()
            outputs["depth_bins"] = bins
            outputs["pyramid"] = top
        return outputs
