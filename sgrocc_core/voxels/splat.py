"""The rules of Gaussians to voxels (method, section 3): support, weights, occupancy, and the one label rule.

w_i(v) = o_i exp(-1/2 d^T Sigma_i^-1 d) where v lies within SUPPORT voxels of the mean's voxel and d^T Sigma_i^-1 d is at most
MAX_MAHALANOBIS2, 0 beyond; log P(empty at v) = sum_i log(1 - min(w_i, MAX_SPLAT_WEIGHT)); P(class c | occupied) =
sum_i w_i p_ic / (sum_i w_i + 1e-6). `splat_torch` is the readable reference, `splat_numba` the fast one.
"""

from __future__ import annotations

import numpy as np

SUPPORT = 3
"""Voxels on each side of the mean's voxel, along every axis."""
MAX_MAHALANOBIS2 = 18.0
"""Squared Mahalanobis distance of the support's rim: the weight there is 1e-4 of the opacity."""
MAX_SPLAT_WEIGHT = 1.0 - 1e-4
"""Largest weight inside log(1 - w)."""
CLASS_EPSILON = 1e-6
"""Added to the sum of the weights under the class probabilities."""


def probability_from(log_empty: np.ndarray) -> np.ndarray:
    """P(occupied) = 1 - exp(log P(empty)), of any shape."""
    return -np.expm1(log_empty)


def class_probabilities_from(class_weights: np.ndarray) -> np.ndarray:
    """P(class | occupied) of class weights (..., 11)."""
    return class_weights / (class_weights.sum(-1, keepdims=True) + CLASS_EPSILON)


def labels_from(log_empty: np.ndarray, class_weights: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """The one label rule: occupied where P(occupied) >= threshold, then the class of largest probability.

    Args:
        log_empty: (...,) log P(empty).
        class_weights: (..., 11).
        threshold: `occupancy_threshold`, 0..1.

    Returns:
        (...,) uint8: 0 empty, 1..11 the classes.
    """
    occupied = probability_from(log_empty) >= threshold
    return np.where(occupied, class_weights.argmax(-1) + 1, 0).astype(np.uint8)
