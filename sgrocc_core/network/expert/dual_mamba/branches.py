"""The two branches in front of Dual Mamba: semantics from images and points, geometry from crossing planes.

Semantics come twice: the image's features, lifted by agreement with depth, and the features of the depth's own points
on the lattice. Each has a head that learns pseudo labels, of pixels and of points. Geometry trusts depth along the ray
and the image across it, and lets both meet on the three planes of the box.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.geometry.lattice import BOX_CELLS
from sgrocc_core.network.expert.lattice_encoder import conv_norm, rows_to_volume, sub_voxel_offsets, volume_to_rows
from sgrocc_core.network.expert.lifter import SoftGatedLifter, corner_rows, weighted_rows
from sgrocc_core.network.expert.projection import project, to_camera

Camera = tuple[Tensor, Tensor]
"""Intrinsics (B, 4), pixels, and pose (B, 4, 4) T_bc."""


def gather_features(
    table: Tensor, size: tuple[int, int, int], points: Tensor, camera: Camera, weight: Tensor
) -> Tensor:
    """Weighted sums of an image's features at the projections of points.

    Args:
        table: (B, h * w, C), the feature map, row-major.
        size: h, w of the feature map, and image pixels per pixel of it.
        points: (B, N * K, 3), metres, camera frame.
        camera: see `Camera`.
        weight: (B, N, K); a point outside the image counts 0.

    Returns:
        (B, N, C).
    """
    height, width, stride = size
    where = project(points, camera[0], (height * stride, width * stride))
    index, corners = corner_rows(where, height, width, stride)
    weight = weight * where.inside.reshape(weight.shape).float()
    corners = corners.reshape(*weight.shape, 4) * weight[..., None]
    return weighted_rows(table.float(), index.reshape(weight.shape), corners, width)


class SemanticBranch(nn.Module):
    """Features of the image and of the depth's points on the lattice, with a head of classes for each.

    Args:
        feature_channels: of the feature map.
        channels: of the cells.
        lifter: brings the image's features to the cells.
    """

    offsets: Tensor

    def __init__(self, feature_channels: int, channels: int, lifter: SoftGatedLifter) -> None:
        super().__init__()
        self.lifter = lifter
        self.register_buffer("offsets", sub_voxel_offsets(), persistent=False)
        self.value = nn.Linear(feature_channels, channels)
        self.points = nn.Sequential(nn.Linear(channels + 8, channels), nn.ReLU(), nn.Linear(channels, channels))
        self.join = nn.Linear(2 * channels, channels)
        self.pixel_head = nn.Conv2d(feature_channels, NUM_CLASSES, 1)
        self.cell_head = nn.Linear(channels, NUM_CLASSES)

    def forward(
        self,
        features: Tensor,
        query: Tensor,
        centres: Tensor,
        hits: Tensor,
        prior: tuple[Tensor, Tensor, Tensor, Tensor],
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the semantic cells.

        Args:
            features: (B, C, h, w).
            query: (B, N, C), the cells' geometric code, embedded.
            centres: (N, 3), metres, box frame.
            hits: (B, N, 8), number of the depth's points in each voxel of a cell.
            prior: depth, thickness, intrinsics and pose; see `SpatialExpert.forward`.

        Returns:
            (B, N, C); in training mode pixel_logits (B, 11, h, w) and cell_logits (B, N, 11), else nothing.
        """
        lifted = self.lifter(features.float(), query.float(), centres, *prior)
        points = self._points(features, centres, hits, prior)
        cells = F.relu(self.join(torch.cat([lifted, points], -1).to(query.dtype)))
        if not self.training:
            return cells, {}
        return cells, {
            "pixel_logits": self.pixel_head(features).float(),
            "cell_logits": self.cell_head(points.to(query.dtype)).float(),
        }

    def _points(
        self, features: Tensor, centres: Tensor, hits: Tensor, prior: tuple[Tensor, Tensor, Tensor, Tensor]
    ) -> Tensor:
        """(B, N, C), the mean image feature of a cell's points, and where in the cell they are; 0 without points."""
        depth, _, intrinsics, pose = prior
        height, width = int(features.shape[2]), int(features.shape[3])
        filled = hits.clamp(max=1.0)
        weight = filled / filled.sum(-1, keepdim=True).clamp(min=1.0)
        turned = torch.matmul(self.offsets, pose[:, :3, :3])
        voxels = (to_camera(centres, pose)[:, :, None] + turned[:, None]).flatten(1, 2)
        table = self.value(features.float().flatten(2).transpose(1, 2))
        size = (height, width, int(depth.shape[3]) // width)
        mean = gather_features(table, size, voxels, (intrinsics, pose), weight)
        return self.points(torch.cat([mean, filled], -1)) * filled.sum(-1, keepdim=True).clamp(max=1.0)


class CrossPlanes(nn.Module):
    """Features that meet on the planes of the box: depth's on planes along the ray, the image's on planes across it.

    A plane is the mean over its normal's axis a. It contains the viewing ray by 1 - r_a^2, r being the ray's direction:
    by that share it keeps where along the ray something is, which depth knows; by r_a^2 it keeps where in the image
    something is, which the image knows.

    Args:
        channels: of the cells.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.planes = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
            )
            for _ in range(3)
        )

    def forward(self, depth: Tensor, image: Tensor, ray: Tensor) -> Tensor:
        """Compute what the planes say of each cell.

        Args:
            depth: (B, N, C), depth's features.
            image: (B, N, C), the image's features.
            ray: (B, N, 3), unit directions from the camera, box frame.

        Returns:
            (B, N, C).
        """
        total: Tensor | None = None
        across = ray.square().to(depth.dtype)
        for axis, plane in enumerate(self.planes):
            share = across[..., axis : axis + 1]
            mixed = rows_to_volume((1 - share) * depth + share * image).mean(2 + axis)
            volume = plane(mixed).unsqueeze(2 + axis).expand(-1, -1, *BOX_CELLS)
            total = volume if total is None else total + volume
        assert total is not None
        return volume_to_rows(total)


class GeometricBranch(nn.Module):
    """Cells from depth along the ray and from the image across it, joined by the planes of the box.

    Args:
        feature_channels: of the feature map.
        channels: of the cells.
    """

    def __init__(self, feature_channels: int, channels: int) -> None:
        super().__init__()
        self.value = nn.Linear(feature_channels, channels)
        self.depth = conv_norm(channels, channels)
        self.planes = CrossPlanes(channels)

    def forward(self, features: Tensor, code: Tensor, centres: Tensor, prior: tuple[Tensor, ...]) -> Tensor:
        """Compute the geometric cells.

        Args:
            features: (B, C, h, w).
            code: (B, N, C), the cells' geometric code, embedded: what depth says of them.
            centres: (N, 3), metres, box frame.
            prior: depth, thickness, intrinsics and pose.

        Returns:
            (B, N, C).
        """
        depth, _, intrinsics, pose = prior
        height, width = int(features.shape[2]), int(features.shape[3])
        with torch.autocast(features.device.type, enabled=False):
            table = self.value(features.float().flatten(2).transpose(1, 2))
            size = (height, width, int(depth.shape[3]) // width)
            one = torch.ones_like(depth[:, 0, :1, :1]) * torch.ones_like(centres[:, :1])
            image = gather_features(table, size, to_camera(centres, pose), (intrinsics, pose), one)
            ray = centres - pose[:, None, :3, 3]
            ray = ray / ray.norm(dim=-1, keepdim=True).clamp(min=1e-3)
        rows = code + volume_to_rows(F.relu(self.depth(rows_to_volume(code))))
        return F.relu(rows + self.planes(rows, image.to(rows.dtype), ray))
