"""Splat of 16^3 blocks of the sparse map from the Gaussians of each block and its 26 neighbours; see `equations.py`.

Only voxels that are asked for are splatted, since those that depth saw free stay free whatever the Gaussians say. First
every Gaussian is prepared once, in units of voxels. Then every block is one task, whose sums stay in the processor's
cache. A voxel is summed by one thread, in the order of the blocks and cells, so the result does not depend on the
number of threads. `splat_torch` is the exact reference.

Here as in the rest of the map, only kernels that take a millisecond or more use several threads: on a busy machine,
waiting for a second thread costs more than the others take.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numba import njit, prange

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.gaussians.exponential import exp32
from sgrocc_core.gaussians.gaussians import MAX_SCALE, MIN_RAW_OPACITY, MIN_SCALE, VOXEL_VARIANCE
from sgrocc_core.gaussians.memory import BLOCK_ROWS, NEIGHBOURS, GaussianMemory
from sgrocc_core.geometry.lattice import BLOCK_CELLS, BLOCK_VOXELS, CELL_VOXELS, VOXEL_SIZE
from sgrocc_core.vectors import WIDTH
from sgrocc_core.voxels.splatting.equations import MAX_MAHALANOBIS2, SUPPORT
from sgrocc_core.voxels.splatting.splat_row import add_row

PRIOR_BOUND = 6.0
"""Largest |logit P_splat| that is stored (round guess)."""
_VALUES = 11
"""Numbers of a prepared Gaussian: centre, inverse covariance xx xy xz yy yz zz, 1 / zz, opacity."""
_PLANES = BLOCK_CELLS
"""Planes of cells along x, by which a block's Gaussians are found."""


def splat_blocks(
    memory: GaussianMemory, slots: np.ndarray, wanted: np.ndarray, prior: np.ndarray, classes: np.ndarray
) -> None:
    """Splat the memory onto voxels of blocks.

    Args:
        memory: memory with the Gaussians; cells of tag 0 are not splatted.
        slots: (S,) int64, slots of the blocks, each once.
        wanted: (S, 16, 16) uint16, voxels to splat: bit z of entry x, y.
        prior: (slots, 16, 16, 16) float32, written where wanted: logit P_splat, within +-PRIOR_BOUND.
        classes: (slots, 16, 16, 16) uint8, written where wanted: the most probable class, 0 outside the support of all
            Gaussians.
    """
    if not len(slots):
        return
    fields, count = memory.fields, len(memory)
    near = memory.neighbours[slots]
    place = np.full(count, -1, np.int64)
    place[near[near >= 0]] = 0
    needed = np.flatnonzero(place == 0)
    place[needed] = np.arange(len(needed))
    starts = np.zeros((len(needed), _PLANES + 1), np.int64)
    _count(needed, fields.opacities, fields.tag, starts)
    ends = np.cumsum(starts[:, -1])
    starts += np.concatenate([[0], ends[:-1]])[:, None]
    total = int(ends[-1])
    values, bounds = np.empty((total, _VALUES), np.float32), np.empty((total, 6), np.int8)
    shares = np.empty((total, NUM_CLASSES), np.float32)
    _prepare(needed, starts, *fields[:5], fields.tag, values, bounds, shares)
    _splat(_in_turn(wanted), slots, wanted, memory.neighbours, place, starts, values, bounds, shares, prior, classes)


def _in_turn(wanted: np.ndarray) -> np.ndarray:
    """Order (S,) of the blocks in which contiguous parts, one for each thread, hold about the same work."""
    threads = numba.get_num_threads()
    order = np.argsort(-np.count_nonzero(wanted, axis=(1, 2)), kind="stable")
    return np.concatenate([order[start::threads] for start in range(threads)])


@njit(cache=True)
def _is_splatted(row, g, opacities, tag):
    return tag[row] == 1 and opacities[row, g] > MIN_RAW_OPACITY


