"""Projection of points of the local box to pixels and nearest-pixel sampling, as plain tensor operations that export.

Pixel (0, 0) is the centre of the top-left pixel; z is depth along the optical axis, metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sgrocc_core.geometry.lattice import BOX_VOXELS, VOXEL_SIZE

MIN_Z = 0.05
"""Minimum depth of a point, metres; nearer points count as behind the camera."""


@dataclass(frozen=True)
class Projection:
    """Positions of projected points in the network's image.

    Attributes:
        u: (B, N) float, column, pixels; meaningless where not `inside`.
        v: (B, N) float, row, pixels; meaningless where not `inside`.
        z: (B, N) float, metres.
        inside: (B, N) bool, in front of the camera and within the image.
    """

    u: Tensor
    v: Tensor
    z: Tensor
    inside: Tensor


def to_camera(points: Tensor, pose: Tensor) -> Tensor:
    """Transform points from the box frame to the camera frame.

    Args:
        points: (N, 3) or (B, N, 3), metres, box frame.
        pose: (B, 4, 4) T_bc, camera to box frame.

    Returns:
        (B, N, 3), metres, camera frame.
    """
    return torch.matmul(points - pose[:, None, :3, 3], pose[:, :3, :3])


def project(camera: Tensor, intrinsics: Tensor, size: tuple[int, int]) -> Projection:
    """Project points of the camera frame to pixels.

    Args:
        camera: (B, N, 3), metres.
        intrinsics: (B, 4) fx, fy, cx, cy, pixels.
        size: (height, width) of the image, pixels.
    """
    x, y, z = camera.unbind(-1)
    fx, fy, cx, cy = intrinsics[:, :, None].unbind(1)
    inverse = 1.0 / z.clamp(min=MIN_Z)
    u, v = x * inverse * fx + cx, y * inverse * fy + cy
    inside = (z > MIN_Z) & (u > -0.5) & (u < size[1] - 0.5) & (v > -0.5) & (v < size[0] - 0.5)
    return Projection(u, v, z, inside)


def sample_nearest(image: Tensor, projection: Projection, stride: int = 1) -> Tensor:
    """Sample an image at the pixels nearest to projected points.

    Args:
        image: (B, 1, H, W), any unit.
        projection: N points in an image of (H * stride, W * stride) pixels.
        stride: pixels of the projection's image per pixel of this image.

    Returns:
        (B, N); points outside the image get the value of a border pixel, to be masked with `projection.inside`.
    """
    height, width = image.shape[-2:]
    column = torch.floor((projection.u + 0.5) * (1.0 / stride)).clamp(0, width - 1)
    row = torch.floor((projection.v + 0.5) * (1.0 / stride)).clamp(0, height - 1)
    index = (row * width + column).to(torch.int64)
    return image.flatten(1).gather(1, index)


@torch.no_grad()
def count_hits(depth: Tensor, intrinsics: Tensor, pose: Tensor) -> Tensor:
    """Count the back-projected pixels in every voxel of the local box.

    Equals `depth.hits.count_hits` of each sample, on any device.

    Args:
        depth: (B, 1, H, W), metres, 0 = none.
        intrinsics: (B, 4), pixels.
        pose: (B, 4, 4) T_bc, camera to box frame.

    Returns:
        (B, 60, 60, 36) float32.
    """
    batch, _, height, width = depth.shape
    fx, fy, cx, cy = (value.view(-1, 1, 1) for value in intrinsics.double().unbind(1))
    z = depth[:, 0].double()
    x = (torch.arange(width, device=depth.device) - cx) / fx * z
    y = (torch.arange(height, device=depth.device)[:, None] - cy) / fy * z
    points = (
        torch.stack([x, y, z], -1).flatten(1, 2) @ pose[:, :3, :3].double().transpose(1, 2)
        + pose[:, None, :3, 3].double()
    )
    index = torch.floor(points / VOXEL_SIZE).long()
    size = torch.tensor(BOX_VOXELS, device=depth.device)
    inside = ((index >= 0) & (index < size)).all(-1) & (z.flatten(1) > 0)
    sample = torch.arange(batch, device=depth.device)[:, None].expand_as(inside)[inside]
    i, j, k = index[inside].unbind(-1)
    flat = ((sample * BOX_VOXELS[0] + i) * BOX_VOXELS[1] + j) * BOX_VOXELS[2] + k
    return (
        torch.bincount(flat, minlength=batch * BOX_VOXELS[0] * BOX_VOXELS[1] * BOX_VOXELS[2])
        .float()
        .view(batch, *BOX_VOXELS)
    )
