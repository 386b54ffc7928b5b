"""Compiled passes of the distance field: the squared Euclidean distance transform, one axis after the other.

The squared distance to the nearest obstacle is min over x', y', z' of (x - x')^2 + (y - y')^2 + (z - z')^2, so it is
found by a minimum along z, then along y of its results, then along x (Felzenszwalb and Huttenlocher, Distance
Transforms of Sampled Functions, 2012). Within REACH voxels the minimum along an axis is taken over its few candidates
directly, nearest first, for the 16 voxels of a row at once. Each pass works on one block of 16^3 voxels, reads the
results of the pass before from up to two blocks on either side along its axis, and reports the planes that changed.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sgrocc_core.geometry.lattice import BLOCK_VOXELS, VOXEL_SIZE

REACH = 25
"""Maximum distance along an axis, voxels: 2 m, less than two blocks."""
FARTHEST_SQUARED = REACH * REACH
"""Maximum squared distance, square voxels; obstacles farther away count as none."""
NONE = 8000
"""Squared distance where no obstacle is near."""
NO_OFFSET = 127
"""Offset along z where no obstacle is near in the column."""
SPAN = 5
"""Number of blocks along an axis that a pass reads."""
CODES = 64
"""Factor of squared distances in numbers that also hold a row, a code from 0 to 50."""
_ROW = BLOCK_VOXELS
_FIRST = 2 * BLOCK_VOXELS


@njit(cache=True)
def column_pass(slots, stale, words, near, rows, offsets, out_stale):
    """First pass: the offset along z from each voxel to the nearest obstacle of its column, the lower of two.

    Args:
        slots: (n,) int64, the blocks to compute.
        stale: (S, 16) bool, by slot and x: the planes to compute; reset.
        words: (S, 16, 16) uint16, bit k is set if voxel k of the column is an obstacle.
        near: (S, 5) int64, slots along z, -1 = beyond the field.
        rows: (S,) int64, row of `offsets` of each slot.
        offsets: (R, 16, 16, 16) int8, NO_OFFSET where there is no obstacle within REACH.
        out_stale: (S, 16) bool, by slot and x; set where an offset changed, for the second pass.
    """
    column, below, above = np.empty(SPAN, np.uint32), np.empty(_ROW, np.int64), np.int64(0)
    for slot in slots:
        for x in range(_ROW):
            if not stale[slot, x]:
                continue
            stale[slot, x] = False
            for y in range(_ROW):
                some = np.uint32(0)
                for n in range(SPAN):
                    other = near[slot, n]
                    column[n] = words[other, x, y] if other >= 0 else np.uint32(0)
                    some |= column[n]
                out = offsets[rows[slot], x, y]
                last = -1000
                if some:
                    for i in range(_FIRST - REACH, _FIRST + _ROW):
                        if (column[i >> 4] >> np.uint32(i & 15)) & np.uint32(1):
                            last = i
                        if i >= _FIRST:
                            below[i - _FIRST] = i - last
                last = 1000
                for i in range(_FIRST + _ROW - 1 + REACH, _FIRST - 1, -1):
                    if some and (column[i >> 4] >> np.uint32(i & 15)) & np.uint32(1):
                        last = i
                    if i >= _FIRST + _ROW:
                        continue
                    found = NO_OFFSET
                    if some:
                        above = last - i
                        if below[i - _FIRST] <= min(above, REACH):
                            found = -below[i - _FIRST]
                        elif above <= REACH:
                            found = above
                    if out[i - _FIRST] != found:
                        out[i - _FIRST] = found
                        out_stale[slot, x] = True


@njit(cache=True)
def row_pass(slots, stale, near, in_rows, offsets, rows, squared, out, most, out_stale):
    """Second pass, along y.

    Args:
        slots: (n,) int64, the blocks to compute.
        stale: (S, 16) bool, by slot and x: the planes to compute; reset.
        near: (S, 5) int64, slots along y, -1 = beyond the field, where there are no obstacles.
        in_rows: (S,) int64, row of `offsets` of each slot.
        offsets: (R, 16, 16, 16) int8, results of the first pass.
        rows: (S,) int64, row of `squared` and `out` of each slot.
        squared: (R, 16, 16, 16) int16, squared distance to the nearest obstacle in the plane of equal x, or NONE.
        out: (R, 16, 16, 16, 2) int8, its offsets along y and z.
        most: (S, 16) int16, by slot and x: the largest squared distance of the plane.
        out_stale: (S, 16) bool, by slot and y; set where a result changed, for the third pass.
    """
    source, best = _room()
    for slot in slots:
        found, place = squared[rows[slot]], out[rows[slot]]
        for x in range(_ROW):
            if not stale[slot, x]:
                continue
            stale[slot, x] = False
            for n in range(SPAN):
                if near[slot, n] < 0:
                    source[n * _ROW : (n + 1) * _ROW] = NONE * CODES
                    continue
                plane = offsets[in_rows[near[slot, n]], x]
                for y in range(_ROW):
                    for z in range(_ROW):
                        dz = np.float32(plane[y, z])
                        source[n * _ROW + y, z] = NONE * CODES if dz == NO_OFFSET else dz * dz * CODES
            nearest_rows(source, best)
            largest = np.int16(0)
            for y in range(_ROW):
                for z in range(_ROW):
                    value, dy = decoded(best[y, z])
                    dz = np.int8(0)
                    if value != NONE:
                        at = y + dy + _FIRST
                        dz = offsets[in_rows[near[slot, at >> 4]], x, at & 15, z]
                    largest = max(largest, np.int16(value))
                    if found[x, y, z] != value or place[x, y, z, 0] != dy or place[x, y, z, 1] != dz:
                        found[x, y, z], place[x, y, z, 0], place[x, y, z, 1] = value, dy, dz
                        out_stale[slot, y] = True
            most[slot, x] = largest


@njit(cache=True)
def plane_pass(slots, stale, near, in_rows, in_squared, in_out, rows, squared, out, most):
    """Third pass, along x.

    Args:
        slots: (n,) int64, the blocks to compute.
        stale: (S, 16) bool, by slot and y: the planes to compute; reset.
        near: (S, 5) int64, slots along x, -1 = beyond the field, where there are no obstacles.
        in_rows: (S,) int64, row of the second pass's results of each slot.
        in_squared: (R, 16, 16, 16) int16, results of the second pass.
        in_out: (R, 16, 16, 16, 2) int8, results of the second pass.
        rows: (S,) int64, row of `squared` and `out` of each slot.
        squared: (R, 16, 16, 16) int16, squared distance to the nearest obstacle, or NONE.
        out: (R, 16, 16, 16, 3) int8, its offsets along x, y and z.
        most: (S, 16) int16, by slot and y: the largest squared distance of the plane.
    """
    source, best = _room()
    for slot in slots:
        found, place = squared[rows[slot]], out[rows[slot]]
        for y in range(_ROW):
            if not stale[slot, y]:
                continue
            stale[slot, y] = False
            for n in range(SPAN):
                if near[slot, n] < 0:
                    source[n * _ROW : (n + 1) * _ROW] = NONE * CODES
                    continue
                block = in_squared[in_rows[near[slot, n]]]
                for x in range(_ROW):
                    for z in range(_ROW):
                        source[n * _ROW + x, z] = np.float32(block[x, y, z]) * CODES
            nearest_rows(source, best)
            largest = np.int16(0)
            for x in range(_ROW):
                for z in range(_ROW):
                    value, dx = decoded(best[x, z])
                    largest = max(largest, np.int16(value))
                    found[x, y, z] = value
                    if value != NONE:
                        at = x + dx + _FIRST
                        other = in_rows[near[slot, at >> 4]]
                        place[x, y, z, 0] = dx
                        place[x, y, z, 1] = in_out[other, at & 15, y, z, 0]
                        place[x, y, z, 2] = in_out[other, at & 15, y, z, 1]
            most[slot, y] = largest


@njit(cache=True, fastmath=True)
def nearest_rows(source, best):
    """Minimum along the rows of a source plus the squared distance to it, for 16 rows of 16 lanes each.

    A number holds a squared distance times CODES, and below it the row where it was found as a code, so that one
    minimum finds both, the nearer and lower of two rows; all are whole and exact in float32.

    Args:
        source: (80, 16) float32, squared distances of the rows times CODES; those that are wanted begin at 32.
        best: (16, 16) float32, such a number with the code of the row; see `decoded`.
    """
    lanes, rows = best.ravel(), source.ravel()
    first, count = _FIRST * _ROW, _ROW * _ROW
    lanes[:] = rows[first : first + count]
    for k in range(1, REACH + 1):
        if k % 4 == 1:
            worst = lanes[0]
            for n in range(count):
                worst = max(worst, lanes[n])
            if k * k * CODES > worst:
                break
        low, high = np.float32(k * k * CODES + 2 * k - 1), np.float32(k * k * CODES + 2 * k)
        below = rows[first - k * _ROW : first + count - k * _ROW]
        above = rows[first + k * _ROW : first + count + k * _ROW]
        for n in range(count):
            lanes[n] = min(lanes[n], min(below[n] + low, above[n] + high))


@njit(cache=True)
def decoded(number):
    """Squared distance, NONE above FARTHEST_SQUARED, and offset of the row, of a result of `nearest_rows`."""
    whole = np.int64(number)
    value, code = whole // CODES, whole % CODES
    if value > FARTHEST_SQUARED:
        return NONE, 0
    return value, (-(code + 1) // 2 if code & 1 else code // 2)


@njit(cache=True)
def _room():
    return np.empty((SPAN * _ROW, _ROW), np.float32), np.empty((_ROW, _ROW), np.float32)


@njit(cache=True)
def interpolate(base, part, block, rows, squared, out, outside, most, distance, nearest):
    """Distance between the centres of voxels, trilinear, and the nearest obstacle of each point's voxel.

    Args:
        base: (N, 3) int64, index in its block of the voxel whose centre lies at or below the point along each axis.
        part: (N, 3) float64, distance of the point from that centre, voxels, 0..1.
        block: (N,) int64, row of `rows`.
        rows: (B, 2, 2, 2) int64, row of `squared` of the block and of the next ones along x, y and z; -1 = beyond.
        squared: (R, 16, 16, 16) int16.
        out: (R, 16, 16, 16, 3) int8.
        outside: squared distance beyond the field, 0 or NONE.
        most: maximum distance, metres.
        distance: (N,) float32, metres; written.
        nearest: (N, 3) int64, offset from `base` to the nearest obstacle of the voxel that holds the point, or
            `NONE` where there is none within `most`; written.
    """
    corner = np.empty((2, 2, 2), np.float64)
    for n in range(len(base)):
        x, y, z = base[n]
        fx, fy, fz = part[n]
        nearest[n, 0] = NONE
        for a in range(2):
            for b in range(2):
                for c in range(2):
                    row = rows[block[n], (x + a) >> 4, (y + b) >> 4, (z + c) >> 4]
                    i, j, k = (x + a) & 15, (y + b) & 15, (z + c) & 15
                    value = squared[row, i, j, k] if row >= 0 else outside
                    corner[a, b, c] = min(math.sqrt(value) * VOXEL_SIZE, most)
                    holds_point = a == (fx >= 0.5) and b == (fy >= 0.5) and c == (fz >= 0.5)
                    if holds_point and math.sqrt(value) * VOXEL_SIZE <= most + 1e-9:
                        nearest[n, 0], nearest[n, 1], nearest[n, 2] = a, b, c
                        if row >= 0:
                            nearest[n, 0] += out[row, i, j, k, 0]
                            nearest[n, 1] += out[row, i, j, k, 1]
                            nearest[n, 2] += out[row, i, j, k, 2]
        along_x = corner[0] * (1 - fx) + corner[1] * fx
        along_y = along_x[0] * (1 - fy) + along_x[1] * fy
        distance[n] = along_y[0] * (1 - fz) + along_y[1] * fz
