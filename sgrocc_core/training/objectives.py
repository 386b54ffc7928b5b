"""What each stage of training minimises: the losses of section 5 put together for a batch, with every term by name for the log."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from sgrocc_core.errors import ConfigError
from sgrocc_core.network.small_backbone import CANONICAL_FOCAL, MAX_DEPTH, MIN_DEPTH
from sgrocc_core.network.spatial_expert import cells_of, local_head
from sgrocc_core.training import losses
from sgrocc_core.training.dataset import BEYOND, IN_VIEW, UNSEEN

Terms = dict[str, Tensor]
REGULARISATIONS = ("none", "uniform", "semantic")
SILENT = -20.0
"""Raw opacity of a Gaussian that is not splatted."""


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

    `occupancy` (cross-entropy, without class weights) and `jaccard` (Lovasz) ask of every voxel only whether it is occupied; the
    class-weighted losses alone fill more than there is. `dense` is of the auxiliary per-voxel head, which gives every cell's hidden
    layer gradient even where no Gaussian is splatted; `unseen` weighs known space outside the picture in it and in the coarse loss.
    `undefined` weighs a term of its own that calls cells without truth (beyond walls, under floors) empty, `beyond` the voxels without
    truth in `occupancy`, empty too: nothing else says anything of them, and a map should not fill what nobody can know. `samples`
    voxels a view enter the Lovasz losses, `dense_share` of the known voxels the auxiliary one. `regularisation` is of the geometric
    regularisation (GRM), of the kind `regularisation_kind`: one of REGULARISATIONS.
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
    samples: int = 8192
    dense_share: float = 0.25
    regularisation: float = 0.05
    regularisation_kind: str = "none"

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
            raise ConfigError(f"regularisation_kind is {self.regularisation_kind!r}; it must be one of {', '.join(REGULARISATIONS)}")


def class_weights(counts: Tensor) -> Tensor:
    """1 / ln(frequency), the predecessors' rule, scaled to a mean of 1.

    Args:
        counts: (C,) how often each label occurs, any unit; a missing label weighs as a rare one.
    """
    frequency = 1000 * counts.double() / counts.sum().clamp(min=1)
    weights = 1.0 / torch.log(2.0 + frequency)
    return (weights / weights.mean()).float()


def voxel_weights(counts: Tensor) -> Tensor:
    """`class_weights` for labels of voxels: empty weighs as occupied voxels do on average, so the weights favour neither.

    Args:
        counts: (12,) how often each label occurs, label 0 = empty.
    """
    weights = class_weights(counts)
    occupied = counts[1:].double()
    weights[0] = ((weights[1:] * occupied).sum() / occupied.sum().clamp(min=1)).float()
    return weights


def image_objective(outputs: dict[str, Tensor], batch: dict[str, Tensor], label_weights: Tensor, weights: ImageWeights) -> Terms:
    """Losses of the image engine.

    Args:
        outputs: of `ImageEngine` with its semantic head. batch: of `dataset.loader`. label_weights: (12,) of 2D classes.

    Returns:
        weighted terms; their sum is the loss.
    """
    depth, target = outputs["depth"], batch["depth"]
    scale = torch.sqrt(batch["intrinsics"][:, 0] * batch["intrinsics"][:, 1]).view(-1, 1, 1, 1) / CANONICAL_FOCAL
    valid = (target > 0) & (target < 1.5 * MAX_DEPTH)
    log_target = torch.log((target / scale).clamp(MIN_DEPTH, MAX_DEPTH))
    count = outputs["depth_bins"].shape[1]
    log_depths = torch.linspace(math.log(MIN_DEPTH), math.log(MAX_DEPTH), count)
    labels = batch["labels"].long()
    labels = torch.where(labels > 11, -100, labels)
    return {
        "depth": weights.depth * losses.log_depth_error(depth, target, valid),
        "bins": weights.bins * losses.depth_bins(outputs["depth_bins"], log_depths, log_target, valid),
        "likelihood": weights.likelihood * losses.laplace_nll(depth, outputs["spread"], target, valid),
        "thickness": weights.thickness * losses.thickness_error(outputs["thickness"], batch["thickness"], batch["thickness"] > 0),
        "semantics": weights.semantics * F.cross_entropy(outputs["semantics"], labels, label_weights, ignore_index=-100),
    }


def depth_prior(batch: dict[str, Tensor], predicted: Tensor, generator: torch.Generator) -> Tensor:
    """The depth that the expert is given: the sensor's where the batch has one, else the head's.

    Half of the views with a sensor get their holes filled with the head's depth scaled by the median ratio to the sensor's, as
    the mapper's `fused` does; the others keep them, as `topic` does.

    Args:
        batch: with `prior` (B, 1, H, W) m and `mask`. predicted: (B, 1, H / 4, W / 4) m. generator: decides which views are filled.

    Returns:
        (B, 1, H, W) m, 0 = none.
    """
    head = F.interpolate(predicted, scale_factor=4.0, mode="nearest")
    sensor = batch["prior"]
    fill = torch.rand(len(sensor), generator=generator) < 0.5
    out = []
    for b in range(len(sensor)):
        have = sensor[b] > 0
        if not have.any():
            out.append(head[b])
        elif fill[b]:
            ratio = (sensor[b][have] / head[b][have]).median().clamp(0.25, 4.0)
            out.append(torch.where(have, sensor[b], head[b] * ratio))
        else:
            out.append(sensor[b])
    return torch.stack(out) * batch["mask"]


def local_objective(
    outputs: dict[str, Tensor], batch: dict[str, Tensor], label_weights: Tensor, weights: LocalWeights, generator: torch.Generator
) -> Terms:
    """Losses of the local head, averaged over the batch.

    The splat and its losses are confined to what is known and in view, and to the Gaussians that can reach it; cells elsewhere
    learn from the coarse and the dense loss, where they are known.

    Args:
        outputs: of `SpatialExpert` in training mode. batch: with `target` and `state` (B, 60, 60, 36). label_weights: (12,).
        generator: chooses the voxels of the Lovasz loss.
    """
    terms: dict[str, list[Tensor]] = {}
    reached = cells_in_reach(batch["state"] == IN_VIEW)
    splatted = {**outputs, "opacities": torch.where(reached[..., None], outputs["opacities"], SILENT)}
    for b in range(len(batch["target"])):
        log_empty, weight_sums = local_head(splatted, b)
        log_empty, state = log_empty.flatten(), batch["state"][b].flatten()
        seen, beyond = (state == IN_VIEW).nonzero()[:, 0], (state == BEYOND).nonzero()[:, 0]
        labels = batch["target"][b].flatten()[seen].long()
        outside = losses.occupancy(log_empty[beyond], torch.zeros_like(beyond)) * len(beyond) / max(1, len(seen))
        log_empty, weight_sums = log_empty[seen], weight_sums.flatten(0, 2)[seen]
        log_py = losses.target_log_probability(log_empty, weight_sums, labels)
        p = losses.label_probabilities(log_empty, weight_sums)
        some = torch.randint(max(1, len(labels)), (min(weights.samples, len(labels)),), generator=generator)
        _add(terms, "focal", weights.focal * losses.focal(log_py, labels, label_weights))
        _add(terms, "lovasz", weights.lovasz * losses.lovasz_softmax(p[some], labels[some]))
        _add(terms, "occupancy", weights.occupancy * (losses.occupancy(log_empty, labels) + weights.beyond * outside))
        binary = torch.stack([p[some, 0], 1 - p[some, 0]], 1)
        _add(terms, "jaccard", weights.jaccard * losses.lovasz_softmax(binary, (labels[some] > 0).long()))
        _add(terms, "semantic", weights.semantic * losses.semantic_affinity(p, labels))
        _add(terms, "geometric", weights.geometric * losses.geometric_affinity(1 - p[:, 0], labels))
    occupied, known = losses.coarse_targets(batch["target"])
    opacities, occupied, known = outputs["opacities"].flatten(0, 1), occupied.flatten(), known.flatten()
    in_picture = F.max_pool3d((batch["state"] >= IN_VIEW)[:, None].float(), 2).flatten()
    counts = in_picture + (1 - in_picture) * weights.unseen
    _add(terms, "coarse", weights.coarse * losses.coarse_occupancy(opacities, occupied, known * counts))
    _add(terms, "undefined", weights.undefined * losses.coarse_occupancy(opacities, occupied, (1 - known) * counts))
    if weights.dense and "dense" in outputs:
        _add(terms, "dense", weights.dense * dense_loss(outputs["dense"], batch, label_weights, weights, generator))
    return {name: torch.stack(values).mean() for name, values in terms.items()}


def cells_in_reach(seen: Tensor) -> Tensor:
    """Cells whose Gaussians can reach a voxel that counts: those that hold one, and their neighbours.

    Args:
        seen: (B, 60, 60, 36) bool.

    Returns:
        (B, 16200) bool.
    """
    cells = F.max_pool3d(seen[:, None].float(), 2)
    return F.max_pool3d(cells, 3, stride=1, padding=1).flatten(1) > 0


def dense_loss(
    logits: Tensor, batch: dict[str, Tensor], label_weights: Tensor, weights: LocalWeights, generator: torch.Generator
) -> Tensor:
    """Cross-entropy of the auxiliary per-voxel head over a random share of the known voxels.

    Args:
        logits: (B, 16200, 8, 12), voxels grouped by cell. batch: `target` and `state`.
    """
    labels, state = cells_of(batch["target"]).flatten(), cells_of(batch["state"]).flatten()
    known = ((state == IN_VIEW) | (state == UNSEEN)).nonzero()[:, 0]
    known = known[torch.rand(len(known), generator=generator) < weights.dense_share]
    point_weights = torch.where(state[known] == IN_VIEW, 1.0, weights.unseen)
    loss = F.cross_entropy(logits.flatten(0, 2)[known], labels[known].long(), label_weights, reduction="none")
    return (loss * point_weights).sum() / point_weights.sum().clamp(min=1.0)


def _add(terms: dict[str, list[Tensor]], name: str, value: Tensor) -> None:
    terms.setdefault(name, []).append(value)
