"""Many views vote: labels of pixels are carried through their depth into voxels, and back into every image."""

from __future__ import annotations

import numpy as np

from sgrocc_core.classes import NAMELESS, NUM_CLASSES, UNKNOWN
from sgrocc_core.geometry.camera import back_project
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.training.teachers.opinion import Opinion

MIN_VOTES = 1.5
"""Least sum of the votes of a voxel, each at most 1: two views, of which none need be quite sure (round guess)."""
_OFFSET, _BITS = 1 << 20, 21


def codes_of(voxels: np.ndarray) -> np.ndarray:
    """Returns one number for each voxel (N, 3) int; voxels within 80 km of the origin differ."""
    shifted = voxels.astype(np.int64) + _OFFSET
    return (shifted[:, 0] << 2 * _BITS) | (shifted[:, 1] << _BITS) | shifted[:, 2]


def voxels_of_pixels(depth: np.ndarray, K: np.ndarray, T_wc: np.ndarray) -> np.ndarray:
    """Returns the codes (N,) of the voxels in which the pixels with depth lie, in the order of the pixels.

    Args:
        depth: (H, W) metres, 0 = none.
        K: (3, 3) intrinsics, pixels.
        T_wc: (4, 4) camera to world, metres.
    """
    return codes_of(np.floor(back_project(depth, K, T_wc) / VOXEL_SIZE).astype(np.int64))


class VoxelVotes:
    """Collects the opinions of views; each view gives a voxel one vote, shared among its pixels there."""

    def __init__(self) -> None:
        self._codes = np.zeros(0, np.int64)
        self._votes = np.zeros((0, NUM_CLASSES + 1))

    def add(self, opinion: Opinion, depth: np.ndarray, K: np.ndarray, T_wc: np.ndarray) -> None:
        """Add a view; its opinion and depth have one resolution. Only what the opinion is sure of counts."""
        have = depth > 0
        sure = opinion.sure[have]
        codes, index, pixels = np.unique(
            voxels_of_pixels(depth, K, T_wc)[sure], return_inverse=True, return_counts=True
        )
        votes = np.zeros((len(codes), NUM_CLASSES + 1))
        np.add.at(votes, (index, opinion.labels[have][sure]), opinion.confidence[have][sure])
        self._add(codes, votes / pixels[:, None])

    def _add(self, codes: np.ndarray, votes: np.ndarray) -> None:
        merged = np.concatenate([self._codes, codes])
        self._codes, index = np.unique(merged, return_inverse=True)
        sums = np.zeros((len(self._codes), votes.shape[1]))
        np.add.at(sums, index, np.concatenate([self._votes, votes]))
        self._votes = sums

    def counted(self) -> VotedLabels:
        """Returns the result of the votes so far."""
        total = self._votes.sum(1)
        share = self._votes.max(1) / np.maximum(total, 1e-9)
        labels = self._votes.argmax(1).astype(np.uint8)
        return VotedLabels(self._codes, labels, np.where(total >= MIN_VOTES, share, 0).astype(np.float32))


class VotedLabels:
    """Labels of voxels.

    Args:
        codes: (N,) int64, sorted, of `codes_of`.
        labels: (N,) uint8.
        shares: (N,) float32, share of the votes that the label has; 0 where there are too few.
    """

    def __init__(self, codes: np.ndarray, labels: np.ndarray, shares: np.ndarray) -> None:
        self.codes, self.labels, self.shares = codes, labels, shares

    def __len__(self) -> int:
        return len(self.codes)

    def opinion(self, codes: np.ndarray) -> Opinion:
        """Returns the opinion of voxels, in the shape of their codes."""
        if not len(self.codes):
            return Opinion(np.full(codes.shape, UNKNOWN, np.uint8), np.zeros(codes.shape, np.float32))
        place = np.minimum(np.searchsorted(self.codes, codes), len(self.codes) - 1)
        found = self.codes[place] == codes
        shares = np.where(found, self.shares[place], 0).astype(np.float32)
        return Opinion(np.where(shares > 0, self.labels[place], UNKNOWN).astype(np.uint8), shares)

    def look(self, depth: np.ndarray, K: np.ndarray, T_wc: np.ndarray) -> Opinion:
        """Returns the labels projected back into a view; arguments as of `voxels_of_pixels`."""
        labels, confidence = np.full(depth.shape, UNKNOWN, np.uint8), np.zeros(depth.shape, np.float32)
        have = depth > 0
        told = self.opinion(voxels_of_pixels(depth, K, T_wc))
        labels[have], confidence[have] = told.labels, told.confidence
        return Opinion(labels, confidence)

    def name(self, target: np.ndarray, first: np.ndarray) -> np.ndarray:
        """Returns a grid in which occupied voxels have their voted labels, and NAMELESS those without a sure one.

        Args:
            target: (X, Y, Z) uint8; all but 0 and UNKNOWN is occupied.
            first: (3,) int, lowest voxel of the grid.
        """
        occupied = np.argwhere((target > 0) & (target != UNKNOWN))
        told = self.opinion(codes_of(occupied + first))
        out = target.copy()
        out[tuple(occupied.T)] = np.where(told.sure, told.labels, NAMELESS)
        return out
