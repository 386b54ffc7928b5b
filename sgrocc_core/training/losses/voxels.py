"""Losses of the spatial expert (method, section 5), each restricted to its mask.

A loss that is averaged over all views of a batch together divides by the sum over all processes' batches
(`distribution`); a loss that is computed per view is averaged by the code that combines the views.

Occupancy losses take the label distribution of N voxels, (N, 12), from the local head's splat: column 0 is P(empty),
column c is P(occupied) P(c | occupied). The focal loss takes only the logarithm of the true label's column.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.training.distribution import shared_total

EPS = 1e-6


def label_probabilities(log_empty: Tensor, class_weights: Tensor) -> Tensor:
    """Convert the splat's result to probabilities of the labels 0 to 11 (method, section 3).

    Args:
        log_empty: (N,) log P(empty), <= 0.
        class_weights: (N, 11) sum of w_i softmax(l_i).

    Returns:
        (N, 12).
    """
    empty = log_empty.exp()[:, None]
    return torch.cat([empty, (1 - empty) * class_weights / (class_weights.sum(-1, keepdim=True) + EPS)], -1)


def target_log_probability(log_empty: Tensor, class_weights: Tensor, target: Tensor) -> Tensor:
    """Compute log P(target) of each voxel without the other labels' probabilities.

    Args:
        log_empty: (N,) log P(empty), <= 0.
        class_weights: (N, 11) sum of w_i softmax(l_i).
        target: (N,) int64, 0 to 11.

    Returns:
        (N,); where nothing was splatted, a class has a log-probability of about 2 log EPS.
    """
    log_occupied = torch.log(-torch.expm1(log_empty.clamp(max=-EPS)))
    own = class_weights.gather(1, (target - 1).clamp(min=0)[:, None])[:, 0]
    given = torch.log((own + EPS / 11) / (class_weights.sum(-1) + EPS))
    return torch.where(target == 0, log_empty, log_occupied + given)


def focal(log_py: Tensor, target: Tensor, class_weights: Tensor, gamma: float = 2.0) -> Tensor:
    """Focal loss -w_y (1 - p_y)^gamma log p_y, averaged over voxels (Lin et al., 2017, eq. 5).

    Args:
        log_py: (N,) log-probability of each voxel's own label.
        target: (N,) int64, 0 to C - 1.
        class_weights: (C,).
        gamma: exponent that reduces the weight of voxels that are already classified well.
    """
    loss = -class_weights[target] * (1 - log_py.exp()).clamp(min=0) ** gamma * log_py
    return loss.sum() / max(1, len(loss))


def occupancy(log_empty: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy of occupied against empty, averaged over voxels.

    It keeps P(occupied) calibrated around 0.5.

    Args:
        log_empty: (N,) log P(empty), <= 0.
        target: (N,) int64 labels, 0 = empty.
    """
    log_empty = log_empty.clamp(max=-EPS)
    loss = -torch.where(target > 0, torch.log(-torch.expm1(log_empty)), log_empty)
    return loss.sum() / max(1, len(loss))


def soft_cross_entropy(p: Tensor, soft: Tensor) -> Tensor:
    """Cross-entropy of a distribution against a teacher's, averaged over voxels.

    As in Hinton et al., 2015, without a temperature.

    Args:
        p: (N, C) probabilities of the student.
        soft: (N, C) probabilities of the teacher.
    """
    return -(soft * torch.log(p.clamp(min=EPS))).sum() / max(1, len(p))


def lovasz_softmax(p: Tensor, target: Tensor) -> Tensor:
    """Lovasz-softmax: the convex extension of 1 - IoU, averaged over the classes present.

    Berman et al., 2018, algorithm 1.

    Args:
        p: (N, C) probabilities.
        target: (N,) int64, 0 to C - 1.

    Returns:
        Scalar; 0 without voxels.
    """
    if target.numel() == 0:
        return p.sum() * 0.0
    losses = []
    for c in torch.unique(target).tolist():
        truth = (target == c).float()
        errors, order = torch.sort((truth - p[:, c]).abs(), descending=True)
        truth = truth[order]
        total = truth.sum()
        intersection = total - truth.cumsum(0)
        union = total + (1 - truth).cumsum(0)
        jaccard = 1 - intersection / union
        gradient = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
        losses.append((errors * gradient).sum())
    return torch.stack(losses).mean()


def _ratios(hit: Tensor, score: Tensor, truth: Tensor, total: int) -> Tensor:
    """Sum -log of soft precision, recall and specificity of C binary questions, omitting ratios without a denominator.

    Args:
        hit: (C,) sum of p where true.
        score: (C,) sum of p.
        truth: (C,) number of true voxels.
        total: number of voxels.

    Returns:
        (C,).
    """
    rejected, false = total - score - truth + hit, total - truth
    loss = torch.zeros_like(hit)
    for numerator, denominator in ((hit, score), (hit, truth), (rejected, false)):
        ratio = (numerator / denominator.clamp(min=EPS)).clamp(EPS, 1.0)
        loss = loss + torch.where(denominator > 0, -torch.log(ratio), 0.0)
    return loss


