"""Depth of one camera as another beside it would have measured it: what "registered to the colour image" means.

Each depth pixel is a small square; its two corners are projected into the target at the pixel's own depth, and every target pixel whose
centre lies between them takes it, the nearest surface winning. Nothing is blended or filled in: where nothing lands is no reading.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
from numba import njit

from sgrocc_core.geometry.camera import pinhole, scale_intrinsics

SAME_POSE = 1e-4
"""How far two cameras may differ, in metres and in entries of the rotation, and still count as one."""
SAME_PIXEL = 0.5
"""Pixels of the depth image by which a ray may land elsewhere in an image that it is registered to already."""


@dataclass(frozen=True)
class Registration:
    """How depth is brought into another image.

    Attributes:
        source_size, target_size: (width, height), pixels. source_K, target_K: (3, 3) pixels.
        T_ts: (4, 4) source camera to target camera, metres.
    """

    source_size: tuple[int, int]
    source_K: np.ndarray
    target_size: tuple[int, int]
    target_K: np.ndarray
    T_ts: np.ndarray

    def __call__(self, depth: np.ndarray) -> np.ndarray:
        """Depth (H, W) in metres along the source's optical axis, 0 = none, to (H', W') float32 along the target's."""
        out = np.zeros((self.target_size[1], self.target_size[0]), np.float32)
        T_ts = np.ascontiguousarray(self.T_ts, np.float64)
        _splat(np.ascontiguousarray(depth, np.float32), pinhole(self.source_K), pinhole(self.target_K), T_ts, out)
        return out


def plan_registration(
    color_size: tuple[int, int], color_K: np.ndarray, depth_size: tuple[int, int], depth_K: np.ndarray, T_cd: np.ndarray
) -> Registration | None:
    """How depth is registered to a colour image: in the colour image's aspect, at about the resolution it has, never above the image's.

    Args:
        color_size, depth_size: (width, height), pixels. color_K, depth_K: (3, 3) pixels.
        T_cd: (4, 4) depth camera to colour camera, metres.

    Returns:
        None where the depth lies on the image already: one camera, the same aspect, and no ray off by more than SAME_PIXEL.
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
    """How far the rays through the corners of an image land from themselves under other intrinsics, pixels."""
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
