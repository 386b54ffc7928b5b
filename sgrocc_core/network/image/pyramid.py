"""A feature pyramid on a backbone's maps, with gravity-aligned rays joined at every level."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.network.image.heads import ConvNorm, GlobalContext, gravity_rays

RAYS = 3


def rays_at(stride: int, intrinsics: Tensor, gravity: Tensor, mask: Tensor, shape: tuple[int, int]) -> Tensor:
    """Viewing rays through the centres of a coarser map's cells, 0 in the letterbox's padding.

    Args:
        stride: image pixels per cell.
        intrinsics: (B, 4) fx, fy, cx, cy of the image, pixels.
        gravity: (B, 3, 3) R_gc.
        mask: (B, 1, H, W), 0 in the padding.
        shape: (rows, columns) of the map.

    Returns:
        (B, 3, rows, columns).
    """
    # Cell i covers the pixels from stride * i; its middle lies at stride * i + (stride - 1) / 2.
    centre = (intrinsics[:, 2:] - (stride - 1) / 2) / stride
    coarser = torch.cat([intrinsics[:, :2] / stride, centre], 1)
    return gravity_rays(coarser, gravity, *shape) * F.interpolate(mask, size=shape, mode="nearest")


class RayPyramid(nn.Module):
    """Feature pyramid with one width for all levels; each level adds the next coarser one to its own map.

    Args:
        widths: channels of the backbone's maps, the finest first.
        strides: of these maps.
        channels: of the levels.
    """

    def __init__(self, widths: tuple[int, ...], strides: tuple[int, ...], channels: int = 64) -> None:
        super().__init__()
        self.strides = strides
        self.laterals = nn.ModuleList(nn.Conv2d(width + RAYS, channels, 1) for width in widths)
        self.context = GlobalContext(channels)
        self.smooth = nn.ModuleList(
            nn.Sequential(ConvNorm(channels, channels), ConvNorm(channels, channels)) for _ in widths
        )

    def forward(self, maps: list[Tensor], mask: Tensor, intrinsics: Tensor, gravity: Tensor) -> list[Tensor]:
        """Compute the levels of the pyramid.

        Args:
            maps: (B, widths[k], h, w), the finest first.
            mask: (B, 1, H, W) of the image, 0 in the padding.
            intrinsics: (B, 4) of the image, pixels.
            gravity: (B, 3, 3) R_gc.

        Returns:
            (B, channels, h, w) for each map.
        """
        levels: list[Tensor] = []
        for k in reversed(range(len(maps))):
            shape = (int(maps[k].shape[2]), int(maps[k].shape[3]))
            rays = rays_at(self.strides[k], intrinsics, gravity, mask, shape)
            x = self.laterals[k](torch.cat([maps[k], rays.to(maps[k].dtype)], 1))
            x = x + F.interpolate(levels[0], size=shape, mode="nearest") if levels else self.context(x)
            levels.insert(0, self.smooth[k](x))
        return levels
