"""Objectives of the training stages: the losses of the method's section 5, combined for a batch, as named terms."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sgrocc_core.classes import NAMELESS, NUM_CLASSES
from sgrocc_core.errors import ConfigError
from sgrocc_core.gaussians.gaussians import SILENT_OPACITY
from sgrocc_core.network.expert.spatial_expert import cells_of, local_head, voxels_of
from sgrocc_core.network.image.heads import CANONICAL_FOCAL, MAX_DEPTH, MIN_DEPTH
from sgrocc_core.training.data.dataset import BEYOND, IN_VIEW, OUT_OF_VIEW
from sgrocc_core.training.losses import voxels as losses
from sgrocc_core.training.losses.regularisation import REGULARISATIONS, Surface, regularisation

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class ImageWeights:
    """Weights of the image engine's losses."""

    depth: float = 1.0
    bins: float = 0.3
    likelihood: float = 0.2
    thickness: float = 0.15
    semantics: float = 0.7


@dataclass(frozen=True)
class LocalWeights:
    """Weights of the local head's losses.

    The class-weighted losses alone fill more voxels than are occupied; `occupancy` and `jaccard` have no class weights
    and counteract this.

    Attributes:
        focal: focal loss of the labels.
        lovasz: Lovasz-softmax loss of the labels.
        occupancy: cross-entropy of occupied against empty, without class weights.
        jaccard: Lovasz loss of occupied against empty, without class weights.
        semantic: scene-class affinity of the labels.
        geometric: scene-class affinity of occupied against empty.
        coarse: occupancy of cells.
        dense: auxiliary per-voxel head. It provides a gradient for the hidden layer of every cell, also where no
            Gaussian is splatted.
        unseen: relative weight of known space outside the image in `coarse` and `dense`.
        undefined: term that labels cells without truth (beyond walls, under floors) as empty. No other term covers
            them, and a map should not fill space that cannot be known.
        beyond: relative weight, in `occupancy`, of voxels without truth, which are labelled as empty too.
        distill: cross-entropy of the splat against the auxiliary head's soft labels, where there is such a head.
        samples: voxels per view that enter the Lovasz losses.
        dense_share: share of the known voxels that enter the auxiliary loss, 0 to 1.
        regularisation: geometric regularisation (GRM).
        regularisation_kind: one of REGULARISATIONS.
    """

    focal: float = 1.0
    lovasz: float = 1.0
    occupancy: float = 1.5
    jaccard: float = 1.5
    semantic: float = 0.5
    geometric: float = 0.5
    coarse: float = 0.25
    dense: float = 0.5
    unseen: float = 0.25
    undefined: float = 0.5
    beyond: float = 0.3
    distill: float = 0.0
    samples: int = 8192
    dense_share: float = 0.25
    regularisation: float = 0.05
    regularisation_kind: str = "semantic"

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if not isinstance(value, str) and not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"{f.name} is {value}; it must be a finite number of 0 or more")
        if self.samples < 1:
            raise ConfigError(f"samples is {self.samples}; at least 1 is needed")
        if self.dense_share > 1:
            raise ConfigError(f"dense_share is {self.dense_share}; it is a share, from 0 to 1")
        if self.regularisation_kind not in REGULARISATIONS:
            raise ConfigError(
                f"regularisation_kind is {self.regularisation_kind!r}; it must be one of {', '.join(REGULARISATIONS)}"
            )


def class_weights(counts: Tensor) -> Tensor:
    """Class weights 1 / ln(frequency), the predecessors' rule, scaled to a mean of 1.

    Args:
        counts: (C,) occurrences of each label, any unit; a missing label is weighted like a rare one.
    """
    frequency = 1000 * counts.double() / counts.sum().clamp(min=1)
    weights = 1.0 / torch.log(2.0 + frequency)
    return (weights / weights.mean()).float()


def voxel_weights(counts: Tensor) -> Tensor:
    """Compute `class_weights` for labels of voxels.

    Empty is weighted like the average occupied voxel, so that the weights favour neither.

    Args:
        counts: (12,) occurrences of each label, label 0 = empty.
    """
    weights = class_weights(counts)
    occupied = counts[1:].double()
    weights[0] = ((weights[1:] * occupied).sum() / occupied.sum().clamp(min=1)).float()
    return weights


