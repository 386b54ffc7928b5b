"""Evaluation of the local task (method, section 7): single views, with predicted depth and with the sensor's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from sgrocc_core.classes import NAMES
from sgrocc_core.depth.layer import sensor_spread
from sgrocc_core.errors import DataError
from sgrocc_core.evaluation.baselines import Statistics, depth_surface, drawn_by_frequency
from sgrocc_core.evaluation.metrics import Calibration, DepthErrors, RegionCounts, regions
from sgrocc_core.evaluation.models import LocalModel
from sgrocc_core.evaluation.spread import SpreadCalibration
from sgrocc_core.geometry.camera import Letterbox
from sgrocc_core.geometry.lattice import box_pose
from sgrocc_core.geometry.poses import gravity_aligned_rotation
from sgrocc_core.report import machine, versions
from sgrocc_core.voxels.splatting.equations import labels_from, probability_from

SOURCES = ("predicted", "sensor")
PoseDisturbance = Callable[[int, np.ndarray], np.ndarray]
"""Maps a view's number and its true pose (4, 4) to the pose given to the network; scoring uses the true pose."""


def spread_evenly(indices: list[int], limit: int) -> list[int]:
    """At most `limit` of the indices (0: all), spread evenly, including the first and the last."""
    if not 0 < limit < len(indices):
        return indices
    return [indices[int(k)] for k in np.linspace(0, len(indices) - 1, limit).round()]


