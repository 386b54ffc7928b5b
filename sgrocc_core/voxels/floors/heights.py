"""Floors of several levels, seen from above: which voxels labelled floor belong to the floor, and how high it is where.

The floor grows from its main level: a floor voxel belongs to it if another one that does lies at most NEAR columns
beside it and at most a step above or below. So stairs and ramps lead to other levels, and a table top, with nothing
between it and the ground, does not. Columns without floor have the height of the nearest ones that have.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numba import njit

from sgrocc_core.geometry.lattice import BLOCK_VOXELS
from sgrocc_core.voxels.distances.passes import NONE
from sgrocc_core.voxels.distances.plane import PlaneField, Tile

REACH = 31
"""Layers above and below the main level that are looked at: 2.5 m."""
NEAR = 2
"""Largest distance, in columns, that the floor grows over at once: gaps of one or two unseen columns (round guess)."""
LEVEL = 1
"""Layers by which a floor of one level may vary."""
ENOUGH_BESIDE = 8
"""Columns among the 25 around one that must have its height, or it is taken for a wrong label: the tread of a stair of
0.28 m has 15, a third of that is a round guess."""
ENOUGH_APART = 150
"""Columns of a part of the floor that is not at the main level, with its stairs, or it is none: 1 m^2 (round guess)."""
MOST_COLUMNS = 2**24
"""Columns of the rectangle around all floors up to which they are looked at: 330 m by 330 m."""
_NO_HEIGHT = 127
_TILE = (BLOCK_VOXELS, BLOCK_VOXELS)


class Floors:
    """Heights of the floor, by tiles of 16 x 16 columns."""

    def __init__(self) -> None:
        self._bits: dict[Tile, dict[int, np.ndarray]] = {}
        self._masks: dict[Tile, np.ndarray] = {}
        self._main: int | None = None
        self._settings: tuple[int, int] | None = None
        self._changed = False
        self._field = PlaneField()
        self._heights: dict[Tile, np.ndarray] = {}  # of the tiles whose marks are in the field
        self._looked: dict[Tile, np.ndarray | None] = {}  # shifts of the tiles around uneven ones; None where level
        self._shifts: dict[Tile, np.ndarray] = {}

    def put(self, tile: Tile, z: int, bits: np.ndarray | None) -> None:
        """Set the bits (16, 16) uint16 of the floor voxels of a block; None if it is gone."""
        blocks = self._bits.setdefault(tile, {})
        old = blocks.get(z)
        if bits is None or not bits.any():
            if old is None:
                return
            del blocks[z]
        elif old is not None and np.array_equal(old, bits):
            return
        else:
            blocks[z] = bits
        self._masks.pop(tile, None)
        self._changed = True

    def shift(self, tile: Tile) -> np.ndarray | None:
        """Layers (16, 16) int64 by which the floor lies above its main level, by x and y; None where it is level."""
        return self._shifts.get(tile)

    def update(self, main: int, step: int) -> set[Tile]:
        """Find the floor.

        Args:
            main: layer of its main level.
            step: largest step, layers; with 0 the floor is level.

        Returns:
            The tiles whose shift is different from before.
        """
        if not self._changed and (main, step) == self._settings:
            return set()
        if main != self._main:
            self._masks = {}
        self._main, self._settings, self._changed = main, (main, step), False
        before = self._shifts
        self._shifts = self._found(main, step) if step else {}
        tiles = before.keys() | self._shifts.keys()
        return {tile for tile in tiles if not _equal(before.get(tile), self._shifts.get(tile))}

    def _found(self, main: int, step: int) -> dict[Tile, np.ndarray]:
        tiles = [tile for tile, blocks in self._bits.items() if blocks]
        if not tiles:
            return {}
        x, y = (min(tile[axis] for tile in tiles) for axis in range(2))
        width, height = (max(tile[axis] for tile in tiles) - low + 1 for axis, low in enumerate((x, y)))
        low, size = (x, y), (width * BLOCK_VOXELS, height * BLOCK_VOXELS)
        if size[0] * size[1] > MOST_COLUMNS:
            return {}
        masks = np.zeros(size, np.uint64)
        for tile in tiles:
            if tile not in self._masks:
                self._masks[tile] = _mask(self._bits[tile], main)
            masks[_place(tile, low)] = self._masks[tile]
        heights = _supported(_grown(masks, step))
        _drop_small(heights)
        uneven = (heights != _NO_HEIGHT) & (np.abs(heights) > LEVEL)
        by_tile = np.argwhere(uneven.reshape(width, BLOCK_VOXELS, height, BLOCK_VOXELS).any((1, 3)))
        return self._filled(heights, low, {(x + i, y + j) for i, j in by_tile.tolist()})

    def _filled(self, heights: np.ndarray, low: Tile, uneven: set[Tile]) -> dict[Tile, np.ndarray]:
        """Shifts of the tiles around uneven ones, where each column has the height of the nearest that has one.

        Only tiles near those whose heights have changed are computed again.
        """
        wanted = _around(uneven, 1)
        end = tuple(first + length // BLOCK_VOXELS for first, length in zip(low, heights.shape))
        known = {t for t in _around(wanted, 2) if low[0] <= t[0] < end[0] and low[1] <= t[1] < end[1]}
        changed = self._mark(heights, low, known)
        stale = self._field.update() | _around(changed, 2)
        before, self._looked = self._looked, {}
        for tile in wanted & known:
            if tile in stale or tile not in before:
                self._looked[tile] = self._shift_of(tile, heights, low)
            else:
                self._looked[tile] = before[tile]
        return {tile: shift for tile, shift in self._looked.items() if shift is not None}

    def _mark(self, heights: np.ndarray, low: Tile, known: set[Tile]) -> set[Tile]:
        """Give the field the marks of the columns with a height; returns the tiles whose heights have changed."""
        changed = self._heights.keys() - known
        for tile in changed:
            self._field.put(tile, None)
            del self._heights[tile]
        for tile in known:
            own = heights[_place(tile, low)]
            if not _equal(self._heights.get(tile), own):
                self._heights[tile] = own.copy()
                self._field.put(tile, own != _NO_HEIGHT)
                changed.add(tile)
        return changed

    def _shift_of(self, tile: Tile, heights: np.ndarray, low: Tile) -> np.ndarray | None:
        found = np.zeros(_TILE, np.int64)
        x, y = ((tile[axis] - low[axis]) * BLOCK_VOXELS for axis in range(2))
        return found if _nearest(heights, *self._field.tile(tile), x, y, found) else None


def _around(tiles: Iterable[Tile], reach: int) -> set[Tile]:
    """Tiles and those up to `reach` tiles beside them along each axis."""
    span = range(-reach, reach + 1)
    rows = {(x + i, y) for x, y in tiles for i in span}
    return {(x, y + j) for x, y in rows for j in span}


def _place(tile: Tile, low: Tile) -> tuple[slice, slice]:
    x, y = (tile[0] - low[0]) * BLOCK_VOXELS, (tile[1] - low[1]) * BLOCK_VOXELS
    return slice(x, x + BLOCK_VOXELS), slice(y, y + BLOCK_VOXELS)


def _mask(blocks: dict[int, np.ndarray], main: int) -> np.ndarray:
    """Floor voxels (16, 16) uint64 of a tile; bit REACH + k is the layer k above the main level."""
    mask = np.zeros(_TILE, np.uint64)
    for z, bits in blocks.items():
        shift = z * BLOCK_VOXELS - main + REACH
        wide = bits.astype(np.uint64)
        if 0 <= shift < 64:
            mask |= wide << np.uint64(shift)
        elif -BLOCK_VOXELS < shift < 0:
            mask |= wide >> np.uint64(-shift)
    return mask


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is other or (one is not None and other is not None and np.array_equal(one, other))


@njit(cache=True)
def _nearest(heights, squared, offsets, first_x, first_y, found):
    """Whether a tile is uneven, with the height of the nearest column that has one, 0 at the main level.

    Args:
        heights: (X, Y) int8, of all columns.
        squared: (16, 16) int16, squared distance to the nearest column with a height, or NONE.
        offsets: (16, 16, 2) int8, offset of that column.
        first_x: first column of the tile along x.
        first_y: the same along y.
        found: (16, 16) int64, zeros; written.
    """
    some = False
    for x in range(BLOCK_VOXELS):
        for y in range(BLOCK_VOXELS):
            if squared[x, y] != NONE:
                height = heights[first_x + x + offsets[x, y, 0], first_y + y + offsets[x, y, 1]]
                if abs(height) > LEVEL:
                    found[x, y], some = height, True
    return some


@njit(cache=True)
def _grown(masks, step):
    """Layer above the main level of each column's (X, Y) highest floor voxel, _NO_HEIGHT where there is none."""
    width, height = masks.shape
    heights = np.full((width, height), _NO_HEIGHT, np.int8)
    level = np.uint64(0)
    for k in range(-LEVEL, LEVEL + 1):
        level |= np.uint64(1) << np.uint64(REACH + k)
    found = np.zeros((width, height), np.uint64)
    largest, first_x, first_y, first = 0, -1, -1, np.uint64(0)
    for x in range(width):
        for y in range(height):
            start = masks[x, y] & level & ~found[x, y]
            if start:  # a part of the main level; that with the most columns, and what it leads to, is the floor
                count = _grow(masks, found, x, y, start, step)
                if count > largest:
                    largest, first_x, first_y, first = count, x, y, start
    if not largest:
        return heights
    found[:] = 0
    _grow(masks, found, first_x, first_y, first, step)
    for x in range(width):
        for y in range(height):
            for k in range(63, -1, -1):
                if (found[x, y] >> np.uint64(k)) & np.uint64(1):
                    heights[x, y] = k - REACH
                    break
    return heights


