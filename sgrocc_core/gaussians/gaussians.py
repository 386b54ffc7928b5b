"""Gaussians as a structure of arrays: unconstrained parameters and the covariance (method, section 1)."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgrocc_core.geometry.lattice import VOXEL_SIZE

MIN_OPACITY = 0.02
"""Opacity that a Gaussian must exceed to be splatted or counted (method, section 3)."""
MIN_RAW_OPACITY = math.log(MIN_OPACITY / (1.0 - MIN_OPACITY))
"""MIN_OPACITY as a raw opacity."""
SILENT_OPACITY = -20.0
"""Raw opacity of a Gaussian that does not take part: never written, or excluded from a splat. Its sigmoid is 2e-9."""
MIN_SCALE = 0.02
MAX_SCALE = 0.08
"""Bounds of the standard deviations of a Gaussian along its axes, metres (method, section 1)."""
VOXEL_VARIANCE = VOXEL_SIZE**2 / 12
"""Variance of the extent of a voxel, square metres; without it small Gaussians would fall between voxel centres."""


@dataclass(frozen=True)
class History:
    """Content of the memory for the anchors of the local box before an update, for the network's fusion (Eq. 4).

    Attributes:
        features: (16200, C) float32, 0 for anchors that are not in the memory.
        past: (16200, 3) float32: tag (1 = refined in view before), confidence C (Eq. 8) in the current depth, and age,
            seconds.
    """

    features: np.ndarray
    past: np.ndarray


def _namespace(array: Any) -> Any:
    """Module, numpy or torch, that an array belongs to; does not import torch."""
    return sys.modules[type(array).__module__.split(".")[0]]


def constrain_scales(raw: Any) -> Any:
    """Convert raw scales to metres: 0.02 + 0.06 sigmoid(raw).

    Args:
        raw: array or tensor of any shape, unconstrained.

    Returns:
        Array or tensor of the same shape, metres, between MIN_SCALE and MAX_SCALE.
    """
    return MIN_SCALE + (MAX_SCALE - MIN_SCALE) * sigmoid(raw)


def sigmoid(x: Any) -> Any:
    """Logistic function of an array or tensor, without overflow."""
    return 0.5 + 0.5 * _namespace(x).tanh(0.5 * x)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax over the last axis of a numpy array."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def covariance(scales: Any, rotations: Any) -> Any:
    """Covariances R S S^T R^T + (0.08^2 / 12) I of NumPy arrays or PyTorch tensors.

    Args:
        scales: (..., 3) standard deviations along the axes of the Gaussian, metres.
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
    """Gaussians of one local box, unconstrained, float32; anchors in C order of the (30, 30, 18) cells.

    Attributes:
        means: (A, G, 3) metres, box frame (world axes, origin at the lowest corner of the box).
        scales: (A, G, 3) raw; `constrain_scales` gives metres.
        rotations: (A, G, 4) unit quaternions (w, x, y, z).
        opacities: (A, G) raw; `sigmoid` gives 0..1.
        logits: (A, G, 11) class logits; logit c belongs to label c + 1.
        features: (A, C) features of the anchors.

    Raises:
        ValueError: the shapes do not match.
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
