"""What hides behind something new (method, section 4): there the memory's knowledge of empty space is out of date.

Where a chair is put down, its front is hit and appears; its inside and its back were seen free once, and no look will ever judge them
again. So where a sensor's depth falls into space that was well known to be free, the evidence of freedom behind it fades, and empty cells
begin anew: the network says what is there. A ray stops at the first voxel that is known to be full: what stood there still stands.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from sgrocc_core.gaussians.confidence import OCCUPIED, cell_occupancy
from sgrocc_core.gaussians.depth_layer import DepthLayer
from sgrocc_core.gaussians.evidence import NEAR, blocks_in_view
from sgrocc_core.gaussians.memory import BLOCK_ROWS, GaussianMemory
from sgrocc_core.geometry.lattice import BLOCK_CELLS, VOXEL_SIZE

WELL_FREE = -1.0
"""Log-odds of a voxel at or below which it counts as known to be free: what is hit there is new."""
DEPTH = 1.0
"""How far behind something new the evidence fades, metres along the ray."""
FADE = 0.25
"""What is left of the evidence of freedom after a frame."""
FINEST = 320
"""Rays are cast on a grid of at most this many columns of the depth image."""


def begin_anew(memory: GaussianMemory, layers: list[DepthLayer], T_lc: np.ndarray, max_distance: float) -> int:
    """Fade what the memory knows of free space behind what is new in this frame; before the frame's own evidence is added.

    Args:
        memory: changed. layers: the frame's depths; only a sensor's count, a learned depth is not sure enough of what is new.
        T_lc: (4, 4) camera to lattice frame, metres. max_distance: nothing farther along the optical axis is judged, metres.

    Returns:
        how many voxels' evidence faded.
    """
    faded = 0
    R, t = np.ascontiguousarray(T_lc[:3, :3], np.float64), np.ascontiguousarray(T_lc[:3, 3], np.float64)
    for layer in layers:
        keys = blocks_in_view(layer, T_lc, max_distance)
        slots = memory.slots(keys)
        if not layer.is_sensor or not (slots >= 0).any():
            continue
        low = keys.min(0).astype(np.int64)
        table = np.full(keys.max(0) - low + 1, -1, np.int64)
        table[tuple((keys - low).T)] = slots
        K = np.array([layer.K[0, 0], layer.K[1, 1], layer.K[0, 2], layer.K[1, 2]])
        step = math.ceil(layer.depth.shape[1] / FINEST)
        voxels = _behind(layer.depth, step, K, R, t, max_distance, low, table, memory.evidence)
        if len(voxels):
            voxels = np.unique(voxels, axis=0)
            _fade(voxels, memory.evidence, memory.fields.tag, memory.fields.weight, memory.fields.opacities)
            memory.evidence_changed[np.unique(voxels[:, 0])] = True
            faded += len(voxels)
    return faded


@njit(cache=True)
def _behind(depth, step, K, R, t, max_distance, low, table, evidence):
    """(n, 4) int64: slot and place in its block of the voxels that hide behind something new; a voxel may come more than once."""
    found = [(np.int64(0), np.int64(0), np.int64(0), np.int64(0)) for _ in range(0)]
    height, width = depth.shape
    for row in range(step, height - step, step):
        y = (row - K[3]) / K[1]
        for column in range(step, width - step, step):
            d = float(depth[row, column])
            if d < NEAR or d > max_distance:
                continue
            x = (column - K[2]) / K[0]
            slot, i, j, k = _voxel(d, x, y, R, t, low, table)
            if slot < 0 or evidence[slot, i, j, k] > WELL_FREE:
                continue
            beside = min(abs(depth[row, column - step] - d), abs(depth[row, column + step] - d))
            if max(beside, min(abs(depth[row - step, column] - d), abs(depth[row + step, column] - d))) > VOXEL_SIZE:
                continue  # between two surfaces, or noise
            length = math.sqrt(x * x + y * y + 1.0)
            for n in range(1, int(2 * DEPTH / VOXEL_SIZE) + 1):
                slot, i, j, k = _voxel(d + 0.5 * n * VOXEL_SIZE / length, x, y, R, t, low, table)
                if slot < 0:
                    break
                if evidence[slot, i, j, k] > 0.0 and n > 2:
                    break
                if evidence[slot, i, j, k] < 0.0:
                    found.append((slot, i, j, k))
    out = np.empty((len(found), 4), np.int64)
    for n in range(len(found)):
        for a in range(4):
            out[n, a] = found[n][a]
    return out


@njit(cache=True)
def _voxel(d, x, y, R, t, low, table):
    """Slot (-1: none) and place in its block of the voxel that the ray (x, y, 1) meets at depth d, metres."""
    i = int(math.floor((d * (R[0, 0] * x + R[0, 1] * y + R[0, 2]) + t[0]) / VOXEL_SIZE))
    j = int(math.floor((d * (R[1, 0] * x + R[1, 1] * y + R[1, 2]) + t[1]) / VOXEL_SIZE))
    k = int(math.floor((d * (R[2, 0] * x + R[2, 1] * y + R[2, 2]) + t[2]) / VOXEL_SIZE))
    bi, bj, bk = (i >> 4) - low[0], (j >> 4) - low[1], (k >> 4) - low[2]
    slot = np.int64(-1)
    if 0 <= bi < table.shape[0] and 0 <= bj < table.shape[1] and 0 <= bk < table.shape[2]:
        slot = table[bi, bj, bk]
    return slot, np.int64(i & 15), np.int64(j & 15), np.int64(k & 15)


@njit(cache=True)
def _fade(voxels, evidence, tag, weight, opacities):
    """Fade the evidence of voxels (n, 4), each once, and let their cells, where empty, begin anew."""
    for n in range(len(voxels)):
        slot, i, j, k = voxels[n]
        evidence[slot, i, j, k] *= FADE
        cell = slot * BLOCK_ROWS + ((i >> 1) * BLOCK_CELLS + (j >> 1)) * BLOCK_CELLS + (k >> 1)
        if cell_occupancy(opacities[cell]) < OCCUPIED:
            tag[cell], weight[cell] = 0, 0.0
