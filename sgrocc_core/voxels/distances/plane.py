"""Nearest marked cell of a plane of cells, such as a grid seen from above: exact up to 25 cells, kept as cells change.

The plane consists of tiles of 16 x 16 cells, the blocks of the map from above. As in `passes`, the minimum is taken
along y first and along x of its results.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sgrocc_core.geometry.lattice import BLOCK_VOXELS
from sgrocc_core.voxels.distances.passes import (
    FAR,
    HERE,
    LARGEST,
    LEAST,
    SPAN,
    WAY_BITS,
    nearest_rows,
    shift,
    squared_distance,
)  # fmt: skip

Tile = tuple[int, int]
"""Block coordinates along x and y: those of a stack of blocks, and of a tile of the grid."""
_ROW, _FIRST = BLOCK_VOXELS, 2 * BLOCK_VOXELS
NONE = 1000
"""Squared distance where no marked cell is near."""
NO_OFFSET = 32
"""Offset along an axis where no marked cell is near; its square is above every squared distance."""
_FULL, _EMPTY = np.uint16(0xFFFF), np.uint16(0)


class PlaneField:
    """Squared distance and offset from each cell to the nearest marked one.

    Args:
        marked_outside: whether cells of tiles that were never set are marked.
    """

    def __init__(self, marked_outside: bool = False) -> None:
        self._outside = _FULL if marked_outside else _EMPTY
        self._words: dict[Tile, np.ndarray] = {}
        self._along_y: dict[Tile, np.ndarray] = {}
        self._found: dict[Tile, tuple[np.ndarray, np.ndarray]] = {}
        self._stale_y: set[Tile] = set()
        self._stale: set[Tile] = set()

    def put(self, tile: Tile, marked: np.ndarray | None) -> None:
        """Set the marks (16, 16), bool, by x and y, of a tile; None removes it."""
        words = None if marked is None else np.packbits(marked, axis=1, bitorder="little").view("<u2").reshape(_ROW)
        old = self._words.get(tile)
        if words is None:
            if old is None:
                return
            del self._words[tile]
            self._found.pop(tile, None)
        else:
            if old is not None and same(old, words):
                return
            self._words[tile] = words.astype(np.uint16)
            if old is None:
                self._stale.add(tile)
        self._stale_y |= {(tile[0], tile[1] + n) for n in range(-2, 3)}

    def update(self) -> set[Tile]:
        """Compute what may have changed; returns the tiles whose distances or offsets are different from before."""
        stale, self._stale_y = self._stale_y, set()
        for tile in stale:
            near = [self._words.get((tile[0], tile[1] + n)) for n in range(-2, 3)]
            if all(words is None for words in near):
                self._along_y.pop(tile, None)
                self._stale |= {(tile[0] + n, tile[1]) for n in range(-2, 3)}
                continue
            words = np.full((SPAN, _ROW), self._outside)
            for n, some in enumerate(near):
                if some is not None:
                    words[n] = some
            offsets = np.empty((_ROW, _ROW), np.int8)
            _along_y(words, offsets)
            old = self._along_y.get(tile)
            if not same(old, offsets):
                self._along_y[tile] = offsets
                self._stale |= {(tile[0] + n, tile[1]) for n in range(-2, 3)}
        stale, self._stale = self._stale, set()
        return {tile for tile in stale if tile in self._words and self._compute(tile)}

    def tile(self, tile: Tile) -> tuple[np.ndarray, np.ndarray]:
        """Squared distances (16, 16) int16, NONE beyond 25 cells, and offsets (16, 16, 2) int8 of a tile."""
        return self._found[tile]

    def _compute(self, tile: Tile) -> bool:
        offsets = np.full((SPAN, _ROW, _ROW), 0 if self._outside else NO_OFFSET, np.int8)
        for n in range(SPAN):
            near = self._along_y.get((tile[0] + n - 2, tile[1]))
            if near is not None:
                offsets[n] = near
        squared, shift = np.empty((_ROW, _ROW), np.int16), np.empty((_ROW, _ROW, 2), np.int8)
        _along_x(offsets, squared, shift)
        old = self._found.get(tile)
        self._found[tile] = squared, shift
        return old is None or not (same(old[0], squared) and same(old[1], shift))


def same(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    """Whether two small arrays of one shape and type, or None, are equal: numpy takes longer."""
    return one is other or (one is not None and other is not None and one.tobytes() == other.tobytes())


@njit(cache=True)
def _along_y(words, offsets):
    """Offset along y to the nearest marked cell of each row of a tile, from words (5, 16), by tile along y and by x."""
    reach = 25
    for x in range(_ROW):
        last = -1000
        for i in range(_FIRST - reach, _FIRST + _ROW):
            if (words[i >> 4, x] >> np.uint16(i & 15)) & np.uint16(1):
                last = i
            if i >= _FIRST:
                offsets[x, i - _FIRST] = last - i if i - last <= reach else NO_OFFSET
        last = 1000
        for i in range(_FIRST + _ROW - 1 + reach, _FIRST - 1, -1):
            if (words[i >> 4, x] >> np.uint16(i & 15)) & np.uint16(1):
                last = i
            if i < _FIRST + _ROW and last - i <= reach:
                below = offsets[x, i - _FIRST]
                if below == NO_OFFSET or last - i < -below:
                    offsets[x, i - _FIRST] = last - i


@njit(cache=True)
def _along_x(offsets, squared, offset):
    """Squared distances and offsets of a tile from the offsets along y of five tiles (5, 16, 16) along x."""
    source, best = np.empty((SPAN * _ROW, _ROW), np.uint16), np.empty(_ROW * _ROW, np.uint16)
    for n in range(SPAN):
        for x in range(_ROW):
            for y in range(_ROW):
                along_y = np.int64(offsets[n, x, y])
                source[n * _ROW + x, y] = max(LARGEST - along_y * along_y, 0) << WAY_BITS | HERE
    if not nearest_rows(source, 0, _ROW, 1, best):
        nearest_rows(source, 0, _ROW, FAR, best)
    for x in range(_ROW):
        for y in range(_ROW):
            result = best[x * _ROW + y]
            squared[x, y], offset[x, y, 0], offset[x, y, 1] = NONE, 0, 0
            if result >= LEAST:
                at = x + shift(result) + _FIRST
                squared[x, y], offset[x, y, 0] = squared_distance(result), shift(result)
                offset[x, y, 1] = offsets[at >> 4, at & 15, y]
