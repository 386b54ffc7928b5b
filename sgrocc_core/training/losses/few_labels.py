"""Training with few voxel labels: settings, and the losses of views whose voxels have none."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.depth.layer import sensor_spread
from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.network.expert.spatial_expert import local_head
from sgrocc_core.training.data.dataset import BEYOND
from sgrocc_core.training.losses.objectives import Terms, silent_out_of_reach
from sgrocc_core.training.losses.pseudo_labels import cell_labels, cells_of_points, head_loss
from sgrocc_core.training.losses.rays import (
    evidence_along,
    evidence_loss,
    project_classes,
    projection_loss,
    walk_rays,
)
from sgrocc_core.training.losses.voxels import EPS, cell_occupancy, label_probabilities

CELL_SHARE = 1.0
"""Weight of cells beside voxels in the evidence; a round guess."""
Voxels = tuple[Tensor, Tensor]
"""log_empty (60, 60, 36) and class_weights (60, 60, 36, 11) of a view; see `local_head`."""


@dataclass(frozen=True)
class FewLabels:
    """Settings of training with few voxel labels, in the stages `expert` and `joint`.

    The weights and thresholds are round guesses; see docs/results/labels for what was measured.

    Attributes:
        labelled: share of the scenes whose labels are used, above 0 to 1; a larger share contains the scenes of a
            smaller one.
        unlabelled: views of the other scenes for each view with labels, 0 to 4; they come on top of the batch.
        confidence: minimum probability of a pseudo label of the image engine's class head.
        heads: weight of the cross-entropy of both heads of `dual_mamba` against pseudo labels, in all views.
        projection: weight of pixels' pseudo labels against projected voxels, in views without labels.
        evidence: weight of the recorded depth along rays, in views without labels.
        teacher: weight of the agreement with the moving average of the weights, in views without labels.
        certain: minimum probability of a label of the teacher.
        ramp: steps over which the teacher's weight rises.
        rays: rays per view.
    """

    labelled: float = 1.0
    unlabelled: float = 0.0
    confidence: float = 0.6
    heads: float = 0.0
    projection: float = 0.0
    evidence: float = 0.0
    teacher: float = 0.0
    certain: float = 0.7
    ramp: int = 200
    rays: int = 512

    def __post_init__(self) -> None:
        if not 0 < self.labelled <= 1:
            raise ConfigError(f"labelled is {self.labelled}; it is a share of the scenes, above 0 to 1")
        if not 0 <= self.unlabelled <= 4:
            raise ConfigError(
                f"unlabelled is {self.unlabelled}; it is a number of views for each view with labels, from 0 to 4"
            )
        for key in ("confidence", "certain"):
            if not 0 <= getattr(self, key) <= 1:
                raise ConfigError(f"{key} is {getattr(self, key)}; it is a probability, from 0 to 1")
        for key in ("heads", "projection", "evidence", "teacher"):
            if not (getattr(self, key) >= 0 and math.isfinite(getattr(self, key))):
                raise ConfigError(f"{key} is {getattr(self, key)}; it must be a finite number of 0 or more")
        for key in ("ramp", "rays"):
            if getattr(self, key) < 1:
                raise ConfigError(f"{key} is {getattr(self, key)}; at least 1 is needed")
        if self.unlabelled and self.labelled == 1:
            raise ConfigError("unlabelled draws scenes without labels, but labelled is 1: all scenes have labels")
        if not self.unlabelled and (self.projection or self.evidence or self.teacher):
            raise ConfigError(
                "projection, evidence and teacher are losses of scenes without labels: set unlabelled, the "
                "number of their views for each view with labels, or these three to 0"
            )

    def ramped(self, step: int) -> float:
        """Returns the weight of the teacher at a step (Laine and Aila, 2017: exp(-5 (1 - t)^2))."""
        return self.teacher * math.exp(-5 * (1 - min(1.0, step / self.ramp)) ** 2)


def head_terms(
    found: dict[str, Tensor], labels: Tensor, batch: dict[str, Tensor], label_weights: Tensor, weight: float
) -> Terms:
    """Losses of the two heads of pseudo labels of `dual_mamba`; empty for a network without them.

    Args:
        found: outputs of the expert in training mode.
        labels: (B, h, w) uint8 of `pixel_labels`.
        batch: with `depth` (B, 1, h, w), metres, `mask`, `intrinsics` and `pose`.
        label_weights: (12,) of the labels in the image.
        weight: of both.
    """
    if "pixel_logits" not in found or not weight:
        return {}
    stride = labels.shape[-1] // found["pixel_logits"].shape[-1]
    pixels = labels[:, ::stride, ::stride]
    cells = cell_labels(labels, batch["depth"], at_heads(batch), batch["pose"])
    return {
        "pixel_head": weight * head_loss(found["pixel_logits"], pixels, label_weights),
        "cell_head": weight * head_loss(found["cell_logits"].transpose(1, 2), cells, label_weights),
    }


def at_heads(batch: dict[str, Tensor]) -> Tensor:
    """Intrinsics (B, 4) of the image that has the heads' resolution; its pixels are every s-th from s // 2 on."""
    stride = batch["mask"].shape[-1] // batch["depth"].shape[-1]
    centre = (batch["intrinsics"][:, 2:] - stride // 2) / stride
    return torch.cat([batch["intrinsics"][:, :2] / stride, centre], 1)


def voxels_in_image(found: dict[str, Tensor], state: Tensor) -> list[Voxels]:
    """The voxels of views without labels, with gradient, as far as they are in the image.

    Args:
        found: outputs of the expert.
        state: (B, 60, 60, 36), BEYOND for voxels in the image.
    """
    splatted = silent_out_of_reach(found, state == BEYOND)
    return [local_head(splatted, b) for b in range(len(state))]


def unlabelled_terms(
    voxels: list[Voxels],
    opacities: Tensor,
    labels: Tensor,
    batch: dict[str, Tensor],
    label_weights: Tensor,
    settings: FewLabels,
    generators: list[torch.Generator],
) -> Terms:
    """Losses along rays of views without labels, averaged over the views.

    Args:
        voxels: of `voxels_in_image`.
        opacities: (B, 16200, G), raw, of the expert.
        labels: (B, h, w) uint8 of `pixel_labels`.
        batch: with `depth` (B, 1, h, w), the recorded depth, metres, `mask`, `intrinsics` and `pose`.
        label_weights: (12,) of the labels in the image.
        settings: weights and number of rays.
        generators: one per view; they draw the rays among the pixels with depth.
    """
    intrinsics, totals = at_heads(batch), []
    for b, (log_empty, class_weights) in enumerate(voxels):
        depth = batch["depth"][b, 0]
        rows, columns = (depth > 0).nonzero(as_tuple=True)
        chosen = torch.randint(max(1, len(rows)), (min(settings.rays, len(rows)),), generator=generators[b])
        rows, columns = rows[chosen.to(rows.device)], columns[chosen.to(rows.device)]
        walk = walk_rays(torch.stack([columns, rows], 1).float(), intrinsics[b], batch["pose"][b])
        z, logs = depth[rows, columns], log_empty.flatten()
        free, matter = evidence_along(walk, z, VOXEL_SIZE + 2 * sensor_spread(z))
        points = cells_of_points(depth[None, None], intrinsics[b : b + 1], batch["pose"][b : b + 1])
        cells = cell_evidence(opacities[b], walk.voxels[free], points[0][points[1]])
        evidence = evidence_loss(logs, walk, free, matter) + CELL_SHARE * cells
        end = (walk.visited * walk.leave).amax(1)  # pixels whose surface lies in the box
        own = labels[b][rows, columns].long()
        known = (own <= NUM_CLASSES) & (own > 0) & (z < end)
        scores = project_classes(logs, class_weights.flatten(0, 2), walk)[known]
        totals.append(torch.stack([projection_loss(scores, own[known], label_weights), evidence]))
    projection, evidence = torch.stack(totals).mean(0)
    return {"projection": settings.projection * projection, "evidence": settings.evidence * evidence}


def cell_evidence(opacities: Tensor, free: Tensor, filled: Tensor) -> Tensor:
    """Occupancy of one view's cells: those with points of the depth are occupied, others that rays pass are not.

    Gaussians of low opacity, which the splat ignores, get a gradient from this loss, as from `coarse` where there are
    labels.

    Args:
        opacities: (16200, G), raw.
        free: (N,) int64, voxels that depth says are free.
        filled: (M,) int64, cells that contain points of the depth.
    """
    i, j, k = free // (60 * 36), free // 36 % 60, free % 36
    passed = opacities.new_zeros(len(opacities)).index_fill(0, ((i // 2) * 30 + j // 2) * 18 + k // 2, 1.0)
    occupied = opacities.new_zeros(len(opacities)).index_fill(0, filled, 1.0)
    loss = cell_occupancy(opacities, occupied)
    passed = passed * (1 - occupied)
    return (loss * occupied).sum() / occupied.sum().clamp(min=1) + (loss * passed).sum() / passed.sum().clamp(min=1)


def teacher_loss(student: Voxels, teacher: Voxels, seen: Tensor, certain: float) -> Tensor:
    """Cross-entropy of a view's voxels against the labels of the teacher where it is certain.

    Voxels that the teacher fills and those that it leaves empty count alike, each by its mean.

    Args:
        student: voxels with gradient.
        teacher: voxels of the teacher.
        seen: (60, 60, 36) bool, voxels that are compared.
        certain: minimum probability of the teacher's label.
    """
    flat = seen.flatten()
    p, soft = (label_probabilities(v[0].flatten()[flat], v[1].flatten(0, 2)[flat]) for v in (student, teacher))
    most, label = soft.detach().max(1)
    loss = F.nll_loss(torch.log(p.clamp(min=EPS)), label, reduction="none")
    parts = []
    for group in ((label == 0) & (most >= certain), (label > 0) & (most >= certain)):
        parts.append((loss * group).sum() / group.sum().clamp(min=1))
    return torch.stack(parts).mean()
