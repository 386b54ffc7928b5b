"""Floors of several levels, seen from above: which voxels labelled floor belong to the floor, and how high it is where.

The floor grows from its main level: a floor voxel belongs to it if another one that does lies at most NEAR columns
beside it and at most a step above or below. So stairs and ramps lead to other levels, and a table top, with nothing
between it and the ground, does not. Columns without floor have the height of the nearest ones that have. All is kept
by tiles of 16 x 16 columns, and computed again only near those that change.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numba import njit

from sgrocc_core.geometry.lattice import BLOCK_VOXELS
from sgrocc_core.voxels.distances.plane import NONE, PlaneField, Tile, same
from sgrocc_core.voxels.floors.parts import NOWHERE, TileParts

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
NO_HEIGHT = 127
"""Height of columns without floor."""
_MAIN_LEVEL = sum(1 << (REACH + k) for k in range(-LEVEL, LEVEL + 1))
_TILE = (BLOCK_VOXELS, BLOCK_VOXELS)


class Floors:
    """Heights of the floor, by tiles of 16 x 16 columns."""

    def __init__(self) -> None:
        self._bits: dict[Tile, dict[int, np.ndarray]] = {}
        self._changed: set[Tile] = set()
        self._settings: tuple[int, int] | None = None
        self._begin(0)

    def _begin(self, step: int) -> None:
        """Forget all heights."""
        self._voxels, self._apart = TileParts(NEAR, step, _MAIN_LEVEL), TileParts(1, 0)
        self._pool = _Pool()
        self._uneven: set[Tile] = set()
        self._wanted: set[Tile] = set()
        self._known: set[Tile] = set()
        self._borrow: set[Tile] = set()  # tiles with columns that have their height of other tiles
        self._field = PlaneField()
        self._shifts: dict[Tile, np.ndarray] = {}

    def put(self, tile: Tile, z: int, bits: np.ndarray | None) -> None:
        """Set the bits (16, 16) uint16 of the floor voxels of a block; None if it is gone."""
        blocks = self._bits.setdefault(tile, {})
        old = blocks.get(z)
        if bits is None or not bits.any():
            if old is None:
                return
            del blocks[z]
        elif old is not None and same(old, bits):
            return
        else:
            blocks[z] = bits
        self._changed.add(tile)

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
        before = self._shifts
        if (main, step) != self._settings:
            self._settings, self._changed = (main, step), set(self._bits)
            self._begin(step)
        changed, self._changed = self._changed, set()
        followed = self._follow(changed, main) if step and changed else set()
        if before is self._shifts:
            return followed
        tiles = before.keys() | self._shifts.keys()
        return {tile for tile in tiles if not same(before.get(tile), self._shifts.get(tile))}

    def _follow(self, changed: set[Tile], main: int) -> set[Tile]:
        """Follow tiles whose voxels have changed; returns those whose shift is different from before."""
        for tile in changed:
            self._voxels.put(tile, _mask(self._bits[tile], main))
        grown = list(self._voxels.update(_largest))
        pool = self._pool
        slots = pool.slots_of(grown)
        highest = self._voxels.highest(grown)
        raised = slots[_raise(slots, highest, pool.grown)]
        checked = np.unique(pool.near[raised, 1:4, 1:4])
        checked = checked[1:] if len(checked) and checked[0] == 0 else checked
        checked = checked[_support(checked, pool.near, pool.grown, pool.supported)]
        tiles = [pool.tiles[slot] for slot in checked.tolist()]
        for tile, uneven in zip(tiles, _is_uneven(pool.supported[checked]).astype(np.uint64)):
            self._apart.put(tile, uneven)
        tiles = list(self._apart.update(_large))
        slots = pool.slots_of(tiles)
        different, uneven = _finish(slots, self._apart.highest(tiles), pool.supported, pool.final)
        of_tile = dict(zip(tiles, zip(different.tolist(), uneven.tolist())))
        return self._fill({tile: uneven for tile, (other, uneven) in of_tile.items() if other})

    def _fill(self, different: dict[Tile, bool]) -> set[Tile]:
        """Give each column of the tiles around uneven ones the height of the nearest that has one.

        Args:
            different: whether the tiles whose heights have changed are uneven.

        Returns:
            The tiles whose shift has changed.
        """
        pool, stale = self._pool, set(different)
        if any(is_uneven != (tile in self._uneven) for tile, is_uneven in different.items()):
            self._uneven = (self._uneven - stale) | {tile for tile, is_uneven in different.items() if is_uneven}
            self._wanted, known = _around(self._uneven, 1), _around(self._uneven, 3)
            for tile in self._known - known:
                self._field.put(tile, None)
            stale |= self._known ^ known
            self._known = known
        marked = list(stale & self._known)
        slots = pool.slots_of(marked)
        for tile, some in zip(marked, pool.final[slots] != NO_HEIGHT):
            self._field.put(tile, some)
        changed = self._shifts.keys() - self._wanted
        for tile in changed:
            del self._shifts[tile]
        todo = list((self._field.update() | stale | (_around(stale, 2) & self._borrow)) & self._wanted)
        for tile, slot in zip(todo, pool.slots_of(todo).tolist()):
            found = np.zeros(_TILE, np.int64)
            is_uneven, borrows = _nearest(pool.near[slot], pool.final, *self._field.tile(tile), found)
            (self._borrow.add if borrows else self._borrow.discard)(tile)
            shift = found if is_uneven else None
            if same(shift, self._shifts.get(tile)):
                continue
            changed.add(tile)
            if shift is None:
                del self._shifts[tile]
            else:
                self._shifts[tile] = shift
        return changed


class _Pool:
    """Layers above the main level, NO_HEIGHT where there is no floor, by tiles; a slot for each, 0 for none.

    Attributes:
        tiles: the tile of each slot.
        near: (S, 5, 5) int64, slots of the tiles around each.
        grown: (S, 16, 16) int8, of the highest voxel of the floor.
        supported: likewise, without those that too few columns share.
        final: likewise, without parts that are too small.
    """

    def __init__(self) -> None:
        self._slots: dict[Tile, int] = {}
        self.tiles: list[Tile] = [(0, 0)]
        self.near = np.zeros((1, 5, 5), np.int64)
        self.grown, self.supported, self.final = (np.full((1, *_TILE), NO_HEIGHT, np.int8) for _ in range(3))

    def slots_of(self, tiles: Iterable[Tile]) -> np.ndarray:
        """Slots (n,) int64 of tiles, which are made if they are new."""
        found = [self._slots.get(tile) or self._make(tile) for tile in tiles]
        return np.array(found, np.int64)

    def _make(self, tile: Tile) -> int:
        slot = self._slots[tile] = len(self.tiles)
        self.tiles.append(tile)
        if slot >= len(self.near):
            more = len(self.near) + 16
            self.near = np.concatenate([self.near, np.zeros((more, 5, 5), np.int64)])
            nothing = np.full((more, *_TILE), NO_HEIGHT, np.int8)
            self.grown, self.supported, self.final = (
                np.concatenate([heights, nothing]) for heights in (self.grown, self.supported, self.final)
            )
        for i in range(-2, 3):
            for j in range(-2, 3):
                other = self._slots.get((tile[0] + i, tile[1] + j), 0)
                self.near[slot, i + 2, j + 2] = other
                if other:
                    self.near[other, 2 - i, 2 - j] = slot
        return slot


def _largest(sizes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The part with the most columns among those at the main level, the first of several; see TileParts."""
    chosen = np.zeros(len(sizes), np.bool_)
    at_main = np.flatnonzero(places != NOWHERE)
    if len(at_main):
        chosen[at_main[np.lexsort((places[at_main], -sizes[at_main]))[0]]] = True
    return chosen


