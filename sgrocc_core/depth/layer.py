"""A depth image of a sensor or of the network, with its uncertainty and the smallest depth over any square of pixels.

The minimum over a square comes from a table of minima over windows of 1, 2, 4 ... 64 pixels, so that it takes four
look-ups at any size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit

MINIMA_LEVELS = 7
"""Levels of the table of minima: windows of up to 64 pixels, squares of up to 127."""
TABLE_WIDTH = 640
"""Maximum width of the table of minima; wider images are reduced by an integer factor (round guess)."""
SENSOR_SIGMA = (0.04, 0.01)
"""Coefficients of sigma_g = 0.04 + 0.01 z^2, metres, for a depth sensor (method, section 4)."""
FULL_TRUST_SIGMA = 0.05
"""Spread, metres, at or below which learned depth weighs as much as a sensor's (kappa = 1; method, section 4)."""


@dataclass(frozen=True)
class DepthLayer:
    """One source of depth of a frame.

    Attributes:
        depth: (H, W) float32, metres along the optical axis, 0 = no reading.
        spread: (H, W) float32, sigma_g of each pixel, metres; (0, 0) for a sensor, whose sigma_g depends on the depth.
        K: (3, 3) intrinsics of this image, pixels.
        minima: (MINIMA_LEVELS, h, w) float32, metres: the smallest valid depth of the square of 2^level table pixels
            whose top left pixel this is; inf = none.
        stride: image pixels per table pixel, along each axis.
    """

    depth: np.ndarray
    spread: np.ndarray
    K: np.ndarray
    minima: np.ndarray
    stride: int

    @property
    def is_sensor(self) -> bool:
        """Whether this is the depth of a sensor."""
        return self.spread.size == 0

    @classmethod
    def sensor(cls, depth: np.ndarray, K: np.ndarray) -> DepthLayer:
        """Layer of a sensor's depth (H, W) float32, metres, with its intrinsics K (3, 3), pixels."""
        stride = max(1, math.ceil(depth.shape[1] / TABLE_WIDTH))
        return cls(depth, np.zeros((0, 0), np.float32), K, _minima(depth, stride), stride)

    @classmethod
    def learned(cls, depth: np.ndarray, spread: np.ndarray, K: np.ndarray) -> DepthLayer:
        """Layer of a network's depth and spread, (H, W) float32, metres, with the intrinsics K at their resolution."""
        return cls(depth, np.maximum(spread, 1e-3).astype(np.float32), K, _minima(depth, 1), 1)


def _minima(depth: np.ndarray, stride: int) -> np.ndarray:
    rows, columns = -(-depth.shape[0] // stride), -(-depth.shape[1] // stride)
    table = np.empty((MINIMA_LEVELS, rows, columns), np.float32)
    _fill(np.ascontiguousarray(depth, np.float32), stride, table)
    return table


@njit(cache=True)
def _fill(depth, stride, table):
    """Fill the table of minima of a `DepthLayer`."""
    levels, height = table.shape[:2]
    nothing = np.float32(np.inf)
    for row in range(height):
        out = table[0, row]
        out[:] = nothing
        for v in range(row * stride, min((row + 1) * stride, depth.shape[0])):
            for first in range(stride):
                line = depth[v, first::stride]
                for column in range(len(line)):
                    d = line[column] if line[column] > 0 else nothing
                    out[column] = d if d < out[column] else out[column]
    for k in range(1, levels):
        step = 1 << (k - 1)
        for row in range(height):
            upper, lower = table[k - 1, row], table[k - 1, row + step if row + step < height else row]
            _least(upper, lower, upper[step:], lower[step:], table[k, row])


@njit(cache=True)
def _least(a, b, c, d, out):
    """Write the smallest of a, b, c and d to out; c and d are as long as a and b or shorter."""
    for n in range(len(c)):
        left, right = (b[n] if b[n] < a[n] else a[n]), (d[n] if d[n] < c[n] else c[n])
        out[n] = right if right < left else left
    for n in range(len(c), len(a)):
        out[n] = b[n] if b[n] < a[n] else a[n]


@njit(cache=True, forceinline=True)
def footprint_minimum(minima, stride, u, v, half):
    """Smallest valid depth, metres, of the square of +-half image pixels around (u, v); inf if there is none.

    At the border of the image the square may be widened inwards to the next power of two. Squares of more than 127
    table pixels are cut.
    """
    levels, height, width = minima.shape
    half = min(half, ((1 << (levels - 1)) - 1.0) * stride)
    u0 = max(int(math.floor((u - half + 0.5) / stride)), 0)
    v0 = max(int(math.floor((v - half + 0.5) / stride)), 0)
    u1 = min(int(math.floor((u + half + 0.5) / stride)), width - 1)
    v1 = min(int(math.floor((v + half + 0.5) / stride)), height - 1)
    if u0 > u1 or v0 > v1:
        return np.float32(np.inf)
    extent = max(u1 - u0, v1 - v0) + 1
    level = 0
    while (2 << level) < extent and level < levels - 1:
        level += 1
    side = 1 << level
    ub, vb = max(u1 - side + 1, 0), max(v1 - side + 1, 0)
    ua, va = min(u0, ub), min(v0, vb)
    table = minima[level]
    return min(min(table[va, ua], table[va, ub]), min(table[vb, ua], table[vb, ub]))


def sensor_spread(depth: Any) -> Any:
    """Standard deviation sigma_g of a sensor's depth, metres; for arrays and tensors of any shape."""
    return SENSOR_SIGMA[0] + SENSOR_SIGMA[1] * depth * depth


sensor_sigma = njit(cache=True)(sensor_spread)
"""`sensor_spread` for compiled code."""


@njit(cache=True)
def trust(sigma):
    """Weight kappa of learned depth with spread sigma, metres: (0.05 / sigma)^2, at most 1."""
    return min(1.0, (FULL_TRUST_SIGMA / sigma) ** 2)
