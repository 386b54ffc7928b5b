"""The Mamba-based dual alignment (OccScene): semantic occupancy as a condition of the U-Net.

The occupancy is resampled into each camera's frustum by a deformable 3D convolution, whose taps are weighted by an
encoding of the relative pose. Frustum and noisy latents are embedded as patches, the patches of all views are stacked
and pass through a bidirectional Mamba block, and zero-initialised convolutions add the result to the levels of the
U-Net. At the start the U-Net is thus not changed at all.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.geometry.lattice import BOX_VOXELS, CELL_SIZE, VOXEL_SIZE
from sgrocc_core.network.expert.dual_mamba.scan import selective_scan
from sgrocc_core.network.expert.dual_mamba.stages import HEADS, MAX_STEP, MIN_STEP, STATE

NEAREST, FARTHEST = 0.3, 6.0
"""Bounds of the planes of a camera's volume, metres: the diagonal of the box is 6.8 m (round guess)."""
PATCH = 2
"""Latent pixels per side of a patch."""
POSE_CODE = 12
"""Channels of the encoding of the relative pose."""
STEEPNESS = 12.0
"""Density per metre of a cell that is certainly occupied: 86 % of the light is stopped by one voxel and a half."""


class Cameras(NamedTuple):
    """The views of a batch of scenes.

    Attributes:
        K: (B, V, 4) fx, fy, cx, cy, pixels of the image.
        pose: (B, V, 4, 4) T_bc, camera to the box that the views share.
    """

    K: Tensor
    pose: Tensor