def image_objective(
    outputs: dict[str, Tensor], batch: dict[str, Tensor], label_weights: Tensor, weights: ImageWeights
) -> Terms:
    """Compute the losses of the image engine.

    Args:
        outputs: of an image engine in training mode.
        batch: from `dataset.loader`.
        label_weights: (12,) weights of the 2D classes.
        weights: weights of the losses.

    Returns:
        Weighted terms, whose sum is the loss. Heads that the engine lacks contribute no terms.
    """
    depth, target = outputs["depth"], batch["depth"]
    valid = (target > 0) & (target < 1.5 * MAX_DEPTH)
    terms = {
        "depth": weights.depth * losses.log_depth_error(depth, target, valid),
        "likelihood": weights.likelihood * losses.laplace_nll(depth, outputs["spread"], target, valid),
        "thickness": weights.thickness
        * losses.thickness_error(outputs["thickness"], batch["thickness"], batch["thickness"] > 0),
    }
    if "depth_bins" in outputs:
        scale = torch.sqrt(batch["intrinsics"][:, 0] * batch["intrinsics"][:, 1]).view(-1, 1, 1, 1) / CANONICAL_FOCAL
        log_target = torch.log((target / scale).clamp(MIN_DEPTH, MAX_DEPTH))
        log_depths = torch.linspace(
            math.log(MIN_DEPTH), math.log(MAX_DEPTH), outputs["depth_bins"].shape[1], device=depth.device
        )
        terms["bins"] = weights.bins * losses.depth_bins(outputs["depth_bins"], log_depths, log_target, valid)
    if "semantics" in outputs:
        terms["semantics"] = weights.semantics * pixel_classes(outputs["semantics"], batch["labels"], label_weights)
    return terms


def pixel_classes(logits: Tensor, labels: Tensor, label_weights: Tensor) -> Tensor:
    """Class-weighted cross-entropy of the 2D class head; 0 for a batch without labels.

    Args:
        logits: (B, 12, h, w).
        labels: (B, h, w) uint8, 255 = unknown.
        label_weights: (12,).
    """
    known = labels < 12
    labels = torch.where(known, labels.long(), 0)
    loss = F.cross_entropy(logits, labels, reduction="none")
    return losses.weighted_mean(loss, label_weights[labels] * known, losses.EPS)


def draws(seed: int, step: int, places: Sequence[int]) -> list[torch.Generator]:
    """Make one random generator for each view of a batch.

    Each is seeded by `seed`, `step` and the view's index in the whole batch only. They draw on the CPU, so that a run
    on a GPU draws the same numbers.
    """
    words = [np.random.SeedSequence((seed, step, place)).generate_state(1, np.uint64) for place in places]
    return [torch.Generator("cpu").manual_seed(int(word[0] >> np.uint64(1))) for word in words]


def local_objective(
    outputs: dict[str, Tensor],
    batch: dict[str, Tensor],
    label_weights: Tensor,
    weights: LocalWeights,
    generators: list[torch.Generator],
    surface: Surface | None = None,
) -> Terms:
    """Compute the losses of the local head, averaged over the batch.

    The splat and its losses are restricted to voxels that are known and in view, and to the Gaussians that can reach
    them. Other cells learn from the coarse and the dense loss, where their truth is known. A NAMELESS voxel counts as
    occupied, and has no part in the losses of classes.

    Args:
        outputs: of `SpatialExpert` in training mode.
        batch: with `target` and `state`, (B, 60, 60, 36).
        label_weights: (12,).
        weights: weights of the losses.
        generators: one per view; they choose the voxels of the Lovasz and the auxiliary loss.
        surface: surface of the depth prior for the geometric regularisation; None omits that term.
    """
    terms: dict[str, list[Tensor]] = {}
    splatted = silent_out_of_reach(outputs, batch["state"] == IN_VIEW)
    for b, generator in enumerate(generators):
        log_empty, weight_sums = local_head(splatted, b)
        log_empty, state = log_empty.flatten(), batch["state"][b].flatten()
        seen, beyond = (state == IN_VIEW).nonzero()[:, 0], (state == BEYOND).nonzero()[:, 0]
        labels = batch["target"][b].flatten()[seen].long()
        outside = losses.occupancy(log_empty[beyond], torch.zeros_like(beyond)) * len(beyond) / max(1, len(seen))
        log_empty, weight_sums = log_empty[seen], weight_sums.flatten(0, 2)[seen]
        log_py = losses.target_log_probability(log_empty, weight_sums, labels.clamp(max=NUM_CLASSES))
        p = losses.label_probabilities(log_empty, weight_sums)
        some = _chosen(len(labels), weights.samples, generator).to(labels.device)
        named = labels != NAMELESS
        some_named = some[named[some]]
        _add(terms, "focal", weights.focal * losses.focal(log_py[named], labels[named], label_weights))
        _add(terms, "lovasz", weights.lovasz * losses.lovasz_softmax(p[some_named], labels[some_named]))
        _add(terms, "occupancy", weights.occupancy * (losses.occupancy(log_empty, labels) + weights.beyond * outside))
        binary = torch.stack([p[some, 0], 1 - p[some, 0]], 1)
        _add(terms, "jaccard", weights.jaccard * losses.lovasz_softmax(binary, (labels[some] > 0).long()))
        if weights.distill and "dense" in outputs:
            soft = torch.softmax(voxels_of(outputs["dense"][b].detach()).flatten(0, 2)[seen[some]], 1)
            _add(terms, "distill", weights.distill * losses.soft_cross_entropy(p[some], soft))
        _add(terms, "semantic", weights.semantic * losses.semantic_affinity(p[named], labels[named]))
        _add(terms, "geometric", weights.geometric * losses.geometric_affinity(1 - p[:, 0], labels))
    for name, value in cell_terms(outputs["opacities"], batch, weights).items():
        _add(terms, name, value)
    if weights.dense and "dense" in outputs:
        _add(terms, "dense", weights.dense * dense_loss(outputs["dense"], batch, label_weights, weights, generators))
    if surface is not None and "means" in outputs:
        regularity = regularisation(outputs, surface, batch["target"], weights.regularisation_kind)
        _add(terms, "regularisation", weights.regularisation * regularity)
    return {name: torch.stack(values).mean() for name, values in terms.items()}


