"""Splatting in Numba, forward and backward, for the map and for training on CPUs (by `splat_autograd`).

The forward pass is parallel over slabs of the grid. The voxels of a slab are written by one thread, in the order of the
Gaussians sorted by x, so the result does not depend on the number of threads. The backward pass is parallel over the
Gaussians, each of which reads its own support.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import njit, prange

from sgrocc_core.gaussians.gaussians import MIN_OPACITY
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.voxels.splatting.equations import MAX_MAHALANOBIS2, MAX_SPLAT_WEIGHT, SUPPORT

SLAB = 4
"""Planes of voxels along x per task (round guess)."""
_ROW = ((0, 1, 2), (1, 3, 4), (2, 4, 5))
"""Indices of the rows of a symmetric matrix in its six numbers xx xy xz yy yz zz."""
_LOG_BELOW = 1e-30
"""Bound below which the product of (1 - w) is moved to the sum of logarithms: few logarithms, no underflow."""


def splat(
    means: np.ndarray,
    covariances: np.ndarray,
    opacities: np.ndarray,
    class_probabilities: np.ndarray,
    corner: np.ndarray,
    shape: tuple[int, int, int],
    voxel_size: float = VOXEL_SIZE,
) -> tuple[np.ndarray, np.ndarray]:
    """Splat N Gaussians onto a regular grid; see `equations.py` for the equations.

    Args:
        means: (N, 3) metres, in the frame of `corner`; float32 or float64, which is the type of the result.
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
    dtype = means.dtype
    log_empty = np.zeros(shape, np.float64)
    class_weights = np.zeros((*shape, class_probabilities.shape[1]), dtype)
    active = _active(means, opacities, corner, shape, voxel_size)
    if len(active):
        centres, precisions, bounds = supports(
            means, covariances, _corner(corner), np.asarray(shape), voxel_size, active
        )
        slabs = _slabs(means[active, 0].astype(np.float64) - float(corner[0]), shape[0], voxel_size)
        probabilities = np.ascontiguousarray(class_probabilities, dtype)
        _forward(
            centres, precisions, bounds, active, opacities, probabilities, slabs, voxel_size, log_empty, class_weights
        )
    return log_empty.astype(dtype), class_weights


