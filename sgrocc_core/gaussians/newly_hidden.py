"""Decay of the evidence for free space behind new objects (method, section 4).

If a chair is put down in space that was observed free, its front is measured and appears in the map, but its inside
and its back are never measured and would stay free. So where a sensor measures a surface in space that was known to be
free, the evidence for free space behind it decays, and empty cells there are reset, so that the network's prediction is
used again. A ray stops at the first voxel that is known to be occupied.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from sgrocc_core.depth.layer import DepthLayer
from sgrocc_core.gaussians.confidence import MIN_OCCUPANCY, cell_occupancy
from sgrocc_core.gaussians.evidence import block_table, blocks_in_view, find_voxel
from sgrocc_core.gaussians.memory import BLOCK_ROWS, GaussianMemory
from sgrocc_core.geometry.camera import NEAREST, pinhole
from sgrocc_core.geometry.lattice import BLOCK_CELLS, BLOCK_VOXELS, VOXEL_SIZE

WELL_FREE = -1.0
"""Maximum log-odds of a voxel that is known to be free; a surface measured in it is new (round guess)."""
FADE_DISTANCE = 1.0
"""Distance behind a new surface over which the evidence decays, metres along the ray (round guess)."""
FREE_DECAY = 0.25
"""Factor of the evidence for free space per frame (round guess)."""
FINEST = 320
"""Maximum number of rays along the width of the depth image (round guess)."""


def begin_anew(memory: GaussianMemory, layers: list[DepthLayer], T_lc: np.ndarray, max_distance: float) -> int:
    """Decay the evidence for free space behind new surfaces; called before the evidence of the frame is added.

    Args:
        memory: memory to change.
        layers: depth of the frame; only layers of a sensor are used, since learned depth is too uncertain.
        T_lc: (4, 4) camera to lattice frame, metres.
        max_distance: maximum depth along the optical axis, metres.

    Returns:
        Number of voxels whose evidence was reduced.
    """
    faded = 0
    R, t = np.ascontiguousarray(T_lc[:3, :3], np.float64), np.ascontiguousarray(T_lc[:3, 3], np.float64)
    for layer in layers:
        keys = blocks_in_view(layer, T_lc, max_distance) if layer.is_sensor else np.zeros((0, 3), np.int32)
        slots = memory.slots(keys)
        keys, slots = keys[slots >= 0], slots[slots >= 0]
        if not len(keys):
            continue
        hidden = np.zeros((len(keys), BLOCK_VOXELS, BLOCK_VOXELS, BLOCK_VOXELS), np.bool_)
        step = math.ceil(layer.depth.shape[1] / FINEST)
        _behind(
            layer.depth, step, pinhole(layer.K), R, t, max_distance, *block_table(keys), slots, memory.evidence, hidden
        )
        if hidden.any():
            _fade(hidden, slots, memory.evidence, memory.fields.tag, memory.fields.weight, memory.fields.opacities)
            memory.evidence_changed[slots[hidden.any((1, 2, 3))]] = True
            faded += int(hidden.sum())
    return faded


@njit(parallel=True, cache=True)
def _behind(depth, step, K, R, t, max_distance, low, table, slots, evidence, hidden):
    """Mark in hidden (B, 16, 16, 16) the free voxels behind new surfaces; slots: (B,) of the blocks in the table."""
    rows = np.arange(step, depth.shape[0] - step, step)
    for n in prange(len(rows)):
        _behind_row(rows[n], depth, step, K, R, t, max_distance, low, table, slots, evidence, hidden)


@njit(cache=True)
def _behind_row(row, depth, step, K, R, t, max_distance, low, table, slots, evidence, hidden):
    y = (row - K[3]) / K[1]
    for column in range(step, depth.shape[1] - step, step):
        d = float(depth[row, column])
        if d < NEAREST or d > max_distance:
            continue
        x = (column - K[2]) / K[0]
        b, i, j, k = find_voxel(d, x, y, R, t, low, table)
        if b < 0 or evidence[slots[b], i, j, k] > WELL_FREE:
            continue
        beside = min(abs(depth[row, column - step] - d), abs(depth[row, column + step] - d))
        if max(beside, min(abs(depth[row - step, column] - d), abs(depth[row + step, column] - d))) > VOXEL_SIZE:
            continue  # between two surfaces, or noise
        length = math.sqrt(x * x + y * y + 1.0)
        for n in range(1, int(2 * FADE_DISTANCE / VOXEL_SIZE) + 1):
            b, i, j, k = find_voxel(d + 0.5 * n * VOXEL_SIZE / length, x, y, R, t, low, table)
            if b < 0 or (evidence[slots[b], i, j, k] > 0.0 and n > 2):
                break
            if evidence[slots[b], i, j, k] < 0.0:
                hidden[b, i, j, k] = True


@njit(cache=True)
def _fade(hidden, slots, evidence, tag, weight, opacities):
    """Reduce the evidence of the marked voxels and reset their cells if they are empty."""
    for b, i, j, k in np.argwhere(hidden):
        slot = slots[b]
        evidence[slot, i, j, k] *= FREE_DECAY
        cell = slot * BLOCK_ROWS + ((i >> 1) * BLOCK_CELLS + (j >> 1)) * BLOCK_CELLS + (k >> 1)
        if cell_occupancy(opacities[cell]) < MIN_OCCUPANCY:
            tag[cell], weight[cell] = 0, 0.0
