"""Random matching features, and cameras that moved, for tests of the sweeps."""

from __future__ import annotations

import numpy as np

from sgrocc_core.depth.sweep import CHANNELS
from sgrocc_core.geometry.poses import make_pose, rotation_from_quaternion

K = np.array([[72.0, 0, 39.5], [0, 72.0, 29.5], [0, 0, 1]])
HEIGHT, WIDTH = 60, 80
WHOLE = np.array([0, 0, WIDTH - 1, HEIGHT - 1], np.float32)


def normalised(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """(*shape, 16) float32 features of unit length."""
    features = rng.standard_normal((*shape, CHANNELS)).astype(np.float32)
    return features / np.linalg.norm(features, axis=-1, keepdims=True)


def moved(x: float = 0.0, y: float = 0.0, z: float = 0.0, turn: float = 0.0) -> np.ndarray:
    """A camera at (x, y, z) that is turned about its vertical axis, radians."""
    return make_pose(
        rotation_from_quaternion(np.array([0, np.sin(turn / 2), 0, np.cos(turn / 2)])), np.array([x, y, z])
    )
