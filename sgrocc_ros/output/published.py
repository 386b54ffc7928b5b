"""The map as it was published so far, by blocks: the sum of all updates, from which whole maps and markers are made.

Because snapshots come out of the same updates that subscribers got, a snapshot of sequence n and the updates after it give the map exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sgrocc_core.geometry.lattice import BLOCK_VOXELS, VOXEL_SIZE
from sgrocc_ros.messages import POINT, voxel_points
from sgrocc_ros.output.markers import BlockMarker

_SHAPE = (BLOCK_VOXELS,) * 3
_CELLS = BLOCK_VOXELS**3
BLOCK_SIZE = BLOCK_VOXELS * VOXEL_SIZE


@dataclass
class _Block:
    """16^3 voxels: labels (0 = not occupied) and probability in sixteenths, how many are occupied; points are made when asked for."""

    number: int
    count: int = 0
    labels: np.ndarray = field(default_factory=lambda: np.zeros(_CELLS, np.uint8))
    sixteenths: np.ndarray = field(default_factory=lambda: np.zeros(_CELLS, np.uint8))
    points: np.ndarray | None = None


class PublishedMap:
    """Occupied voxels in blocks; an update costs what it changes, and a block that empties is forgotten but for its marker's number.

    Attributes:
        sequence: number of the last update that changed anything.
        stamp: of the newest frame in it, nanoseconds.
        voxel_count: occupied voxels.
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
        """Take an update.

        Args:
            stamp: nanoseconds. voxels: (N, 3) int indices. labels: (N,) uint8, 0 = freed. probability: (N,) multiples of 1/16.

        Returns:
            Keys of the blocks that changed; `sequence` is one higher if the update was not empty.
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
        """Count a changed block's voxels; keep it if there are any."""
        count = int(np.count_nonzero(block.labels))
        self.voxel_count += count - block.count
        block.count = count
        if count:
            if key not in self._blocks and self._low is not None:
                self._low = np.minimum(self._low, key)
            self._blocks[key] = block
        elif self._blocks.pop(key, None) is not None and self._low is not None and (self._low == key).any():
            self._low = None  # perhaps no other block reaches as low

    def replacing(
        self, voxels: np.ndarray, labels: np.ndarray, probability: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The update that makes another map of this one: the other's voxels (as in `apply`), and this one's that it lacks, freed."""
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
        """An update (as of `apply`) in which only some labels are occupied: (256,) bool. What is neither here nor in it is left out."""
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
        """All occupied voxels as points with the present sequence, (N,) of dtype POINT; only changed blocks are made anew."""
        parts = []
        for key, block in self._blocks.items():
            if block.points is None:
                at = np.nonzero(block.labels)[0]
                block.points = voxel_points(
                    self._voxels(key, block), block.labels[at], block.sixteenths[at] / np.float32(16)
                )
            parts.append(block.points)
        # As bytes: concatenated as points, NumPy would close the gaps between the fields.
        points = np.concatenate([part.view(np.uint8) for part in parts]).view(POINT) if parts else np.zeros(0, POINT)
        points["sequence"] = self.sequence
        return points

    def markers(self, keys: set[tuple[int, int, int]] | None = None) -> list[BlockMarker]:
        """The markers of some blocks, or of all that are not empty."""
        if keys is None:
            return [m for m in (self._marker(key, block) for key, block in self._blocks.items()) if len(m.voxels)]
        return [self._marker(key, self._blocks.get(key) or _Block(self._numbers[key])) for key in sorted(keys)]

    def corner(self) -> tuple[float, float, float]:
        """Lowest corner of the blocks, metres; where the legend stands."""
        if not self._blocks:
            return 0.0, 0.0, 0.0
        if self._low is None:
            self._low = np.array(list(self._blocks)).min(0)
        x, y, z = self._low * BLOCK_SIZE
        return float(x), float(y), float(z)

    @property
    def block_count(self) -> int:
        """Blocks with anything in them."""
        return len(self._blocks)

    def _marker(self, key: tuple[int, int, int], block: _Block) -> BlockMarker:
        return BlockMarker(block.number, self._voxels(key, block), block.labels[block.labels > 0])

    @staticmethod
    def _voxels(key: tuple[int, int, int], block: _Block) -> np.ndarray:
        at = np.nonzero(block.labels)[0]
        return np.stack(np.unravel_index(at, _SHAPE), 1) + np.array(key) * BLOCK_VOXELS
