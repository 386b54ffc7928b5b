"""Which way is up in a recording's world, and the turn that puts z there: the mapper's gravity points along -z."""

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
"""Rotation of each kind of world to one with z up, (3, 3)."""
LOOKING_UP = 0.9
"""Upward part of the camera's z axis above which it looks at the ceiling, about 25 degrees from the zenith (round guess)."""
CLEAR = 0.8
"""Share of the mean upward direction that must lie along one axis before the cameras' posture decides."""


def looks_up(T_wc: np.ndarray) -> bool:
    """Whether a camera's z axis points up, as it does where the pose is that of a body frame (z up), not of the optical frame.

    Args:
        T_wc: (4, 4) camera (optical) to world with z up.
    """
    return bool(T_wc[2, 2] > LOOKING_UP)


def guess_world(poses: np.ndarray) -> str | None:
    """The kind of world that cameras held upright, on average, speak for.

    Args:
        poses: (N, 4, 4) camera (optical) to world; those that are not finite, or all zeros, are passed over.

    Returns:
        A name of WORLDS, or None where the images' upward directions agree on no axis.
    """
    poses = poses[np.isfinite(poses).all((1, 2)) & poses.any((1, 2))]
    if not len(poses):
        return None
    up = -poses[:, :3, 1].mean(0)
    axis = int(np.abs(up).argmax())
    if np.abs(up[axis]) < CLEAR * np.linalg.norm(up) or np.abs(up[axis]) < 0.3:
        return None
    return "xyz"[axis] + ("-up" if up[axis] > 0 else "-down")


def turn_world(world: str, T_wc: np.ndarray) -> np.ndarray:
    """Poses (..., 4, 4) of a kind of world to poses in the same world turned so that z is up."""
    turn = np.eye(4)
    turn[:3, :3] = WORLDS[world]
    return turn @ T_wc
