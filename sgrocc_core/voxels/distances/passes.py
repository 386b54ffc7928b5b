"""Compiled passes of the distance field: the squared Euclidean distance transform, one axis after the other.

The squared distance to the nearest obstacle is min over x', y', z' of (x - x')^2 + (y - y')^2 + (z - z')^2, so it is
found by a minimum along z, then along y of its results, then along x (Felzenszwalb and Huttenlocher, Distance
Transforms of Sampled Functions, 2012). Within REACH voxels the minimum along an axis is taken over its few candidates
directly, nearest first, for the 16 voxels of a row at once. Each pass works on one block of 16^3 voxels, reads the
results of the pass before from up to two blocks on either side along its axis, computes the rows along z that a change
there can reach, and tells the next pass which of them have changed.

A result is one number of 16 bits, (1023 - squared distance) * 64 + 63 - way, so that the nearer obstacle has the larger
number, or NOTHING. The way leads to where the result of the pass before was taken from: 2 k for k voxels down along the
axis of the pass, 2 k + 1 for k up. Of obstacles at one distance the one fewer voxels along the axis away counts, and of
two of these the lower one. From a voxel the ways of the third, second and first pass lead to its obstacle.
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
NOTHING = 0
"""Result where no obstacle is near."""
SPAN = 5
"""Number of blocks along an axis that a pass reads."""
WAY_BITS = 6
WAYS = 1 << WAY_BITS
HERE = WAYS - 1
"""The last bits of a result whose way is 0."""
LARGEST = 1023
"""Squared distance in a result that is 0 but for its way."""
LEAST = (LARGEST - FARTHEST_SQUARED) << WAY_BITS
"""The smallest result of an obstacle within reach."""
FAR = 17
"""Distance of rows from which on other blocks than those beside are read."""
_ROW = BLOCK_VOXELS
_FIRST = 2 * BLOCK_VOXELS
_METRES = np.sqrt(np.arange(LARGEST + 1)) * VOXEL_SIZE


@njit(cache=True)
def cost(k, is_above):
    """What a result loses over a way of k voxels along an axis."""
    return np.uint16((k * k << WAY_BITS) + 2 * k + is_above)


@njit(cache=True)
def squared_distance(result):
    """Squared distance of a result, voxels; above FARTHEST_SQUARED for NOTHING."""
    return LARGEST - (np.int64(result) >> WAY_BITS)


@njit(cache=True)
def shift(result):
    """Voxels along the axis of its pass by which a result was taken."""
    way = HERE - (np.int64(result) & HERE)
    return way >> 1 if way & 1 else -(way >> 1)


@njit(cache=True)
def column_pass(slots, stale, words, near, rows, results, readers, next_stale):
    """First pass: from each voxel to the nearest obstacle of its column.

    Args:
        slots: (n,) int64, the blocks to compute.
        stale: (S, 16) uint16, by slot and x; bit y is set for the columns to compute; reset.
        words: (S, 16, 16) uint16, bit k is set if voxel k of the column is an obstacle.
        near: (S, 5) int64, slots along z, -1 = beyond the field.
        rows: (S,) int64, row of `results` of each slot.
        results: (R, 16, 16, 16) uint16; written.
        readers: (S, 5) int64, slots along y, which the second pass reads.
        next_stale: (S, 16, 5) uint16, what has changed for the second pass; written.
    """
    column, found = np.empty(SPAN, np.uint32), np.empty(_ROW, np.uint16)
    for slot in slots:
        for x in range(_ROW):
            todo = stale[slot, x]
            if not todo:
                continue
            stale[slot, x] = 0
            for y in range(_ROW):
                if not (todo >> y) & 1:
                    continue
                some = np.uint32(0)
                for n in range(SPAN):
                    other = near[slot, n]
                    column[n] = words[other, x, y] if other >= 0 else np.uint32(0)
                    some |= column[n]
                found[:] = NOTHING
                if some:
                    _along_z(column, found)
                if write_row(found, 0, results[rows[slot], x, y]) >> WAY_BITS:
                    _tell(readers[slot], next_stale, x, y)


@njit(cache=True)
def _along_z(column, found):
    """Results (16,) of the middle one of five words (5,) along z."""
    last = -1000
    for i in range(_FIRST - REACH, _FIRST + _ROW):
        if (column[i >> 4] >> np.uint32(i & 15)) & np.uint32(1):
            last = i
        if i >= _FIRST and i - last <= REACH:
            found[i - _FIRST] = LARGEST * WAYS + HERE - cost(i - last, 0)
    last = 1000
    for i in range(_FIRST + _ROW - 1 + REACH, _FIRST - 1, -1):
        if (column[i >> 4] >> np.uint32(i & 15)) & np.uint32(1):
            last = i
        if i < _FIRST + _ROW and last - i <= REACH:
            found[i - _FIRST] = max(found[i - _FIRST], np.uint16(LARGEST * WAYS + HERE - cost(last - i, 1)))


@njit(cache=True)
def _tell(readers, stale, plane, row):
    """Mark that a row of a block has changed, in a plane of the blocks (5,) that read it."""
    for n in range(SPAN):
        if readers[n] >= 0:
            stale[readers[n], plane, SPAN - 1 - n] |= np.uint16(1) << np.uint16(row)


@njit(cache=True)
def row_pass(slots, stale, near, in_rows, before, rows, results, reach, along_y, readers, next_stale):
    """Second pass, along y in the planes of equal x, and third pass, along x in those of equal y.

    Args:
        slots: (n,) int64, the blocks to compute.
        stale: (S, 16, 5) uint16, by slot, plane and block along the axis; a bit is set for each row of the pass before
            that has changed; reset.
        near: (S, 5) int64, slots along the axis, -1 = beyond the field, where there are no obstacles.
        in_rows: (S,) int64, row of `before` of each slot.
        before: (R, 16, 16, 16) uint16, results of the pass before.
        rows: (S,) int64, row of `results` of each slot.
        results: (R, 16, 16, 16) uint16; written.
        reach: (R, 16, 16) uint8, by plane and row: the largest distance along z, whole voxels; written.
        along_y: whether it is the second pass.
        readers: (S, 5) int64, slots along x, which the third pass reads; (0, 5) in the third pass.
        next_stale: (S, 16, 5) uint16, what has changed for the third pass; written.
    """
    source, best = np.empty((SPAN * _ROW, _ROW), np.uint16), np.empty(_ROW * _ROW, np.uint16)
    todo, base, told = np.empty(_ROW, np.bool_), np.empty(SPAN, np.int64), before.ravel()
    outputs = results.ravel()
    by_plane, by_row = (_ROW * _ROW, _ROW) if along_y else (_ROW, _ROW * _ROW)
    for slot in slots:
        row = rows[slot]
        for n in range(SPAN):
            base[n] = in_rows[near[slot, n]] * _ROW**3 if near[slot, n] >= 0 else -1
        for plane in range(_ROW):
            if not rows_to_compute(stale[slot, plane], reach[row, plane], todo):
                continue
            for n in range(1, SPAN - 1):
                _fill(source, n, told, base[n], plane * by_plane, by_row)
            is_whole, begin = False, 0
            while begin < _ROW:
                end = begin
                while end < _ROW and todo[end]:
                    end += 1
                if end > begin and not nearest_rows(source, begin, end, 1, best):
                    if not is_whole:
                        _fill(source, 0, told, base[0], plane * by_plane, by_row)
                        _fill(source, SPAN - 1, told, base[SPAN - 1], plane * by_plane, by_row)
                        is_whole = True
                    nearest_rows(source, begin, end, FAR, best)
                for r in range(begin, end):
                    first, lane = row * _ROW**3 + plane * by_plane + r * by_row, (r - begin) * _ROW
                    different = write_row(best, lane, outputs[first : first + _ROW])
                    reach[row, plane, r] = _reach_of(outputs[first : first + _ROW])
                    if along_y and different >> WAY_BITS:
                        _tell(readers[slot], next_stale, r, plane)
                begin = end + 1


@njit(cache=True)
def write_row(best, lane, row):
    """Write 16 results, which begin at `lane`, into a row (16,); returns the bits that are different from before."""
    new, different = best[lane : lane + _ROW], np.uint16(0)
    for z in range(_ROW):
        result = new[z] if new[z] >= LEAST else np.uint16(NOTHING)
        different |= result ^ row[z]
        row[z] = result
    return different


@njit(cache=True)
def _reach_of(row):
    """Largest distance of a row (16,) of results, whole voxels."""
    least = row[0]
    for z in range(_ROW):
        least = min(least, row[z])
    return min(int(math.sqrt(squared_distance(least))), REACH)


@njit(cache=True)
def _fill(source, n, results, base, plane, by_row):
    """Copy a plane of a block that begins at a base, -1 for none, into its part n of the source, with ways of 0."""
    for r in range(_ROW):
        into, first = source[n * _ROW + r], base + plane + r * by_row
        if base < 0:
            into[:] = HERE
        else:
            row = results[first : first + _ROW]
            for z in range(_ROW):
                into[z] = row[z] | np.uint16(HERE)


@njit(cache=True)
def rows_to_compute(stale, reach, todo):
    """Whether a plane has rows to compute, and which.

    What changed k rows away changes no distance below k: neither is it the nearest there, nor can it become that.

    Args:
        stale: (5,) uint16, by block; bit r is set if row r has changed; reset.
        reach: (16,) uint8, largest distance of each row as it is, whole voxels.
        todo: (16,) bool; written.
    """
    low, high = np.uint64(0), np.uint64(stale[SPAN - 1])
    for n in range(SPAN - 1):
        low |= np.uint64(stale[n]) << np.uint64(n * _ROW)
    if not (low | high):
        return False
    some = False
    for r in range(_ROW):
        k = np.int64(reach[r])
        first = _FIRST + r - k  # 7 to 47
        around = (low >> np.uint64(first)) | (high << np.uint64(64 - first))
        todo[r] = (around & ((np.uint64(1) << np.uint64(2 * k + 1)) - np.uint64(1))) != 0
        some |= todo[r]
    stale[:] = 0
    return some


@njit(cache=True)
def nearest_rows(source, begin, end, first_k, best):
    """Largest results along the rows of a source, for rows of 16 lanes each.

    Args:
        source: (80, 16) uint16, results of the pass before with ways of 0; those of the block begin at row 32.
        begin: the first row of the block that is wanted.
        end: the row after the last one.
        first_k: 1 to begin with the rows themselves and go up to 16 rows away; FAR to go on beyond.
        best: (256,) uint16, results of the lanes of those rows; written. Below LEAST there is no obstacle within reach.

    Returns:
        Whether nothing farther away can be nearer.
    """
    rows, first, count = source.ravel(), (_FIRST + begin) * _ROW, (end - begin) * _ROW
    if first_k == 1:
        best[:count] = rows[first : first + count]
    for k in range(first_k, FAR if first_k == 1 else REACH + 1, 2):
        if k % 4 == 1 and _is_settled(best, count, k):
            return True
        _take_nearer(rows, first, count, k, best)
    return False


@njit(cache=True)
def _is_settled(best, count, k):
    """Whether no row k or more away can be nearer than what was found."""
    least = best[0]
    for n in range(count):
        least = best[n] if best[n] < least else least
    return squared_distance(least) <= k * k


@njit(cache=True)
def _take_nearer(rows, first, count, k, best):
    """Take the results of the rows k and k + 1 below and above where they are larger."""
    at, next_ = k * _ROW, (k + 1) * _ROW
    below, above = rows[first - at : first - at + count], rows[first + at : first + at + count]
    lowest, highest = rows[first - next_ : first - next_ + count], rows[first + next_ : first + next_ + count]
    a, b, c, d = cost(k, 0), cost(k, 1), cost(k + 1, 0), cost(k + 1, 1)
    for n in range(count):
        # A result that the way costs more than it has becomes 0.
        one, two = np.uint16(max(below[n], a) - a), np.uint16(max(above[n], b) - b)
        three, four = np.uint16(max(lowest[n], c) - c), np.uint16(max(highest[n], d) - d)
        best[n] = max(best[n], max(max(one, two), max(three, four)))


@njit(cache=True)
def interpolate(base, part, block, slots, along, rows, results, outside, most, distance, nearest, gradient):
    """Distance between the centres of voxels, trilinear, and the nearest obstacle of each point's voxel.

    Args:
        base: (N, 3) int64, index in its block of the voxel whose centre lies at or below the point along each axis.
        part: (N, 3) float64, distance of the point from that centre, voxels, 0..1.
        block: (N,) int64, row of `slots`.
        slots: (B, 2, 2, 2) int64, slots of the block and of the next ones along x, y and z; -1 = beyond.
        along: (3, S, 5) int64, slots of the blocks around each along x, y and z.
        rows: (3, S) int64, row of the results of each slot, by pass as `results`.
        results: three of (R, 16, 16, 16) uint16: of the third pass, of the second and of the first.
        outside: squared distance beyond the field, 0 or LARGEST.
        most: maximum distance, metres.
        distance: (N,) float32, metres; written.
        nearest: (N, 3) int64, offset from `base` to the nearest obstacle of the voxel that holds the point; written.
        gradient: (N, 3) float32, from there to the point, of length 1; written, but not within an obstacle.

    Returns:
        (N,) bool, whether there is an obstacle within `most`; else neither offset nor gradient is written.
    """
    found = np.zeros(len(base), np.bool_)
    for n in range(len(base)):
        (x, y, z), (fx, fy, fz) = base[n], part[n]
        value = 0.0
        for corner in range(8):
            a, b, c = corner >> 2, corner >> 1 & 1, corner & 1
            slot, squared = slots[block[n], (x + a) >> 4, (y + b) >> 4, (z + c) >> 4], outside
            if slot >= 0:
                squared = squared_distance(results[0][rows[0, slot], (x + a) & 15, (y + b) & 15, (z + c) & 15])
            weight = (fx if a else 1 - fx) * (fy if b else 1 - fy) * (fz if c else 1 - fz)
            value += weight * min(_METRES[squared], most)
            holds_point = a == (fx >= 0.5) and b == (fy >= 0.5) and c == (fz >= 0.5)
            if holds_point and _METRES[squared] <= most + 1e-9:
                found[n] = True
                nearest[n, 0], nearest[n, 1], nearest[n, 2] = a, b, c
                if slot >= 0:
                    _follow(slot, x + a, y + b, z + c, along, rows, results, nearest[n])
                if squared > 0:
                    _away(part[n], nearest[n], gradient[n])
        distance[n] = value
    return found


@njit(cache=True)
def _away(part, nearest, gradient):
    """Direction (3,) from an obstacle to a point, of length 1."""
    x, y, z = part[0] - nearest[0], part[1] - nearest[1], part[2] - nearest[2]
    length = max(math.sqrt(x * x + y * y + z * z), 1e-9)
    gradient[0], gradient[1], gradient[2] = x / length, y / length, z / length


@njit(cache=True)
def _follow(slot, x, y, z, along, rows, results, offset):
    """Add the offset (3,) from a voxel of a slot, x, y and z modulo 16, to its obstacle: the ways of the passes."""
    x, y, z = x & 15, y & 15, z & 15
    step = shift(results[0][rows[0, slot], x, y, z])
    offset[0] += step
    slot, x = along[0, slot, ((x + step) >> 4) + 2], (x + step) & 15
    step = shift(results[1][rows[1, slot], x, y, z])
    offset[1] += step
    slot, y = along[1, slot, ((y + step) >> 4) + 2], (y + step) & 15
    offset[2] += shift(results[2][rows[2, slot], x, y, z])