def repeated(small: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Enlarge a head's output to the input's size by repeating pixels; 0 in the padding; (H, W) float32."""
    factor = mask.shape[0] // small.shape[0]
    return np.repeat(np.repeat(small, factor, 0), factor, 1) * mask


class LocalEvaluation:
    """Counts over the views of a set.

    Args:
        model: model to score.
        statistics: of the baselines' training set; None omits the baselines.
        threshold: `occupancy_threshold`.
        pose_noise: disturbance of the pose given to the network; None: the true pose.
    """

    def __init__(
        self,
        model: LocalModel,
        statistics: Statistics | None,
        threshold: float = 0.5,
        pose_noise: PoseDisturbance | None = None,
    ) -> None:
        self.model, self.statistics, self.threshold, self.pose_noise = model, statistics, threshold, pose_noise
        self.views = 0
        self.scenes: set[str] = set()
        self.counts = {source: RegionCounts() for source in SOURCES}
        self.calibration = {source: Calibration() for source in SOURCES}
        self.surface = {source: RegionCounts() for source in SOURCES}
        self.empty, self.drawn = RegionCounts(), RegionCounts()
        self.depth, self.constant = DepthErrors(), DepthErrors()
        self.spread = SpreadCalibration()

    def add(self, sample: Any) -> None:
        """Run and count one `Sample`."""
        height, width = sample.image.shape[:2]
        letterbox = Letterbox((width, height), self.model.image_size)
        K, mask = letterbox.intrinsics(sample.K), letterbox.mask()
        given = sample.T_wc if self.pose_noise is None else self.pose_noise(self.views, sample.T_wc)
        outputs = self.model.image(letterbox.image(sample.image), mask, K, gravity_aligned_rotation(given[:3, :3]))
        exact = letterbox.depth(sample.depth)
        priors = {"predicted": repeated(outputs.depth, mask), "sensor": exact}
        spreads = {"predicted": repeated(outputs.spread, mask), "sensor": sensor_spread(exact)}
        masks = regions(sample.target, sample.depth, sample.K, box_pose(sample.T_wc, sample.voxel_origin))
        T_bc = box_pose(given, sample.voxel_origin)
        for source, prior in priors.items():
            log_empty, class_weights = self.model.voxels(
                outputs.features, prior, spreads[source], outputs.thickness, K, T_bc
            )
            self.counts[source].add(labels_from(log_empty, class_weights, self.threshold), sample.target, masks)
            self.calibration[source].add(probability_from(log_empty), sample.target, masks["in_view"])
        self.depth.add(priors["predicted"], priors["sensor"])
        self.spread.add(priors["predicted"], spreads["predicted"], priors["sensor"])
        if self.statistics is not None:
            self._add_baselines(sample, priors, K, masks, self.statistics)
        self.views += 1
        self.scenes.add(sample.scene)

    def _add_baselines(
        self,
        sample: Any,
        priors: dict[str, np.ndarray],
        K: np.ndarray,
        masks: dict[str, np.ndarray],
        statistics: Statistics,
    ) -> None:
        target = sample.target
        for source, prior in priors.items():
            surface = depth_surface(prior, K, sample.T_wc, sample.voxel_origin, target.shape, statistics)
            self.surface[source].add(surface, target, masks)
        self.empty.add(np.zeros_like(target), target, masks)
        self.drawn.add(drawn_by_frequency(target.shape, statistics, self.views), target, masks)
        self.constant.add(np.full_like(priors["sensor"], statistics.constant_depth), priors["sensor"])

    def report(self) -> dict[str, Any]:
        """All figures so far, with the keys of the method's section 7; `details` cover the voxels in view."""
        figures: dict[str, Any] = {source: counts.figures() for source, counts in self.counts.items()}
        figures["depth"] = {**self.depth.figures(), "calibration": self.spread.figures()}
        if self.statistics is not None:
            figures["baselines"] = {
                "depth_surface": {source: counts.figures() for source, counts in self.surface.items()},
                "all_empty": self.empty.figures(),
                "class_frequency": self.drawn.figures(),
                "constant_depth": {"depth": self.statistics.constant_depth, **self.constant.figures()},
                "statistics": {"views": self.statistics.views, "command": self.statistics.command},
            }
        figures["details"] = {
            source: {
                "calibration": self.calibration[source].figures(),
                "confusion": self.counts[source].counts["in_view"].confusions(),
            }
            for source in SOURCES
        }
        return {**figures, "views": self.views, "scenes": len(self.scenes)}


def evaluate_local(
    model: LocalModel,
    samples: Iterable[Any],
    statistics: Statistics | None,
    threshold: float = 0.5,
    pose_noise: PoseDisturbance | None = None,
) -> dict[str, Any]:
    """Evaluate a model on views; the arguments are those of `LocalEvaluation`.

    Returns:
        The figures, with the model, the settings, versions, machine and duration in seconds.

    Raises:
        DataError: there are no views.
    """
    start = time.perf_counter()
    evaluation = LocalEvaluation(model, statistics, threshold, pose_noise)
    for sample in samples:
        evaluation.add(sample)
    if evaluation.views == 0:
        raise DataError("no views to evaluate: the list is empty, or all of its scenes were left out")
    return {
        **evaluation.report(),
        "model": model.description(),
        "settings": {"occupancy_threshold": threshold},
        "versions": versions(),
        "machine": machine(),
        "seconds": round(time.perf_counter() - start, 1),
    }


def table(report: dict[str, Any]) -> str:
    """Format the report's main figures as text: the model beside the trivial predictors, then every class."""
    surface = report["baselines"]["depth_surface"]
    rows = [
        ("predicted depth", report["predicted"]),
        ("  depth surface, class by height", surface["predicted"]),
        ("sensor depth", report["sensor"]),
        ("  depth surface, class by height", surface["sensor"]),
        ("  class frequency", report["baselines"]["class_frequency"]),
        ("  all empty", report["baselines"]["all_empty"]),
    ]
    lines = [f"{report['views']} views of {report['scenes']} scenes; SC-IoU / mIoU"]
    lines.append(f"{'':34}{'in view':>15}{'hidden':>15}{'whole box':>15}")
    for name, figures in rows:
        cells = [
            f"{part['sc_iou']:.3f} / {part['miou']:.3f}" for part in (figures["in_view"], figures["hidden"], figures)
        ]
        lines.append(f"{name:34}" + "".join(f"{cell:>15}" for cell in cells))
    constant = report["baselines"]["constant_depth"]
    for name, part in (("depth", report["depth"]), (f"  a constant of {constant['depth']:.2f} m", constant)):
        known = part["abs_rel"] is not None
        lines.append(
            f"{name}: "
            + (f"AbsRel {part['abs_rel']:.3f}, delta1 {part['delta1']:.3f}" if known else "no depth to compare with")
        )
    if (shares := report["depth"]["calibration"])["error"] is not None:
        told = ", ".join(f"{shares[key]:.3f} ({key})" for key in ("p50", "p68", "p90"))
        lines.append(f"pixels whose depth error is below the quantiles of its spread: {told}")
    errors = ", ".join(
        f"{report['details'][source]['calibration']['error']:.3f} with {source} depth" for source in SOURCES
    )
    lines.append(f"P(occupied) is off by {errors} (in view, mean)")
    lines.append(f"\n{'IoU in view':12}{'predicted':>11}{'sensor':>9}{'by height (sensor)':>20}")
    for name in NAMES[1:]:
        values = [
            part["in_view"]["per_class"][name] for part in (report["predicted"], report["sensor"], surface["sensor"])
        ]
        cells = ["absent" if value is None else f"{value:.3f}" for value in values]
        lines.append(f"{name:12}{cells[0]:>11}{cells[1]:>9}{cells[2]:>20}")
    return "\n".join(lines)