class Frustum(nn.Module):
    """Deformable 3D convolution that resamples the occupancy of the box into each camera's frustum.

    Args:
        channels: C, of the result.
        size: (height, width) of the latents.
        stride: image pixels per latent pixel.
        depths: D, planes of the frustum.
        taps: of the convolution, the first at the point itself, the others along the camera's axes.
    """

    axes: Tensor
    planes: Tensor

    def __init__(self, channels: int, size: tuple[int, int], stride: int, depths: int, taps: int) -> None:
        super().__init__()
        self.size, self.stride, self.taps = size, stride, taps
        self.embed = nn.Conv3d(NUM_CLASSES + 1, channels, 2, stride=2)  # cells of 2 x 2 x 2 voxels
        self.place = nn.Linear(channels + POSE_CODE, 3 * taps)
        self.weigh = nn.Linear(POSE_CODE, taps)
        self.mix = nn.Linear(taps * channels, channels)
        nn.init.zeros_(self.place.weight)
        nn.init.zeros_(self.place.bias)
        ring = torch.cat([torch.zeros(1, 3), torch.eye(3), -torch.eye(3)])
        ring = torch.cat([ring, *[ring[1:] * (k + 2) for k in range(5)]])[:taps]
        self.register_buffer("axes", ring * CELL_SIZE, persistent=False)
        planes = NEAREST + (FARTHEST - NEAREST) * (torch.arange(depths) + 0.5) / depths
        self.register_buffer("planes", planes, persistent=False)

    def forward(self, occupancy: Tensor, cameras: Cameras) -> Tensor:
        """Resample.

        Args:
            occupancy: (B, 12, 60, 60, 36), probabilities of the labels.
            cameras: of B scenes.

        Returns:
            (B V, D (C + 2), h, w); for each plane the features, the share of the light that arrives, and the share that
            ends there.
        """
        cells = self.embed(occupancy)
        points, code = self._points(cameras)  # (B, V, D, h, w, 3), (B, V, D, h, w, P)
        rotation = cameras.pose[:, :, :3, :3]
        near = sample(cells, points.flatten(1, 4)).unflatten(1, points.shape[1:5])
        moves = CELL_SIZE * torch.tanh(self.place(torch.cat([near, code], -1))).unflatten(-1, (self.taps, 3))
        moves = torch.einsum("bvij,bvdhwkj->bvdhwki", rotation, moves + self.axes)
        weights = torch.sigmoid(self.weigh(code))  # (B, V, D, h, w, K)
        taken = sample(cells, (points[..., None, :] + moves).flatten(1, 5))
        taken = taken.unflatten(1, (*points.shape[1:5], self.taps)) * weights[..., None]
        mixed = self.mix(taken.flatten(-2))
        light = self._light(1 - occupancy[:, :1], points)
        volume = torch.cat([mixed, light], -1).flatten(0, 1)  # (B V, D, h, w, C + 2)
        return volume.permute(0, 1, 4, 2, 3).flatten(1, 2)

    def _points(self, cameras: Cameras) -> tuple[Tensor, Tensor]:
        """Points of the frustum, metres, box frame, and the encoding of their pose relative to box and camera."""
        height, width = self.size
        device = cameras.K.device
        u = (torch.arange(width, device=device) + 0.5) * self.stride - 0.5
        v = (torch.arange(height, device=device) + 0.5) * self.stride - 0.5
        fx, fy, cx, cy = (value[..., None, None] for value in cameras.K.unbind(-1))
        x = ((u - cx) / fx).expand(-1, -1, height, width)
        y = ((v[:, None] - cy) / fy).expand(-1, -1, height, width)
        rays = torch.stack([x, y, torch.ones_like(x)], -1)[:, :, None]  # (B, V, 1, h, w, 3)
        local = rays * self.planes.view(1, 1, -1, 1, 1, 1)
        rotation, centre = cameras.pose[:, :, :3, :3], cameras.pose[:, :, :3, 3]
        points = torch.einsum("bvij,bvdhwj->bvdhwi", rotation, local) + centre[:, :, None, None, None]
        ahead = torch.einsum("bvij,bvdhwj->bvdhwi", rotation, F.normalize(rays, dim=-1)).expand_as(points)
        first = (points - centre[:, :1, None, None, None]) / FARTHEST  # relative to the first camera
        extent = torch.tensor(BOX_VOXELS, device=device) * VOXEL_SIZE
        parts = [local / FARTHEST, ahead, first, 2 * points / extent - 1]
        return points, torch.cat([part.expand_as(points) for part in parts], -1)

    def _light(self, occupied: Tensor, points: Tensor) -> Tensor:
        """(B, V, D, h, w, 2), the shares of light that arrive at each point and that end there, along each ray."""
        found = sample(occupied, points.flatten(1, 4)).unflatten(1, points.shape[1:5])[..., 0]
        step = (FARTHEST - NEAREST) / len(self.planes)
        depth = STEEPNESS * step * found
        arrives = torch.exp(-(torch.cumsum(depth, 2) - depth))
        return torch.stack([arrives, arrives * (1 - torch.exp(-depth))], -1)


def sample(grid: Tensor, points: Tensor) -> Tensor:
    """Interpolate a grid over the box at points; 0 outside.

    Args:
        grid: (B, C, X, Y, Z) over the whole box.
        points: (B, N, 3), metres, box frame.

    Returns:
        (B, N, C).
    """
    extent = torch.tensor(BOX_VOXELS, device=points.device) * VOXEL_SIZE
    where = (2 * points / extent - 1).flip(-1)[:, :, None, None]  # grid_sample wants z, y, x
    return F.grid_sample(grid, where, align_corners=False)[..., 0, 0].transpose(1, 2)


