"""2D grid of the map: for each column of voxels, whether it is occupied or free within a slab above the floor.

The thread of the mapper summarises the blocks that changed as `Columns`, with one bit per voxel (1 KB per block). The
publisher keeps them in a `ColumnMap`, which makes the grid of any slab. So neither thread waits for the other, and the
cost of a grid depends on what changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit

from sgrocc_core.classes import NAMES
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.lattice import BLOCK_VOXELS, VOXEL_SIZE
from sgrocc_core.voxels.distances.plane import Tile, same
from sgrocc_core.voxels.floors.heights import Floors

FLOOR = NAMES.index("floor")
GRID_OCCUPIED, GRID_FREE, GRID_UNKNOWN = 100, 0, -1
"""Values of a grid, as in nav_msgs/OccupancyGrid."""
ENOUGH_FLOOR = 40
"""Minimum number of floor voxels in the layer of the floor: a quarter of a square metre (round guess)."""
NO_FLOOR = 0.0
"""Height of the floor, metres, while there are fewer: z = 0 of the map frame, the ground in REP-105."""
MOST_CELLS = 2**26
"""Maximum number of cells of a grid: 650 m by 650 m, 64 MB."""
_LEVEL = np.zeros((BLOCK_VOXELS, BLOCK_VOXELS), np.int64)
_NO_LABELS = np.zeros((BLOCK_VOXELS, BLOCK_VOXELS, BLOCK_VOXELS), np.uint8)
_EDGE = 1e-6
"""Tolerance for voxel centres at the ends of a slab, in voxels."""


@dataclass(frozen=True)
class Columns:
    """Summaries of blocks by columns of voxels.

    Attributes:
        keys: (B, 3) int32 block coordinates.
        occupied: (B, 16, 16) uint16, by x and y; bit k is set if voxel k of the column is occupied.
        free: (B, 16, 16) uint16, by x and y; bit k is set if voxel k of the column was observed free.
        floor: (B, 16) uint16, number of voxels labelled floor in each layer.
        floor_voxels: (B, 16, 16) uint16, by x and y; bit k is set if voxel k of the column is labelled floor.
        labels: (B, 16, 16, 16) uint8, labels of the voxels, 0 = not occupied; None unless asked for.
    """

    keys: np.ndarray
    occupied: np.ndarray
    free: np.ndarray
    floor: np.ndarray
    floor_voxels: np.ndarray
    labels: np.ndarray | None = None

    @classmethod
    def empty(cls, keys: np.ndarray, with_labels: bool = False) -> Columns:
        """Summaries of blocks (B, 3) without occupied or free voxels."""
        occupied, free, floor_voxels = (np.zeros((len(keys), BLOCK_VOXELS, BLOCK_VOXELS), np.uint16) for _ in range(3))
        floor = np.zeros((len(keys), BLOCK_VOXELS), np.uint16)
        labels = np.zeros((len(keys), *[BLOCK_VOXELS] * 3), np.uint8) if with_labels else None
        return cls(np.array(keys, np.int32), occupied, free, floor, floor_voxels, labels)

    def put(self, rows: np.ndarray, labels: np.ndarray, free: np.ndarray) -> None:
        """Set the voxels of some blocks.

        Args:
            rows: (n,) int, rows of `keys`.
            labels: (n, 16, 16, 16) uint8, 0 = not occupied.
            free: (n, 16, 16, 16) bool, observed free.
        """
        self.occupied[rows], self.free[rows] = column_bits(labels != 0), column_bits(free)
        floor = labels == FLOOR
        self.floor[rows], self.floor_voxels[rows] = np.count_nonzero(floor, axis=(1, 2)), column_bits(floor)
        if self.labels is not None:
            self.labels[rows] = labels


@dataclass(frozen=True)
class SlabGrid:
    """Grid of the columns of a slab.

    Attributes:
        values: (H, W) int8, rows along y, columns along x: 100 occupied, 0 free, -1 unknown; overwritten
            by the next grid.
        corner: x and y index of the lowest voxel.
        first: index of the lowest layer of voxels of the slab.
        last: index of the highest layer of voxels of the slab.
    """

    values: np.ndarray
    corner: tuple[int, int]
    first: int
    last: int


def slab_layers(floor: float, min_height: float, max_height: float) -> tuple[int, int]:
    """Lowest and highest layer of voxels whose centres lie in a slab.

    Args:
        floor: height of the floor, metres.
        min_height: lower end of the slab above the floor, metres.
        max_height: upper end of the slab above the floor, metres; at least a voxel above the lower end.
    """
    low, high = (floor + min_height) / VOXEL_SIZE - 0.5, (floor + max_height) / VOXEL_SIZE - 0.5
    return math.ceil(low - _EDGE), math.floor(high + _EDGE)


def step_layers(step: float) -> int:
    """Layers of voxels that a step of the floor, metres, may have."""
    return math.floor(step / VOXEL_SIZE + _EDGE)


@dataclass
class _Block:
    """A block of a stack: one row of each array of Columns."""

    occupied: np.ndarray
    free: np.ndarray
    floor: np.ndarray
    labels: np.ndarray | None


class ColumnMap:
    """Columns of a whole map, from which grids of slabs are made; only the part that changed is recomputed.

    Attributes:
        revision: number of the last grid; `changed_since` tells what has changed after an earlier one.
    """

    def __init__(self) -> None:
        self.revision = self._drawn = 0
        self._changed: dict[Tile, int] = {}
        self.clear()

    def clear(self) -> None:
        """Remove all blocks."""
        self._stacks: dict[Tile, dict[int, _Block]] = {}  # stacks of blocks by x and y; in a stack, by z
        self._floor: dict[int, np.ndarray] = {}
        self._stale: set[Tile] = set()
        self._tiles: dict[Tile, np.ndarray] = {}
        self._labels: dict[Tile, np.ndarray] = {}
        self._floors = Floors()
        self.revision += 1
        self._changed = dict.fromkeys(self._changed, self.revision)
        self._layers: tuple[int, int, int] | None = None
        self._image, self._low = np.zeros((0, 0), np.int8), np.zeros(2, np.int64)

    def __len__(self) -> int:
        """Number of blocks with occupied or free voxels."""
        return sum(len(stack) for stack in self._stacks.values())

    def apply(self, changed: Columns) -> None:
        """Replace the blocks that changed; blocks without occupied or free voxels are removed."""
        some = (changed.occupied | changed.free).any((1, 2))
        for n, (x, y, z) in enumerate(changed.keys.tolist()):
            stack = self._stacks.get((x, y), {})
            if (old := stack.pop(z, None)) is not None:
                self._floor[z] -= old.floor
            if some[n]:
                labels = None if changed.labels is None else changed.labels[n]
                stack[z] = _Block(changed.occupied[n], changed.free[n], changed.floor[n], labels)
                self._floor[z] = self._floor.get(z, np.zeros(BLOCK_VOXELS, np.int64)) + changed.floor[n]
            if stack:
                self._stacks[x, y] = stack
            else:
                self._stacks.pop((x, y), None)
            self._floors.put((x, y), z, changed.floor_voxels[n] if some[n] else None)
            self._stale.add((x, y))

    def floor_height(self) -> float:
        """Height of the main level of the floor, metres, estimated from the voxels labelled floor.

        It is their mean height over the layer with the most of them and its two neighbours, so that voxels labelled
        floor elsewhere, for example on tables, do not matter. With fewer than ENOUGH_FLOOR in that layer it is
        NO_FLOOR.
        """
        found = self._main_level()
        return NO_FLOOR if found is None else found[1]

    def _main_level(self) -> tuple[int, float] | None:
        """The layer with the most floor voxels, and their height; None if they are too few."""
        if not self._floor:
            return None
        low, high = min(self._floor), max(self._floor)
        counts = np.zeros(((high - low + 1) * BLOCK_VOXELS + 2), np.int64)  # with an empty layer at either end
        for z, layers in self._floor.items():
            counts[1 + (z - low) * BLOCK_VOXELS :][:BLOCK_VOXELS] = layers
        best = int(counts.argmax())
        if counts[best] < ENOUGH_FLOOR:
            return None
        near = np.arange(best - 1, best + 2)
        layer = float((near * counts[near]).sum() / counts[near].sum()) - 1 + low * BLOCK_VOXELS
        return best - 1 + low * BLOCK_VOXELS, (layer + 0.5) * VOXEL_SIZE

    def update(self, first: int, last: int, step: int = 0) -> None:
        """Compute the tiles of a slab, of 16 x 16 columns each, that have changed.

        Args:
            first: index of the lowest layer of voxels of the slab, where the floor is at its main level.
            last: index of the highest layer of voxels of the slab, included.
            step: largest step that leads from one level of the floor to another, layers; the slab follows the floor.
                With 0 the floor is level.
        """
        if (first, last, step) != self._layers:
            self._stale |= self._stacks.keys()
            self._layers = first, last, step
        main = self._main_level()
        self._stale |= self._floors.update(0 if main is None else main[0], step if main is not None else 0)
        stale, self._stale = self._stale, set()
        self.revision += bool(stale)
        for at in stale:
            tile, labels = None, None
            if at in self._stacks:
                tile, labels = self._tile(at, first, last)
            if not (same(tile, self._tiles.get(at)) and same(labels, self._labels.get(at))):
                self._changed[at] = self.revision
            for kept, new in ((self._tiles, tile), (self._labels, labels)):
                if new is None:
                    kept.pop(at, None)
                else:
                    kept[at] = new

    def tile(self, at: Tile) -> np.ndarray | None:
        """Values (16, 16) int8 of a tile, by x and y, as of the last update; None for tiles without known columns."""
        return self._tiles.get(at)

    def labels(self, at: Tile) -> np.ndarray:
        """Commonest label (16, 16) uint8 of the occupied voxels of each column of a tile, by x and y; else 0."""
        found = self._labels.get(at)
        return np.zeros((BLOCK_VOXELS, BLOCK_VOXELS), np.uint8) if found is None else found

    def changed_since(self, revision: int) -> list[Tile]:
        """Tiles that have changed after the update of a revision."""
        return [at for at, changed in self._changed.items() if changed > revision]

    def grid(self, first: int, last: int, step: int = 0) -> SlabGrid | None:
        """Make the grid of a slab.

        Its extent covers the blocks with occupied or free voxels at any height, so it does not depend on the slab.

        Args:
            first: index of the lowest layer of voxels of the slab.
            last: index of the highest layer of voxels of the slab, included.
            step: as of `update`.

        Returns:
            The grid; None if the map is empty.

        Raises:
            DataError: the grid would have more than MOST_CELLS cells.
        """
        self.update(first, last, step)
        if not self._tiles:
            return None
        at = np.array(list(self._tiles), np.int64)
        low, shape = at.min(0), (np.ptp(at, 0) + 1) * BLOCK_VOXELS
        cells = math.prod(shape.tolist())
        if cells > MOST_CELLS:
            raise DataError(
                f"the map is {shape[0] * VOXEL_SIZE:.0f} m by {shape[1] * VOXEL_SIZE:.0f} m: "
                f"{cells} cells, above {MOST_CELLS}"
            )
        self._draw(low, shape)
        corner = low * BLOCK_VOXELS
        return SlabGrid(self._image, (int(corner[0]), int(corner[1])), first, last)

    def _draw(self, low: np.ndarray, shape: np.ndarray) -> None:
        """Copy the changed tiles into the image, or all tiles if its extent changed."""
        if (low != self._low).any() or self._image.shape != (shape[1], shape[0]):
            self._image, self._low = np.full((shape[1], shape[0]), GRID_UNKNOWN, np.int8), low
            changed = list(self._tiles)
        else:
            changed = self.changed_since(self._drawn)
        self._drawn = self.revision
        for x, y in changed:
            column, row = (x - int(low[0])) * BLOCK_VOXELS, (y - int(low[1])) * BLOCK_VOXELS
            if 0 <= column < shape[0] and 0 <= row < shape[1]:
                tile = self._tiles.get((x, y))
                self._image[row : row + BLOCK_VOXELS, column : column + BLOCK_VOXELS] = (
                    GRID_UNKNOWN if tile is None else tile.T
                )

    def _tile(self, at: Tile, first: int, last: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Values (16, 16) int8 and labels (16, 16) uint8 or None of a tile, whose slab follows the floor."""
        stack, shift = self._stacks[at], self._floors.shift(at)
        z, blocks = np.array(list(stack), np.int64), stack.values()
        occupied, free = np.stack([block.occupied for block in blocks]), np.stack([block.free for block in blocks])
        values, filled = slab_of_stack(z, occupied, free, first, last, _LEVEL if shift is None else shift)
        some = [block.labels for block in blocks if block.labels is not None]
        if not some:
            return values, None
        labels = np.stack([_NO_LABELS if block.labels is None else block.labels for block in blocks])
        return values, commonest(filled, labels)


