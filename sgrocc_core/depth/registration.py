"""Registration of a depth image to the image of another camera.

Each depth pixel is a small square. Two opposite corners are projected into the target at the depth of the pixel, and
every target pixel whose centre lies between them takes that depth; the nearest surface wins. Depth is neither blended
nor filled in: a target pixel that nothing is projected to has no reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
from numba import njit

from sgrocc_core.geometry.camera import pinhole, scale_intrinsics

SAME_POSE = 1e-4
"""Maximum difference of two poses that count as equal, in metres and in entries of the rotation (round guess)."""
SAME_PIXEL = 0.5
"""Maximum shift of a ray, in depth pixels, in an image that depth counts as registered to (half a pixel)."""


@dataclass(frozen=True)
class Registration:
    """Registers depth images of a source camera to a target camera.

    Attributes:
        source_size: (width, height) of the source, pixels.
        source_K: (3, 3) intrinsics of the source, pixels.
        target_size: (width, height) of the target, pixels.
        target_K: (3, 3) intrinsics of the target, pixels.
        T_ts: (4, 4) source camera to target camera, metres.
    """

    source_size: tuple[int, int]
    source_K: np.ndarray
    target_size: tuple[int, int]
    target_K: np.ndarray
    T_ts: np.ndarray

    def __call__(self, depth: np.ndarray) -> np.ndarray:
        """Register a depth image.

        Args:
            depth: (H, W) metres along the optical axis of the source, 0 = no reading.

        Returns:
            (H', W') float32, metres along the optical axis of the target, 0 = no reading.
        """
        out = np.zeros((self.target_size[1], self.target_size[0]), np.float32)
        T_ts = np.ascontiguousarray(self.T_ts, np.float64)
        _splat(np.ascontiguousarray(depth, np.float32), pinhole(self.source_K), pinhole(self.target_K), T_ts, out)
        return out


def plan_registration(
    color_size: tuple[int, int], color_K: np.ndarray, depth_size: tuple[int, int], depth_K: np.ndarray, T_cd: np.ndarray
) -> Registration | None:
    """Plan the registration of depth to a colour image.

    The target has the aspect of the colour image and about the resolution of the depth image, at most that of the
    colour image.

    Args:
        color_size: (width, height) of the colour image, pixels.
        color_K: (3, 3) intrinsics of the colour image, pixels.
        depth_size: (width, height) of the depth image, pixels.
        depth_K: (3, 3) intrinsics of the depth image, pixels.
        T_cd: (4, 4) depth camera to colour camera, metres.

    Returns:
        The registration; None if the depth is registered already: equal poses, the same aspect, and no ray shifted by
        more than SAME_PIXEL.
    """
    same_aspect = color_size[0] * depth_size[1] == color_size[1] * depth_size[0]
    scaled = scale_intrinsics(color_K, depth_size[0] / color_size[0], depth_size[1] / color_size[1])
    if (
        same_aspect
        and np.abs(T_cd - np.eye(4)).max() < SAME_POSE
        and _largest_shift(depth_size, depth_K, scaled) <= SAME_PIXEL
    ):
        return None
    steps = gcd(*color_size)
    step = min(max(round(steps * depth_K[0, 0] / color_K[0, 0]), 1), steps)
    size = color_size[0] // steps * step, color_size[1] // steps * step
    return Registration(depth_size, depth_K, size, scale_intrinsics(color_K, step / steps, step / steps), T_cd)


def _largest_shift(size: tuple[int, int], K: np.ndarray, other: np.ndarray) -> float:
    """Largest shift, in pixels, of the rays through the corners of an image when projected by other intrinsics."""
    corners = np.array([[0, 0, 1], [size[0] - 1, 0, 1], [0, size[1] - 1, 1], [size[0] - 1, size[1] - 1, 1]], float)
    return float(np.abs(corners @ (other @ np.linalg.inv(K)).T - corners).max())


@njit(cache=True)
def _splat(depth, source, target, T, out):
    for row in range(depth.shape[0]):
        y0, y1 = (row - 0.5 - source[3]) / source[1], (row + 0.5 - source[3]) / source[1]
        for column in range(depth.shape[1]):
            z = float(depth[row, column])
            if not 0.0 < z < np.inf:
                continue
            x0, x1 = (column - 0.5 - source[2]) / source[0], (column + 0.5 - source[2]) / source[0]
            w0 = T[2, 0] * x0 + T[2, 1] * y0 + T[2, 2] + T[2, 3] / z
            w1 = T[2, 0] * x1 + T[2, 1] * y1 + T[2, 2] + T[2, 3] / z
            if w0 <= 1e-6 or w1 <= 1e-6:
                continue
            u0 = target[0] * (T[0, 0] * x0 + T[0, 1] * y0 + T[0, 2] + T[0, 3] / z) / w0 + target[2]
            u1 = target[0] * (T[0, 0] * x1 + T[0, 1] * y1 + T[0, 2] + T[0, 3] / z) / w1 + target[2]
            v0 = target[1] * (T[1, 0] * x0 + T[1, 1] * y0 + T[1, 2] + T[1, 3] / z) / w0 + target[3]
            v1 = target[1] * (T[1, 0] * x1 + T[1, 1] * y1 + T[1, 2] + T[1, 3] / z) / w1 + target[3]
            reached = np.float32(z * (w0 + w1) / 2)
            first_v, last_v = max(np.ceil(min(v0, v1)), 0.0), min(np.ceil(max(v0, v1)), float(out.shape[0]))
            first_u, last_u = max(np.ceil(min(u0, u1)), 0.0), min(np.ceil(max(u0, u1)), float(out.shape[1]))
            for v in range(int(first_v), int(last_v)):
                for u in range(int(first_u), int(last_u)):
                    if out[v, u] == 0.0 or reached < out[v, u]:
                        out[v, u] = reached
