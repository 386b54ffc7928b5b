"""The geometric code of the cells: what `network.expert.lattice_encoder.geometric_code` computes."""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from sgrocc_core.engines.split.projection import (
    CELL,
    HALF,
    MIN_Z,
    NX,
    NY,
    NZ,
    ONE,
    STRIDE,
    ZERO,
    centre,
    inside,
    nearest,
    out_of_sight,
    to_camera,
)
from sgrocc_core.engines.split.projection import pixel as projected
from sgrocc_core.geometry.lattice import NUM_ANCHORS, VOXEL_SIZE

CODE_CHANNELS = 44
QUARTER = CELL * np.float32(0.25)
"""Distance of a voxel's centre from that of its cell along each axis, metres."""
RANGE, NEAR_WIDTH = np.float32(0.24), np.float32(0.06)
"""Range of the signed distances, and width of the bump at a surface, metres."""


def geometric_code(
    depth: np.ndarray, spread: np.ndarray, hits: np.ndarray, thickness: np.ndarray, K: np.ndarray, T_bc: np.ndarray
) -> np.ndarray:
    """Compute the code of every cell; all arrays are float32.

    Args:
        depth: (H, W) metres, 0 = none.
        spread: (H, W) metres.
        hits: (60, 60, 36), pixels of the depth in each voxel.
        thickness: (h, w) metres; depth is larger by an integer factor.
        K: (4,) fx, fy, cx, cy, pixels.
        T_bc: (4, 4) camera to box frame, metres.

    Returns:
        (16200, 44) float32.
    """
    code = np.empty((NUM_ANCHORS, CODE_CHANNELS), np.float32)
    scale = np.float32(1) / np.float32(depth.shape[1] // thickness.shape[1])
    _code(depth, spread, hits, thickness, K, T_bc, scale, VOXEL_AREA * K[0] * K[1], _turned(T_bc), code)
    return code


VOXEL_AREA = np.float32(VOXEL_SIZE * VOXEL_SIZE)


@njit(cache=True)
def _clipped(value, low, high):
    return min(max(value, low), high)


@njit(cache=True)
def _turned(T):
    """(8, 3) positions of a cell's voxels relative to its centre in the camera frame, metres."""
    turned = np.empty((8, 3), np.float32)
    for s in range(8):
        x = QUARTER if s >> 2 else -QUARTER
        y = QUARTER if (s >> 1) & 1 else -QUARTER
        z = QUARTER if s & 1 else -QUARTER
        turned[s, 0], turned[s, 1], turned[s, 2] = to_camera(x, y, z, T)
    return turned


@njit(cache=True, parallel=True, error_model="numpy")
def _code(depth, spread, hits, thickness, K, T, scale, area, turned, out):
    for turn in prange(NX * NY):
        column = turn * STRIDE % (NX * NY)  # so that each core has its share of the view
        i, j = column // NY, column % NY
        for k in range(NZ):
            row = out[column * NZ + k]
            row[:] = ZERO
            px, py, pz = centre(i, T[0, 3]), centre(j, T[1, 3]), centre(k, T[2, 3])
            x, y, z = to_camera(px, py, pz, T)
            visible = not out_of_sight(x, y, z, K, depth)
            if visible:
                _cell(depth, spread, thickness, K, scale, x, y, z, row)
            distance = np.float32(math.sqrt(px * px + py * py + pz * pz))
            reach = max(distance, np.float32(1e-3))
            row[5], row[6] = pz * HALF, distance * np.float32(0.25)
            row[7], row[8], row[9] = px / reach, py / reach, pz / reach
            for s in range(8):
                sx, sy, sz = x + turned[s, 0], y + turned[s, 1], z + turned[s, 2]
                if visible:
                    _voxel(depth, K, sx, sy, sz, s, row)
                hit = hits[2 * i + (s >> 2), 2 * j + ((s >> 1) & 1), 2 * k + (s & 1)]
                if hit > ZERO:
                    near = max(sz, MIN_Z)
                    row[28 + s] = min(hit, ONE)
                    row[36 + s] = min(hit * (near * near) / area, ONE)


@njit(cache=True)
def _cell(depth, spread, thickness, K, scale, x, y, z, row):
    u, v = projected(x, y, z, K)
    if not inside(u, v, z, depth):
        return
    row[3] = ONE
    surface = nearest(depth, u, v, ONE)
    if not surface > ZERO:
        return
    behind = z - surface
    off = max(nearest(spread, u, v, ONE), np.float32(0.01))
    row[0] = _clipped(behind * np.float32(2), -ONE, ONE)
    row[1] = _clipped(behind * np.float32(0.4), -ONE, ONE)
    thick = max(nearest(thickness, u, v, scale), np.float32(0.05))
    row[2] = _clipped(behind / thick, np.float32(-2), np.float32(4)) * np.float32(0.25)
    row[4] = ONE
    row[26] = np.float32(math.log(off * np.float32(10))) * HALF
    row[27] = _clipped(behind / off, np.float32(-4), np.float32(4)) * np.float32(0.25)


@njit(cache=True)
def _voxel(depth, K, x, y, z, s, row):
    u, v = projected(x, y, z, K)
    if not inside(u, v, z, depth):
        return
    surface = nearest(depth, u, v, ONE)
    if not surface > ZERO:
        return
    signed = _clipped(z - surface, -RANGE, RANGE)
    row[10 + s] = signed * (ONE / RANGE)
    scaled = signed * (ONE / NEAR_WIDTH)
    row[18 + s] = np.float32(math.exp(-(scaled * scaled)))
