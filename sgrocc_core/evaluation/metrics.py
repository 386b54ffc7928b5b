"""Metrics of semantic occupancy and of depth (method, section 7): counts that are summed over views, and their figures.

Figures are pooled: the counts of all views are summed before dividing. Labels: 0 empty, 1 to 11 classes; targets of 255
are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgrocc_core.classes import EMPTY, NAMES, NUM_CLASSES, UNKNOWN
from sgrocc_core.geometry.camera import project
from sgrocc_core.geometry.lattice import VOXEL_SIZE, voxel_centres

HIDDEN_MARGIN = VOXEL_SIZE
"""Minimum distance of a hidden voxel behind the first surface, metres."""
TENTHS = 10
REGIONS = ("all", "in_view", "hidden")


def regions(target: np.ndarray, depth: np.ndarray, K: np.ndarray, T_bc: np.ndarray) -> dict[str, np.ndarray]:
    """Compute the regions in which a prediction is scored.

    Args:
        target: (X, Y, Z) uint8 labels.
        depth: (H, W), metres, the first surface, 0 = none.
        K: (3, 3) intrinsics of that image, pixels.
        T_bc: (4, 4) camera to grid frame (origin at the grid's lowest corner), metres.

    Returns:
        Boolean (X, Y, Z) masks: `all` (known), `in_view` (known, and the centre projects into the image), `hidden` (in
        view, and z > depth + 0.08 m).
    """
    known = target != UNKNOWN
    u, v, z = project(voxel_centres(np.zeros(3), target.shape).reshape(-1, 3), K, T_bc)  # type: ignore[arg-type]
    height, width = depth.shape
    inside = (z > 0) & (u > -0.5) & (u < width - 0.5) & (v > -0.5) & (v < height - 0.5)
    column = np.clip(np.rint(np.where(inside, u, 0)).astype(np.int64), 0, width - 1)
    row = np.clip(np.rint(np.where(inside, v, 0)).astype(np.int64), 0, height - 1)
    surface = depth[row, column]
    behind = inside & (surface > 0) & (z > surface + HIDDEN_MARGIN)
    return {
        "all": known,
        "in_view": known & inside.reshape(target.shape),
        "hidden": known & behind.reshape(target.shape),
    }


def boundary(occupied: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Occupied voxels with a known empty neighbour across one of their six faces, (X, Y, Z) bool.

    The grid's border does not count as a neighbour.
    """
    return occupied & known & _face_neighbours(~occupied & known)


def _face_neighbours(mask: np.ndarray) -> np.ndarray:
    """Voxels with a set voxel across one of their six faces."""
    out = np.zeros_like(mask)
    for axis in range(3):
        low = tuple(slice(None, -1) if a == axis else slice(None) for a in range(3))
        high = tuple(slice(1, None) if a == axis else slice(None) for a in range(3))
        out[low] |= mask[high]
        out[high] |= mask[low]
    return out


@dataclass
class OccupancyCounts:
    """Counts of one region over any number of views.

    Attributes:
        confusion: (12, 13) voxels by true label (row) and predicted label (column); column 12: occupied without a class
            (label 255).
        boundary_predicted: number of boundary voxels of the prediction.
        boundary_true: number of boundary voxels of the truth.
        boundary_precise: predicted boundary voxels that are true ones or share a face with one.
        boundary_found: true boundary voxels that are predicted ones or share a face with one.
    """

    confusion: np.ndarray = field(default_factory=lambda: np.zeros((NUM_CLASSES + 1, NUM_CLASSES + 2)))
    boundary_predicted: int = 0
    boundary_true: int = 0
    boundary_precise: int = 0
    boundary_found: int = 0

    def add(self, predicted: np.ndarray, target: np.ndarray, mask: np.ndarray) -> None:
        """Count one view.

        Args:
            predicted: (X, Y, Z) uint8 labels.
            target: (X, Y, Z) uint8 labels; unknown voxels are ignored even within the mask.
            mask: (X, Y, Z) bool, the region.
        """
        known = target != UNKNOWN
        mask = mask & known
        column = np.where(predicted == UNKNOWN, NUM_CLASSES + 1, predicted)[mask].astype(np.int64)
        index = target[mask].astype(np.int64) * (NUM_CLASSES + 2) + column
        self.confusion += np.bincount(index, minlength=self.confusion.size).reshape(self.confusion.shape)
        edge_predicted, edge_true = boundary(predicted != EMPTY, known), boundary((target != EMPTY) & known, known)
        near_predicted = edge_predicted | _face_neighbours(edge_predicted)
        near_true = edge_true | _face_neighbours(edge_true)
        self.boundary_predicted += int((edge_predicted & mask).sum())
        self.boundary_true += int((edge_true & mask).sum())
        self.boundary_precise += int((edge_predicted & near_true & mask).sum())
        self.boundary_found += int((edge_true & near_predicted & mask).sum())

    def confusions(self) -> dict[str, dict[str, int]]:
        """Voxels by the names of the true and the predicted label; zeros are omitted.

        `no class` stands for voxels predicted as occupied without a class.
        """
        columns = (*NAMES, "no class")
        return {
            NAMES[row]: {columns[c]: int(self.confusion[row, c]) for c in np.flatnonzero(self.confusion[row])}
            for row in range(NUM_CLASSES + 1)
        }

    def figures(self) -> dict[str, Any]:
        """SC-IoU, mIoU in both conventions, boundary F1 and the IoU of each class (None where the class is absent).

        A ratio of 0 to 0 counts as 0.
        """
        truth = self.confusion[:, : NUM_CLASSES + 1]
        hit = self.confusion[1:, 1:].sum()
        per_class: dict[str, float | None] = {}
        for label in range(1, NUM_CLASSES + 1):
            present = self.confusion[label].sum()
            union = present + self.confusion[:, label].sum() - truth[label, label]
            per_class[NAMES[label]] = float(truth[label, label] / union) if present > 0 else None
        present_ious = [value for value in per_class.values() if value is not None]
        precision = _ratio(self.boundary_precise, self.boundary_predicted)
        recall = _ratio(self.boundary_found, self.boundary_true)
        return {
            "sc_iou": _ratio(hit, hit + self.confusion[0, 1:].sum() + self.confusion[1:, 0].sum()),
            "miou": _ratio(sum(present_ious), len(present_ious)),
            "miou_absent_zero": sum(present_ious) / NUM_CLASSES,
            "boundary_f1": _ratio(2 * precision * recall, precision + recall),
            "per_class": per_class,
        }


def _ratio(numerator: float, denominator: float) -> float:
    """Quotient; 0 where the denominator is not positive."""
    return float(numerator / denominator) if denominator > 0 else 0.0


@dataclass
class RegionCounts:
    """Counts of all three regions."""

    counts: dict[str, OccupancyCounts] = field(default_factory=lambda: {name: OccupancyCounts() for name in REGIONS})

    def add(self, predicted: np.ndarray, target: np.ndarray, masks: dict[str, np.ndarray]) -> None:
        """Count one view in every region."""
        for name, counts in self.counts.items():
            counts.add(predicted, target, masks[name])

    def figures(self) -> dict[str, Any]:
        """Figures of the whole grid, with those of `in_view` and `hidden` as nested entries."""
        return {
            **self.counts["all"].figures(),
            "in_view": self.counts["in_view"].figures(),
            "hidden": self.counts["hidden"].figures(),
        }


@dataclass
class Calibration:
    """Predicted probability against frequency of occupied voxels, over any number of views.

    Attributes:
        voxels: (10,) number of voxels by predicted P(occupied), in tenths.
        occupied: (10,) number of those voxels that are occupied.
        predicted: (10,) sum of P.
    """

    voxels: np.ndarray = field(default_factory=lambda: np.zeros(TENTHS))
    occupied: np.ndarray = field(default_factory=lambda: np.zeros(TENTHS))
    predicted: np.ndarray = field(default_factory=lambda: np.zeros(TENTHS))

    def add(self, probability: np.ndarray, target: np.ndarray, mask: np.ndarray) -> None:
        """Count one view.

        Args:
            probability: (X, Y, Z) P(occupied).
            target: (X, Y, Z) uint8 labels.
            mask: (X, Y, Z) bool, the region.
        """
        mask = mask & (target != UNKNOWN)
        p = probability[mask].astype(np.float64)
        tenth = np.clip((p * TENTHS).astype(np.int64), 0, TENTHS - 1)
        self.voxels += np.bincount(tenth, minlength=TENTHS)
        self.predicted += np.bincount(tenth, p, minlength=TENTHS)
        self.occupied += np.bincount(tenth, target[mask] != EMPTY, minlength=TENTHS)

    def figures(self) -> dict[str, Any]:
        """Calibration per bin and overall.

        Returns:
            `bins`: limits, number of voxels, mean predicted P and share of occupied voxels (None without voxels).
            `error`: mean |P - share| over voxels.
        """
        bins = [
            {
                "from": i / TENTHS, "to": (i + 1) / TENTHS, "voxels": int(count),
                "predicted": float(p / count) if count else None,
                "occupied": float(occupied / count) if count else None,
            }
            for i, (count, p, occupied) in enumerate(zip(self.voxels, self.predicted, self.occupied))
        ]  # fmt: skip
        return {"error": _ratio(np.abs(self.predicted - self.occupied).sum(), self.voxels.sum()), "bins": bins}


@dataclass
class DepthErrors:
    """Errors of depth over any number of images, each with equal weight."""

    abs_rel: list[float] = field(default_factory=list)
    delta1: list[float] = field(default_factory=list)

    def add(self, predicted: np.ndarray, target: np.ndarray) -> None:
        """Count one image.

        Args:
            predicted: (H, W), metres; pixels of 0 are ignored.
            target: (H, W), metres; pixels of 0 are ignored.
        """
        valid = (predicted > 0) & (target > 0)
        if not valid.any():
            return
        p, d = predicted[valid].astype(np.float64), target[valid].astype(np.float64)
        self.abs_rel.append(float(np.mean(np.abs(p - d) / d)))
        self.delta1.append(float(np.mean(np.maximum(p / d, d / p) < 1.25)))

    def figures(self) -> dict[str, float | None]:
        """Mean errors; None where no image had depth.

        Returns:
            `abs_rel`: mean of |p - d| / d. `delta1`: share of pixels within a factor of 1.25.
        """
        if not self.abs_rel:
            return {"abs_rel": None, "delta1": None}
        return {"abs_rel": float(np.mean(self.abs_rel)), "delta1": float(np.mean(self.delta1))}
