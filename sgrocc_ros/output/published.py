"""The published map in blocks: the sum of all updates, from which complete maps and markers are made.

Snapshots are made from the same updates that subscribers receive, so a snapshot with sequence number n and the updates
after it give exactly the map.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sgrocc_core.geometry.lattice import BLOCK_SIZE, BLOCK_VOXELS
from sgrocc_ros.messages import POINT, voxel_points
from sgrocc_ros.output.markers import BlockMarker

_SHAPE = (BLOCK_VOXELS,) * 3
_CELLS = BLOCK_VOXELS**3


@dataclass
class _Block:
    """16^3 voxels.

    Attributes:
        number: id of the block's marker.
        count: occupied voxels.
        labels: (4096,) uint8, 0 = not occupied.
        sixteenths: (4096,) uint8, probability in sixteenths.
        points: points of the occupied voxels; None until they are needed.
    """

    number: int
    count: int = 0
    labels: np.ndarray = field(default_factory=lambda: np.zeros(_CELLS, np.uint8))
    sixteenths: np.ndarray = field(default_factory=lambda: np.zeros(_CELLS, np.uint8))
    points: np.ndarray | None = None


class PublishedMap:
    """Occupied voxels in blocks. The cost of an update depends on its size only; of an empty block only its id is kept.

    Attributes:
        sequence: sequence number of the last update that was not empty.
        stamp: time stamp of the newest frame in the map, nanoseconds.
        voxel_count: number of occupied voxels.
    """

    def __init__(self) -> None:
        self.sequence = 0
        self.stamp = 0
        self.voxel_count = 0
        self._blocks: dict[tuple[int, int, int], _Block] = {}
        self._numbers: dict[tuple[int, int, int], int] = {}
        self._low: np.ndarray | None = None

    def apply(
        self, stamp: int, voxels: np.ndarray, labels: np.ndarray, probability: np.ndarray
    ) -> set[tuple[int, int, int]]:
        """Apply an update; `sequence` increases by one if it is not empty.

        Args:
            stamp: time stamp, nanoseconds.
            voxels: (N, 3) int, voxel indices.
            labels: (N,) uint8, 0 = no longer occupied.
            probability: (N,) float, multiples of 1/16.

        Returns:
            Keys of the blocks that changed.
        """
        self.stamp = stamp
        if not len(voxels):
            return set()
        self.sequence += 1
        voxels = np.asarray(voxels, np.int64)
        keys, inverse = np.unique(voxels >> 4, axis=0, return_inverse=True)
        order = np.argsort(inverse.reshape(-1), kind="stable")
        ends = np.cumsum(np.bincount(inverse.reshape(-1), minlength=len(keys)))
        local = np.ravel_multi_index((voxels & (BLOCK_VOXELS - 1)).T, _SHAPE)
        sixteenths = np.rint(np.asarray(probability) * 16).astype(np.uint8)
        changed = set()
        for key, start, end in zip(map(tuple, keys.tolist()), [0, *ends[:-1]], ends):
            block = self._blocks.get(key) or _Block(self._numbers.setdefault(key, len(self._numbers)))
            rows = order[start:end]
            block.labels[local[rows]], block.sixteenths[local[rows]], block.points = (
                labels[rows],
                sixteenths[rows],
                None,
            )
            self._keep(key, block)
            changed.add(key)
        return changed

    def _keep(self, key: tuple[int, int, int], block: _Block) -> None:
        """Count the voxels of a changed block and keep it if it is not empty."""
        count = int(np.count_nonzero(block.labels))
        self.voxel_count += count - block.count
        block.count = count
        if count:
            if key not in self._blocks and self._low is not None:
                self._low = np.minimum(self._low, key)
            self._blocks[key] = block
        elif self._blocks.pop(key, None) is not None and self._low is not None and (self._low == key).any():
            self._low = None  # it may have been the only block at that corner

    def replacing(
        self, voxels: np.ndarray, labels: np.ndarray, probability: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the update (as in `apply`) that turns this map into another one, given by its occupied voxels."""
        here = [self._voxels(key, block) for key, block in self._blocks.items()]
        there = {tuple(voxel) for voxel in voxels.tolist()}
        gone = [voxel for block in here for voxel in block.tolist() if tuple(voxel) not in there]
        zeros = np.zeros(len(gone))
        return (
            np.concatenate([np.asarray(voxels, np.int64).reshape(-1, 3), np.array(gone, np.int64).reshape(-1, 3)]),
            np.concatenate([labels, zeros.astype(np.uint8)]), np.concatenate([probability, zeros.astype(np.float32)]),
        )  # fmt: skip

    def without(
        self, shown: np.ndarray, voxels: np.ndarray, labels: np.ndarray, probability: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the update with hidden labels as free; voxels that are free before and after it are left out.

        Args:
            shown: (256,) bool, labels that are published.
            voxels: (N, 3) int, voxel indices of the update.
            labels: (N,) uint8.
            probability: (N,) float.
        """
        hidden = ~shown[labels]
        labels, probability = np.where(hidden, 0, labels).astype(np.uint8), np.where(hidden, 0.0, probability)
        kept = labels > 0
        for row in np.flatnonzero(~kept):
            block = self._blocks.get(tuple((voxels[row] >> 4).tolist()))
            kept[row] = (
                block is not None and block.labels[np.ravel_multi_index(voxels[row] & (BLOCK_VOXELS - 1), _SHAPE)] > 0
            )
        return voxels[kept], labels[kept], probability[kept]

    def points(self) -> np.ndarray:
        """Return all occupied voxels as points, (N,) of dtype POINT; only changed blocks are converted again."""
        parts = []
        for key, block in self._blocks.items():
            if block.points is None:
                at = np.nonzero(block.labels)[0]
                block.points = voxel_points(
                    self._voxels(key, block), block.labels[at], block.sixteenths[at] / np.float32(16)
                )
            parts.append(block.points)
        # Concatenated as bytes: NumPy would otherwise remove the padding between the fields.
        points = np.concatenate([part.view(np.uint8) for part in parts]).view(POINT) if parts else np.zeros(0, POINT)
        points["sequence"] = self.sequence
        return points

    def markers(self, keys: set[tuple[int, int, int]] | None = None) -> list[BlockMarker]:
        """Return the markers of the given blocks, or of all blocks that are not empty."""
        if keys is None:
            return [m for m in (self._marker(key, block) for key, block in self._blocks.items()) if len(m.voxels)]
        return [self._marker(key, self._blocks.get(key) or _Block(self._numbers[key])) for key in sorted(keys)]

    def corner(self) -> tuple[float, float, float]:
        """Lowest corner of all blocks, metres; the position of the legend."""
        if not self._blocks:
            return 0.0, 0.0, 0.0
        if self._low is None:
            self._low = np.array(list(self._blocks)).min(0)
        x, y, z = self._low * BLOCK_SIZE
        return float(x), float(y), float(z)

    @property
    def block_count(self) -> int:
        """Number of blocks that are not empty."""
        return len(self._blocks)

    def _marker(self, key: tuple[int, int, int], block: _Block) -> BlockMarker:
        return BlockMarker(block.number, self._voxels(key, block), block.labels[block.labels > 0])

    @staticmethod
    def _voxels(key: tuple[int, int, int], block: _Block) -> np.ndarray:
        at = np.nonzero(block.labels)[0]
        return np.stack(np.unravel_index(at, _SHAPE), 1) + np.array(key) * BLOCK_VOXELS
