"""Compiled passes of the distance field: the squared Euclidean distance transform, one axis after the other.

The squared distance to the nearest obstacle is min over x', y', z' of (x - x')^2 + (y - y')^2 + (z - z')^2, so it is
found by a minimum along z, then along y of its results, then along x (Felzenszwalb and Huttenlocher, Distance
Transforms of Sampled Functions, 2012). Within REACH voxels the minimum along an axis is taken over its few candidates
directly, nearest first, for the 16 voxels of a row at once. Each pass works on one block of 16^3 voxels, reads the
results of the pass before from up to two blocks on either side along its axis, computes the rows along z that a change
there can reach, and tells the next pass which of them have changed.
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
NONE = 1000
"""Squared distance where no obstacle is near."""
NO_OFFSET = 32
"""Offset along z where no obstacle is near in the column; its square is above every squared distance."""
SPAN = 5
"""Number of blocks along an axis that a pass reads."""
CODE_BITS = 5
CODES = 1 << CODE_BITS
"""Factor of squared distances in numbers that also hold the distance of a row, 0 to 26; they have 16 bits."""
_ROW = BLOCK_VOXELS
_FIRST = 2 * BLOCK_VOXELS


@njit(cache=True)
def column_pass(slots, stale, words, near, rows, offsets, readers, next_stale):
    """First pass: the offset along z from each voxel to the nearest obstacle of its column, the lower of two.

    Args:
        slots: (n,) int64, the blocks to compute.
        stale: (S, 16) uint16, by slot and x; bit y is set for the columns to compute; reset.
        words: (S, 16, 16) uint16, bit k is set if voxel k of the column is an obstacle.
        near: (S, 5) int64, slots along z, -1 = beyond the field.
        rows: (S,) int64, row of `offsets` of each slot.
        offsets: (R, 16, 16, 16) int8, NO_OFFSET where there is no obstacle within REACH.
        readers: (S, 5) int64, slots along y, which the second pass reads.
        next_stale: (S, 16, 5) uint16, what has changed for the second pass; written.
    """
    column, below, above = np.empty(SPAN, np.uint32), np.empty(_ROW, np.int64), np.int64(0)
    for slot in slots:
        for x in range(_ROW):
            todo = stale[slot, x]
            stale[slot, x] = 0
            for y in range(_ROW):
                if not (todo >> y) & 1:
                    continue
                some = np.uint32(0)
                for n in range(SPAN):
                    other = near[slot, n]
                    column[n] = words[other, x, y] if other >= 0 else np.uint32(0)
                    some |= column[n]
                out, different = offsets[rows[slot], x, y], False
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
                    different |= out[i - _FIRST] != found
                    out[i - _FIRST] = found
                if different:
                    _tell(readers[slot], next_stale, x, y)


@njit(cache=True)
def _tell(readers, stale, plane, row):
    """Mark that a row of a block has changed, in a plane of the blocks (5,) that read it."""
    for n in range(SPAN):
        if readers[n] >= 0:
            stale[readers[n], plane, SPAN - 1 - n] |= np.uint16(1) << np.uint16(row)


@njit(cache=True)
def row_pass(slots, stale, near, in_rows, offsets, rows, squared, out, most, readers, next_stale):
    """Second pass, along y.

    Args:
        slots: (n,) int64, the blocks to compute.
        stale: (S, 16, 5) uint16, by slot, x and block along y; bit y is set for the rows of the first pass that have
            changed; reset.
        near: (S, 5) int64, slots along y, -1 = beyond the field, where there are no obstacles.
        in_rows: (S,) int64, row of `offsets` of each slot.
        offsets: (R, 16, 16, 16) int8, results of the first pass.
        rows: (S,) int64, row of `squared` and `out` of each slot.
        squared: (R, 16, 16, 16) int16, squared distance to the nearest obstacle in the plane of equal x, or NONE.
        out: (R, 16, 16, 16, 2) int8, its offsets along y and z.
        most: (R, 16, 16) int16, by x and y: the largest squared distance along z.
        readers: (S, 5) int64, slots along x, which the third pass reads.
        next_stale: (S, 16, 5) uint16, what has changed for the third pass; written.
    """
    source, below, above, todo = _room()
    values, shifts = np.empty(_ROW * _ROW, np.int16), np.empty(_ROW * _ROW, np.int8)
    for slot in slots:
        row = rows[slot]
        for x in range(_ROW):
            if not rows_to_compute(stale[slot, x], most[row, x], todo):
                continue
            for n in range(SPAN):
                if near[slot, n] < 0:
                    source[n * _ROW : (n + 1) * _ROW] = NONE * CODES
                    continue
                plane = offsets[in_rows[near[slot, n]], x]
                for y in range(_ROW):
                    for z in range(_ROW):
                        source[n * _ROW + y, z] = plane[y, z] * plane[y, z] * CODES
            begin = 0
            while begin < _ROW:
                end = begin
                while end < _ROW and todo[end]:
                    end += 1
                if end > begin:
                    nearest_rows(source, begin, end, below, above)
                    decode(below, above, (end - begin) * _ROW, values, shifts)
                for y in range(begin, end):
                    largest, lane, different = np.int16(0), (y - begin) * _ROW, False
                    for z in range(_ROW):
                        value, dy, dz = values[lane + z], shifts[lane + z], np.int8(0)
                        if value != NONE:
                            at = y + dy + _FIRST
                            dz = offsets[in_rows[near[slot, at >> 4]], x, at & 15, z]
                        largest = max(largest, value)
                        different |= squared[row, x, y, z] != value or out[row, x, y, z, 0] != dy
                        different |= out[row, x, y, z, 1] != dz
                        squared[row, x, y, z], out[row, x, y, z, 0], out[row, x, y, z, 1] = value, dy, dz
                    most[row, x, y] = largest
                    if different:
                        _tell(readers[slot], next_stale, y, x)
                begin = end + 1


@njit(cache=True)
def plane_pass(slots, stale, near, in_rows, in_squared, in_out, rows, squared, out, most):
    """Third pass, along x.

    Args:
        slots: (n,) int64, the blocks to compute.
        stale: (S, 16, 5) uint16, by slot, y and block along x; bit x is set for the rows of the second pass that have
            changed; reset.
        near: (S, 5) int64, slots along x, -1 = beyond the field, where there are no obstacles.
        in_rows: (S,) int64, row of the second pass's results of each slot.
        in_squared: (R, 16, 16, 16) int16, results of the second pass.
        in_out: (R, 16, 16, 16, 2) int8, results of the second pass.
        rows: (S,) int64, row of `squared` and `out` of each slot.
        squared: (R, 16, 16, 16) int16, squared distance to the nearest obstacle, or NONE.
        out: (R, 16, 16, 16, 3) int8, its offsets along x, y and z.
        most: (R, 16, 16) int16, by y and x: the largest squared distance along z.
    """
    source, below, above, todo = _room()
    values, shifts = np.empty(_ROW * _ROW, np.int16), np.empty(_ROW * _ROW, np.int8)
    for slot in slots:
        row = rows[slot]
        for y in range(_ROW):
            if not rows_to_compute(stale[slot, y], most[row, y], todo):
                continue
            for n in range(SPAN):
                if near[slot, n] < 0:
                    source[n * _ROW : (n + 1) * _ROW] = NONE * CODES
                    continue
                block = in_squared[in_rows[near[slot, n]]]
                for x in range(_ROW):
                    for z in range(_ROW):
                        source[n * _ROW + x, z] = block[x, y, z] * CODES
            begin = 0
            while begin < _ROW:
                end = begin
                while end < _ROW and todo[end]:
                    end += 1
                if end > begin:
                    nearest_rows(source, begin, end, below, above)
                    decode(below, above, (end - begin) * _ROW, values, shifts)
                for x in range(begin, end):
                    largest, lane = np.int16(0), (x - begin) * _ROW
                    for z in range(_ROW):
                        value, dx = values[lane + z], shifts[lane + z]
                        largest = max(largest, value)
                        squared[row, x, y, z] = value
                        if value != NONE:
                            at = x + dx + _FIRST
                            other = in_rows[near[slot, at >> 4]]
                            out[row, x, y, z, 0] = dx
                            out[row, x, y, z, 1] = in_out[other, at & 15, y, z, 0]
                            out[row, x, y, z, 2] = in_out[other, at & 15, y, z, 1]
                    most[row, y, x] = largest
                begin = end + 1


@njit(cache=True)
def rows_to_compute(stale, most, todo):
    """Whether a plane has rows to compute, and which.

    What changed k rows away changes no distance below k: neither is it the nearest there, nor can it become that.

    Args:
        stale: (5,) uint16, by block; bit r is set if row r has changed; reset.
        most: (16,) int16, largest squared distance of each row as it is.
        todo: (16,) bool; written.
    """
    some = False
    for n in range(SPAN):
        some |= stale[n] != 0
    todo[:] = False
    if not some:
        return False
    some = False
    for r in range(_ROW):
        for k in range(REACH + 1):
            if k * k > most[r]:
                break
            below, above = _FIRST + r - k, _FIRST + r + k
            if ((stale[below >> 4] >> (below & 15)) | (stale[above >> 4] >> (above & 15))) & 1:
                todo[r] = some = True
                break
    stale[:] = 0
    return some


@njit(cache=True)
def nearest_rows(source, begin, end, below, above):
    """Minimum along the rows of a source plus the squared distance to it, for rows of 16 lanes each.

    A number holds a squared distance times CODES plus the distance k of the row where it was found, so that one minimum
    finds both, and the nearer of two rows.

    Args:
        source: (80, 16) uint16, squared distances of the rows times CODES; those of the block begin at 32.
        begin: the first row of the block that is wanted.
        end: the row after the last one.
        below: (256,) uint16, the smallest number of the rows at and below each lane of those rows; written.
        above: (256,) uint16, that of the rows at and above; written. `decode` joins the two.
    """
    rows, first, count = source.ravel(), (_FIRST + begin) * _ROW, (end - begin) * _ROW
    for n in range(count):
        below[n] = above[n] = rows[first + n]
    for k in range(1, REACH + 1, 2):
        if k % 4 == 1:
            worst = np.uint16(0)
            for n in range(count):
                nearest = below[n] if below[n] < above[n] else above[n]
                worst = nearest if nearest > worst else worst
            if k * k * CODES > worst:
                break
        _take_nearer(rows, first, count, -1, k, below)
        _take_nearer(rows, first, count, 1, k, above)


@njit(cache=True)
def _take_nearer(rows, first, count, direction, k, best):
    """Take the numbers of the rows at distances k and k + 1 in a direction where they are smaller."""
    one, other = first + direction * k * _ROW, first + direction * (k + 1) * _ROW
    near, far = rows[one : one + count], rows[other : other + count]
    add_near, add_far = np.uint16(k * k * CODES + k), np.uint16((k + 1) * (k + 1) * CODES + k + 1)
    for n in range(count):
        a, b, c = np.uint16(near[n] + add_near), np.uint16(far[n] + add_far), best[n]
        nearer = a if a < b else b
        best[n] = nearer if nearer < c else c


@njit(cache=True)
def decode(below, above, count, values, shifts):
    """Squared distance, NONE above FARTHEST_SQUARED, and offset of the row, of the first results of `nearest_rows`.

    Args:
        below: (256,) uint16.
        above: (256,) uint16.
        count: number of results.
        values: (256,) int16; written. Of two obstacles at the same distance the one in the nearer row counts, and
            then the lower one.
        shifts: (256,) int8; written.
    """
    for n in range(count):
        is_below = below[n] <= above[n]
        number = np.int32(below[n] if is_below else above[n])
        value, k = number >> CODE_BITS, number & (CODES - 1)
        is_near = value <= FARTHEST_SQUARED
        values[n] = value if is_near else NONE
        shifts[n] = (-k if is_below else k) if is_near else 0


@njit(cache=True)
def _room():
    count = _ROW * _ROW
    below, above = np.empty(count, np.uint16), np.empty(count, np.uint16)
    return np.empty((SPAN * _ROW, _ROW), np.uint16), below, above, np.empty(_ROW, np.bool_)


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
