"""Semantic-adaptive geometric regularisation (GRM; method, section 5): aligns Gaussians at a surface with it.

The surface is that of the depth prior, as planes: where 1 / D is linear in the pixel's coordinates the surface is a
plane, and the gradient of 1 / D gives its normal. The loss of a Gaussian near its pixel's plane (|z - D| < 3 sigma_g)
is its distance to the plane plus the misalignment between its smallest axis and the normal, weighted by its opacity and
by the true class: walls are flat, plants are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sgrocc_core.classes import EMPTY, STRUCTURAL, UNKNOWN
from sgrocc_core.gaussians.confidence import BAND
from sgrocc_core.network.expert.projection import project, to_camera
from sgrocc_core.training.distribution import shared_total

REGULARISATIONS = ("none", "uniform", "semantic")
OBJECT_WEIGHT = 0.1
"""Weight of occupied cells without structure in the `semantic` kind."""
POOL = 4
"""Edge, in pixels, of the patches to which planes are fitted; slopes between single pixels are dominated by noise."""
SMOOTH = 0.02
"""Maximum difference between the slopes to both neighbours at which they are averaged, as a share of 1 / D per patch.

A larger difference indicates an edge, and the smaller slope is used.
"""
MIN_SLANT = 0.1
"""Minimum cosine between a plane's normal and the viewing ray; flatter planes connect the two sides of a depth edge."""


@dataclass(frozen=True)
class Surface:
    """The depth prior as one plane per patch of POOL x POOL pixels, camera frame; without gradient.

    Attributes:
        planes: (B, h, w, 3) n, 1 / metres, with n . X = 1 on the plane.
        valid: (B, h, w) bool.
        depth: (B, h, w), metres, z-depth at the patch's centre.
        sigma: (B, h, w), metres, standard deviation sigma_g of the depth.
        intrinsics: (B, 4), pixels.
        pose: (B, 4, 4) camera to box frame, metres.
    """

    planes: Tensor
    valid: Tensor
    depth: Tensor
    sigma: Tensor
    intrinsics: Tensor
    pose: Tensor


@torch.no_grad()
def surface_of(depth: Tensor, spread: Tensor, intrinsics: Tensor, pose: Tensor) -> Surface:
    """Fit the planes of a depth prior.

    Args:
        depth: (B, 1, H, W), metres, 0 = none.
        spread: (B, 1, H, W), metres, its sigma_g.
        intrinsics: (B, 4), pixels.
        pose: (B, 4, 4) camera to box frame.
    """
    have = (depth > 0).float()
    share = F.avg_pool2d(have, POOL)
    inverse = F.avg_pool2d(have / depth.clamp(min=1e-3), POOL) / share.clamp(min=1e-6)
    present = share >= 0.5
    slope_u, ok_u = _slope(inverse, present, 3)
    slope_v, ok_v = _slope(inverse, present, 2)
    fx, fy, cx, cy = (value.view(-1, 1, 1, 1) for value in intrinsics.float().unbind(1))
    height, width = inverse.shape[-2:]
    u = (torch.arange(width, device=depth.device) + 0.5) * POOL - 0.5 - cx
    v = ((torch.arange(height, device=depth.device) + 0.5) * POOL - 0.5)[:, None] - cy
    planes = torch.cat([slope_u * fx, slope_v * fy, inverse - slope_u * u - slope_v * v], 1)
    ray = torch.cat([(u / fx).expand_as(inverse), (v / fy).expand_as(inverse), torch.ones_like(inverse)], 1)
    slant = inverse / (planes.norm(dim=1, keepdim=True) * ray.norm(dim=1, keepdim=True)).clamp(
        min=1e-9
    )  # n . ray = 1 / D
    z = 1 / inverse.clamp(min=1e-3)
    sigma = F.avg_pool2d(have * spread.float(), POOL) / share.clamp(min=1e-6)
    valid = present & ok_u & ok_v & (slant > MIN_SLANT)
    return Surface(planes.permute(0, 2, 3, 1), valid[:, 0], z[:, 0], sigma[:, 0], intrinsics.float(), pose.float())


