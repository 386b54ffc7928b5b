"""Connected parts of voxels in columns, kept tile by tile as tiles change.

Two voxels are neighbours if their columns are at most `near` apart along x and y and their layers at most `step`. Each
tile is split into its own parts, and the parts of neighbouring tiles that touch are edges of a small graph. A change
splits the tile anew and finds its edges; only the graph, some parts a tile, is looked at as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from sgrocc_core.geometry.lattice import BLOCK_VOXELS
from sgrocc_core.voxels.distances.plane import Tile

NOWHERE = 2**62
"""Place of a part without voxels of the base."""
_COLUMNS = BLOCK_VOXELS * BLOCK_VOXELS
_BESIDE = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)]
Choose = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Returns which parts (P,) are chosen, from their numbers of columns and the places of their first columns in the base
(P,) int64, NOWHERE if there is none; both are 0 and NOWHERE for numbers that are not parts."""


@dataclass(frozen=True)
class _Split:
    """The parts of a tile: a run is a piece of a column.

    Attributes:
        bits: (R,) uint64, layers of the runs.
        start: (257,) int32, first run of each column, by 16 x + y.
        part: (R,) int32, part of each run, counted in this tile.
        first: number of the first part among those of all tiles.
        count: number of parts.
    """

    bits: np.ndarray
    start: np.ndarray
    part: np.ndarray
    first: int
    count: int


