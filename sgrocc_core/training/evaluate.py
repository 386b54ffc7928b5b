"""Evaluation of the local task (method, section 7): views through an exported model, with its own depth and with the sensor's."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Iterable
from typing import Any

import numpy as np

from sgrocc_core.classes import NAMES
from sgrocc_core.engines.engine import Engine, ImageOutputs
from sgrocc_core.errors import DataError
from sgrocc_core.gaussians.gaussians import LocalGaussians, constrain_scales, covariance, sigmoid, softmax
from sgrocc_core.geometry.camera import Letterbox
from sgrocc_core.geometry.lattice import BOX_VOXELS, box_pose
from sgrocc_core.geometry.poses import gravity_aligned_rotation
from sgrocc_core.training.baselines import Statistics, by_frequency, depth_surface
from sgrocc_core.training.metrics import REGIONS, DepthErrors, RegionCounts, regions
from sgrocc_core.voxels.splat import labels_from
from sgrocc_core.voxels.splat_numba import splat

PACKAGES = ("numpy", "numba", "onnxruntime", "opencv-python-headless")
SOURCES = ("predicted", "sensor")


def local_labels(gaussians: LocalGaussians, threshold: float = 0.5) -> np.ndarray:
    """The box's labels: the Gaussians splatted, then the one label rule. (60, 60, 36) uint8."""
    keep = gaussians.opacities.reshape(-1)
    covariances = covariance(constrain_scales(gaussians.scales.reshape(-1, 3)), gaussians.rotations.reshape(-1, 4))
    classes = softmax(gaussians.logits.reshape(len(keep), -1))
    log_empty, class_weights = splat(gaussians.means.reshape(-1, 3), covariances, sigmoid(keep), classes, np.zeros(3), BOX_VOXELS)
    return labels_from(log_empty, class_weights, threshold)


def learned_prior(outputs: ImageOutputs, mask: np.ndarray) -> np.ndarray:
    """The head's depth at the input's size, repeated (never interpolated), 0 in the padding. (240, 320) float32 metres."""
    factor = mask.shape[0] // outputs.depth.shape[0]
    return np.repeat(np.repeat(outputs.depth, factor, 0), factor, 1) * mask


class LocalEvaluation:
    """Counts over the views of a set.

    Args:
        engine: the model. statistics: of the baselines' training set. threshold: `occupancy_threshold`.
    """

    def __init__(self, engine: Engine, statistics: Statistics, threshold: float = 0.5) -> None:
        self.engine, self.statistics, self.threshold = engine, statistics, threshold
        self.views = 0
        self.scenes: set[str] = set()
        self.model = {source: RegionCounts() for source in SOURCES}
        self.surface = {source: RegionCounts() for source in SOURCES}
        self.empty = RegionCounts()
        self.depth, self.constant = DepthErrors(), DepthErrors()

    def add(self, sample: Any) -> None:
        """Run and count one `Sample`."""
        height, width = sample.image.shape[:2]
        letterbox = Letterbox((width, height), self.engine.spec.image_size)
        K, mask = letterbox.intrinsics(sample.K), letterbox.mask()
        outputs = self.engine.image(letterbox.image(sample.image), mask, K, gravity_aligned_rotation(sample.T_wc[:3, :3]))
        priors = {"predicted": learned_prior(outputs, mask), "sensor": letterbox.depth(sample.depth)}
        T_bc = box_pose(sample.T_wc, sample.voxel_origin)
        masks = regions(sample.target, sample.depth, sample.K, T_bc)
        for source, prior in priors.items():
            labels = local_labels(self.engine.expert(outputs.features, prior, outputs.thickness, K, T_bc), self.threshold)
            self.model[source].add(labels, sample.target, masks)
            surface = depth_surface(prior, K, sample.T_wc, sample.voxel_origin, sample.target.shape, self.statistics)
            self.surface[source].add(surface, sample.target, masks)
        self.empty.add(np.zeros_like(sample.target), sample.target, masks)
        self.depth.add(priors["predicted"], priors["sensor"])
        self.constant.add(np.full_like(mask, self.statistics.constant_depth), priors["sensor"])
        self.views += 1
        self.scenes.add(sample.scene)

    def report(self) -> dict[str, Any]:
        """All figures so far, keys as in the method's section 7."""
        frequency = {name: by_frequency(self.empty.counts[name], self.statistics) for name in REGIONS}
        return {
            **{source: counts.figures() for source, counts in self.model.items()},
            "depth": self.depth.figures(),
            "baselines": {
                "depth_surface": {source: counts.figures() for source, counts in self.surface.items()},
                "all_empty": self.empty.figures(),
                "class_frequency": {**frequency["all"], "in_view": frequency["in_view"], "hidden": frequency["hidden"]},
                "constant_depth": {"depth": self.statistics.constant_depth, **self.constant.figures()},
                "statistics": {"views": self.statistics.views, "command": self.statistics.command},
            },
            "views": self.views,
            "scenes": len(self.scenes),
        }