@njit(cache=True)
def _count(needed, opacities, tag, starts):
    """Number of splatted Gaussians of each block before each of its planes of cells along x, and at the end."""
    for n in range(len(needed)):
        found = 0
        for cell in range(BLOCK_ROWS):
            if cell % (BLOCK_ROWS // _PLANES) == 0:
                starts[n, cell // (BLOCK_ROWS // _PLANES)] = found
            row = needed[n] * BLOCK_ROWS + cell
            for g in range(opacities.shape[1]):
                found += _is_splatted(row, g, opacities, tag)
        starts[n, _PLANES] = found


@njit(parallel=True, cache=True, error_model="numpy", fastmath={"contract"})
def _prepare(needed, starts, means, scales, rotations, opacities, logits, tag, values, bounds, shares):
    """Centre, inverse covariance, opacity, support and class probabilities of every splatted Gaussian.

    Centres are relative to the corner of the Gaussian's own block; all lengths are in voxels.
    """
    for n in prange(len(needed)):
        at = starts[n, 0]
        for cell in range(BLOCK_ROWS):
            row = needed[n] * BLOCK_ROWS + cell
            for g in range(opacities.shape[1]):
                if not _is_splatted(row, g, opacities, tag):
                    continue
                corner = (cell // BLOCK_CELLS**2, cell // BLOCK_CELLS % BLOCK_CELLS, cell % BLOCK_CELLS)
                _place(corner, means[row, g], scales[row, g], rotations[row, g], values[at], bounds[at])
                values[at, 10] = 1.0 / (1.0 + exp32(-opacities[row, g]))
                _softmax(logits[row, g], shares[at])
                at += 1


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def _place(corner, mean, scale, q, values, bounds):
    """Centre, inverse covariance and support of one Gaussian of the cell at `corner` of its block."""
    variances = (_variance(scale[0]), _variance(scale[1]), _variance(scale[2]))
    w, x, y, z = q[0], q[1], q[2], q[3]
    one, two = np.float32(1.0), np.float32(2.0)
    R = (
        (one - two * (y * y + z * z), two * (x * y - z * w), two * (x * z + y * w)),
        (two * (x * y + z * w), one - two * (x * x + z * z), two * (y * z - x * w)),
        (two * (x * z - y * w), two * (y * z + x * w), one - two * (x * x + y * y)),
    )
    own = np.float32(VOXEL_VARIANCE / VOXEL_SIZE**2)
    a, b, c = _between(R[0], R[0], variances) + own, _between(R[0], R[1], variances), _between(R[0], R[2], variances)
    d, e, f = (
        _between(R[1], R[1], variances) + own,
        _between(R[1], R[2], variances),
        (_between(R[2], R[2], variances) + own),
    )
    A, B, C = d * f - e * e, c * e - b * f, b * e - c * d
    scaled = one / (a * A + b * B + c * C)
    values[3], values[4], values[5] = A * scaled, B * scaled, C * scaled
    values[6], values[7], values[8] = (a * f - c * c) * scaled, (b * c - a * e) * scaled, (a * d - b * b) * scaled
    values[9] = one / values[8]
    extents = (a, d, f)
    for k in range(3):
        centre = (corner[k] + 0.5) * CELL_VOXELS + mean[k] / VOXEL_SIZE
        home, reach = math.floor(centre), math.sqrt(MAX_MAHALANOBIS2 * extents[k])
        values[k] = centre
        bounds[2 * k] = max(math.ceil(centre - reach - 0.5), home - SUPPORT)
        bounds[2 * k + 1] = min(math.floor(centre + reach - 0.5) + 1, home + SUPPORT + 1)


@njit(cache=True)
def _variance(raw):
    """Variance along an axis of a Gaussian, square voxels, from its raw scale."""
    s = np.float32(MIN_SCALE / VOXEL_SIZE) + np.float32((MAX_SCALE - MIN_SCALE) / VOXEL_SIZE) / (
        np.float32(1.0) + exp32(-raw)
    )
    return s * s


@njit(cache=True, fastmath={"contract"})
def _between(a, b, variances):
    return a[0] * b[0] * variances[0] + a[1] * b[1] * variances[1] + a[2] * b[2] * variances[2]


@njit(cache=True)
def _softmax(logits, out):
    """Write the softmax of NUM_CLASSES logits to out."""
    top = logits[0]
    for c in range(1, NUM_CLASSES):
        top = max(top, logits[c])
    total = np.float32(0.0)
    for c in range(NUM_CLASSES):
        out[c] = exp32(logits[c] - top)
    for c in range(NUM_CLASSES):
        total += out[c]
    for c in range(NUM_CLASSES):
        out[c] /= total


@njit(parallel=True, cache=True)
def _splat(order, slots, wanted, neighbours, place, starts, values, bounds, shares, prior, classes):
    for turn in prange(len(order)):
        s = order[turn]
        empty = np.ones((BLOCK_VOXELS, BLOCK_VOXELS, BLOCK_VOXELS), np.float32)
        weights = np.zeros((BLOCK_VOXELS, BLOCK_VOXELS, NUM_CLASSES, BLOCK_VOXELS), np.float32)
        for side in range(len(NEIGHBOURS)):
            other = neighbours[slots[s], side]
            if other >= 0:
                shift = (side // 9 * 16 - 16, side // 3 % 3 * 16 - 16, side % 3 * 16 - 16)
                low, high = _reaching(shift[0])
                first, end = starts[place[other], low], starts[place[other], high]
                _add(first, end, values, bounds, shares, shift, wanted[s], empty, weights)
        _finish(wanted[s], empty, weights, prior[slots[s]], classes[slots[s]])


@njit(cache=True)
def _reaching(shift):
    """Planes of cells, first and end, of a block that lies `shift` voxels away along x and may reach a block."""
    reach = 2 + SUPPORT  # voxels; a mean lies at most in the second voxel outside its cell
    low = (-shift - reach) // CELL_VOXELS
    high = (BLOCK_VOXELS - shift + reach) // CELL_VOXELS + 1
    return max(low, 0), min(high, _PLANES)


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def _add(first, end, values, bounds, shares, shift, rows, empty, weights):
    """Add the Gaussians from first to end to rows of a block with wanted voxels; theirs lies `shift` voxels away."""
    half, two, most = np.float32(0.5), np.float32(2.0), np.float32(MAX_MAHALANOBIS2)
    for i in range(first, end):
        x0, x1 = max(bounds[i, 0] + shift[0], 0), min(bounds[i, 1] + shift[0], BLOCK_VOXELS)
        y0, y1 = max(bounds[i, 2] + shift[1], 0), min(bounds[i, 3] + shift[1], BLOCK_VOXELS)
        z0, z1 = max(bounds[i, 4] + shift[2], 0), min(bounds[i, 5] + shift[2], BLOCK_VOXELS)
        if x0 >= x1 or y0 >= y1 or z0 >= z1:
            continue
        column = (1 << z1) - (1 << z0)
        z = min(z0, BLOCK_VOXELS - WIDTH)
        cx, cy = values[i, 0] + np.float32(shift[0]) - half, values[i, 1] + np.float32(shift[1]) - half
        start = np.float32(z) - (values[i, 2] + np.float32(shift[2]) - half)
        low, high = start + np.float32(z0 - z) - half, start + np.float32(z1 - z) - half
        xx, xy, xz, yy, yz, zz = values[i, 3], values[i, 4], values[i, 5], values[i, 6], values[i, 7], values[i, 8]
        inverse, opacity = values[i, 9], values[i, 10]
        for x in range(x0, x1):
            dx = np.float32(x) - cx
            for y in range(y0, y1):
                if np.int64(rows[x, y]) & column == 0:
                    continue
                dy = np.float32(y) - cy
                constant = xx * dx * dx + two * xy * dx * dy + yy * dy * dy
                linear = xz * dx + yz * dy
                if constant - linear * linear * inverse > most:
                    continue
                at = (x * BLOCK_VOXELS + y) * BLOCK_VOXELS + z
                add_row(empty, weights, at, shares, i, constant, two * linear, zz, start, low, high, opacity)


@njit(cache=True, error_model="numpy")
def _finish(rows, empty, weights, prior, classes):
    """Write logit P_splat and the most probable class of the wanted voxels of a block."""
    for x in range(BLOCK_VOXELS):
        for y in range(BLOCK_VOXELS):
            bits = np.int64(rows[x, y])
            for z in range(BLOCK_VOXELS):
                if (bits >> z) & 1 == 0:
                    continue
                e = float(empty[x, y, z])
                if e == 1.0:
                    prior[x, y, z], classes[x, y, z] = -PRIOR_BOUND, 0
                    continue
                prior[x, y, z] = min(max(math.log((1.0 - e) / e), -PRIOR_BOUND), PRIOR_BOUND)
                best = 0
                for c in range(1, NUM_CLASSES):
                    if weights[x, y, c, z] > weights[x, y, best, z]:
                        best = c
                classes[x, y, z] = best + 1
