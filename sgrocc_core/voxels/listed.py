"""Voxels of a map that are given as lists, as a saved map has them, grouped by blocks so that single ones are found."""

from __future__ import annotations

import numpy as np

from sgrocc_core.geometry.lattice import BLOCK_VOXELS
from sgrocc_core.voxels.query import by_block

_UNKNOWN, _FREE = -1, -2


class ListedVoxels:
    """Looks up voxels and blocks in lists of voxels.

    Args:
        voxels: (N, 3) int32, occupied voxels.
        labels: (N,) uint8, their labels.
        probability: (N,) float32.
        free: (M, 3) int32, voxels observed free.
    """

    def __init__(self, voxels: np.ndarray, labels: np.ndarray, probability: np.ndarray, free: np.ndarray) -> None:
        self._labels, self._probability = labels, probability
        self._keys, block, local = by_block(np.concatenate([voxels, free]).astype(np.int64))
        self._slots = {key: slot for slot, key in enumerate(map(tuple, self._keys.tolist()))}
        # An entry is the voxel's row in `voxels`, _FREE or _UNKNOWN; the last block is all _UNKNOWN.
        self._table = np.full((len(self._keys) + 1, *[BLOCK_VOXELS] * 3), _UNKNOWN, np.int32)
        x, y, z = local
        self._table[block, x, y, z] = np.concatenate([np.arange(len(voxels)), np.full(len(free), _FREE)])

    def read(self, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels (N,) uint8, probability (N,) float32 and observed free (N,) bool of voxels (N, 3) int64."""
        keys, block, local = by_block(voxels)
        x, y, z = local
        rows = self._table[self._slots_of(keys)[block], x, y, z]
        labels, probability = np.zeros(len(rows), np.uint8), np.zeros(len(rows), np.float32)
        some = rows >= 0
        labels[some], probability[some] = self._labels[rows[some]], self._probability[rows[some]]
        return labels, probability, rows == _FREE

    def blocks(self) -> np.ndarray:
        """Keys (B, 3) int64 of all blocks."""
        return self._keys

    def block_voxels(self, keys: np.ndarray, with_free: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels (B, 16, 16, 16) uint8 and, if asked for, observed free (bool) of blocks (B, 3) int; 0 for others."""
        rows = self._table[self._slots_of(keys)]
        labels = np.zeros(rows.shape, np.uint8)
        labels[rows >= 0] = self._labels[rows[rows >= 0]]
        return labels, (rows == _FREE) if with_free else None

    def _slots_of(self, keys: np.ndarray) -> np.ndarray:
        return np.array([self._slots.get((x, y, z), -1) for x, y, z in keys.tolist()], np.int64)