@njit(cache=True)
def _grow(masks, found, x, y, start, step):
    """Add all that some voxels of a column lead to to `found`; returns the number of columns it was reached in."""
    width, height = masks.shape
    waiting = [(x, y, start)]
    found[x, y] |= start
    columns = 0
    while len(waiting):
        x, y, reach = waiting.pop()
        columns += 1
        for _ in range(step):
            reach |= (reach << np.uint64(1)) | (reach >> np.uint64(1))
        for i in range(max(x - NEAR, 0), min(x + NEAR + 1, width)):
            for j in range(max(y - NEAR, 0), min(y + NEAR + 1, height)):
                new = masks[i, j] & reach & ~found[i, j]
                if new:
                    found[i, j] |= new
                    waiting.append((i, j, new))
    return columns


@njit(cache=True)
def _drop_small(heights):
    """Give up heights (X, Y) of parts that are not at the main level and have less than ENOUGH_APART columns."""
    width, height = heights.shape
    seen = np.zeros((width, height), np.bool_)
    for x in range(width):
        for y in range(height):
            if seen[x, y] or heights[x, y] == _NO_HEIGHT or abs(heights[x, y]) <= LEVEL:
                continue
            seen[x, y] = True
            part = [(x, y)]
            n = 0
            while n < len(part):
                a, b = part[n]
                n += 1
                for i in range(max(a - 1, 0), min(a + 2, width)):
                    for j in range(max(b - 1, 0), min(b + 2, height)):
                        if not seen[i, j] and heights[i, j] != _NO_HEIGHT and abs(heights[i, j]) > LEVEL:
                            seen[i, j] = True
                            part.append((i, j))
            if len(part) < ENOUGH_APART:
                for a, b in part:
                    heights[a, b] = _NO_HEIGHT


@njit(cache=True)
def _supported(heights):
    """The heights (X, Y) without those that too few columns around share, which become _NO_HEIGHT."""
    width, height = heights.shape
    kept = heights.copy()
    for x in range(width):
        for y in range(height):
            own = heights[x, y]
            if own == _NO_HEIGHT or abs(own) <= LEVEL:
                continue
            beside = 0
            for i in range(max(x - 2, 0), min(x + 3, width)):
                for j in range(max(y - 2, 0), min(y + 3, height)):
                    beside += heights[i, j] != _NO_HEIGHT and abs(heights[i, j] - own) <= LEVEL
            if beside < ENOUGH_BESIDE:
                kept[x, y] = _NO_HEIGHT
    return kept
