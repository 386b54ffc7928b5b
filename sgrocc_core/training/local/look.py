"""Validation on held-out views during training; reported figures come from `sgrocc eval`.

Each process counts on its share of the views. Counts and sums are added over the processes before any division, so the
figures equal those of one process with all views.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.depth.layer import sensor_spread
from sgrocc_core.network.expert.projection import count_hits
from sgrocc_core.network.expert.spatial_expert import local_head
from sgrocc_core.training.compute import Compute
from sgrocc_core.training.data.dataset import IN_VIEW, Batch
from sgrocc_core.training.distribution import summed
from sgrocc_core.training.local.step import run_image
from sgrocc_core.training.validation import collate, confusion, mean_iou, occupancy_iou
from sgrocc_core.voxels.splatting.equations import labels_from

Views = list[dict[str, np.ndarray]]
IMAGE_FIGURES = ("abs_rel", "delta1", "abs_rel_scaled", "thickness")
BATCH = 16


@dataclass
class ImageCounts:
    """Sums and counts from which the image engine's figures are computed.

    Attributes:
        sums: (4,) sums over views of each of IMAGE_FIGURES.
        views: (4,) number of views that have each of these figures.
        confusion: (12, 12) counts of the 2D classes, rows truth.
    """

    sums: np.ndarray = field(default_factory=lambda: np.zeros(len(IMAGE_FIGURES)))
    views: np.ndarray = field(default_factory=lambda: np.zeros(len(IMAGE_FIGURES)))
    confusion: np.ndarray = field(default_factory=lambda: np.zeros((12, 12)))

    def add(self, outputs: dict[str, Tensor], batch: Batch) -> None:
        """Count a batch of views.

        Args:
            outputs: of the image engine, on the CPU.
            batch: the views, on the CPU.
        """
        for b in range(len(batch["depth"])):
            valid = batch["depth"][b] > 0
            truth, found = batch["depth"][b][valid], outputs["depth"][b][valid]
            if len(truth):
                relative = ((found - truth).abs() / truth).mean().item()
                close = (torch.maximum(found / truth, truth / found) < 1.25).float().mean().item()
                scaled = ((found * (truth / found).median() - truth).abs() / truth).mean().item()
                self.sums[:3] += (relative, close, scaled)
                self.views[:3] += 1
            behind = batch["thickness"][b] > 0
            if behind.any():
                self.sums[3] += (outputs["thickness"][b] - batch["thickness"][b])[behind].abs().mean().item()
                self.views[3] += 1
        if "semantics" in outputs:
            labels = batch["labels"].numpy()
            self.confusion += confusion(labels, outputs["semantics"].argmax(1).numpy(), labels < 12)

    def figures(self) -> dict[str, float]:
        """Returns the figures over the views of all processes; a figure that no view has is NaN.

        Returns:
            abs_rel: mean |d - d*| / d*. delta1: share of pixels within a factor of 1.25. abs_rel_scaled: abs_rel
                after scaling each
            view by its median ratio. thickness: mean |t - t*|, metres. miou_2d: over the views together.
        """
        sums, views, matrix = summed(self.sums), summed(self.views), summed(self.confusion)
        values = [float(total / count) if count else float("nan") for total, count in zip(sums, views, strict=True)]
        return {**dict(zip(IMAGE_FIGURES, values, strict=True)), "miou_2d": mean_iou(matrix)}


@torch.no_grad()
def look_at_image(engine: nn.Module, views: Iterable[dict[str, np.ndarray]], compute: Compute) -> dict[str, float]:
    """Compute depth and 2D class figures of the image engine; see `ImageCounts.figures`.

    Args:
        engine: image engine.
        views: this process's share of the held-out views; may be empty.
        compute: device and precision.
    """
    engine.eval()
    counts = ImageCounts()
    left = iter(views)
    while some := list(itertools.islice(left, BATCH)):
        batch = collate(some)
        outputs = run_image(engine, compute.move(batch), compute)
        counts.add(
            {name: outputs[name].cpu() for name in ("depth", "thickness", "semantics") if name in outputs}, batch
        )
    return counts.figures()


@torch.no_grad()
def look_at_voxels(engine: nn.Module, expert: nn.Module, views: Views, compute: Compute) -> dict[str, float]:
    """Compute voxel figures in view, with predicted and with simulated sensor depth.

    Args:
        engine: image engine.
        expert: spatial expert.
        views: with a grid and a sensor share of 1; this process's share of them, may be empty.
        compute: device and precision.

    Returns:
        sc_iou and miou of both (`predicted_...`, `sensor_...`), over the views of all processes; NAMELESS voxels count
        for the first only.
    """
    engine.eval()
    expert.eval()
    matrices = {name: np.zeros((12, 12)) for name in ("predicted", "sensor")}
    occupied = {name: np.zeros((2, 2)) for name in matrices}
    for view in views:
        batch = compute.move(collate([view]))
        image = run_image(engine, batch, compute)
        head, off = (
            F.interpolate(image[key], size=batch["prior"].shape[-2:], mode="nearest") for key in ("depth", "spread")
        )
        given = {"predicted": (head * batch["mask"], off), "sensor": (batch["prior"], sensor_spread(batch["prior"]))}
        for name, (depth, spread) in given.items():
            with compute.autocast():
                hits = count_hits(depth, batch["intrinsics"], batch["pose"])
                outputs = expert(
                    image["features"], depth, spread, hits, image["thickness"], batch["intrinsics"], batch["pose"]
                )
            log_empty, weights = (value.cpu().numpy() for value in local_head(outputs, 0))
            found = labels_from(log_empty, weights)
            truth, seen = view["target"], view["state"] == IN_VIEW
            matrices[name] += confusion(truth, found, seen & (truth < 12))
            occupied[name] += np.bincount(2 * (truth[seen] > 0) + (found[seen] > 0), minlength=4).reshape(2, 2)
    figures = {}
    for name, own in matrices.items():
        matrix = summed(own)
        figures[f"{name}_sc_iou"] = occupancy_iou(summed(occupied[name]))
        figures[f"{name}_miou"] = mean_iou(matrix)
    return figures
