"""The geometric code of the lattice's cells and the residual 3D convolutions that propagate the lifted features.

Cells are in C order of (30, 30, 18) [x, y, z]. Tensors are passed as rows (B, N, C); viewed as a volume, rows are
already in `channels_last_3d` memory order, so a convolution needs no copy.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrocc_core.geometry.lattice import BOX_CELLS, CELL_SIZE, NUM_ANCHORS, VOXEL_SIZE
from sgrocc_core.network.expert.projection import MIN_Z, project, sample_nearest, to_camera

CODE_CHANNELS = 44
TSDF_RANGE = 0.24
"""Range to which z - D of a sub-voxel is clamped, metres."""
NEAR_WIDTH = 0.06
"""Width of the bump function that marks a sub-voxel as lying on the surface, metres."""


def cell_centres() -> Tensor:
    """(16200, 3) float32, metres, box frame, in cell order."""
    axes = [(torch.arange(n) + 0.5) * CELL_SIZE for n in BOX_CELLS]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def sub_voxel_offsets() -> Tensor:
    """(8, 3) float32, metres: centres of a cell's voxels relative to the cell's, in C order of (2, 2, 2) [x, y, z]."""
    axis = torch.tensor([-0.5, 0.5]) * VOXEL_SIZE
    return torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)


def geometric_code(
    centres: Tensor, depth: Tensor, spread: Tensor, hits: Tensor, thickness: Tensor, intrinsics: Tensor, pose: Tensor
) -> Tensor:
    """Compute the geometric code of each cell from the pose and the depth prior alone.

    Args:
        centres: (N, 3), metres, box frame.
        depth: (B, 1, H, W), metres, 0 = none.
        spread: (B, 1, H, W), metres, uncertainty of the depth.
        hits: (B, N, 8), back-projected pixels of the depth in each sub-voxel.
        thickness: (B, 1, h, w), metres; depth is larger by an integer factor.
        intrinsics: (B, 4), pixels.
        pose: (B, 4, 4) T_bc.

    Returns:
        (B, N, 44), of order 1. Per cell: z - D at two scales, (z - D) / t, in view, has depth, height above the camera,
        distance, viewing ray in world axes (3). Per sub-voxel (8): clamped z - D, and a bump where it is near 0, which
        distinguishes a surface from a hole in the depth. Per cell: logarithm of the spread, and (z - D) / spread. Per
        sub-voxel (8): whether any pixel's depth lies in it, and the share of the pixels it covers whose depth does.
    """
    batch, cells = depth.shape[0], centres.shape[0]
    size = (depth.shape[2], depth.shape[3])
    camera = to_camera(centres, pose)
    where = project(camera, intrinsics, size)
    surface = sample_nearest(depth, where)
    known = (where.inside & (surface > 0)).float()
    behind = where.z - surface
    off = sample_nearest(spread, where).clamp(min=0.01)
    t = sample_nearest(thickness, where, size[1] // thickness.shape[-1]).clamp(min=0.05)
    ray = centres - pose[:, None, :3, 3]
    distance = ray.norm(dim=-1, keepdim=True)
    single = torch.stack(
        [
            (behind * 2.0).clamp(-1, 1) * known,
            (behind * 0.4).clamp(-1, 1) * known,
            (behind / t).clamp(-2, 4) * 0.25 * known,
            where.inside.float(),
            known,
        ],
        -1,
    )
    frame = torch.cat([ray[..., 2:] * 0.5, distance * 0.25, ray / distance.clamp(min=1e-3)], -1)
    trust = torch.stack([torch.log(off * 10.0) * 0.5 * known, (behind / off).clamp(-4, 4) * 0.25 * known], -1)
    # Camera coordinates are linear in the offset, so only the 8 sub-voxel offsets are rotated.
    turned = torch.matmul(sub_voxel_offsets().to(centres), pose[:, :3, :3])
    voxels = (camera[:, :, None] + turned[:, None]).reshape(batch, cells * 8, 3)
    where = project(voxels, intrinsics, size)
    surface = sample_nearest(depth, where)
    known = (where.inside & (surface > 0)).float()
    signed = (where.z - surface).clamp(-TSDF_RANGE, TSDF_RANGE)
    near = torch.exp(-(signed * (1.0 / NEAR_WIDTH)).square()) * known
    tsdf = signed * (1.0 / TSDF_RANGE) * known
    area = VOXEL_SIZE * VOXEL_SIZE * intrinsics[:, 0] * intrinsics[:, 1]  # of a voxel 1 m away, pixels
    share = hits * where.z.reshape(batch, cells, 8).clamp(min=MIN_Z).square() / area[:, None, None]
    hit = [hits.clamp(max=1.0), share.clamp(max=1.0)]
    return torch.cat([single, frame, tsdf.reshape(batch, cells, 8), near.reshape(batch, cells, 8), trust, *hit], -1)


def rows_to_volume(rows: Tensor) -> Tensor:
    """View (B, 16200, C) as (B, C, 30, 30, 18) in channels_last_3d order."""
    return rows.reshape(rows.shape[0], *BOX_CELLS, rows.shape[-1]).permute(0, 4, 1, 2, 3)


def volume_to_rows(volume: Tensor) -> Tensor:
    """(B, C, 30, 30, 18) to (B, 16200, C)."""
    return volume.permute(0, 2, 3, 4, 1).reshape(volume.shape[0], NUM_ANCHORS, volume.shape[1])


def unfold_cells(low: Tensor) -> Tensor:
    """Rows (B, 16200, C) of a half-resolution volume (B, 15, 15, 9, 8 C).

    The channels of each cell are those of its eight children in C order of (2, 2, 2).
    """
    batch, nx, ny, nz, channels = low.shape
    split = low.reshape(batch, nx, ny, nz, 2, 2, 2, channels // 8)
    return split.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(batch, 8 * nx * ny * nz, channels // 8)


def conv_norm(inputs: int, outputs: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """3x3x3 convolution and batch norm."""
    conv = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(outputs))


class ContextBlock(nn.Module):
    """Residual convolutions on the lattice with one level at half resolution, then a feed-forward layer per cell."""

    def __init__(self, channels: int, wide: int) -> None:
        super().__init__()
        self.first, self.second = conv_norm(channels, channels), conv_norm(channels, channels)
        self.down = conv_norm(channels, wide, stride=2)
        self.low1, self.low2 = conv_norm(wide, wide), conv_norm(wide, wide, dilation=2)
        self.up = nn.Linear(wide, 8 * channels)  # each low cell to its 2 x 2 x 2 cells
        self.feed = nn.Sequential(nn.Linear(channels, 2 * channels), nn.ReLU(), nn.Linear(2 * channels, channels))
        for last in (self.second, self.low2):  # residual branches start at zero
            nn.init.zeros_(last.get_parameter("1.weight"))

    def forward(self, rows: Tensor) -> Tensor:
        """(B, 16200, C) to the same shape."""
        x = rows_to_volume(rows)
        low = F.relu(self.down(x))
        low = F.relu(low + self.low2(F.relu(self.low1(low))))
        x = x + self.second(F.relu(self.first(x)))
        rows = F.relu(volume_to_rows(x) + unfold_cells(self.up(low.permute(0, 2, 3, 4, 1))))
        return rows + self.feed(rows)