def _large(sizes: np.ndarray, places: np.ndarray) -> np.ndarray:
    return sizes >= ENOUGH_APART


def _is_uneven(heights: np.ndarray) -> np.ndarray:
    return (heights != NO_HEIGHT) & (np.abs(heights) > LEVEL)


def _around(tiles: Iterable[Tile], reach: int) -> set[Tile]:
    """Tiles and those up to `reach` tiles beside them along each axis."""
    span = range(-reach, reach + 1)
    rows = {(x + i, y) for x, y in tiles for i in span}
    return {(x, y + j) for x, y in rows for j in span}


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


@njit(cache=True)
def _raise(slots, highest, grown):
    """Take the highest layers (n, 16, 16) int8 of tiles, -1 = none, for `grown`; returns which tiles (n,) differ."""
    different = np.zeros(len(slots), np.bool_)
    for n in range(len(slots)):
        for x in range(BLOCK_VOXELS):
            for y in range(BLOCK_VOXELS):
                layer = highest[n, x, y]
                height = layer - REACH if layer >= 0 else NO_HEIGHT
                different[n] |= grown[slots[n], x, y] != height
                grown[slots[n], x, y] = height
    return different


@njit(cache=True)
def _support(slots, near, grown, supported):
    """Drop heights that too few columns around share; returns which tiles (n,) are different from before."""
    size, different = BLOCK_VOXELS, np.zeros(len(slots), np.bool_)
    for n in range(len(slots)):
        around = near[slots[n]]
        for x in range(size):
            for y in range(size):
                own = grown[slots[n], x, y]
                if own != NO_HEIGHT and abs(own) > LEVEL:
                    beside = 0
                    for i in range(2 * size + x - 2, 2 * size + x + 3):
                        for j in range(2 * size + y - 2, 2 * size + y + 3):
                            other = grown[around[i >> 4, j >> 4], i & 15, j & 15]
                            beside += other != NO_HEIGHT and abs(other - own) <= LEVEL
                    if beside < ENOUGH_BESIDE:
                        own = NO_HEIGHT
                different[n] |= supported[slots[n], x, y] != own
                supported[slots[n], x, y] = own
    return different


