"""The map seen from above: of each column of voxels, whether anything is occupied or was seen free within a slab above the floor.

The mapper's thread summarises the blocks that changed (`Columns`, a bit a voxel: 1 KB a block); whoever publishes keeps them in a
`ColumnMap`, which makes the grid of any slab from them, so that neither waits for the other and a grid costs what changed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sgrocc_core.classes import NAMES
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.lattice import BLOCK_VOXELS, VOXEL_SIZE

FLOOR = NAMES.index("floor")
GRID_OCCUPIED, GRID_FREE, GRID_UNKNOWN = 100, 0, -1
"""Values of a grid, as nav_msgs/OccupancyGrid has them."""
ENOUGH_FLOOR = 40
"""Floor voxels that the layer with most of them must have before it is taken for the floor: a quarter of a square metre."""
NO_FLOOR = 0.0
"""The floor's height while there are fewer, metres: z = 0 of the map frame, where REP-105 has the ground."""
MOST_CELLS = 2**26
"""Of a grid: 650 m by 650 m, 64 MB."""
_EDGE = 1e-6
"""Share of a voxel by which a slab's ends may miss a centre and yet hold it."""


@dataclass(frozen=True)
class Columns:
    """Blocks of voxels seen from above.

    Attributes:
        keys: (B, 3) int32 block coordinates.
        occupied, free: (B, 16, 16) uint16, by x and y; bit k: the column's voxel k is occupied, was observed free.
        floor: (B, 16) uint16, voxels labelled floor in each layer.
    """

    keys: np.ndarray
    occupied: np.ndarray
    free: np.ndarray
    floor: np.ndarray

    @classmethod
    def empty(cls, keys: np.ndarray) -> Columns:
        """Blocks (B, 3) without anything in them."""
        occupied, free = (np.zeros((len(keys), BLOCK_VOXELS, BLOCK_VOXELS), np.uint16) for _ in range(2))
        return cls(np.array(keys, np.int32), occupied, free, np.zeros((len(keys), BLOCK_VOXELS), np.uint16))

    def put(self, rows: np.ndarray, labels: np.ndarray, free: np.ndarray) -> None:
        """Put voxels into some of the blocks.

        Args:
            rows: (n,) int. labels: (n, 16, 16, 16) uint8, 0 = not occupied. free: (n, 16, 16, 16) bool, observed free.
        """
        self.occupied[rows], self.free[rows] = _bits(labels != 0), _bits(free)
        self.floor[rows] = np.count_nonzero(labels == FLOOR, axis=(1, 2))


@dataclass(frozen=True)
class SlabGrid:
    """A map of columns.

    Attributes:
        values: (H, W) int8, rows along y, columns along x: 100 occupied, 0 free, -1 unknown; valid until the next grid is made.
        corner: x and y index of the lowest voxel. first, last: indices of the slab's lowest and highest layer of voxels.
    """

    values: np.ndarray
    corner: tuple[int, int]
    first: int
    last: int


def slab_layers(floor: float, min_height: float, max_height: float) -> tuple[int, int]:
    """The lowest and the highest layer of voxels whose centres lie within a slab.

    Args:
        floor: height of the floor, metres. min_height, max_height: of the slab above it, metres, at least a voxel's edge apart.
    """
    low, high = (floor + min_height) / VOXEL_SIZE - 0.5, (floor + max_height) / VOXEL_SIZE - 0.5
    return math.ceil(low - _EDGE), math.floor(high + _EDGE)


