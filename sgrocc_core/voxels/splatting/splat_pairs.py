"""Differentiable splat for GPUs: plain PyTorch on the pairs of a Gaussian and a voxel of its support.

`splat_torch`, the reference, leaves the gradient to autograd, which keeps dozens of numbers for each of the 343 voxels
around every Gaussian. Here only the pairs within the support are kept, two numbers each, and the gradient is written
out. Sums are atomic on GPUs, so that two runs differ in the last digits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from sgrocc_core.gaussians.gaussians import MIN_OPACITY
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.voxels.splatting.equations import MAX_MAHALANOBIS2, MAX_SPLAT_WEIGHT, SUPPORT

EDGE = 2 * SUPPORT + 1
"""Voxels along an axis of the cube in which the support of a Gaussian lies."""
_AXES = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
"""Rows and columns of the six numbers of a symmetric matrix."""


Splat = Callable[..., tuple[Tensor, Tensor]]


def splat_with(function: type[torch.autograd.Function]) -> Splat:
    """The splat onto a regular grid that a function computes; arguments and results are those of `splat_torch.splat`.

    `corner` may also be an array or a sequence.

    Args:
        function: of means relative to the corner, covariances, opacities, classes, the grid's shape and its voxel size.
    """

    def splat(
        means: Tensor,
        covariances: Tensor,
        opacities: Tensor,
        class_probabilities: Tensor,
        corner: Any,
        shape: tuple[int, int, int],
        voxel_size: float = VOXEL_SIZE,
    ) -> tuple[Tensor, Tensor]:
        place = torch.as_tensor(corner, dtype=means.dtype, device=means.device)
        found: tuple[Tensor, Tensor] = function.apply(  # type: ignore[no-untyped-call]
            means - place, covariances, opacities, class_probabilities, tuple(shape), float(voxel_size)
        )
        return found

    return splat


class _Pairs(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means, covariances, opacities, classes, shape, voxel_size):  # type: ignore[no-untyped-def, override]
        rows = (opacities > MIN_OPACITY).nonzero()[:, 0]
        home = torch.floor(means[rows] / voxel_size).long()
        precision = _inverse(covariances[rows])
        pair, square = _inside(means[rows], home, precision, shape, voxel_size)
        g, flat, _ = _places(pair, home, means[rows], shape, voxel_size)
        w = opacities[rows][g] * torch.exp(-0.5 * square)
        count = shape[0] * shape[1] * shape[2]
        log_empty = means.new_zeros(count).index_add_(0, flat, torch.log1p(-w.clamp(max=MAX_SPLAT_WEIGHT)))
        weights = means.new_zeros(count, classes.shape[1]).index_add_(0, flat, w[:, None] * classes[rows][g])
        ctx.save_for_backward(means, opacities, classes, rows, home, precision, pair, w)
        ctx.shape, ctx.voxel_size = shape, voxel_size
        return log_empty.view(shape), weights.view(*shape, -1)

    @staticmethod
    def backward(ctx: Any, to_log_empty, to_weights):  # type: ignore[no-untyped-def, override]
        means, opacities, classes, rows, home, precision, pair, w = ctx.saved_tensors
        g, flat, d = _places(pair, home, means[rows], ctx.shape, ctx.voxel_size)
        own = to_weights.flatten(0, 2)[flat]
        to_classes = classes.new_zeros(len(rows), classes.shape[1]).index_add_(0, g, w[:, None] * own)
        to_w = (own * classes[rows][g]).sum(-1)
        to_w -= torch.where(w <= MAX_SPLAT_WEIGHT, to_log_empty.flatten()[flat] / (1 - w).clamp(min=1e-12), 0.0)
        to_square = -0.5 * w * to_w
        turned = _times(precision[g], d)
        parts = [to_w * w / opacities[rows][g], *(-2 * to_square * x for x in turned)]
        parts += [-to_square * turned[i] * turned[j] for i, j in _AXES]
        sums = means.new_zeros(len(rows), len(parts)).index_add_(0, g, torch.stack(parts, 1))
        symmetric = sums[:, [4, 5, 6, 5, 7, 8, 6, 8, 9]].view(-1, 3, 3)
        found = (sums[:, 1:4], symmetric, sums[:, 0], to_classes)
        size = len(means)
        return (*(x.new_zeros(size, *x.shape[1:]).index_copy_(0, rows, x) for x in found), None, None)


splat = splat_with(_Pairs)
"""Splat N Gaussians onto a regular grid in PyTorch; see `splat_with`."""


def _inverse(matrices: Tensor) -> Tensor:
    """(M, 6) numbers xx xy xz yy yz zz of the inverses of symmetric matrices (M, 3, 3)."""
    xx, xy, xz, yy, yz, zz = (matrices[:, i, j] for i, j in _AXES)
    first, second, third = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    scale = 1 / (xx * first + xy * second + xz * third)
    rest = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    return torch.stack([first, second, third, *rest], 1) * scale[:, None]


def _times(symmetric: Tensor, d: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Products of symmetric matrices (P, 6) with vectors, given and returned as x, y, z of (P,)."""
    xx, xy, xz, yy, yz, zz = symmetric.unbind(1)
    x, y, z = d
    return xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z


def _inside(
    means: Tensor, home: Tensor, precision: Tensor, shape: tuple[int, int, int], voxel_size: float
) -> tuple[Tensor, Tensor]:
    """Find the pairs within the support and the grid.

    Returns:
        pair (P,) int64, number of the Gaussian times EDGE^3 + number of the voxel in its cube, C order; squared
        Mahalanobis distance (P,).
    """
    steps = torch.arange(-SUPPORT, SUPPORT + 1, device=means.device)
    voxels = home[:, :, None] + steps  # [M, 3, EDGE]
    size = torch.tensor(shape, device=means.device)[:, None]
    within = (voxels >= 0) & (voxels < size)
    d = (voxels.to(means.dtype) + 0.5) * voxel_size - means[:, :, None]
    x, y, z = d[:, 0, :, None, None], d[:, 1, None, :, None], d[:, 2, None, None, :]
    xx, xy, xz, yy, yz, zz = (value[:, None, None, None] for value in precision.unbind(1))
    square = (xx * x * x + yy * y * y + 2 * xy * x * y) + (2 * (xz * x + yz * y) * z + zz * z * z)
    seen = within[:, 0, :, None, None] & within[:, 1, None, :, None] & within[:, 2, None, None, :]
    pair = (seen & (square <= MAX_MAHALANOBIS2)).flatten().nonzero()[:, 0]
    return pair, square.flatten()[pair]


def _places(
    pair: Tensor, home: Tensor, means: Tensor, shape: tuple[int, int, int], voxel_size: float
) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor]]:
    """Gaussian (P,) and voxel (P,) of each pair, and x, y, z of the vector between their centres, metres."""
    g = torch.div(pair, EDGE**3, rounding_mode="floor")
    rest = pair - g * EDGE**3
    ix = torch.div(rest, EDGE * EDGE, rounding_mode="floor")
    iy = torch.div(rest, EDGE, rounding_mode="floor") % EDGE
    own, centre = home[g] - SUPPORT, means[g]
    x, y, z = own[:, 0] + ix, own[:, 1] + iy, own[:, 2] + rest % EDGE
    d = [(v.to(means.dtype) + 0.5) * voxel_size - centre[:, k] for k, v in enumerate((x, y, z))]
    return g, (x * shape[1] + y) * shape[2] + z, (d[0], d[1], d[2])
