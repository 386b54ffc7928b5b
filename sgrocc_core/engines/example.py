"""A made-up frame on which engines are compared: two views of an empty room with waves on its walls, and their depth.

No file and no generator is needed for it, so that it can be made wherever an engine starts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.gaussians.gaussians import History
from sgrocc_core.geometry.lattice import NUM_ANCHORS
from sgrocc_core.geometry.poses import make_pose

ROOM = np.array([4.8, 4.8, 2.6])
"""Size of the room, metres; its lowest corner is that of the local box."""
EYE = np.array([0.35, 2.3, 1.5])
"""Position of the camera in the room, metres."""
TILT, TURN = 0.25, 0.3
"""Of the camera downwards and to the left, radians."""
STEP = np.array([0.02, 0.15, 0.0])
"""From the first view to the second, metres."""
FOCAL = 0.9
"""Focal length, widths of the image."""


@dataclass(frozen=True)
class ExampleView:
    """One view of the room.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) float32, ones: there is no padding.
        depth: (H, W) float32, metres along the optical axis.
        spread: (H, W) float32, its uncertainty, metres.
        K: (3, 3) intrinsics, pixels.
        T_bc: (4, 4) camera to box frame, metres.
    """

    image: np.ndarray
    mask: np.ndarray
    depth: np.ndarray
    spread: np.ndarray
    K: np.ndarray
    T_bc: np.ndarray


def example_views(spec: ModelSpec) -> tuple[ExampleView, ExampleView]:
    """Two views of the room, in the size that a model takes."""
    return _view(spec, EYE), _view(spec, EYE + STEP)


def example_history(spec: ModelSpec) -> History:
    """What the memory might hold in the box: small random features, two thirds of the cells seen before."""
    draw = np.random.default_rng(7)
    features = draw.standard_normal((NUM_ANCHORS, spec.feature_channels)).astype(np.float32)
    past = draw.random((NUM_ANCHORS, 3), np.float32)
    past[:, 0] = past[:, 0] < 2 / 3
    features[past[:, 0] == 0] = 0
    return History(features, past)


def _view(spec: ModelSpec, eye: np.ndarray) -> ExampleView:
    height, width = spec.grid.image_shape
    K = np.array([[FOCAL * width, 0, (width - 1) / 2], [0, FOCAL * width, (height - 1) / 2], [0, 0, 1]])
    forward = np.array([np.cos(TILT) * np.cos(TURN), np.cos(TILT) * np.sin(TURN), -np.sin(TILT)])
    right = np.array([np.sin(TURN), -np.cos(TURN), 0.0])
    R = np.stack([right, np.cross(forward, right), forward], 1)
    rows, columns = np.indices((height, width))
    rays = np.stack([(columns - K[0, 2]) / K[0, 0], (rows - K[1, 2]) / K[1, 1], np.ones((height, width))], -1) @ R.T
    # A ray leaves the room through the nearest of the three walls that it runs towards.
    walls = (np.where(rays > 0, ROOM, 0.0) - eye) / np.where(rays == 0, 1e-12, rays)
    depth = walls.min(-1)
    points = eye + depth[..., None] * rays
    phase = points @ np.array([[7.0, 2.0, -3.0], [1.0, 9.0, 4.0], [5.0, -2.0, 8.0]]).T + walls.argmin(-1)[..., None]
    return ExampleView(
        (127 + 110 * np.sin(phase)).astype(np.uint8),
        np.ones((height, width), np.float32),
        depth.astype(np.float32),
        (0.04 + 0.01 * depth**2).astype(np.float32),
        K,
        make_pose(R, eye),
    )