def splat_backward(
    means: np.ndarray,
    covariances: np.ndarray,
    opacities: np.ndarray,
    class_probabilities: np.ndarray,
    corner: np.ndarray,
    voxel_size: float,
    grad_log_empty: np.ndarray,
    grad_class_weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of a scalar with respect to the inputs of `splat`, with the support as constant.

    Args:
        means: as in `splat`.
        covariances: as in `splat`.
        opacities: as in `splat`.
        class_probabilities: as in `splat`.
        corner: as in `splat`.
        voxel_size: as in `splat`.
        grad_log_empty: (X, Y, Z) gradient with respect to `log_empty`.
        grad_class_weights: (X, Y, Z, C) gradient with respect to `class_weights`.

    Returns:
        Gradients with respect to means (N, 3), covariances (N, 3, 3), opacities (N,), class_probabilities (N, C).
    """
    shape = grad_log_empty.shape
    grads = (
        np.zeros_like(means),
        np.zeros_like(covariances),
        np.zeros_like(opacities),
        np.zeros_like(class_probabilities),
    )
    active = _active(means, opacities, corner, shape, voxel_size)
    if len(active):
        centres, precisions, bounds = supports(
            means, covariances, _corner(corner), np.asarray(shape), voxel_size, active
        )
        upstream = (np.ascontiguousarray(grad_log_empty), np.ascontiguousarray(grad_class_weights))
        lanes = (0,) * class_probabilities.shape[1]
        _backward(
            centres, precisions, bounds, active, opacities, class_probabilities, lanes, *upstream, voxel_size, *grads
        )
    return grads


def _corner(corner: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(corner, np.float64)


def _active(
    means: np.ndarray, opacities: np.ndarray, corner: np.ndarray, shape: tuple[int, ...], voxel_size: float
) -> np.ndarray:
    """Indices of the Gaussians that may reach the grid, sorted stably by the x index of their voxel."""
    index = np.flatnonzero(opacities > MIN_OPACITY)
    home = np.floor((means[index].astype(np.float64) - _corner(corner)) / voxel_size)
    near = ((home >= -SUPPORT) & (home < np.asarray(shape) + SUPPORT)).all(1)
    index, x = index[near], home[near, 0].astype(np.int16)
    return index[np.argsort(x, kind="stable")]


def _slabs(x: np.ndarray, planes: int, voxel_size: float) -> np.ndarray:
    """Slabs of the grid and ranges of sorted Gaussians that may reach them: (S, 4) int64 plane0, plane1, first, last.

    The slabs are ordered so that the contiguous parts of the list that the threads take are interleaved in space, which
    balances the load.
    """
    home = np.floor(x / voxel_size).astype(np.int64)
    start = np.arange(0, planes, SLAB)
    stop = np.minimum(start + SLAB, planes)
    first, last = np.searchsorted(home, start - SUPPORT, "left"), np.searchsorted(home, stop - 1 + SUPPORT, "right")
    threads = numba.get_num_threads()
    order = np.concatenate([np.arange(t, len(start), threads) for t in range(threads)])
    return np.stack([start, stop, first, last], 1)[order]


@njit(cache=True)
def supports(means, covariances, corner, shape, voxel_size, active):
    """Prepare M of N Gaussians for the kernels.

    Args:
        means: (N, 3) metres.
        covariances: (N, 3, 3) square metres.
        corner: (3,) lowest corner of the grid, metres.
        shape: (3,) voxels of the grid.
        voxel_size: metres.
        active: (M,) int, indices of the Gaussians.

    Returns:
        centres: (M, 3) float64, relative to the corner, metres.
        precisions: (M, 6) float64, inverse covariances xx xy xz yy yz zz.
        bounds: (M, 6) int32, voxels of the support within the grid, x0 x1 y0 y1 z0 z1, ends excluded.
    """
    count = len(active)
    centres = np.empty((count, 3), np.float64)
    precisions = np.empty((count, 6), np.float64)
    bounds = np.empty((count, 6), np.int32)
    for i in range(count):
        g = active[i]
        a, b, c = float(covariances[g, 0, 0]), float(covariances[g, 0, 1]), float(covariances[g, 0, 2])
        d, e, f = float(covariances[g, 1, 1]), float(covariances[g, 1, 2]), float(covariances[g, 2, 2])
        A, B, C = d * f - e * e, c * e - b * f, b * e - c * d
        scale = 1.0 / (a * A + b * B + c * C)
        precisions[i, 0], precisions[i, 1], precisions[i, 2] = A * scale, B * scale, C * scale
        precisions[i, 3], precisions[i, 4], precisions[i, 5] = (
            (a * f - c * c) * scale,
            (b * c - a * e) * scale,
            (a * d - b * b) * scale,
        )
        for k in range(3):
            centre = float(means[g, k]) - corner[k]
            centres[i, k] = centre
            home = math.floor(centre / voxel_size)
            reach = math.sqrt(MAX_MAHALANOBIS2 * covariances[g, k, k])
            low = math.ceil((centre - reach) / voxel_size - 0.5)
            high = math.floor((centre + reach) / voxel_size - 0.5) + 1
            bounds[i, 2 * k] = max(low, home - SUPPORT, 0)
            bounds[i, 2 * k + 1] = min(high, home + SUPPORT + 1, shape[k])
    return centres, precisions, bounds


@njit(cache=True, error_model="numpy")
def add_gaussian(centre, p, bounds, opacity, share, start, stop, voxel_size, product, log_empty, class_weights):
    """Add one Gaussian to the part of a grid from voxel `start` to voxel `stop`, whose arrays begin at `start`.

    P(empty) is product * exp(log_empty), which needs few logarithms and does not underflow.

    Args:
        centre: (3,) relative to the corner of voxel 0, metres, see `supports`.
        p: (6,) inverse covariance, see `supports`.
        bounds: (6,) support, see `supports`.
        opacity: 0..1.
        share: (C,) class probabilities.
        start: (3,) first voxel.
        stop: (3,) last voxel, excluded.
        voxel_size: metres.
        product: (X, Y, Z) float64, changed in place.
        log_empty: (X, Y, Z) float64, changed in place.
        class_weights: (X, Y, Z, C), changed in place.
    """
    for x in range(max(bounds[0], start[0]), min(bounds[1], stop[0])):
        dx = (x + 0.5) * voxel_size - centre[0]
        for y in range(max(bounds[2], start[1]), min(bounds[3], stop[1])):
            dy = (y + 0.5) * voxel_size - centre[1]
            constant = p[0] * dx * dx + 2.0 * p[1] * dx * dy + p[3] * dy * dy
            linear = 2.0 * (p[2] * dx + p[4] * dy)
            for z in range(max(bounds[4], start[2]), min(bounds[5], stop[2])):
                dz = (z + 0.5) * voxel_size - centre[2]
                mahalanobis2 = constant + dz * (linear + p[5] * dz)
                if mahalanobis2 > MAX_MAHALANOBIS2:
                    continue
                w = opacity * math.exp(-0.5 * mahalanobis2)
                at = (x - start[0], y - start[1], z - start[2])
                empty = product[at] * (1.0 - min(w, MAX_SPLAT_WEIGHT))
                if empty < _LOG_BELOW:
                    log_empty[at] += math.log(empty)
                    empty = 1.0
                product[at] = empty
                total = class_weights[at]
                weight = total.dtype.type(w)
                for c in range(len(share)):
                    total[c] += weight * share[c]


@njit(parallel=True, cache=True, error_model="numpy")
def _forward(
    centres, precisions, bounds, active, opacities, probabilities, slabs, voxel_size, log_empty, class_weights
):
    for s in prange(len(slabs)):
        start = (slabs[s, 0], 0, 0)
        stop = (slabs[s, 1], log_empty.shape[1], log_empty.shape[2])
        out, weights = log_empty[start[0] : stop[0]], class_weights[start[0] : stop[0]]
        product = np.ones(out.shape, np.float64)
        for i in range(slabs[s, 2], slabs[s, 3]):
            o, share = opacities[active[i]], probabilities[active[i]]
            add_gaussian(centres[i], precisions[i], bounds[i], o, share, start, stop, voxel_size, product, out, weights)
        out += np.log(product)


@njit(cache=True, error_model="numpy")
def _spread_gradients(opacity, p, first, second, grad_mean, grad_covariance):
    """Compute dL/dmu = o P s and dL/dSigma = o / 2 P S P from s = sum t d, S = sum t d d^T and the precision P."""
    for k in range(3):
        a, b, c = p[_ROW[k][0]], p[_ROW[k][1]], p[_ROW[k][2]]
        grad_mean[k] = opacity * (a * first[0] + b * first[1] + c * first[2])
        u = a * second[0] + b * second[1] + c * second[2]  # row k of P S
        v = a * second[1] + b * second[3] + c * second[4]
        w = a * second[2] + b * second[4] + c * second[5]
        for j in range(3):
            grad_covariance[k, j] = 0.5 * opacity * (u * p[_ROW[j][0]] + v * p[_ROW[j][1]] + w * p[_ROW[j][2]])


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract", "nsz", "reassoc"})
def _backward(
    centres,
    precisions,
    bounds,
    active,
    opacities,
    probabilities,
    lanes,
    grad_log_empty,
    grad_class_weights,
    h,
    grad_means,
    grad_covariances,
    grad_opacities,
    grad_probabilities,
):
    """Accumulate the gradients of each Gaussian over its support.

    `lanes` is a tuple with one item per class, whose length is known at compile time, so that loops over classes are
    vectorised. The exponent is quadratic along z, so the ratio of neighbouring weights changes by a constant factor and
    a row needs only two exponentials.
    """
    for i in prange(len(active)):
        g, p, centre = active[i], precisions[i], centres[i]
        o, share, grad_share = opacities[g], probabilities[g], grad_probabilities[g]
        step = math.exp(-p[5] * h * h)
        # With t = dL/dw exp(...): sums over the support of t, t d, t d d^T.
        s = sx = sy = sz = sxx = sxy = sxz = syy = syz = szz = 0.0
        for x in range(bounds[i, 0], bounds[i, 1]):
            dx = (x + 0.5) * h - centre[0]
            for y in range(bounds[i, 2], bounds[i, 3]):
                dy = (y + 0.5) * h - centre[1]
                constant = p[0] * dx * dx + 2.0 * p[1] * dx * dy + p[3] * dy * dy
                linear = 2.0 * (p[2] * dx + p[4] * dy)
                inside = linear * linear - 4.0 * p[5] * (constant - MAX_MAHALANOBIS2)
                if inside < 0.0:
                    continue
                low, high = (-linear - math.sqrt(inside)) / (2.0 * p[5]), (-linear + math.sqrt(inside)) / (2.0 * p[5])
                first = max(bounds[i, 4], math.ceil((centre[2] + low) / h - 0.5))
                last = min(bounds[i, 5], math.floor((centre[2] + high) / h - 0.5) + 1)
                if first >= last:
                    continue
                dz = (first + 0.5) * h - centre[2]
                kernel = math.exp(-0.5 * (constant + dz * (linear + p[5] * dz)))
                ratio = math.exp(-0.5 * h * (linear + p[5] * (2.0 * dz + h)))
                row = row_z = row_zz = 0.0
                for z in range(first, last):
                    w = o * kernel
                    upstream = grad_class_weights[x, y, z]
                    wt = upstream.dtype.type(w)
                    grad_w = upstream.dtype.type(0.0)
                    for c in range(len(lanes)):
                        grad_w += upstream[c] * share[c]
                        grad_share[c] += wt * upstream[c]
                    t = float(grad_w)
                    if w <= MAX_SPLAT_WEIGHT:
                        t -= grad_log_empty[x, y, z] / (1.0 - w)
                    t *= kernel
                    row += t
                    row_z += t * dz
                    row_zz += t * dz * dz
                    dz += h
                    kernel *= ratio
                    ratio *= step
                s += row
                sx, sy, sz = sx + row * dx, sy + row * dy, sz + row_z
                sxx, sxy, sxz = sxx + row * dx * dx, sxy + row * dx * dy, sxz + row_z * dx
                syy, syz, szz = syy + row * dy * dy, syz + row_z * dy, szz + row_zz
        grad_opacities[g] = s
        _spread_gradients(o, p, (sx, sy, sz), (sxx, sxy, sxz, syy, syz, szz), grad_means[g], grad_covariances[g])
