"""Splatting in plain PyTorch: the slow, readable, differentiable reference of the equations in `equations.py`."""

from __future__ import annotations

import torch

from sgrocc_core.gaussians.gaussians import MIN_OPACITY
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.voxels.splatting.equations import MAX_MAHALANOBIS2, MAX_SPLAT_WEIGHT, SUPPORT


def splat(
    means: torch.Tensor,
    covariances: torch.Tensor,
    opacities: torch.Tensor,
    class_probabilities: torch.Tensor,
    corner: torch.Tensor,
    shape: tuple[int, int, int],
    voxel_size: float = VOXEL_SIZE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Splat N Gaussians onto a regular grid.

    Args:
        means: (N, 3) metres, in the frame of `corner`.
        covariances: (N, 3, 3) square metres.
        opacities: (N,) 0..1.
        class_probabilities: (N, C).
        corner: (3,) lowest corner of the grid, metres.
        shape: voxels along x, y, z.
        voxel_size: metres.

    Returns:
        log_empty: (X, Y, Z) log P(empty).
        class_weights: (X, Y, Z, C), sum of w_i p_ic.
    """
    corner = torch.as_tensor(corner, dtype=means.dtype, device=means.device)
    active = opacities > MIN_OPACITY
    means, covariances = means[active] - corner, covariances[active]
    opacities, class_probabilities = opacities[active], class_probabilities[active]

    steps = torch.arange(-SUPPORT, SUPPORT + 1, device=means.device)
    offsets = torch.stack(torch.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)  # [S, 3]
    home = torch.floor(means.detach() / voxel_size).long()  # [M, 3]
    voxels = home[:, None] + offsets[None]  # [M, S, 3]
    d = (voxels.to(means.dtype) + 0.5) * voxel_size - means[:, None]  # [M, S, 3]
    mahalanobis2 = torch.einsum("msi,mij,msj->ms", d, torch.linalg.inv(covariances), d)
    inside = ((voxels >= 0) & (voxels < torch.tensor(shape, device=means.device))).all(-1) & (
        mahalanobis2 <= MAX_MAHALANOBIS2
    )

    g, s = inside.nonzero(as_tuple=True)
    w = opacities[g] * torch.exp(-0.5 * mahalanobis2[g, s])  # [P] pairs of Gaussian and voxel
    x, y, z = voxels[g, s].unbind(-1)
    flat = (x * shape[1] + y) * shape[2] + z
    count = shape[0] * shape[1] * shape[2]
    log_empty = means.new_zeros(count).index_add(0, flat, torch.log1p(-w.clamp(max=MAX_SPLAT_WEIGHT)))
    classes = class_probabilities.shape[1]
    class_weights = means.new_zeros(count, classes).index_add(0, flat, w[:, None] * class_probabilities[g])
    return log_empty.reshape(shape), class_weights.reshape(*shape, classes)