def evaluate_local(engine: Engine, samples: Iterable[Any], statistics: Statistics, threshold: float = 0.5) -> dict[str, Any]:
    """Evaluate a model on views.

    Returns:
        The figures, and with them the model, the settings, versions, machine and seconds.

    Raises:
        DataError: there are no views.
    """
    start = time.perf_counter()
    evaluation = LocalEvaluation(engine, statistics, threshold)
    for sample in samples:
        evaluation.add(sample)
    if evaluation.views == 0:
        raise DataError("no views to evaluate: the list is empty, or all of its scenes were left out")
    return {
        **evaluation.report(),
        "model": {"name": engine.spec.name, "folder": str(engine.spec.folder), "files": engine.spec.files, "engine": engine.description},
        "settings": {"occupancy_threshold": threshold},
        "versions": {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in PACKAGES}},
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "system": platform.platform()},
        "seconds": round(time.perf_counter() - start, 1),
    }


def table(report: dict[str, Any]) -> str:
    """The report's main figures as text: the model beside the trivial predictors, then every class."""
    surface = report["baselines"]["depth_surface"]
    rows = [
        ("predicted depth", report["predicted"]), ("  depth surface, class by height", surface["predicted"]),
        ("sensor depth", report["sensor"]), ("  depth surface, class by height", surface["sensor"]),
        ("  class frequency", report["baselines"]["class_frequency"]), ("  all empty", report["baselines"]["all_empty"]),
    ]
    lines = [f"{report['views']} views of {report['scenes']} scenes; SC-IoU / mIoU"]
    lines.append(f"{'':34}{'in view':>15}{'hidden':>15}{'whole box':>15}")
    for name, figures in rows:
        cells = [f"{part['sc_iou']:.3f} / {part['miou']:.3f}" for part in (figures["in_view"], figures["hidden"], figures)]
        lines.append(f"{name:34}" + "".join(f"{cell:>15}" for cell in cells))
    constant = report["baselines"]["constant_depth"]
    lines.append(f"depth: AbsRel {report['depth']['abs_rel']:.3f}, delta1 {report['depth']['delta1']:.3f}")
    lines.append(f"  a constant of {constant['depth']:.2f} m: AbsRel {constant['abs_rel']:.3f}, delta1 {constant['delta1']:.3f}")
    lines.append(f"\n{'IoU in view':12}{'predicted':>11}{'sensor':>9}{'by height (sensor)':>20}")
    for name in NAMES[1:]:
        values = [part["in_view"]["per_class"][name] for part in (report["predicted"], report["sensor"], surface["sensor"])]
        cells = ["absent" if value is None else f"{value:.3f}" for value in values]
        lines.append(f"{name:12}{cells[0]:>11}{cells[1]:>9}{cells[2]:>20}")
    return "\n".join(lines)
