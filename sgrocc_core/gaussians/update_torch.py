"""The update of the memory in PyTorch: the readable reference of `update.py`, differentiable, used in training.

Gradients pass through x and x_new in x <- x + lambda (x_new - x), but not through lambda, weights, tags and counts.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from sgrocc_core.gaussians.confidence import (
    CONFIDENCES,
    FREE,
    HIDDEN,
    MIN_OCCUPANCY,
    SEMANTIC_HIGH,
    SEMANTIC_LOW,
    SURFACE,
    TEMPERATURE,
    UNSEEN,
)
from sgrocc_core.gaussians.update import (
    MAX_CELL_WEIGHT,
    MAX_CLASS_WEIGHT,
    MEAN_REACH,
    MIN_CLASS_SHARE,
    REMOVED_OPACITY,
    SEEN_THROUGH_FRAMES,
)


@dataclass(frozen=True)
class Cells:
    """Fields of N cells, as `update.CellFields`, without label and with stamps in seconds.

    Attributes:
        means: (N, G, 3) offsets from the cell's centre, metres.
        scales: (N, G, 3) raw.
        rotations: (N, G, 4) unit quaternions (w, x, y, z).
        opacities: (N, G) raw.
        logits: (N, G, 11) class logits.
        features: (N, C).
        tag: (N,) float, 1 = refined in view at least once.
        weight: (N,) float.
        class_weight: (N,) float.
        stamp: (N,) float, time of the last view, seconds.
        seen_through: (N,) float, frames in which the occupied cell was observed free.
    """

    means: Tensor
    scales: Tensor
    rotations: Tensor
    opacities: Tensor
    logits: Tensor
    features: Tensor
    tag: Tensor
    weight: Tensor
    class_weight: Tensor
    stamp: Tensor
    seen_through: Tensor

    def detached(self) -> Cells:
        """Copy without gradients."""
        return Cells(*(getattr(self, f.name).detach() for f in fields(self)))


@dataclass(frozen=True)
class Look:
    """View of N cells in one frame, as `confidence.CellView`.

    Attributes:
        state: (N,) int64.
        residual: (N,) metres.
        sigma: (N,) metres.
        weight: (N,).
    """

    state: Tensor
    residual: Tensor
    sigma: Tensor
    weight: Tensor


def occupancy(opacities: Tensor) -> Tensor:
    """Occupancy (N,) of cells from raw opacities (N, G): 1 - prod(1 - sigmoid)."""
    return 1 - torch.exp(torch.nn.functional.logsigmoid(-opacities).sum(-1))


@torch.no_grad()
def confidence(cells: Cells, look: Look, kind: str = "hybrid") -> Tensor:
    """Confidence C = m C_geo C_sem (Eq. 6 to 8) of each cell in a view.

    Args:
        cells: N cells.
        look: their view.
        kind: one of CONFIDENCES.

    Returns:
        (N,); unseen cells are treated as hidden.
    """
    o = occupancy(cells.opacities)
    full = o >= MIN_OCCUPANCY
    g = torch.exp(-look.residual.square() / (2 * look.sigma.square()).clamp(min=1e-12))
    geometric = torch.where(full, g, 1 - g)
    geometric = torch.where(look.state == FREE, 1 - o, geometric)
    geometric = torch.where((look.state == HIDDEN) | (look.state == UNSEEN), 1.0, geometric)
    share = torch.sigmoid(cells.opacities)
    distribution = (share[..., None] * torch.softmax(cells.logits / TEMPERATURE, -1)).sum(-2) / share.sum(
        -1, keepdim=True
    ).clamp(min=1e-12)
    semantic = ((distribution.amax(-1) - SEMANTIC_LOW) / (SEMANTIC_HIGH - SEMANTIC_LOW)).clamp(0, 1)
    semantic = torch.where(full, semantic, 1.0)
    one = torch.ones_like(o)
    by_geometry, by_meaning = CONFIDENCES[kind]
    return cells.tag * (geometric if by_geometry else one) * (semantic if by_meaning else one)


def updated(cells: Cells, new: Cells, look: Look, stamp: float, kind: str = "hybrid") -> Cells:
    """Cells after the update by one view; unseen cells are unchanged.

    Args:
        cells: N cells.
        new: output of the spatial expert for the same cells, of which tag, weights, stamp and seen_through are unused.
        look: view of the cells.
        stamp: time of the view, seconds.
        kind: one of CONFIDENCES.
    """
    seen = look.state != UNSEEN
    with torch.no_grad():
        sure = confidence(cells, look, kind)
        kept = sure * cells.weight
        classes = cells.tag * torch.where(look.state == FREE, sure, 1.0) * cells.class_weight
        share = look.weight * occupancy(new.opacities).clamp(min=MIN_CLASS_SHARE)
        class_rate = torch.where(seen, share / (classes + share).clamp(min=1e-12), 0.0)
        rate = torch.where(seen, 1 - kept / (cells.weight + look.weight).clamp(min=1e-12), 0.0)
    blended = {}
    for name in ("scales", "opacities", "logits", "features"):
        old, fresh = getattr(cells, name), getattr(new, name)
        speed = class_rate if name == "logits" else rate
        blended[name] = old + speed.view(-1, *[1] * (old.dim() - 1)) * (fresh - old)
    offset = new.means.clamp(-MEAN_REACH, MEAN_REACH)
    blended["means"] = cells.means + rate[:, None, None] * (offset - cells.means)
    blended["rotations"] = _nlerp(cells.rotations, new.rotations, rate[:, None, None])
    with torch.no_grad():
        weight = torch.where(seen, (kept + look.weight).clamp(max=MAX_CELL_WEIGHT), cells.weight)
        class_weight = torch.where(seen, (classes + share).clamp(max=MAX_CLASS_WEIGHT), cells.class_weight)
        full = occupancy(blended["opacities"]) >= MIN_OCCUPANCY
        count = torch.where(look.state == SURFACE, 0.0, cells.seen_through)
        count = torch.where((look.state == FREE) & full, (count + 1).clamp(max=SEEN_THROUGH_FRAMES), count)
        gone = ((look.state == FREE) & full & (count >= SEEN_THROUGH_FRAMES))[:, None]
    blended["opacities"] = torch.where(gone, blended["opacities"].clamp(max=REMOVED_OPACITY), blended["opacities"])
    tag, time = torch.where(seen, 1.0, cells.tag), torch.where(seen, stamp, cells.stamp)
    kept_anew = {"tag": tag, "weight": weight, "class_weight": class_weight, "stamp": time, "seen_through": count}
    return replace(cells, **blended, **kept_anew)


def _nlerp(q: Tensor, target: Tensor, rate: Tensor) -> Tensor:
    """Normalised linear interpolation of unit quaternions (..., 4), towards the target or its negative."""
    sign = torch.where((q * target).sum(-1, keepdim=True) >= 0, 1.0, -1.0)
    moved = q + rate * (sign * target - q)
    norm = moved.norm(dim=-1, keepdim=True)
    identity = torch.zeros_like(q)
    identity[..., 0] = 1.0
    return torch.where(norm > 1e-6, moved / norm.clamp(min=1e-6), identity)
