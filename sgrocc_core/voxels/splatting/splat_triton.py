"""Differentiable splat for NVIDIA GPUs in Triton: one program for each Gaussian and the cube of voxels around it.

Unlike `splat_pairs`, nothing but the arguments is kept for the gradient, and each pass is one launch. The sums of the
forward pass are atomic, so that two runs differ in the last digits; those of the gradient are not. With
`TRITON_INTERPRET=1` set before Triton is imported, the same kernels run on a CPU, slowly: so they are tested.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from sgrocc_core.gaussians.gaussians import MIN_OPACITY
from sgrocc_core.voxels.splatting.equations import MAX_MAHALANOBIS2, MAX_SPLAT_WEIGHT, SUPPORT
from sgrocc_core.voxels.splatting.splat_pairs import EDGE, splat_with

LANES = 1 << (EDGE**3 - 1).bit_length()
"""Voxels of a program: the next power of two, which Triton asks for; those beyond the cube are masked out."""


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means, covariances, opacities, classes, shape, voxel_size):  # type: ignore[no-untyped-def, override]
        tensors = [tensor.contiguous() for tensor in (means, covariances, opacities, classes)]
        ctx.save_for_backward(*tensors)
        ctx.shape, ctx.voxel_size = shape, voxel_size
        log_empty = means.new_zeros(shape)
        weights = means.new_zeros(*shape, classes.shape[1])
        if len(means):
            _forward[(len(means),)](*tensors, log_empty, weights, *_constants(classes, shape, voxel_size))
        return log_empty, weights

    @staticmethod
    def backward(ctx: Any, to_log_empty, to_weights):  # type: ignore[no-untyped-def, override]
        tensors = ctx.saved_tensors
        grads = [torch.zeros_like(tensor) for tensor in tensors]
        if len(tensors[0]):
            upstream = to_log_empty.contiguous(), to_weights.contiguous()
            constants = _constants(tensors[3], ctx.shape, ctx.voxel_size)
            _backward[(len(tensors[0]),)](*tensors, *upstream, *grads, *constants)
        return (*grads, None, None)


splat = splat_with(_Splat)
"""Splat N Gaussians onto a regular grid in Triton; see `splat_with`. All tensors are float32, or all float64."""


def _constants(classes: Tensor, shape: tuple[int, int, int], voxel_size: float) -> tuple[Any, ...]:
    """What the kernels are compiled for, in the order of their last arguments."""
    return (*shape, classes.shape[1], voxel_size, SUPPORT, EDGE, LANES, MIN_OPACITY, MAX_MAHALANOBIS2, MAX_SPLAT_WEIGHT)


@triton.jit
def _pairs(
    means, covariances, opacity, i, nx: tl.constexpr, ny: tl.constexpr, nz: tl.constexpr, voxel_size: tl.constexpr,
    support: tl.constexpr, edge: tl.constexpr, lanes: tl.constexpr, least: tl.constexpr, most: tl.constexpr,
):  # fmt: skip
    """Returns the voxels around Gaussian i.

    They are: which belong to its support, their numbers in the grid, their weights, and inverse covariance times the
    vector from the Gaussian's centre to theirs, 1/m.
    """
    mx, my, mz = tl.load(means + 3 * i), tl.load(means + 3 * i + 1), tl.load(means + 3 * i + 2)
    xx, xy, xz = tl.load(covariances + 9 * i), tl.load(covariances + 9 * i + 1), tl.load(covariances + 9 * i + 2)
    yy, yz, zz = tl.load(covariances + 9 * i + 4), tl.load(covariances + 9 * i + 5), tl.load(covariances + 9 * i + 8)
    # The inverse by cofactors.
    first, second, third = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    scale = 1.0 / (xx * first + xy * second + xz * third)
    pxx, pxy, pxz = scale * first, scale * second, scale * third
    pyy, pyz, pzz = scale * (xx * zz - xz * xz), scale * (xy * xz - xx * yz), scale * (xx * yy - xy * xy)

    lane = tl.arange(0, lanes)
    x = tl.floor(mx / voxel_size).to(tl.int32) - support + lane // (edge * edge)
    y = tl.floor(my / voxel_size).to(tl.int32) - support + (lane // edge) % edge
    z = tl.floor(mz / voxel_size).to(tl.int32) - support + lane % edge
    dx = (x.to(mx.dtype) + 0.5) * voxel_size - mx
    dy = (y.to(mx.dtype) + 0.5) * voxel_size - my
    dz = (z.to(mx.dtype) + 0.5) * voxel_size - mz
    tx, ty, tz = pxx * dx + pxy * dy + pxz * dz, pxy * dx + pyy * dy + pyz * dz, pxz * dx + pyz * dy + pzz * dz
    square = dx * tx + dy * ty + dz * tz
    in_grid = (x >= 0) & (x < nx) & (y >= 0) & (y < ny) & (z >= 0) & (z < nz)
    reach = tl.where(opacity > least, most, -1.0)  # nothing lies within that of a transparent one
    inside = in_grid & (lane < edge * edge * edge) & (square <= reach)
    w = tl.where(inside, opacity * tl.exp(-0.5 * square), 0.0)
    return inside, (x * ny + y) * nz + z, w, tx, ty, tz


@triton.jit
def _log_rest(w):
    """Returns log(1 - w), 0 <= w < 1, as exactly as `log1p`: what 1 - w loses to rounding is put back as a factor."""
    rest = 1.0 - w
    lost = 1.0 - rest
    return tl.where(lost == 0.0, -w, tl.log(rest) * (w / tl.where(lost == 0.0, 1.0, lost)))


@triton.jit
def _forward(
    means, covariances, opacities, classes, log_empty, weights, nx: tl.constexpr, ny: tl.constexpr, nz: tl.constexpr,
    channels: tl.constexpr, voxel_size: tl.constexpr, support: tl.constexpr, edge: tl.constexpr, lanes: tl.constexpr,
    least: tl.constexpr, most: tl.constexpr, heaviest: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    opacity = tl.load(opacities + i)
    inside, voxel, w, _tx, _ty, _tz = _pairs(
        means, covariances, opacity, i, nx, ny, nz, voxel_size, support, edge, lanes, least, most
    )
    tl.atomic_add(log_empty + voxel, _log_rest(tl.minimum(w, heaviest)), mask=inside, sem="relaxed")
    for c in tl.static_range(channels):
        share = tl.load(classes + channels * i + c)
        tl.atomic_add(weights + channels * voxel + c, w * share, mask=inside, sem="relaxed")


@triton.jit
def _backward(
    means, covariances, opacities, classes,
    to_log_empty, to_weights, to_means, to_covariances, to_opacities, to_classes,
    nx: tl.constexpr, ny: tl.constexpr, nz: tl.constexpr, channels: tl.constexpr, voxel_size: tl.constexpr,
    support: tl.constexpr, edge: tl.constexpr, lanes: tl.constexpr, least: tl.constexpr, most: tl.constexpr,
    heaviest: tl.constexpr,
):  # fmt: skip
    i = tl.program_id(0)
    opacity = tl.load(opacities + i)
    inside, voxel, w, tx, ty, tz = _pairs(
        means, covariances, opacity, i, nx, ny, nz, voxel_size, support, edge, lanes, least, most
    )
    # Where the weight is cut off, P(empty) does not depend on it.
    empty = tl.load(to_log_empty + voxel, mask=inside & (w <= heaviest), other=0.0)
    to_w = -empty / tl.where(w <= heaviest, 1.0 - w, 1.0)
    for c in tl.static_range(channels):
        own = tl.load(to_weights + channels * voxel + c, mask=inside, other=0.0)
        tl.store(to_classes + channels * i + c, tl.sum(w * own, 0))
        to_w += own * tl.load(classes + channels * i + c)
    to_w = tl.where(inside, to_w, 0.0)
    slope = w * to_w  # the derivative by the squared distance is -1/2 of it
    tl.store(to_opacities + i, tl.sum(slope, 0) / tl.where(opacity > least, opacity, 1.0))
    sx, sy, sz = tl.where(inside, slope * tx, 0.0), tl.where(inside, slope * ty, 0.0), tl.where(inside, slope * tz, 0.0)
    tl.store(to_means + 3 * i, tl.sum(sx, 0))
    tl.store(to_means + 3 * i + 1, tl.sum(sy, 0))
    tl.store(to_means + 3 * i + 2, tl.sum(sz, 0))
    xx, xy, xz = 0.5 * tl.sum(sx * tx, 0), 0.5 * tl.sum(sx * ty, 0), 0.5 * tl.sum(sx * tz, 0)
    yy, yz, zz = 0.5 * tl.sum(sy * ty, 0), 0.5 * tl.sum(sy * tz, 0), 0.5 * tl.sum(sz * tz, 0)
    to = to_covariances + 9 * i
    tl.store(to, xx)
    tl.store(to + 1, xy)
    tl.store(to + 2, xz)
    tl.store(to + 3, xy)
    tl.store(to + 4, yy)
    tl.store(to + 5, yz)
    tl.store(to + 6, xz)
    tl.store(to + 7, yz)
    tl.store(to + 8, zz)
