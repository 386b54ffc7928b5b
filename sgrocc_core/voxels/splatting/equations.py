"""Equations for splatting Gaussians to voxels (method, section 3): support, weights, occupancy and labels.

w_i(v) = o_i exp(-1/2 d^T Sigma_i^-1 d) if v lies within SUPPORT voxels of the mean's voxel and d^T Sigma_i^-1 d is at
most MAX_MAHALANOBIS2, else 0. log P(empty at v) = sum_i log(1 - min(w_i, MAX_SPLAT_WEIGHT)).
P(class c | occupied) = sum_i w_i p_ic / (sum_i w_i + 1e-6). `splat_torch` is the readable reference implementation,
`splat_numba` the fast one.
"""

from __future__ import annotations

import numpy as np

SUPPORT = 3
"""Voxels on each side of the mean's voxel, along every axis (method, section 3)."""
MAX_MAHALANOBIS2 = 18.0
"""Squared Mahalanobis distance at the rim of the support, where the weight is 1e-4 of the opacity."""
MAX_SPLAT_WEIGHT = 1.0 - 1e-4
"""Largest weight in log(1 - w) (method, section 3)."""
CLASS_EPSILON = 1e-6
"""Term added to the sum of weights in class probabilities, against division by 0 (method, section 3)."""


def probability_from(log_empty: np.ndarray) -> np.ndarray:
    """Probability of occupancy, 1 - exp(log P(empty)), of any shape."""
    return -np.expm1(log_empty)


def class_probabilities_from(class_weights: np.ndarray) -> np.ndarray:
    """Class probabilities, given that a voxel is occupied, from class weights (..., 11)."""
    return class_weights / (class_weights.sum(-1, keepdims=True) + CLASS_EPSILON)


def labels_from(log_empty: np.ndarray, class_weights: np.ndarray, threshold: float = 0.5) -> np.ndarray:
    """Labels of voxels: occupied if P(occupied) >= threshold, then the most probable class.

    Args:
        log_empty: (...,) log P(empty).
        class_weights: (..., 11) sums of w_i p_ic.
        threshold: `occupancy_threshold`, 0..1.

    Returns:
        (...,) uint8: 0 empty, 1..11 the classes.
    """
    occupied = probability_from(log_empty) >= threshold
    return np.where(occupied, class_weights.argmax(-1) + 1, 0).astype(np.uint8)