@njit(cache=True)
def slab_of_stack(z, occupied, free, first, last, shift):
    """Values of the columns of a stack of blocks within a slab.

    Args:
        z: (B,) int64, block coordinates along z.
        occupied: (B, 16, 16) uint16, by x and y; bit k is set if voxel k of the column is occupied.
        free: (B, 16, 16) uint16, likewise, observed free.
        first: lowest layer of the slab.
        last: highest layer of the slab, included.
        shift: (16, 16) int64, layers by which the slab lies higher.

    Returns:
        (16, 16) int8 values, as in SlabGrid; (B, 16, 16) uint16 the occupied voxels within the slab.
    """
    values, filled = np.empty(shift.shape, np.int8), np.zeros_like(occupied)
    for x in range(BLOCK_VOXELS):
        for y in range(BLOCK_VOXELS):
            some = seen = False
            for n in range(len(z)):
                low = max(first + shift[x, y] - z[n] * BLOCK_VOXELS, 0)
                high = min(last + shift[x, y] - z[n] * BLOCK_VOXELS, BLOCK_VOXELS - 1)
                if low <= high:
                    mask = np.uint16((1 << (high + 1)) - (1 << low))
                    filled[n, x, y] = occupied[n, x, y] & mask
                    some |= filled[n, x, y] != 0
                    seen |= free[n, x, y] & mask != 0
            values[x, y] = GRID_OCCUPIED if some else GRID_FREE if seen else GRID_UNKNOWN
    return values, filled


