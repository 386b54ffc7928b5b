"""Compiled passes of the distance field: the squared Euclidean distance transform, one axis after the other.

The squared distance to the nearest obstacle is min over x', y', z' of (x - x')^2 + (y - y')^2 + (z - z')^2, so it is
found by a minimum along z, then along y of its results, then along x (Felzenszwalb and Huttenlocher, Distance
Transforms of Sampled Functions, 2012). Within REACH voxels the minimum along an axis is taken over its few candidates
directly, nearest first, for the 16 voxels of a row at once. Each pass works on one block of 16^3 voxels, reads the
results of the pass before from up to two blocks on either side along its axis, computes the rows along z that a change
there can reach, and tells the next pass which of them have changed.

A result is the offset to the nearest obstacle as one number, NOTHING or `packed`: it holds the distance, too.
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
"""Offset along an axis where no obstacle is near; its square is above every squared distance."""
NOTHING = 0
"""Result where no obstacle is near."""
SPAN = 5
"""Number of blocks along an axis that a pass reads."""
CODE_BITS = 5
CODES = 1 << CODE_BITS
"""Factor of squared distances in numbers that also hold the distance of a row, 0 to 26; they have 16 bits."""
BEYOND = (FARTHEST_SQUARED + 1) * CODES
"""Such numbers and larger ones are of obstacles that are too far away."""
_ROW = BLOCK_VOXELS
_FIRST = 2 * BLOCK_VOXELS
_MIDDLE, _BITS, _MASK = 32, 6, 63
_LEVEL = _MIDDLE << _BITS | _MIDDLE
FAR = 17
"""Distance of rows from which on other blocks than those beside are read."""


@njit(cache=True)
def packed(x, y, z):
    """Offset of -25 to 25 voxels along each axis as one number; without the first axis it has 16 bits."""
    return (x + _MIDDLE) << 2 * _BITS | (y + _MIDDLE) << _BITS | (z + _MIDDLE)


@njit(cache=True)
def unpacked(result):
    """The inverse of `packed`."""
    return (
        (result >> 2 * _BITS) - _MIDDLE, ((result >> _BITS) & _MASK) - _MIDDLE, (result & _MASK) - _MIDDLE,
    )  # fmt: skip


@njit(cache=True)
def column_pass(slots, stale, words, near, rows, squares, results, readers, next_stale):
    """First pass: the offset along z from each voxel to the nearest obstacle of its column, the lower of two.

    Args:
        slots: (n,) int64, the blocks to compute.
        stale: (S, 16) uint16, by slot and x; bit y is set for the columns to compute; reset.
        words: (S, 16, 16) uint16, bit k is set if voxel k of the column is an obstacle.
        near: (S, 5) int64, slots along z, -1 = beyond the field.
        rows: (S,) int64, row of `squares` and `results` of each slot.
        squares: (R, 16, 16, 16) uint16, squared distances times CODES; written.
        results: (R, 16, 16, 16) int16; written.
        readers: (S, 5) int64, slots along y, which the second pass reads.
        next_stale: (S, 16, 5) uint16, what has changed for the second pass; written.
    """
    column, below, above = np.empty(SPAN, np.uint32), np.empty(_ROW, np.int64), np.int64(0)
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
                out, squared, different = results[rows[slot], x, y], squares[rows[slot], x, y], False
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
                    found, distance = NOTHING, NO_OFFSET
                    if some:
                        above = last - i
                        if below[i - _FIRST] <= min(above, REACH):
                            distance = below[i - _FIRST]
                            found = _LEVEL - distance
                        elif above <= REACH:
                            distance = above
                            found = _LEVEL + distance
                    different |= out[i - _FIRST] != found
                    out[i - _FIRST] = found
                    squared[i - _FIRST] = distance * distance * CODES
                if different:
                    _tell(readers[slot], next_stale, x, y)


@njit(cache=True)
def _tell(readers, stale, plane, row):
    """Mark that a row of a block has changed, in a plane of the blocks (5,) that read it."""
    for n in range(SPAN):
        if readers[n] >= 0:
            stale[readers[n], plane, SPAN - 1 - n] |= np.uint16(1) << np.uint16(row)


@njit(cache=True)
def row_pass(
    slots, stale, near, in_rows, in_squares, before, rows, squares, results, most, along_y, readers, next_stale
):
    """Second pass, along y in the planes of equal x, and third pass, along x in those of equal y.

    Args:
        slots: (n,) int64, the blocks to compute.
        stale: (S, 16, 5) uint16, by slot, plane and block along the axis; a bit is set for each row of the pass before
            that has changed; reset.
        near: (S, 5) int64, slots along the axis, -1 = beyond the field, where there are no obstacles.
        in_rows: (S,) int64, row of `in_squares` and `before` of each slot.
        in_squares: (R, 16, 16, 16) uint16, squared distances of the pass before times CODES.
        before: (R, 16, 16, 16) int16, results of the pass before.
        rows: (S,) int64, row of `squares` and `results` of each slot.
        squares: (R, 16, 16, 16) uint16, squared distances times CODES; written by the second pass only.
        results: (R, 16, 16, 16) int16 of the second pass, int32 of the third; written.
        most: (R, 16, 16) int16, by plane and row: the largest squared distance along z.
        along_y: whether it is the second pass.
        readers: (S, 5) int64, slots along x, which the third pass reads; (0, 5) in the third pass.
        next_stale: (S, 16, 5) uint16, what has changed for the third pass; written.
    """
    source, below, above, todo = _room()
    base, starts = np.empty(SPAN, np.int64), np.zeros(SPAN * _ROW, np.int64)
    told, inputs, outputs, kept = in_squares.ravel(), before.ravel(), results.ravel(), squares.ravel()
    by_plane, by_row = (_ROW * _ROW, _ROW) if along_y else (_ROW, _ROW * _ROW)
    # The middle of y is in the results from the first pass on; that of x, beyond 16 bits, is added by the third.
    factor, middle = (1 << _BITS, 0) if along_y else (1 << 2 * _BITS, _MIDDLE << 2 * _BITS)
    for slot in slots:
        row = rows[slot]
        for n in range(SPAN):
            base[n] = in_rows[near[slot, n]] * _ROW**3 if near[slot, n] >= 0 else -1
        for plane in range(_ROW):
            if not rows_to_compute(stale[slot, plane], most[row, plane], todo):
                continue
            first = row * _ROW**3 + plane * by_plane
            for i in range(SPAN * _ROW):
                starts[i] = base[i >> 4] + plane * by_plane + (i & 15) * by_row
            for n in range(1, SPAN - 1):
                _fill(source, n, told, base[n], plane * by_plane, by_row)
            is_whole, begin = False, 0
            while begin < _ROW:
                end = begin
                while end < _ROW and todo[end]:
                    end += 1
                if end > begin and not nearest_rows(source, begin, end, 1, below, above):
                    if not is_whole:
                        _fill(source, 0, told, base[0], plane * by_plane, by_row)
                        _fill(source, SPAN - 1, told, base[SPAN - 1], plane * by_plane, by_row)
                        is_whole = True
                    nearest_rows(source, begin, end, FAR, below, above)
                for r in range(begin, end):
                    out, lane = first + r * by_row, (r - begin) * _ROW
                    different, most[row, plane, r] = _write_row(
                        below, above, lane, starts, r, inputs, factor, middle, outputs, out, kept
                    )
                    if different and along_y:
                        _tell(readers[slot], next_stale, r, plane)
                begin = end + 1


@njit(cache=True)
def _write_row(below, above, lane, starts, r, inputs, factor, middle, outputs, out, squares):
    """Write row r of a plane from its numbers, which begin at `lane`; see `row_pass`.

    `starts` (80,) int64 is where the rows that the numbers are of begin in `inputs`; the row begins at `out` in
    `outputs`, and in `squares` unless that is empty. Returns whether it is different, and its largest squared distance.
    """
    worst, different = np.uint16(0), False
    for z in range(_ROW):
        low, high = below[lane + z], above[lane + z]
        number = min(low, high)
        found, square = NOTHING, np.uint16(NONE * CODES)
        if number < BEYOND:  # of two obstacles at one distance that in the nearer row, the lower one
            k = np.int64(number & np.uint16(CODES - 1))
            shift = -k if low <= high else k
            found = inputs[np.uint64(starts[r + shift + _FIRST] + z)] + middle + shift * factor
            square = np.uint16(number - np.uint16(k))
        different |= outputs[out + z] != found
        outputs[out + z] = found
        below[lane + z] = square
        worst = max(worst, square)
    if different and len(squares):
        for z in range(_ROW):
            squares[out + z] = below[lane + z]
    return different, worst >> CODE_BITS


@njit(cache=True)
def _fill(source, n, squares, base, plane, by_row):
    """Copy a plane of a block that begins at a base, -1 for none, into its part n of the source."""
    into = source.ravel()
    for r in range(_ROW):
        to, first = (n * _ROW + r) * _ROW, base + plane + r * by_row
        if base < 0:
            for z in range(_ROW):
                into[to + z] = NONE * CODES
        else:
            for z in range(_ROW):
                into[to + z] = squares[first + z]


@njit(cache=True)
def rows_to_compute(stale, most, todo):
    """Whether a plane has rows to compute, and which.

    What changed k rows away changes no distance below k: neither is it the nearest there, nor can it become that.

    Args:
        stale: (5,) uint16, by block; bit r is set if row r has changed; reset.
        most: (16,) int16, largest squared distance of each row as it is.
        todo: (16,) bool; written.
    """
    low, high = np.uint64(0), np.uint64(stale[SPAN - 1])
    for n in range(SPAN - 1):
        low |= np.uint64(stale[n]) << np.uint64(n * _ROW)
    if not (low | high):
        return False
    some = False
    for r in range(_ROW):
        k = int(math.sqrt(min(most[r], FARTHEST_SQUARED)))
        first = _FIRST + r - k  # 7 to 47
        around = (low >> np.uint64(first)) | (high << np.uint64(64 - first))
        todo[r] = (around & ((np.uint64(1) << np.uint64(2 * k + 1)) - np.uint64(1))) != 0
        some |= todo[r]
    stale[:] = 0
    return some


@njit(cache=True)
def nearest_rows(source, begin, end, first_k, below, above):
    """Minimum along the rows of a source plus the squared distance to it, for rows of 16 lanes each.

    A number holds a squared distance times CODES plus the distance k of the row where it was found, so that one minimum
    finds both, and the nearer of two rows.

    Args:
        source: (80, 16) uint16, squared distances of the rows times CODES; those of the block begin at 32.
        begin: the first row of the block that is wanted.
        end: the row after the last one.
        first_k: 1 to begin with the rows themselves and go up to 16 rows away; FAR to go on beyond.
        below: (256,) uint16, the smallest number of the rows at and below each lane of those rows; written.
        above: (256,) uint16, that of the rows at and above; written. `decode` joins the two.

    Returns:
        Whether nothing farther away can be nearer.
    """
    rows, first, count = source.ravel(), (_FIRST + begin) * _ROW, (end - begin) * _ROW
    if first_k == 1:
        for n in range(count):
            below[n] = above[n] = rows[first + n]
    for k in range(first_k, FAR if first_k == 1 else REACH + 1, 2):
        if k % 4 == 1 and _is_settled(below, above, count, k):
            return True
        _take_nearer(rows, first, count, -1, k, below)
        _take_nearer(rows, first, count, 1, k, above)
    return False


@njit(cache=True)
def _is_settled(below, above, count, k):
    """Whether no row k or more away can be nearer than what was found."""
    worst = np.uint16(0)
    for n in range(count):
        nearest = below[n] if below[n] < above[n] else above[n]
        worst = nearest if nearest > worst else worst
    return k * k * CODES > worst


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
def interpolate(base, part, block, rows, results, outside, most, distance, nearest):
    """Distance between the centres of voxels, trilinear, and the nearest obstacle of each point's voxel.

    Args:
        base: (N, 3) int64, index in its block of the voxel whose centre lies at or below the point along each axis.
        part: (N, 3) float64, distance of the point from that centre, voxels, 0..1.
        block: (N,) int64, row of `rows`.
        rows: (B, 2, 2, 2) int64, row of `results` of the block and of the next ones along x, y and z; -1 = beyond.
        results: (R, 16, 16, 16) int32, of the third pass.
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
                    value, dx, dy, dz = outside, 0, 0, 0
                    if row >= 0:
                        value, result = NONE, results[row, i, j, k]
                        if result != NOTHING:
                            dx, dy, dz = unpacked(result)
                            value = dx * dx + dy * dy + dz * dz
                    corner[a, b, c] = min(math.sqrt(value) * VOXEL_SIZE, most)
                    holds_point = a == (fx >= 0.5) and b == (fy >= 0.5) and c == (fz >= 0.5)
                    if holds_point and math.sqrt(value) * VOXEL_SIZE <= most + 1e-9:
                        nearest[n, 0], nearest[n, 1], nearest[n, 2] = a + dx, b + dy, c + dz
        along_x = corner[0] * (1 - fx) + corner[1] * fx
        along_y = along_x[0] * (1 - fy) + along_x[1] * fy
        distance[n] = along_y[0] * (1 - fz) + along_y[1] * fz