class TileParts:
    """The connected parts, of which some are chosen.

    Args:
        near: largest distance of two neighbours along x and y, columns, at most 16.
        step: largest distance along z, layers.
        base: layers, as bits, whose voxels in one column are neighbours, too, and by which parts are told apart.
    """

    def __init__(self, near: int, step: int, base: int = 0) -> None:
        self._near, self._step, self._base = near, step, np.uint64(base)
        self._tiles: dict[Tile, _Split] = {}
        self._edges: dict[tuple[Tile, Tile], np.ndarray] = {}
        self._stale: set[Tile] = set()
        self._owners: list[Tile] = []
        self._sizes, self._places = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._chosen = np.zeros(0, np.bool_)
        self._new: list[tuple[np.ndarray, np.ndarray]] = []

    def put(self, tile: Tile, masks: np.ndarray) -> None:
        """Set the voxels of a tile, (16, 16) uint64 by x and y, bit k for layer k."""
        if (old := self._tiles.pop(tile, None)) is not None:
            if old.first >= len(self._sizes):
                self._take_new()
            own = slice(old.first, old.first + old.count)
            self._sizes[own], self._places[own] = 0, NOWHERE
        self._stale.add(tile)
        if masks.any():
            bits, start, part, sizes, firsts = _split(masks, self._near, self._step, self._base)
            self._tiles[tile] = _Split(bits, start, part, len(self._owners), len(sizes))
            places = ((tile[0] * BLOCK_VOXELS + firsts // BLOCK_VOXELS) << 31) + tile[1] * BLOCK_VOXELS
            self._new.append((sizes, np.where(firsts < _COLUMNS, places + firsts % BLOCK_VOXELS, NOWHERE)))
            self._owners += [tile] * len(sizes)

    def _take_new(self) -> None:
        """Append sizes and places of the parts that were put."""
        if self._new:
            self._sizes = np.concatenate([self._sizes, *(sizes for sizes, _ in self._new)])
            self._places = np.concatenate([self._places, *(places for _, places in self._new)])
            self._new = []

    def update(self, choose: Choose) -> set[Tile]:
        """Choose parts; returns the tiles that were put, and those of which other parts are chosen than before."""
        stale, self._stale = self._stale, set()
        self._take_new()
        self._renumber(stale)
        for tile in stale:
            self._join(tile)
        edges = np.concatenate([np.zeros((0, 2), np.int64), *self._edges.values()])
        sizes, places, roots = _united(edges, self._sizes, self._places)
        before, self._chosen = self._chosen, choose(sizes, places)[roots] & (self._sizes > 0)
        different = np.flatnonzero(before != self._chosen[: len(before)])  # new parts are those of stale tiles
        return stale | {self._owners[n] for n in different.tolist()}

    def highest(self, tiles: Sequence[Tile]) -> np.ndarray:
        """Highest layer (n, 16, 16) int8 of the chosen parts in each column of tiles, else -1."""
        found = np.full((len(tiles), BLOCK_VOXELS, BLOCK_VOXELS), -1, np.int8)
        for n, tile in enumerate(tiles):
            if (own := self._tiles.get(tile)) is not None:
                _highest(own.bits, own.start, own.part, self._chosen[own.first : own.first + own.count], found[n])
        return found

    def _join(self, tile: Tile) -> None:
        """Find the edges between a tile and those beside it."""
        own = self._tiles.get(tile)
        for i, j in _BESIDE:
            beside = tile[0] + i, tile[1] + j
            other = self._tiles.get(beside)
            pair = (tile, beside) if tile < beside else (beside, tile)
            edges = None
            if own is not None and other is not None:
                edges = _touching(
                    own.bits, own.start, own.part, own.count, other.bits, other.start, other.part, other.count,
                    i * BLOCK_VOXELS, j * BLOCK_VOXELS, self._near, self._step,
                )  # fmt: skip
            if edges is None or not len(edges):
                self._edges.pop(pair, None)
            else:
                self._edges[pair] = edges + (own.first, other.first)  # type: ignore[union-attr]

    def _renumber(self, stale: set[Tile]) -> None:
        """Give the parts new numbers once most numbers are no longer used."""
        live = sum(split.count for split in self._tiles.values())
        if len(self._owners) <= 4 * live + 1000:
            return
        new = np.full(len(self._owners), -1, np.int64)
        owners: list[Tile] = []
        for tile, split in self._tiles.items():
            new[split.first : split.first + split.count] = len(owners) + np.arange(split.count)
            self._tiles[tile] = _Split(split.bits, split.start, split.part, len(owners), split.count)
            owners += [tile] * split.count
        kept = np.flatnonzero(new >= 0)  # in their order of before, which need not be that of the tiles
        order = np.argsort(new[kept])
        chosen = np.zeros(len(self._owners), np.bool_)
        chosen[: len(self._chosen)] = self._chosen
        self._owners = owners
        self._sizes, self._places = self._sizes[kept[order]], self._places[kept[order]]
        self._chosen = chosen[kept[order]]
        self._edges = {
            pair: new[edges] for pair, edges in self._edges.items() if not (pair[0] in stale or pair[1] in stale)
        }


@njit(cache=True)
def _dilated(bits, step):
    for _ in range(step):
        bits |= (bits << np.uint64(1)) | (bits >> np.uint64(1))
    return bits


@njit(cache=True)
def _root(parents, n):
    while parents[n] != n:
        parents[n] = parents[parents[n]]
        n = parents[n]
    return n


@njit(cache=True)
def _unite(parents, one, other):
    one, other = _root(parents, one), _root(parents, other)
    if one != other:
        parents[max(one, other)] = min(one, other)


@njit(cache=True)
def _split(masks, near, step, base):
    """Split a tile into its own parts; see _Split.

    Returns:
        `bits`, `start` and `part`; (P,) int64 number of columns of each part; (P,) int64 its first column with voxels
        of the base, 256 if there is none.
    """
    bits, start = _runs(masks, step)
    parents = np.arange(len(bits)).astype(np.int32)
    for column in range(_COLUMNS):
        for run in range(start[column], start[column + 1]):
            reach = _dilated(bits[run], step)
            for other in range(run + 1, start[column + 1]):
                if bits[run] & base and bits[other] & base:
                    _unite(parents, run, other)
            x, y = column >> 4, column & 15
            for i in range(x, min(x + near + 1, BLOCK_VOXELS)):
                for j in range(y + 1 if i == x else max(y - near, 0), min(y + near + 1, BLOCK_VOXELS)):
                    for other in range(start[i * BLOCK_VOXELS + j], start[i * BLOCK_VOXELS + j + 1]):
                        if bits[other] & reach:
                            _unite(parents, run, other)
    numbers, part, count = np.full(len(bits), -1, np.int32), np.empty(len(bits), np.int32), 0
    for run in range(len(bits)):
        root = _root(parents, run)
        if numbers[root] < 0:
            numbers[root] = count
            count += 1
        part[run] = numbers[root]
    sizes, firsts = np.zeros(count, np.int64), np.full(count, _COLUMNS, np.int64)
    last = np.full(count, -1, np.int64)
    for column in range(_COLUMNS):
        for run in range(start[column], start[column + 1]):
            own = part[run]
            if last[own] != column:
                last[own] = column
                sizes[own] += 1
            if bits[run] & base and firsts[own] == _COLUMNS:
                firsts[own] = column
    return bits, start, part, sizes, firsts


@njit(cache=True)
def _runs(masks, step):
    """Runs of columns (16, 16) whose voxels are neighbours within the column, and the first run of each column."""
    bits, start = np.empty(_COLUMNS * 64, np.uint64), np.zeros(_COLUMNS + 1, np.int32)
    count = 0
    for column in range(_COLUMNS):
        left = masks[column >> 4, column & 15]
        while left:
            run = left & (~left + np.uint64(1))
            while True:
                wider = _dilated(run, step) & left
                if wider == run:
                    break
                run = wider
            bits[count] = run
            count += 1
            left &= ~run
        start[column + 1] = count
    return bits[:count].copy(), start


@njit(cache=True)
def _touching(bits, start, part, count, other_bits, other_start, other_part, other_count, dx, dy, near, step):
    """Pairs (E, 2) int64 of parts of a tile, and of one that begins (dx, dy) columns beside it, that are neighbours."""
    touch = np.zeros((count, other_count), np.bool_)
    found = 0
    for x in range(max(dx - near, 0), min(dx + BLOCK_VOXELS + near, BLOCK_VOXELS)):
        for y in range(max(dy - near, 0), min(dy + BLOCK_VOXELS + near, BLOCK_VOXELS)):
            for run in range(start[x * BLOCK_VOXELS + y], start[x * BLOCK_VOXELS + y + 1]):
                reach = _dilated(bits[run], step)
                for i in range(max(x - near, dx), min(x + near + 1, dx + BLOCK_VOXELS)):
                    for j in range(max(y - near, dy), min(y + near + 1, dy + BLOCK_VOXELS)):
                        column = (i - dx) * BLOCK_VOXELS + j - dy
                        for other in range(other_start[column], other_start[column + 1]):
                            if other_bits[other] & reach and not touch[part[run], other_part[other]]:
                                touch[part[run], other_part[other]] = True
                                found += 1
    edges = np.empty((found, 2), np.int64)
    n = 0
    if found:
        for one in range(count):
            for other in range(other_count):
                if touch[one, other]:
                    edges[n, 0], edges[n, 1] = one, other
                    n += 1
    return edges


@njit(cache=True)
def _united(edges, sizes, places):
    """Unite parts along edges (E, 2): the sums of their sizes and least places, at their roots, and the roots (P,)."""
    count = len(sizes)
    parents = np.arange(count)
    for n in range(len(edges)):
        _unite(parents, edges[n, 0], edges[n, 1])
    total, least = np.zeros(count, np.int64), np.full(count, NOWHERE, np.int64)
    for n in range(count):
        root = _root(parents, n)
        parents[n] = root
        total[root] += sizes[n]
        least[root] = min(least[root], places[n])
    return total, least, parents


@njit(cache=True)
def _highest(bits, start, part, chosen, found):
    """Write the highest layer of the chosen parts (P,) bool of a tile into (16, 16) int8."""
    for column in range(_COLUMNS):
        highest = -1
        for run in range(start[column], start[column + 1]):
            if chosen[part[run]]:
                k = 63
                while not (bits[run] >> np.uint64(k)) & np.uint64(1):
                    k -= 1
                highest = max(highest, k)
        if highest >= 0:
            found[column >> 4, column & 15] = highest