class ColumnMap:
    """The columns of a whole map, and the grid of a slab of it; only what changed is made anew."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        # Of each stack of blocks by its x and y: by z, the block's occupied, free and floor as in Columns.
        self._stacks: dict[tuple[int, int], dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]]] = {}
        self._floor: dict[int, np.ndarray] = {}
        self._stale: set[tuple[int, int]] = set()
        self._tiles: dict[tuple[int, int], np.ndarray] = {}
        self._layers: tuple[int, int] | None = None
        self._image, self._low = np.zeros((0, 0), np.int8), np.zeros(2, np.int64)

    def __len__(self) -> int:
        """Blocks with anything in them."""
        return sum(len(stack) for stack in self._stacks.values())

    def apply(self, changed: Columns) -> None:
        """Take over blocks that changed; those without anything occupied or free are forgotten."""
        some = (changed.occupied | changed.free).any((1, 2))
        for n, (x, y, z) in enumerate(changed.keys.tolist()):
            stack = self._stacks.get((x, y), {})
            if (old := stack.pop(z, None)) is not None:
                self._floor[z] -= old[2]
            if some[n]:
                stack[z] = changed.occupied[n], changed.free[n], changed.floor[n]
                self._floor[z] = self._floor.get(z, np.zeros(BLOCK_VOXELS, np.int64)) + changed.floor[n]
            if stack:
                self._stacks[x, y] = stack
            else:
                self._stacks.pop((x, y), None)
            self._stale.add((x, y))

    def floor_height(self) -> float:
        """Where the floor lies, metres, from the voxels labelled floor: the layer with most of them and its two neighbours, their mean.

        A few that are labelled so elsewhere, on tables say, do not count. With less than ENOUGH_FLOOR in that layer it is NO_FLOOR.
        """
        if not self._floor:
            return NO_FLOOR
        low, high = min(self._floor), max(self._floor)
        counts = np.zeros(((high - low + 1) * BLOCK_VOXELS + 2), np.int64)  # a layer without any at either end
        for z, layers in self._floor.items():
            counts[1 + (z - low) * BLOCK_VOXELS :][:BLOCK_VOXELS] = layers
        best = int(counts.argmax())
        if counts[best] < ENOUGH_FLOOR:
            return NO_FLOOR
        near = np.arange(best - 1, best + 2)
        layer = float((near * counts[near]).sum() / counts[near].sum()) - 1 + low * BLOCK_VOXELS
        return (layer + 0.5) * VOXEL_SIZE

    def grid(self, first: int, last: int) -> SlabGrid | None:
        """The grid of the slab from one layer of voxels to another, both included; None where the map is empty.

        Its extent is that of the blocks with anything in them at any height, so that it does not depend on the slab.

        Raises:
            DataError: it would have more than MOST_CELLS cells.
        """
        if (first, last) != self._layers:
            self._stale |= self._stacks.keys()
            self._layers = first, last
        stale, self._stale = self._stale, set()
        for at in stale:
            if at in self._stacks:
                self._tiles[at] = self._tile(self._stacks[at], first, last)
            else:
                self._tiles.pop(at, None)
        if not self._tiles:
            return None
        self._draw(stale)
        corner = self._low * BLOCK_VOXELS
        return SlabGrid(self._image, (int(corner[0]), int(corner[1])), first, last)

    def _draw(self, changed: set[tuple[int, int]]) -> None:
        """Put the tiles that changed into the image; all of them where its extent did."""
        at = np.array(list(self._tiles), np.int64)
        low, shape = at.min(0), (np.ptp(at, 0) + 1) * BLOCK_VOXELS
        cells = math.prod(shape.tolist())
        if cells > MOST_CELLS:
            self._stale |= changed
            raise DataError(
                f"the map is {shape[0] * VOXEL_SIZE:.0f} m by {shape[1] * VOXEL_SIZE:.0f} m: {cells} cells, above {MOST_CELLS}"
            )
        if (low != self._low).any() or self._image.shape != (shape[1], shape[0]):
            self._image, self._low = np.empty((shape[1], shape[0]), np.int8), low
            self._image[:] = GRID_UNKNOWN
            changed = set(self._tiles)
        for x, y in changed:
            column, row = (x - int(low[0])) * BLOCK_VOXELS, (y - int(low[1])) * BLOCK_VOXELS
            if 0 <= column < shape[0] and 0 <= row < shape[1]:
                self._image[row : row + BLOCK_VOXELS, column : column + BLOCK_VOXELS] = self._tiles.get((x, y), GRID_UNKNOWN)

    @staticmethod
    def _tile(stack: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]], first: int, last: int) -> np.ndarray:
        """(16, 16) int8, by y and x, of one stack of blocks."""
        filled, seen = (
            np.zeros((BLOCK_VOXELS, BLOCK_VOXELS), np.bool_),
            np.zeros((BLOCK_VOXELS, BLOCK_VOXELS), np.bool_),
        )
        for z, (occupied, free, _) in stack.items():
            low, high = max(first - z * BLOCK_VOXELS, 0), min(last - z * BLOCK_VOXELS, BLOCK_VOXELS - 1)
            if low <= high:
                mask = np.uint16((1 << (high + 1)) - (1 << low))
                filled |= (occupied & mask) != 0
                seen |= (free & mask) != 0
        return np.where(filled, GRID_OCCUPIED, np.where(seen, GRID_FREE, GRID_UNKNOWN)).astype(np.int8).T


def _bits(voxels: np.ndarray) -> np.ndarray:
    """(B, 16, 16, 16) bool to (B, 16, 16) uint16, bit k for the column's voxel k."""
    return np.packbits(voxels.reshape(-1), bitorder="little").view("<u2").reshape(voxels.shape[:-1])