@njit(cache=True)
def commonest(filled, labels):
    """Label that most voxels of each column have, the lowest of several; 0 for columns without any.

    Args:
        filled: (B, 16, 16) uint16, by x and y; bit k is set if voxel k of the column counts.
        labels: (B, 16, 16, 16) uint8, labels of the voxels.

    Returns:
        (16, 16) uint8.
    """
    found, counts = np.zeros(filled.shape[1:], np.uint8), np.zeros(256, np.int64)
    for x in range(BLOCK_VOXELS):
        for y in range(BLOCK_VOXELS):
            most = 0
            for count in (1, 0):
                for n in range(len(filled)):
                    for k in range(BLOCK_VOXELS):
                        if (filled[n, x, y] >> k) & 1:
                            label = labels[n, x, y, k]
                            counts[label] = counts[label] + 1 if count else 0
                            better = counts[label] > most or (counts[label] == most and label < found[x, y])
                            if count and better:
                                found[x, y], most = label, counts[label]
    return found


def voxels_of(bits: np.ndarray) -> np.ndarray:
    """Unpack (B, 16, 16) uint16 into (B, 16, 16, 16) bool, the inverse of `column_bits`."""
    bytes_of = np.ascontiguousarray(bits, "<u2").view(np.uint8)
    return np.unpackbits(bytes_of, axis=-1, bitorder="little").astype(np.bool_).reshape(*bits.shape, BLOCK_VOXELS)


def column_bits(voxels: np.ndarray) -> np.ndarray:
    """Pack (B, 16, 16, 16) bool into (B, 16, 16) uint16, bit k for voxel k of the column."""
    return np.packbits(voxels.reshape(-1), bitorder="little").view("<u2").reshape(voxels.shape[:-1])