def _slope(inverse: Tensor, present: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """Change of the patches' 1 / D per pixel along a dimension.

    It is the mean of the differences to both neighbours; at an edge, the smaller one.

    Returns:
        Slope (B, 1, h, w), and whether there is a neighbour to compute it from.
    """
    size = inverse.shape[dim]
    step = inverse.narrow(dim, 1, size - 1) - inverse.narrow(dim, 0, size - 1)
    both = present.narrow(dim, 1, size - 1) & present.narrow(dim, 0, size - 1)
    step = torch.where(both, step, torch.inf) / POOL
    pad = [0, 0, 0, 0]
    pad[2 * (3 - dim)] = 1
    before = F.pad(step, pad, value=torch.inf)
    pad[2 * (3 - dim)], pad[2 * (3 - dim) + 1] = 0, 1
    after = F.pad(step, pad, value=torch.inf)
    slope = torch.where(before.abs() < after.abs(), before, after)
    slope = torch.where((before - after).abs() * POOL < SMOOTH * inverse, (before + after) / 2, slope)
    known = torch.isfinite(slope)
    return torch.where(known, slope, 0.0), known


def cell_weights(target: Tensor, kind: str) -> Tensor:
    """Weight of each cell in the regularisation, by its true labels.

    Args:
        target: (B, 60, 60, 36) uint8 labels.
        kind: `uniform` (1 for every occupied cell) or `semantic` (1 for cells with structure, OBJECT_WEIGHT for other
            occupied cells).

    Returns:
        (B, 16200); 0 where the cell is empty or unknown.
    """
    something = (target != EMPTY) & (target != UNKNOWN)
    structural = something & (target <= max(STRUCTURAL)) & (target >= min(STRUCTURAL))
    weight = something.float() if kind == "uniform" else torch.where(structural, 1.0, OBJECT_WEIGHT * something)
    return F.max_pool3d(weight[:, None], 2).flatten(1)


def regularisation(outputs: dict[str, Tensor], surface: Surface, target: Tensor, kind: str) -> Tensor:
    """Compute the regulariser: an opacity-weighted mean over the Gaussians near the surface in occupied cells.

    The distance to the plane is measured in sigma_g of its depth, so that an uncertain surface has little effect; the
    misalignment is 1 - |cos| between the smallest axis and the normal. Class weights scale the numerator only: a view
    of objects alone is regularised ten times less than a view of a wall. Opacity has no gradient here, so that the loss
    does not make Gaussians transparent.

    With the logits of a coefficient a for each cell (`language.prior`), the misfit r is replaced by a r - log a.

    Args:
        outputs: of `SpatialExpert`: means (B, N, G, 3), metres, box frame, scales, rotations and opacities; with a
            language-aware prior also attributes (B, N), logits of the coefficients.
        surface: see `surface_of`.
        target: (B, 60, 60, 36) uint8 labels.
        kind: `uniform` or `semantic`.

    Returns:
        Scalar, dimensionless.
    """
    batch, cells, gaussians = outputs["opacities"].shape
    weights = cell_weights(target, kind)
    b, cell, g, patch = _near_surface(outputs["means"], surface, weights)
    opacities = torch.sigmoid(outputs["opacities"][b, cell, g].detach().float())
    n = surface.planes.flatten(1, 2)[b, patch]  # [M, 3]
    length = n.norm(dim=-1)
    R, t = surface.pose[:, :3, :3], surface.pose[:, :3, 3]
    normals = torch.einsum("mij,mj->mi", R[b], n / length[:, None])  # box frame
    offset = 1 / length + (normals * t[b]).sum(-1)
    means = outputs["means"].expand(batch, cells, gaussians, 3)[b, cell, g].float()
    distance = ((normals * means).sum(-1) - offset).abs() / surface.sigma.flatten(1)[b, patch]
    smallest = outputs["scales"].expand(batch, cells, gaussians, 3)[b, cell, g].detach().argmin(-1)
    rotations = outputs["rotations"].expand(batch, cells, gaussians, 4)[b, cell, g].float()
    cosine = _turned_back(normals, rotations).gather(1, smallest[:, None])[:, 0].abs()
    misfit = distance + 1 - cosine
    if "attributes" in outputs:
        logits = outputs["attributes"][b, cell].float()
        misfit = torch.sigmoid(logits) * misfit - F.logsigmoid(logits)
    loss = (opacities * weights[b, cell] * misfit).sum()
    return loss / shared_total(opacities.sum(), 1e-6)


@torch.no_grad()
def _near_surface(means: Tensor, surface: Surface, weights: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find the Gaussians within BAND sigma_g of their pixel's depth, in cells with a weight.

    Returns:
        Sample, cell, Gaussian and patch (row-major) of each of M Gaussians, (M,) int64.
    """
    height, width = surface.valid.shape[1:]
    b, cell = weights.nonzero(as_tuple=True)
    gaussians = means.shape[2]
    points = means.expand(len(weights), -1, -1, -1)[b, cell].float()  # [cells that count, G, 3]
    found: list[tuple[Tensor, ...]] = []
    for sample in range(len(weights)):  # per view, because each has its own camera matrix
        mine = (b == sample).nonzero()[:, 0]
        camera = to_camera(points[mine].reshape(1, -1, 3), surface.pose[sample : sample + 1])
        where = project(camera, surface.intrinsics[sample : sample + 1], (height * POOL, width * POOL))
        column = torch.floor((where.u[0] + 0.5) / POOL).clamp(0, width - 1)
        row = torch.floor((where.v[0] + 0.5) / POOL).clamp(0, height - 1)
        patch = (row * width + column).long()
        gap = (where.z[0] - surface.depth[sample].flatten()[patch]).abs()
        near = (
            where.inside[0]
            & surface.valid[sample].flatten()[patch]
            & (gap < BAND * surface.sigma[sample].flatten()[patch])
        )
        index = near.nonzero()[:, 0]
        rows = mine[torch.div(index, gaussians, rounding_mode="floor")]
        found.append((b[rows], cell[rows], index % gaussians, patch[index]))
    sample_of, cell_of, gaussian_of, patch_of = (torch.cat(parts) for parts in zip(*found, strict=True))
    return sample_of, cell_of, gaussian_of, patch_of


def _turned_back(vectors: Tensor, rotations: Tensor) -> Tensor:
    """R^T v: vectors (M, 3) in the axes of Gaussians with unit quaternions (M, 4) wxyz."""
    w, q = rotations[:, :1], rotations[:, 1:]
    twice = 2 * torch.linalg.cross(q, vectors)
    return vectors - w * twice + torch.linalg.cross(q, twice)
