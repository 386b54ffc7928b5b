"""Losses along viewing rays through the box: pixels' classes and depth as evidence, where voxels have no labels.

A ray visits the voxels between its crossings with the planes of the grid. Front to back, a voxel stops what passed
those before it by its probability of being occupied; what it stops adds up to the pixel's class scores (the
scatter-accumulated projection of OccLE). Depth says that voxels before the surface are free and that there is matter
at it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sgrocc_core.geometry.lattice import BOX_VOXELS, VOXEL_SIZE
from sgrocc_core.network.expert.projection import MIN_Z
from sgrocc_core.training.losses.voxels import EPS

FAR = 20.0
"""Depth at which rays end, metres; beyond the box from every camera in it."""
SHORT = 1e-4
"""Minimum length of a visit along the optical axis, metres; shorter ones are rounding at edges."""
INTO_SURFACE = 0.02
"""Distance behind the depth at which matter is looked for, metres; on a border it belongs to the voxel behind."""


@dataclass(frozen=True)
class RayWalk:
    """The voxels that R rays visit, in order from the camera; S is the same for all, places without a visit are marked.

    Attributes:
        voxels: (R, S) int64, flat index in the grid; 0 where there is no visit.
        visited: (R, S) bool.
        enter: (R, S), metres along the optical axis at which the ray enters the voxel.
        leave: (R, S), metres at which it leaves the voxel.
    """

    voxels: Tensor
    visited: Tensor
    enter: Tensor
    leave: Tensor


def walk_rays(pixels: Tensor, intrinsics: Tensor, pose: Tensor) -> RayWalk:
    """Walk rays of one camera through the grid of the box.

    Args:
        pixels: (R, 2), column and row.
        intrinsics: (4,) fx, fy, cx, cy, pixels.
        pose: (4, 4) T_bc, camera to box frame.
    """
    focal, centre = intrinsics[:2], intrinsics[2:]
    camera = torch.cat([(pixels - centre) / focal, torch.ones_like(pixels[:, :1])], 1)
    direction, origin = camera @ pose[:3, :3].T, pose[:3, 3]  # one metre along the optical axis
    crossings = []
    for axis, count in enumerate(BOX_VOXELS):
        planes = torch.arange(count + 1, device=pixels.device) * VOXEL_SIZE - origin[axis]
        along = direction[:, axis : axis + 1]
        along = torch.where(along.abs() < EPS, EPS, along)
        crossings.append(planes / along)
    z = torch.cat(crossings, 1).clamp(MIN_Z, FAR).sort(1).values
    enter, leave = z[:, :-1], z[:, 1:]
    middle = origin + ((enter + leave) / 2)[..., None] * direction[:, None]
    index = torch.floor(middle / VOXEL_SIZE).long()
    size = torch.tensor(BOX_VOXELS, device=pixels.device)
    visited = ((index >= 0) & (index < size)).all(-1) & (leave - enter > SHORT)
    flat = (index[..., 0] * BOX_VOXELS[1] + index[..., 1]) * BOX_VOXELS[2] + index[..., 2]
    return RayWalk(torch.where(visited, flat, 0), visited, enter, leave)


def project_classes(log_empty: Tensor, class_weights: Tensor, walk: RayWalk) -> Tensor:
    """Class scores of the rays' pixels, front to back by occupancy.

    Args:
        log_empty: (V,) log P(empty) of the voxels.
        class_weights: (V, 11); P(c | occupied) is class_weights normalised.
        walk: of the rays.

    Returns:
        (R, 11), the probabilities that a ray ends in matter of each class; the rest of 1 passes through the box.
    """
    logs = torch.where(walk.visited, log_empty[walk.voxels], 0.0)
    before = logs.cumsum(1) - logs
    stopped = before.exp() * -torch.expm1(logs)  # (R, S)
    classes = class_weights / (class_weights.sum(-1, keepdim=True) + EPS)
    return (stopped[..., None] * classes[walk.voxels]).sum(1)


def projection_loss(scores: Tensor, labels: Tensor, label_weights: Tensor) -> Tensor:
    """Class-weighted negative log-likelihood of pixels' labels under their projected scores.

    Args:
        scores: (R, 11) of `project_classes`.
        labels: (R,) int64, 1 to 11.
        label_weights: (12,).

    Returns:
        Scalar; 0 without rays.
    """
    own = scores.gather(1, labels[:, None] - 1)[:, 0]
    weights = label_weights[labels]
    return -(weights * torch.log(own.clamp(min=EPS))).sum() / weights.sum().clamp(min=EPS)


def evidence_along(walk: RayWalk, depth: Tensor, margin: Tensor) -> tuple[Tensor, Tensor]:
    """What depth says of the visits of its rays.

    Args:
        walk: of the rays.
        depth: (R,), metres along the optical axis.
        margin: (R,), metres before the surface that are not claimed to be free.

    Returns:
        (R, S) bool, visits of free voxels; (R, S) bool, the visit of the voxel in which the surface lies, at most one a
        ray.
    """
    surface = (depth + INTO_SURFACE)[:, None]
    free = walk.visited & (walk.leave <= (depth - margin)[:, None])
    return free, walk.visited & (walk.enter <= surface) & (surface < walk.leave)


def evidence_loss(log_empty: Tensor, walk: RayWalk, free: Tensor, matter: Tensor) -> Tensor:
    """Cross-entropy of what depth says of the voxels along its rays: free before the surface, matter at it.

    The two parts are means over voxels and over rays, so that the many free voxels do not outweigh the surface.

    Args:
        log_empty: (V,) log P(empty) of the voxels.
        walk: of the rays.
        free: of `evidence_along`.
        matter: of `evidence_along`.
    """
    logs = log_empty.clamp(max=-EPS)[walk.voxels]
    emptied = -(free * logs).sum() / free.sum().clamp(min=1)
    filled = -(matter * torch.log(-torch.expm1(logs))).sum() / matter.sum().clamp(min=1)
    return emptied + filled
