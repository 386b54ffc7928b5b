"""Pseudo labels: of pixels, from a teacher or the image engine's own classes; of cells, from the depth's points."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sgrocc_core.classes import NUM_CLASSES, UNKNOWN
from sgrocc_core.geometry.lattice import BOX_CELLS, CELL_SIZE, NUM_ANCHORS
from sgrocc_core.training.losses.voxels import EPS, weighted_mean


def pixel_labels(outputs: dict[str, Tensor], batch: dict[str, Tensor], confidence: float) -> Tensor:
    """Pseudo labels of the pixels at the heads' resolution.

    Args:
        outputs: of the image engine, with `semantics` (B, 12, h, w), logits.
        batch: with `mask` (B, 1, H, W); its `pseudo` (B, h, w) uint8, a teacher's labels, are used if there are any.
        confidence: minimum probability of a label of the image engine.

    Returns:
        (B, h, w) uint8, 1 to 11; 255 where nothing is known.
    """
    if "pseudo" in batch:
        return batch["pseudo"]
    probability, label = torch.softmax(outputs["semantics"].detach().float(), 1).max(1)
    stride = batch["mask"].shape[-1] // label.shape[-1]
    known = (probability >= confidence) & (label > 0) & (batch["mask"][:, 0, ::stride, ::stride] > 0)
    return torch.where(known, label, UNKNOWN).to(torch.uint8)


@torch.no_grad()
def cells_of_points(depth: Tensor, intrinsics: Tensor, pose: Tensor) -> tuple[Tensor, Tensor]:
    """The cell of each pixel's point.

    Args:
        depth: (B, 1, h, w), metres, 0 = none.
        intrinsics: (B, 4), pixels of an image of (h, w).
        pose: (B, 4, 4) T_bc.

    Returns:
        (B, h * w) int64, number of the cell in the lattices of all samples one after the other; (B, h * w) bool,
        whether there is a point in the box.
    """
    batch, _, height, width = depth.shape
    u = torch.arange(width, device=depth.device).expand(height, -1)
    v = torch.arange(height, device=depth.device)[:, None].expand(-1, width)
    fx, fy, cx, cy = (value.view(-1, 1, 1) for value in intrinsics.unbind(1))
    z = depth[:, 0]
    camera = torch.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], -1).flatten(1, 2)
    index = torch.floor((camera @ pose[:, :3, :3].transpose(1, 2) + pose[:, None, :3, 3]) / CELL_SIZE).long()
    size = torch.tensor(BOX_CELLS, device=depth.device)
    inside = ((index >= 0) & (index < size)).all(-1) & (z > 0).flatten(1)
    cell = (index[..., 0] * BOX_CELLS[1] + index[..., 1]) * BOX_CELLS[2] + index[..., 2]
    return cell + NUM_ANCHORS * torch.arange(batch, device=depth.device)[:, None], inside


@torch.no_grad()
def cell_labels(labels: Tensor, depth: Tensor, intrinsics: Tensor, pose: Tensor) -> Tensor:
    """The label of most points in each cell.

    Args:
        labels: (B, h, w) uint8, 255 = unknown.
        depth: (B, 1, h, w), metres, 0 = none.
        intrinsics: (B, 4), pixels of an image of (h, w).
        pose: (B, 4, 4) T_bc.

    Returns:
        (B, 16200) uint8, 1 to 11; 255 for cells without labelled points.
    """
    cell, inside = cells_of_points(depth, intrinsics, pose)
    own = labels.flatten(1)
    valid = inside & (own > 0) & (own <= NUM_CLASSES)
    flat = cell[valid] * (NUM_CLASSES + 1) + own[valid].long()
    votes = torch.bincount(flat, minlength=len(labels) * NUM_ANCHORS * (NUM_CLASSES + 1))
    most, label = votes.view(len(labels), NUM_ANCHORS, -1).max(-1)
    return torch.where(most > 0, label, UNKNOWN).to(torch.uint8)


def head_loss(logits: Tensor, labels: Tensor, label_weights: Tensor) -> Tensor:
    """Class-weighted cross-entropy of a head against pseudo labels.

    Args:
        logits: (B, 11, ...), of the labels 1 to 11.
        labels: (B, ...) uint8, 1 to 11, 255 = unknown.
        label_weights: (12,).

    Returns:
        Scalar; 0 without labels.
    """
    known = (labels > 0) & (labels <= NUM_CLASSES)
    targets = torch.where(known, labels, 1).long()
    loss = F.cross_entropy(logits, targets - 1, reduction="none")
    return weighted_mean(loss, label_weights[targets] * known, EPS)
