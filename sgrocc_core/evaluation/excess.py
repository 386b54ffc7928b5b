"""How much of a map is too much: structure behind the true surface, and anything outside the room's shell."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgrocc_core.classes import EMPTY, STRUCTURAL, UNKNOWN
from sgrocc_core.geometry.lattice import VOXEL_SIZE

BEHIND = 0.16
"""Thickness that structure may have behind the true surface, metres: two voxels."""
_REACH = int(np.floor(BEHIND / VOXEL_SIZE + 0.5))
_STEPS = np.array(list(itertools.product(range(-_REACH, _REACH + 1), repeat=3)))
_NEAR = _STEPS[np.linalg.norm(_STEPS, axis=1) <= BEHIND / VOXEL_SIZE + 0.5]
"""(K, 3) steps to voxels whose centre is at most BEHIND and half a voxel away: the surface is half a voxel away."""


@dataclass
class ExcessCounts:
    """Counts over any number of maps.

    Attributes:
        voxels: occupied voxels of the maps.
        structural: those of a structural class whose centre is more than BEHIND behind the true surface.
        true: those of `structural` that are structure in the ground truth too, such as the back of a thick wall.
        outside: those of any class where the ground truth knows neither free space nor a solid.
        either: those in `structural` or `outside`.
    """

    voxels: int = 0
    structural: int = 0
    true: int = 0
    outside: int = 0
    either: int = 0

    def add(self, published: np.ndarray, margin: tuple[int, int, int], truth: np.ndarray) -> None:
        """Count one map.

        The true surface is where free space ends, so a voxel is behind it by its distance from the nearest free voxel.

        Args:
            published: (X + 2 * margin, ...) uint8 labels of the map, on the lattice of the truth, 0 = not occupied.
            margin: voxels by which the map's grid exceeds the truth's at each end of each axis.
            truth: (X, Y, Z) uint8 labels, 255 = outside the shell.
        """
        pad = [(m, m) for m in margin]
        known = np.pad(truth, pad, constant_values=UNKNOWN)
        at = np.argwhere((published != EMPTY) & (published != UNKNOWN))
        labels, true = published[tuple(at.T)], known[tuple(at.T)]
        structure = np.isin(labels, STRUCTURAL)
        free = np.pad(known == EMPTY, _REACH)
        far = structure.copy()
        for step in _NEAR:
            far[far] = ~free[tuple((at[far] + _REACH + step).T)]
        outside = true == UNKNOWN
        self.voxels += len(at)
        self.structural += int(far.sum())
        self.true += int((far & np.isin(true, STRUCTURAL)).sum())
        self.outside += int(outside.sum())
        self.either += int((far | outside).sum())

    def figures(self) -> dict[str, Any]:
        """Shares of the maps' occupied voxels, None for empty maps, and the number of these voxels.

        `invented` is `structural` without `true`.
        """
        counts = {"structural": self.structural, "true": self.true, "invented": self.structural - self.true}
        counts |= {"outside": self.outside, "either": self.either}
        shares = {name: count / self.voxels if self.voxels else None for name, count in counts.items()}
        return {**shares, "voxels": self.voxels}