class BidirectionalMamba(nn.Module):
    """A Mamba block whose sequence is scanned forwards and, flipped, backwards.

    Args:
        width: channels of the tokens, a multiple of HEADS.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.enter = nn.Linear(width, 2 * width)
        self.near = nn.Conv1d(width, width, 3, padding=1, groups=width)
        self.select = nn.Linear(width, 2 * (2 * STATE + HEADS))
        steps = torch.exp(torch.empty(2, HEADS).uniform_(math.log(MIN_STEP), math.log(MAX_STEP)))
        self.raw_step = nn.Parameter(torch.log(torch.expm1(steps)))
        self.log_rate = nn.Parameter(torch.log(torch.empty(2, HEADS).uniform_(1, 16)))
        self.skip = nn.Parameter(torch.ones(width))
        self.leave = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, L, C) to the same shape."""
        x, gate = self.enter(self.norm(tokens)).chunk(2, -1)
        x = F.silu(self.near(x.transpose(1, 2)).transpose(1, 2))
        kind = "cpu" if tokens.is_meta else tokens.device.type  # shapes are computed on `meta`
        with torch.autocast(kind, enabled=False):  # decays over hundreds of tokens need float32
            forward, backward = self.select(x.float()).chunk(2, -1)
            y = self._scan(x.float(), forward, 0) + self._scan(x.float().flip(1), backward.flip(1), 1).flip(1)
        out: Tensor = tokens + self.leave((y + x * self.skip) * F.silu(gate))
        return out

    def _scan(self, x: Tensor, selected: Tensor, way: int) -> Tensor:
        b, c, raw = selected.split([STATE, STATE, HEADS], -1)
        step = F.softplus(raw + self.raw_step[way])
        heads = x.unflatten(-1, (HEADS, -1)) * step[..., None]
        return selective_scan(heads, -torch.exp(self.log_rate[way]) * step, b, c).flatten(2)


class DualAlignment(nn.Module):
    """Occupancy and noisy latents to what is added to the levels of the U-Net.

    Args:
        latents: channels of the latents.
        size: (height, width) of the latents.
        stride: image pixels per latent pixel.
        levels: channels of the U-Net's levels.
        channels: of the resampled occupancy.
        width: of the tokens.
        depths: planes of the frustum.
        taps: of the deformable convolution.
    """

    def __init__(
        self, latents: int, size: tuple[int, int], stride: int, levels: Sequence[int], channels: int, width: int,
        depths: int, taps: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.frustum = Frustum(channels, size, stride, depths, taps)
        self.occupancy_patches = nn.Conv2d((channels + 2) * depths, width, PATCH, stride=PATCH)
        self.latent_patches = nn.Conv2d(latents, width, PATCH, stride=PATCH)
        height, breadth = size[0] // PATCH, size[1] // PATCH
        self.places = nn.Parameter(0.02 * torch.randn(1, width, height, breadth))
        self.block = BidirectionalMamba(width)
        outputs = [levels[0] * PATCH**2, *levels[1:]]
        self.zeros = nn.ModuleList(nn.Conv2d(width, out, 1) for out in outputs)
        for layer in self.zeros:
            for parameter in layer.parameters():
                nn.init.zeros_(parameter)

    def forward(self, noisy: Tensor, occupancy: Tensor, cameras: Cameras, known: Tensor) -> list[Tensor]:
        """Align.

        Args:
            noisy: (B V, C, h, w), noisy latents.
            occupancy: (B, 12, 60, 60, 36), probabilities of the labels.
            cameras: of B scenes.
            known: (B,) 1 where the occupancy is to be used, 0 where there is none yet.

        Returns:
            For each level, (B V, C_level, h / 2^level, w / 2^level).
        """
        views = cameras.K.shape[1]
        patches = self.occupancy_patches(self.frustum(occupancy, cameras))
        patches = F.silu(patches) + self.latent_patches(noisy) + self.places
        shape = patches.shape[-2:]
        tokens = patches.unflatten(0, (-1, views)).permute(0, 1, 3, 4, 2).flatten(1, 3)  # (B, V h w, C)
        tokens = self.block(tokens).unflatten(1, (views, *shape)).permute(0, 1, 4, 2, 3).flatten(0, 1)
        tokens = tokens * known.repeat_interleave(views).view(-1, 1, 1, 1)
        added = [F.pixel_shuffle(self.zeros[0](tokens), PATCH)]
        for level, layer in enumerate(self.zeros[1:]):
            added.append(layer(F.avg_pool2d(tokens, 2**level) if level else tokens))
        return added
