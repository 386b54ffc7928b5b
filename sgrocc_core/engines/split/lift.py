"""The lifter's samples (Eq. 1, 2): what `network.expert.lifter.SoftGatedLifter` computes after its linear layers.

Most cells of the box are outside the image; those whose samples cannot be inside are left out at once.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from sgrocc_core.engines.split.projection import HALF, MIN_Z, NX, NY, NZ, ONE, ZERO, centre, dot, inside, nearest
from sgrocc_core.engines.split.projection import pixel as projected
from sgrocc_core.geometry.lattice import NUM_ANCHORS

MAX_OFFSET = np.float32(0.24)
"""Maximum offset of a sample along each axis, metres."""
REACH = np.float32(0.24 * math.sqrt(3) + 1e-3)
"""Largest distance of a sample from its anchor, metres, and a little more."""
NEGLIGIBLE = np.float32(1e-7)
"""Weight of a sample below which it is left out."""


def lift(
    query: np.ndarray,
    table: np.ndarray,
    width: int,
    depth: np.ndarray,
    thickness: np.ndarray,
    K: np.ndarray,
    T_bc: np.ndarray,
    gate: float,
) -> np.ndarray:
    """Lift a feature map to the cells; all arrays are float32.

    Args:
        query: (16200, 4 S), offsets of S samples before tanh, then the logits of their attention.
        table: (h * w, C), the map after its linear layer.
        width: w of the map.
        depth: (H, W) metres, 0 = none.
        thickness: (h', w') metres; depth is larger by an integer factor.
        K: (4,) fx, fy, cx, cy, pixels.
        T_bc: (4, 4) camera to box frame, metres.
        gate: alpha / (2 sigma^2) of Eq. 2, 1 / m^2.

    Returns:
        (16200, C) float32; 0 where no sample has depth and lies inside the image.
    """
    lifted = np.empty((NUM_ANCHORS, table.shape[1]), np.float32)
    scales = np.float32(1) / np.array([depth.shape[1] // width, depth.shape[1] // thickness.shape[1]], np.float32)
    _lift(query, table, width, depth, thickness, K, T_bc, np.float32(gate), scales, lifted)
    return lifted


@njit(cache=True)
def _out_of_sight(x, y, z, K, image):
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


@njit(cache=True, parallel=True, error_model="numpy")
def _lift(query, table, width, depth, thickness, K, T, gate, scales, out):
    samples = query.shape[1] // 4
    for column in prange(NX * NY):
        i, j = column // NY, column % NY
        for k in range(NZ):
            n = column * NZ + k
            row, raw = out[n], query[n]
            row[:] = ZERO
            px, py, pz = centre(i, T[0, 3]), centre(j, T[1, 3]), centre(k, T[2, 3])
            x = dot(px, py, pz, T[0, 0], T[1, 0], T[2, 0])
            y = dot(px, py, pz, T[0, 1], T[1, 1], T[2, 1])
            z = dot(px, py, pz, T[0, 2], T[1, 2], T[2, 2])
            if _out_of_sight(x, y, z, K, depth):
                continue
            most, total = raw[3 * samples], ZERO
            for s in range(1, samples):
                most = max(most, raw[3 * samples + s])
            for s in range(samples):
                total += np.float32(math.exp(raw[3 * samples + s] - most))
            for s in range(samples):
                ox = MAX_OFFSET * np.float32(math.tanh(raw[3 * s]))
                oy = MAX_OFFSET * np.float32(math.tanh(raw[3 * s + 1]))
                oz = MAX_OFFSET * np.float32(math.tanh(raw[3 * s + 2]))
                sx = x + dot(ox, oy, oz, T[0, 0], T[1, 0], T[2, 0])
                sy = y + dot(ox, oy, oz, T[0, 1], T[1, 1], T[2, 1])
                sz = z + dot(ox, oy, oz, T[0, 2], T[1, 2], T[2, 2])
                u, v = projected(sx, sy, sz, K)
                if not inside(u, v, sz, depth):
                    continue
                surface = nearest(depth, u, v, ONE)
                if not surface > ZERO:
                    continue
                r = z - surface
                r = min(r, ZERO) + max(r - nearest(thickness, u, v, scales[1]), ZERO)
                attention = np.float32(math.exp(raw[3 * samples + s] - most)) / total
                weight = attention * np.float32(math.exp(-gate * (r * r)))
                if weight > NEGLIGIBLE:
                    _add_sample(table, width, u, v, scales[0], weight, row)


@njit(cache=True, error_model="numpy", fastmath={"contract"})
def _add_sample(table, width, u, v, scale, weight, row):
    """Add a weighted bilinear sample of the map to a row; samples are clamped to the border's pixels."""
    height = table.shape[0] // width
    x = min(max((u + HALF) * scale - HALF, ZERO), np.float32(width - 1))
    y = min(max((v + HALF) * scale - HALF, ZERO), np.float32(height - 1))
    left, top = min(np.floor(x), np.float32(width - 2)), min(np.floor(y), np.float32(height - 2))
    a, b = x - left, y - top
    first = int(top) * width + int(left)
    upper_left, upper_right = table[first], table[first + 1]
    lower_left, lower_right = table[first + width], table[first + width + 1]
    p, q = (ONE - a) * (ONE - b) * weight, a * (ONE - b) * weight
    r, s = (ONE - a) * b * weight, a * b * weight
    for c in range(len(row)):
        row[c] += p * upper_left[c] + q * upper_right[c] + r * lower_left[c] + s * lower_right[c]
