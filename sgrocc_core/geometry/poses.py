"""Rigid transforms as 4 x 4 matrices, quaternions, interpolation, and the gravity-aligned camera frame."""

from __future__ import annotations

import numpy as np


def rotation_from_quaternion(q: np.ndarray) -> np.ndarray:
    """Rotation matrix of a quaternion.

    Args:
        q: (4,) x, y, z, w as in ROS; need not be normalised.

    Returns:
        (3, 3) float64.

    Raises:
        ValueError: the quaternion is not finite, or its norm is zero.
    """
    q = np.asarray(q, np.float64)
    norm = np.linalg.norm(q)
    if q.shape != (4,) or not np.isfinite(norm) or norm < 1e-9:
        raise ValueError(f"quaternion {q.tolist()} (x, y, z, w) must be four finite numbers that are not all zero")
    x, y, z, w = q / norm
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def quaternion_from_rotation(R: np.ndarray) -> np.ndarray:
    """Quaternion of a rotation matrix, computed from its largest component for numerical stability.

    Args:
        R: (3, 3) rotation matrix.

    Returns:
        (4,) float64, x, y, z, w, with w >= 0.
    """
    m = np.asarray(R, np.float64)
    squares = np.array(
        [
            1 + m[0, 0] - m[1, 1] - m[2, 2],
            1 - m[0, 0] + m[1, 1] - m[2, 2],
            1 - m[0, 0] - m[1, 1] + m[2, 2],
            1 + m[0, 0] + m[1, 1] + m[2, 2],
        ]
    )
    k = int(squares.argmax())
    rows = (
        (squares[0], m[0, 1] + m[1, 0], m[0, 2] + m[2, 0], m[2, 1] - m[1, 2]),
        (m[0, 1] + m[1, 0], squares[1], m[1, 2] + m[2, 1], m[0, 2] - m[2, 0]),
        (m[0, 2] + m[2, 0], m[1, 2] + m[2, 1], squares[2], m[1, 0] - m[0, 1]),
        (m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], squares[3]),
    )
    q = np.array(rows[k]) / (2 * np.sqrt(squares[k]))
    return q if q[3] >= 0 else -q


def make_pose(R: np.ndarray, t: np.ndarray) -> np.ndarray:
    """(4, 4) float64 transform from a rotation R (3, 3) and a translation t (3,), metres."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = R, t
    return T


def invert_pose(T: np.ndarray) -> np.ndarray:
    """Inverse of a rigid transform T (4, 4)."""
    R = T[:3, :3]
    return make_pose(R.T, -R.T @ T[:3, 3])


def slerp(q0: np.ndarray, q1: np.ndarray, a: float) -> np.ndarray:
    """Spherical interpolation between unit quaternions (4,), along the shorter arc, at fraction a in [0, 1]."""
    dot = float(q0 @ q1)
    if dot < 0:
        q1, dot = -q1, -dot
    if dot > 0.9995:
        q = q0 + a * (q1 - q0)
    else:
        theta = np.arccos(np.clip(dot, -1, 1))
        q = (np.sin((1 - a) * theta) * q0 + np.sin(a * theta) * q1) / np.sin(theta)
    return q / np.linalg.norm(q)


def gravity_aligned_rotation(R_wc: np.ndarray) -> np.ndarray:
    """Rotation from the camera to the gravity-aligned frame: x along the camera's heading, z up.

    Args:
        R_wc: (3, 3) camera (optical) to world, z up.

    Returns:
        R_gc: (3, 3); it does not depend on the yaw of the camera.
    """
    forward = heading(R_wc)
    left = np.array([-forward[1], forward[0], 0.0])
    return np.stack([forward, left, [0.0, 0.0, 1.0]]) @ R_wc


def heading(R_wc: np.ndarray) -> np.ndarray:
    """Horizontal viewing direction of a camera.

    Args:
        R_wc: (3, 3) camera (optical) to world, z up.

    Returns:
        (3,) unit vector; for a camera that looks straight down (up), the up (down) direction of its image.
    """
    forward = R_wc[:, 2].copy()
    if np.hypot(forward[0], forward[1]) < 1e-3:
        forward = -R_wc[:, 1] if forward[2] < 0 else R_wc[:, 1]
        forward = forward.copy()
    forward[2] = 0.0
    return forward / np.linalg.norm(forward)