def cell_terms(opacities: Tensor, batch: dict[str, Tensor], weights: LocalWeights) -> Terms:
    """Compute `coarse`, the occupancy of known cells, and `undefined`, which labels cells without truth as empty.

    Both are means over the batch; of a grid that does not hold all that is there, the second term takes nothing.

    Args:
        opacities: (B, 16200, G), raw.
        batch: with `target` and `state`.
        weights: weights of the losses.
    """
    occupied, known = (value.flatten() for value in losses.coarse_targets(batch["target"]))
    in_picture = F.max_pool3d((batch["state"] >= IN_VIEW)[:, None].float(), 2).flatten()
    counts = in_picture + (1 - in_picture) * weights.unseen
    loss = losses.cell_occupancy(opacities.flatten(0, 1), occupied)
    complete = batch["complete"].repeat_interleave(len(known) // len(batch["complete"])) if "complete" in batch else 1.0
    shares = known, (1 - known) * complete
    coarse, undefined = (losses.weighted_mean(loss, share * counts, losses.EPS) for share in shares)
    return {"coarse": weights.coarse * coarse, "undefined": weights.undefined * undefined}


def cells_in_reach(seen: Tensor) -> Tensor:
    """Cells whose Gaussians can reach a voxel that is scored: those that contain one, and their neighbours.

    Args:
        seen: (B, 60, 60, 36) bool.

    Returns:
        (B, 16200) bool.
    """
    cells = F.max_pool3d(seen[:, None].float(), 2)
    return F.max_pool3d(cells, 3, stride=1, padding=1).flatten(1) > 0


def silent_out_of_reach(outputs: dict[str, Tensor], seen: Tensor) -> dict[str, Tensor]:
    """The expert's outputs with the Gaussians silenced that reach no voxel that is scored.

    Args:
        outputs: of the expert.
        seen: (B, 60, 60, 36) bool, the voxels that are scored.
    """
    reached = cells_in_reach(seen)
    return {**outputs, "opacities": torch.where(reached[..., None], outputs["opacities"], SILENT_OPACITY)}


def dense_loss(
    logits: Tensor,
    batch: dict[str, Tensor],
    label_weights: Tensor,
    weights: LocalWeights,
    generators: list[torch.Generator],
) -> Tensor:
    """Cross-entropy of the auxiliary per-voxel head over a random share of the known voxels.

    Args:
        logits: (B, 16200, 8, 12), voxels grouped by cell.
        batch: with `target` and `state`.
        label_weights: (12,).
        weights: weights of the losses.
        generators: one per view.
    """
    labels, state = cells_of(batch["target"]).flatten(), cells_of(batch["state"]).flatten()
    voxels = len(state) // len(generators)
    drawn = torch.stack([torch.rand(voxels, generator=g, device=g.device) for g in generators])
    chosen = (drawn < weights.dense_share).flatten().to(state.device)
    known = (((state == IN_VIEW) | (state == OUT_OF_VIEW)) & (labels != NAMELESS) & chosen).nonzero()[:, 0]
    point_weights = torch.where(state[known] == IN_VIEW, 1.0, weights.unseen)
    loss = F.cross_entropy(logits.flatten(0, 2)[known], labels[known].long(), label_weights, reduction="none")
    return losses.weighted_mean(loss, point_weights)


def _chosen(count: int, most: int, generator: torch.Generator) -> Tensor:
    """At most `most` random indices into `count` items, with repetition, on the generator's device."""
    return torch.randint(max(1, count), (min(most, count),), generator=generator, device=generator.device)


def _add(terms: dict[str, list[Tensor]], name: str, value: Tensor) -> None:
    terms.setdefault(name, []).append(value)
