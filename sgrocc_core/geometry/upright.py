"""The up axis of a world, and the rotation that makes it z: the mapper expects gravity along -z."""

from __future__ import annotations

import numpy as np

WORLDS: dict[str, np.ndarray] = {
    "z-up": np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]], float),
    "z-down": np.array([[1, 0, 0], [0, -1, 0], [0, 0, -1]], float),
    "y-up": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], float),
    "y-down": np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float),
    "x-up": np.array([[0, -1, 0], [0, 0, -1], [1, 0, 0]], float),
    "x-down": np.array([[0, 1, 0], [0, 0, -1], [-1, 0, 0]], float),
}
"""(3, 3) rotation to a world with z up, by the name of the up axis."""
LOOKING_UP = 0.9
"""Vertical component of the camera's z axis above which it points up, within about 25 degrees (round guess)."""
CLEAR = 0.8
"""Minimum share of the mean image-up direction along one axis for it to be the up axis (round guess)."""
MIN_MEAN_UP = 0.3
"""Minimum length of that mean along the axis: cameras whose up directions disagree cancel out (round guess)."""


def looks_up(T_wc: np.ndarray) -> bool:
    """Whether the z axis of a camera points up, as it does if the pose is that of a body frame, not an optical frame.

    Args:
        T_wc: (4, 4) camera (optical) to world with z up.
    """
    return bool(T_wc[2, 2] > LOOKING_UP)


def guess_world(poses: np.ndarray) -> str | None:
    """Estimate the up axis of a world from camera poses, assuming that the cameras are upright on average.

    Args:
        poses: (N, 4, 4) camera (optical) to world; poses that are not finite or all zeros are ignored.

    Returns:
        A name of WORLDS, or None if the up directions of the images do not agree on an axis.
    """
    poses = poses[np.isfinite(poses).all((1, 2)) & poses.any((1, 2))]
    if not len(poses):
        return None
    up = -poses[:, :3, 1].mean(0)
    axis = int(np.abs(up).argmax())
    if np.abs(up[axis]) < CLEAR * np.linalg.norm(up) or np.abs(up[axis]) < MIN_MEAN_UP:
        return None
    return "xyz"[axis] + ("-up" if up[axis] > 0 else "-down")


def turn_world(world: str, T_wc: np.ndarray) -> np.ndarray:
    """Rotate poses into a world with z up.

    Args:
        world: name of the up axis, a key of WORLDS.
        T_wc: (..., 4, 4) camera to world, metres.

    Returns:
        (..., 4, 4) camera to the rotated world, metres.
    """
    turn = np.eye(4)
    turn[:3, :3] = WORLDS[world]
    return turn @ T_wc
