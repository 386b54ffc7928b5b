"""Held-out views for the validation during training, and its measures; reported figures come from `sgrocc eval`."""

from __future__ import annotations

import numpy as np
import torch

from sgrocc_core.training.data.dataset import Batch, DatasetOptions, PackedViews, item


def fixed_views(data: PackedViews, count: int, options: DatasetOptions) -> list[dict[str, np.ndarray]]:
    """Returns samples of views spread evenly over a data set, not augmented, the same at every call.

    Args:
        data: the views.
        count: maximum number of views.
        options: of the samples.
    """
    chosen = np.unique(np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(int))
    return [item(data.view(int(i)), options, np.random.default_rng((options.seed, int(i)))) for i in chosen]


def collate(views: list[dict[str, np.ndarray]]) -> Batch:
    """Stack samples to a batch of tensors."""
    return {key: torch.from_numpy(np.stack([view[key] for view in views])) for key in views[0]}


def confusion(truth: np.ndarray, found: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """Count labels.

    Args:
        truth: labels 0..11, any shape.
        found: labels of the same shape.
        valid: bool mask of the same shape.

    Returns:
        (12, 12) counts, rows truth, columns found.
    """
    return np.bincount(truth[valid].astype(np.int64) * 12 + found[valid], minlength=144).reshape(12, 12)


def occupancy_iou(matrix: np.ndarray) -> float:
    """Returns TP / (TP + FP + FN) of occupied (labels 1..11) against empty; 0 if nothing is occupied in either."""
    hit = matrix[1:, 1:].sum()
    return float(hit / max(1, hit + matrix[0, 1:].sum() + matrix[1:, 0].sum()))


def mean_iou(matrix: np.ndarray) -> float:
    """Returns the mean over the labels 1..11 that occur in the truth of TP / (TP + FP + FN)."""
    hit = np.diag(matrix).astype(float)
    union = matrix.sum(0) + matrix.sum(1) - hit
    present = matrix.sum(1) > 0
    present[0] = False
    return float((hit[present] / np.maximum(union[present], 1)).mean()) if present.any() else 0.0