@njit(cache=True)
def _finish(slots, apart, supported, final):
    """Drop uneven heights outside the chosen parts, which are >= 0 in `apart` (n, 16, 16).

    Returns:
        Which tiles (n,) are different from before, and which have uneven heights.
    """
    different, uneven = np.zeros(len(slots), np.bool_), np.zeros(len(slots), np.bool_)
    for n in range(len(slots)):
        for x in range(BLOCK_VOXELS):
            for y in range(BLOCK_VOXELS):
                own = supported[slots[n], x, y]
                if own != NO_HEIGHT and abs(own) > LEVEL:
                    if apart[n, x, y] < 0:
                        own = NO_HEIGHT
                    else:
                        uneven[n] = True
                different[n] |= final[slots[n], x, y] != own
                final[slots[n], x, y] = own
    return different, uneven


@njit(cache=True)
def _nearest(near, heights, squared, offsets, found):
    """Give each column of a tile the height of the nearest that has one, 0 at the main level.

    Args:
        near: (5, 5) int64, slots of the tiles around it.
        heights: (S, 16, 16) int8, by slot.
        squared: (16, 16) int16, squared distance to the nearest column with a height, or NONE.
        offsets: (16, 16, 2) int8, offset of that column.
        found: (16, 16) int64, zeros; written.

    Returns:
        Whether the tile is uneven, and whether a column has its height of another tile.
    """
    some, borrows, middle = False, False, 2 * BLOCK_VOXELS
    for x in range(BLOCK_VOXELS):
        for y in range(BLOCK_VOXELS):
            if squared[x, y] != NONE:
                i, j = middle + x + offsets[x, y, 0], middle + y + offsets[x, y, 1]
                borrows |= i >> 4 != 2 or j >> 4 != 2
                height = heights[near[i >> 4, j >> 4], i & 15, j & 15]
                if abs(height) > LEVEL:
                    found[x, y], some = height, True
    return some, borrows
