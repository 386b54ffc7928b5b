"""Cells of the box, projection and nearest pixels, as the other kernels use them; all in float32.

The order of the operations is that of `network.expert.projection`, so that a point near the border of two pixels falls
into the same one.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sgrocc_core.geometry.lattice import BOX_CELLS, CELL_SIZE

NX, NY, NZ = BOX_CELLS
CELL, HALF = np.float32(CELL_SIZE), np.float32(0.5)
ZERO, ONE = np.float32(0), np.float32(1)
MIN_Z = np.float32(0.05)
"""Minimum depth of a point, metres; nearer points count as behind the camera."""
STRIDE = 31
"""Columns are taken in steps of this, which has no divisor in common with their number: each core has its share of the
view."""
MAX_OFFSET = np.float32(0.24)
"""Maximum offset of a lifter's sample along each axis, metres."""
REACH = np.float32(0.24 * math.sqrt(3) + 1e-3)
"""Largest distance of a sample or of a voxel from its cell's centre, metres, and a little more."""


@njit(cache=True)
def centre(cell, origin):
    """Coordinate of a cell's centre relative to the camera, metres."""
    return (np.float32(cell) + HALF) * CELL - origin


@njit(cache=True)
def dot(x, y, z, a, b, c):
    """Product x a + y b + z c of two vectors, rounded as a matrix product with fused multiplications rounds it."""
    first = np.float64(x * a)  # a product of two float32 is exact in float64
    second = np.float64(np.float32(first + np.float64(y) * np.float64(b)))
    return np.float32(second + np.float64(z) * np.float64(c))


@njit(cache=True, forceinline=True)
def to_camera(x, y, z, T):
    """Turn a position relative to the camera from the axes of the box to those of the camera; T is camera to box."""
    return (
        dot(x, y, z, T[0, 0], T[1, 0], T[2, 0]),
        dot(x, y, z, T[0, 1], T[1, 1], T[2, 1]),
        dot(x, y, z, T[0, 2], T[1, 2], T[2, 2]),
    )


@njit(cache=True)
def pixel(x, y, z, K):
    """Column and row of a point of the camera frame, pixels; K is fx, fy, cx, cy."""
    inverse = ONE / max(z, MIN_Z)
    return x * inverse * K[0] + K[2], y * inverse * K[1] + K[3]


@njit(cache=True)
def inside(u, v, z, image):
    """Whether a projected point lies in front of the camera and within the image."""
    right, bottom = np.float32(image.shape[1] - 0.5), np.float32(image.shape[0] - 0.5)
    return z > MIN_Z and u > -HALF and u < right and v > -HALF and v < bottom


@njit(cache=True)
def nearest(image, u, v, scale):
    """Value at the pixel nearest to a position, in an image that is smaller by `scale`."""
    column = min(max(np.floor((u + HALF) * scale), ZERO), np.float32(image.shape[1] - 1))
    row = min(max(np.floor((v + HALF) * scale), ZERO), np.float32(image.shape[0] - 1))
    return image[int(row), int(column)]


@njit(cache=True)
def out_of_sight(x, y, z, K, image):
    """Whether no point within REACH of a point of the camera frame projects into the image."""
    far = z + REACH
    if far <= MIN_Z:
        return True
    right, bottom = np.float32(image.shape[1] - 0.5), np.float32(image.shape[0] - 0.5)
    return (
        (x + REACH < ZERO and (x + REACH) * K[0] < -(K[2] + HALF) * far)
        or (x - REACH > ZERO and (x - REACH) * K[0] > (right - K[2]) * far)
        or (y + REACH < ZERO and (y + REACH) * K[1] < -(K[3] + HALF) * far)
        or (y - REACH > ZERO and (y - REACH) * K[1] > (bottom - K[3]) * far)
    )
