"""Distance from the cells of the grid to its nearest occupied cell, seen from above, with the class found there."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from sgrocc_core.geometry.lattice import BLOCK_VOXELS, VOXEL_SIZE
from sgrocc_core.voxels.columns import GRID_FREE, GRID_OCCUPIED, GRID_UNKNOWN, ColumnMap
from sgrocc_core.voxels.distances.field import MAX_DISTANCE
from sgrocc_core.voxels.distances.plane import NONE, PlaneField, Tile

CELL = np.dtype([("x", "<i4"), ("y", "<i4"), ("distance", "<f4"), ("label", "u1")])
"""A cell of the grid: index of its column, distance, metres, and class of the nearest occupied cell, 0 = none near."""


class SlabDistances:
    """Distances of the known cells of a grid; what a change cannot have reached is not computed again.

    Args:
        unknown_is_occupied: whether unknown cells are obstacles, too, of no class.
    """

    def __init__(self, unknown_is_occupied: bool) -> None:
        self.unknown_is_occupied = unknown_is_occupied
        self.clear()

    def clear(self) -> None:
        """Forget all cells."""
        self._field = PlaneField(self.unknown_is_occupied)
        self._values: dict[Tile, np.ndarray] = {}
        self._labels: dict[Tile, np.ndarray] = {}
        self._cells: dict[Tile, np.ndarray] = {}

    def update(self, columns: ColumnMap, changed: Iterable[Tile]) -> None:
        """Follow the tiles of a column map whose values or labels have changed, which it gives as of its last grid."""
        stale = set()
        for tile in changed:
            values = columns.tile(tile)
            if values is None:
                self._field.put(tile, None)
                for kept in (self._values, self._labels, self._cells):
                    kept.pop(tile, None)
                continue
            obstacle = values != GRID_FREE if self.unknown_is_occupied else values == GRID_OCCUPIED
            self._field.put(tile, obstacle)
            labels, before = columns.labels(tile), self._labels.get(tile)
            self._values[tile], self._labels[tile] = values, labels
            stale.add(tile)
            if before is None or not np.array_equal(before, labels):
                # The cells of the tiles around may be nearest to one whose class has changed.
                stale |= {(tile[0] + i, tile[1] + j) for i in range(-2, 3) for j in range(-2, 3)}
        for tile in stale | self._field.update():
            if tile in self._values:
                self._cells[tile] = self._cells_of(tile)

    def cells(self) -> np.ndarray:
        """All known cells, (N,) of dtype CELL."""
        return np.concatenate([np.zeros(0, CELL), *self._cells.values()])

    def _cells_of(self, tile: Tile) -> np.ndarray:
        values = self._values[tile]
        x, y = np.nonzero(values != GRID_UNKNOWN)
        squared, offsets = self._field.tile(tile)
        found = np.zeros(len(x), CELL)
        found["x"], found["y"] = x + tile[0] * BLOCK_VOXELS, y + tile[1] * BLOCK_VOXELS
        near = squared[x, y] != NONE
        found["distance"] = np.where(near, np.sqrt(squared[x, y].astype(np.float32)) * VOXEL_SIZE, MAX_DISTANCE)
        around = np.zeros((5, 5, BLOCK_VOXELS, BLOCK_VOXELS), np.uint8)
        for i, j in np.ndindex(5, 5):
            labels = self._labels.get((tile[0] + i - 2, tile[1] + j - 2))
            if labels is not None:
                around[i, j] = labels
        i, j = x + offsets[x, y, 0] + 2 * BLOCK_VOXELS, y + offsets[x, y, 1] + 2 * BLOCK_VOXELS
        label = around[i // BLOCK_VOXELS, j // BLOCK_VOXELS, i % BLOCK_VOXELS, j % BLOCK_VOXELS]
        found["label"] = np.where(near, label, 0)
        return found
