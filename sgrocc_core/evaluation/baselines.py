"""Scores of trivial predictors, as a reference for a model's: statistics of a training set and predictions from them.

The predictors are: the surface of the depth with the majority class of its height; all voxels empty; labels drawn by
frequency; a constant depth.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sgrocc_core.classes import EMPTY, NUM_CLASSES, UNKNOWN
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.camera import back_project
from sgrocc_core.geometry.lattice import VOXEL_SIZE

LOWEST, STEP, BINS = -1.0, 0.16, 32
"""World z of the lowest height bin's lower limit, the bins' size (both metres), and their number."""
DEPTH_STEP, DEPTH_BINS = 0.01, 1200


@dataclass(frozen=True)
class Statistics:
    """Statistics of a training set that trivial predictors use.

    Attributes:
        views: number of views counted.
        command: command that computed the statistics.
        majority_label: (BINS,) the most frequent class at each height.
        label_frequency: (12,) share of each label among known voxels.
        constant_depth: metres, the constant with the smallest AbsRel.
    """

    views: int
    command: str
    majority_label: list[int]
    label_frequency: list[float]
    constant_depth: float

    def save(self, path: Path) -> None:
        """Write the statistics as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self)) + "\n")


def load_statistics(path: Path) -> Statistics:
    """Read the result of `Statistics.save`.

    Raises:
        DataError: the file cannot be read or has other sizes.
    """
    try:
        values = json.loads(path.read_text())
        statistics = Statistics(**values)
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"cannot read the baselines' statistics {path}: {error}") from error
    if len(statistics.majority_label) != BINS or len(statistics.label_frequency) != NUM_CLASSES + 1:
        found = f"{len(statistics.majority_label)} heights and {len(statistics.label_frequency)} labels"
        raise DataError(f"{path} has {found}; {BINS} and {NUM_CLASSES + 1} are needed")
    return statistics


def height_bins(origin_z: float, layers: int) -> np.ndarray:
    """(layers,) height bin of each voxel layer of a grid that begins at world height `origin_z`, metres."""
    z = origin_z + (np.arange(layers) + 0.5) * VOXEL_SIZE
    return np.clip(np.floor((z - LOWEST) / STEP).astype(np.int64), 0, BINS - 1)


def collect(samples: Iterable[Any], command: str) -> Statistics:
    """Compute the statistics of a training set.

    Args:
        samples: of `OccScanNet`: target, voxel_origin and depth are used.
        command: command that computes them, for the record.

    Raises:
        DataError: there are no samples.
    """
    counts = np.zeros((BINS, NUM_CLASSES + 1))
    depths = np.zeros(DEPTH_BINS)
    views = 0
    for sample in samples:
        views += 1
        bins = np.broadcast_to(height_bins(float(sample.voxel_origin[2]), sample.target.shape[2]), sample.target.shape)
        known = sample.target != UNKNOWN
        np.add.at(counts, (bins[known], sample.target[known]), 1)
        valid = sample.depth[sample.depth > 0]
        depths += np.bincount(np.minimum((valid / DEPTH_STEP).astype(np.int64), DEPTH_BINS - 1), minlength=DEPTH_BINS)
    if views == 0:
        raise DataError("no views to collect statistics from")
    return Statistics(
        views, command, _majority(counts), (counts.sum(0) / counts.sum()).tolist(), _best_constant(depths)
    )


def _majority(counts: np.ndarray) -> list[int]:
    """Majority class of each height; heights without any use their nearest neighbour's."""
    seen = np.flatnonzero(counts[:, 1:].sum(1) > 0)
    if len(seen) == 0:
        return [1] * BINS
    nearest = seen[np.abs(np.arange(BINS)[:, None] - seen[None]).argmin(1)]
    return (counts[nearest, 1:].argmax(1) + 1).tolist()


def _best_constant(depths: np.ndarray) -> float:
    """The c that minimises sum |c - d| / d: the median of the depths weighted by 1 / d."""
    centres = (np.arange(DEPTH_BINS) + 0.5) * DEPTH_STEP
    weight = np.cumsum(depths / centres)
    return float(centres[np.searchsorted(weight, weight[-1] / 2)]) if weight[-1] > 0 else 0.0


def depth_surface(
    depth: np.ndarray,
    K: np.ndarray,
    T_wc: np.ndarray,
    origin: np.ndarray,
    shape: tuple[int, ...],
    statistics: Statistics,
) -> np.ndarray:
    """Label the voxels that contain back-projected depth with the majority class of their height.

    Args:
        depth: (H, W), metres, 0 = none.
        K: (3, 3) intrinsics of that image, pixels.
        T_wc: (4, 4) camera to world.
        origin: (3,) lowest corner of the grid, metres.
        shape: (X, Y, Z) of the grid.
        statistics: of a training set.

    Returns:
        (X, Y, Z) uint8 labels.
    """
    index = np.floor((back_project(depth, K, T_wc) - origin) / VOXEL_SIZE).astype(np.int64)
    index = index[((index >= 0) & (index < shape)).all(1)]
    labels = np.full(shape, EMPTY, np.uint8)
    by_layer = np.array(statistics.majority_label, np.uint8)[height_bins(float(origin[2]), shape[2])]
    labels[tuple(index.T)] = by_layer[index[:, 2]]
    return labels


def drawn_by_frequency(shape: tuple[int, ...], statistics: Statistics, seed: int) -> np.ndarray:
    """Draw each voxel's label independently by the labels' frequencies; deterministic for a seed. (X, Y, Z) uint8."""
    share = np.cumsum(statistics.label_frequency)
    draws = np.random.default_rng(seed).random(shape) * share[-1]
    return np.minimum(np.searchsorted(share, draws, side="right"), NUM_CLASSES).astype(np.uint8)