def semantic_affinity(p: Tensor, target: Tensor) -> Tensor:
    """Scene-class affinity over labels: soft precision, recall and specificity of every class present.

    MonoScene, 2022, eq. 4-7.

    Args:
        p: (N, C) probabilities of the labels 0 to C - 1.
        target: (N,) int64.
    """
    truth = torch.bincount(target, minlength=p.shape[1]).to(p)
    hit = torch.zeros_like(truth).index_add(0, target, p.gather(1, target[:, None])[:, 0])
    present = truth > 0
    present[0] = False
    if not present.any():
        return p.sum() * 0.0
    return _ratios(hit, p.sum(0), truth, len(target))[present].mean()


def geometric_affinity(p_occupied: Tensor, target: Tensor) -> Tensor:
    """Scene-class affinity of occupied against empty (MonoScene, 2022).

    Args:
        p_occupied: (N,) P(occupied).
        target: (N,) int64 labels, 0 = empty.
    """
    if target.numel() == 0:
        return p_occupied.sum() * 0.0
    truth = (target > 0).to(p_occupied)
    return _ratios((p_occupied * truth).sum()[None], p_occupied.sum()[None], truth.sum()[None], len(target))[0]


def coarse_targets(target: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the occupancy of cells of 2 x 2 x 2 voxels.

    Args:
        target: (..., X, Y, Z) uint8 labels, 255 = unknown; X, Y, Z even.

    Returns:
        occupied (..., X/2, Y/2, Z/2) float, 1 if any voxel is occupied; known (same shape) float, 1 if any voxel is
        occupied or all are known to be empty.
    """
    lead, (x, y, z) = target.shape[:-3], target.shape[-3:]
    cells = target.reshape(*lead, x // 2, 2, y // 2, 2, z // 2, 2)
    dims = (-5, -3, -1)
    occupied = ((cells > 0) & (cells != UNKNOWN)).float().amax(dims)
    unknown = (cells == UNKNOWN).float().amax(dims)
    return occupied, torch.maximum(occupied, 1 - unknown)


def cell_occupancy(opacities: Tensor, occupied: Tensor) -> Tensor:
    """Binary cross-entropy of each cell's joint opacity 1 - prod(1 - o_g).

    Gaussians of low opacity, which the splat ignores, get a gradient from this loss.

    Args:
        opacities: (N, G), raw logits of the cells' Gaussians.
        occupied: (N,) 0 or 1.

    Returns:
        (N,); see `weighted_mean`.
    """
    log_empty = F.logsigmoid(-opacities.float()).sum(-1).clamp(max=-EPS)
    return -(occupied * torch.log(-torch.expm1(log_empty)) + (1 - occupied) * log_empty)


def weighted_mean(loss: Tensor, weights: Tensor, at_least: float = 1.0) -> Tensor:
    """Weighted mean of a loss over the batches of all processes.

    Args:
        loss: any shape.
        weights: same shape; may be bool.
        at_least: lower bound of the denominator.
    """
    return (loss * weights).sum() / shared_total(weights.sum().float(), at_least)


def laplace_nll(depth: Tensor, spread: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Laplace negative log-likelihood |d - d*| / b + log(2 b), averaged over valid pixels.

    Kendall and Gal, 2017, section 3.

    Args:
        depth: any shape, metres.
        spread: same shape, metres, the scale b.
        target: same shape, metres.
        valid: same shape, bool.
    """
    loss = (depth - target).abs() / spread + torch.log(2 * spread)
    return weighted_mean(loss, valid)


def log_depth_error(depth: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean |log d - log d*| over valid pixels: an error of one metre matters more at close range."""
    error = (torch.log(depth.clamp(min=1e-3)) - torch.log(target.clamp(min=1e-3))).abs()
    return weighted_mean(error, valid)


def depth_bins(logits: Tensor, log_depths: Tensor, log_target: Tensor, valid: Tensor) -> Tensor:
    """Cross-entropy of the depth bins against the two that enclose the true depth, weighted by proximity.

    Args:
        logits: (B, K, H, W).
        log_depths: (K,) evenly spaced centres, log metres.
        log_target: (B, 1, H, W), log metres.
        valid: (B, 1, H, W) bool.
    """
    count = logits.shape[1]
    position = (log_target - log_depths[0]) / (log_depths[1] - log_depths[0])
    position = position.clamp(0, count - 1)
    low = position.floor().clamp(max=count - 2).long()
    share = position - low
    log_p = F.log_softmax(logits, 1)
    loss = -((1 - share) * log_p.gather(1, low) + share * log_p.gather(1, low + 1))
    return weighted_mean(loss, valid)


def thickness_error(thickness: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean |log t - log t*| over pixels with a known thickness: centimetres matter for thin objects.

    Args:
        thickness: any shape, metres, positive.
        target: same shape, metres, positive.
        valid: same shape, bool.
    """
    error = (torch.log(thickness.clamp(min=1e-2)) - torch.log(target.clamp(min=1e-2))).abs()
    return weighted_mean(error, valid)
