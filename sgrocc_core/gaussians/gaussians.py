"""Gaussians as a structure of arrays: the unconstrained parameters, what they mean, and the one covariance (method, section 1)."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgrocc_core.geometry.lattice import VOXEL_SIZE

MIN_OPACITY = 0.02
"""Gaussians of at most this opacity are neither splatted nor counted (round guess)."""
MIN_RAW_OPACITY = math.log(MIN_OPACITY / (1.0 - MIN_OPACITY))
"""The same as a raw opacity."""
SILENT_OPACITY = -20.0
"""Raw opacity of a Gaussian that does not take part: never written, or excluded from a splat. Its sigmoid is 2e-9."""
MIN_SCALE = 0.02
MAX_SCALE = 0.08
"""Bounds of a Gaussian's standard deviations along its own axes, metres."""
VOXEL_VARIANCE = VOXEL_SIZE**2 / 12
"""Variance of a voxel's own extent, square metres: without it small Gaussians fall between voxel centres."""


@dataclass(frozen=True)
class History:
    """What the memory knows of the local box's anchors before a look, for the network's fusion (Eq. 4).

    Attributes:
        features: (16200, C) float32, 0 where the memory holds nothing.
        past: (16200, 3) float32: tag (1 = refined in view before), confidence C (Eq. 8) under the present depth, age in seconds.
    """

    features: np.ndarray
    past: np.ndarray


def _namespace(array: Any) -> Any:
    """The module (numpy or torch) that an array belongs to; torch is only looked up where it is loaded already."""
    return sys.modules[type(array).__module__.split(".")[0]]


def constrain_scales(raw: Any) -> Any:
    """Raw scales to metres: 0.02 + 0.06 sigmoid(raw).

    Args:
        raw: array or tensor of any shape, unconstrained.

    Returns:
        The same shape and kind, metres, between MIN_SCALE and MAX_SCALE.
    """
    return MIN_SCALE + (MAX_SCALE - MIN_SCALE) * sigmoid(raw)


def sigmoid(x: Any) -> Any:
    """Logistic function of an array or tensor; never overflows."""
    return 0.5 + 0.5 * _namespace(x).tanh(0.5 * x)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis of a numpy array."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def covariance(scales: Any, rotations: Any) -> Any:
    """Covariances R S S^T R^T + (0.08^2 / 12) I: the one definition, for NumPy arrays and PyTorch tensors alike.

    Args:
        scales: (..., 3) metres, standard deviations along the Gaussian's own axes.
        rotations: (..., 4) unit quaternions (w, x, y, z).

    Returns:
        (..., 3, 3) square metres, symmetric and positive definite.
    """
    w, x, y, z = (rotations[..., k] for k in range(4))
    R = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    variances = [scales[..., k] * scales[..., k] for k in range(3)]
    entries = []
    for i in range(3):
        for j in range(3):
            entry = sum(R[i][k] * R[j][k] * variances[k] for k in range(3))
            entries.append(entry + VOXEL_VARIANCE if i == j else entry)
    stacked = _namespace(scales).stack(entries, -1)
    return stacked.reshape(*scales.shape[:-1], 3, 3)


@dataclass(frozen=True)
class LocalGaussians:
    """The Gaussians of one local box, in unconstrained form, float32; anchors in C order of the (30, 30, 18) cells.

    Attributes:
        means: (A, G, 3) metres, box frame (world axes, origin at the box's lowest corner).
        scales: (A, G, 3) raw; metres by `constrain_scales`.
        rotations: (A, G, 4) unit quaternions (w, x, y, z).
        opacities: (A, G) raw logits; 0..1 by `sigmoid`.
        logits: (A, G, 11) class logits; logit c belongs to label c + 1.
        features: (A, C) the anchors' features.
    """

    means: np.ndarray
    scales: np.ndarray
    rotations: np.ndarray
    opacities: np.ndarray
    logits: np.ndarray
    features: np.ndarray

    def __post_init__(self) -> None:
        anchors, gaussians = self.opacities.shape
        for name, width in (("means", 3), ("scales", 3), ("rotations", 4), ("logits", self.logits.shape[-1])):
            shape = getattr(self, name).shape
            if shape != (anchors, gaussians, width):
                raise ValueError(
                    f"{name} is {shape}; with opacities {self.opacities.shape} it must be {(anchors, gaussians, width)}"
                )
        if self.features.ndim != 2 or len(self.features) != anchors:
            raise ValueError(
                f"features is {self.features.shape}; with {anchors} anchors it must be ({anchors}, channels)"
            )
