"""The refinement of the Gaussians (Eq. 3): what `network.expert.refinement` computes after its linear layers.

All blocks are done at once: everything but the means is a sum over the blocks.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.engines.split.projection import CELL, HALF, NX, NY, NZ, ONE, STRIDE, ZERO
from sgrocc_core.gaussians.gaussians import SILENT_OPACITY
from sgrocc_core.geometry.lattice import NUM_ANCHORS

WIDTH = 1 + 3 + 4 + 1 + NUM_CLASSES
"""Values of a Gaussian in a block: move along the ray, scale, rotation, opacity and logits."""
MAX_STEP = np.float32(0.10)
"""Maximum move in the first block, metres; halved in each further block."""
REACH = CELL * HALF + np.float32(0.08)
"""Maximum distance of a mean from its cell's centre along each axis, metres."""
START_OPACITY = np.float32(-4)
STARTS = np.array(
    [[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1], [-1, -1, -1], [-1, 1, 1], [1, -1, 1], [1, 1, -1]], np.float32
) * np.float32(0.04)
"""(8, 3) positions of a cell's Gaussians before the first block, relative to its centre, metres."""


def refine(
    each: tuple[np.ndarray, ...],
    shared: tuple[np.ndarray, ...],
    T_bc: np.ndarray,
    wanted: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """Compute the Gaussians from the outputs of each block's layers; all arrays are float32.

    Args:
        each: (16200, G * 20) by block, what differs between a cell's Gaussians.
        shared: (16200, 11 or more) by block, logits that they have in common.
        T_bc: (4, 4) camera to box frame, metres.
        wanted: (16200,) bool, cells whose Gaussians are computed; those of the others are silent. None for all.

    Returns:
        means, scales, rotations, opacities and logits of expert.onnx, with their leading axis of 1.
    """
    count = each[0].shape[1] // WIDTH
    starts = STARTS[:count] if count > 1 else np.zeros((1, 3), np.float32)
    shapes = ((count, 3), (count, 3), (count, 4), (count,), (count, NUM_CLASSES))
    made = tuple(np.empty((1, NUM_ANCHORS, *shape), np.float32) for shape in shapes)
    if wanted is None:
        wanted = np.ones(NUM_ANCHORS, np.bool_)
    _refine(each, shared, T_bc, starts, wanted, *(array[0] for array in made))
    return made


@njit(cache=True, parallel=True, error_model="numpy")
def _refine(each, shared, T, starts, wanted, means, scales, rotations, opacities, logits):
    gaussians = len(starts)
    for turn in prange(NX * NY):
        column = turn * STRIDE % (NX * NY)  # so that each core has its share of the view
        i, j = column // NY, column % NY
        for k in range(NZ):
            n = column * NZ + k
            for g in range(gaussians):
                if not wanted[n]:
                    _silence(means[n, g], scales[n, g], rotations[n, g], logits[n, g])
                    opacities[n, g] = np.float32(SILENT_OPACITY)
                    continue
                _move(each, T, i, j, k, n, g, starts[g], means[n, g])
                scales[n, g, :] = ZERO
                rotations[n, g, :] = ZERO
                logits[n, g, :] = ZERO
                rotations[n, g, 0] = ONE
                opacity = START_OPACITY
                for b in range(len(each)):
                    raw, common = each[b][n, g * WIDTH : (g + 1) * WIDTH], shared[b][n]
                    for q in range(3):
                        scales[n, g, q] += raw[1 + q]
                    for q in range(4):
                        rotations[n, g, q] += raw[4 + q]
                    opacity += raw[8]
                    for q in range(NUM_CLASSES):
                        logits[n, g, q] += raw[9 + q] + common[q]
                opacities[n, g] = opacity
                square = ZERO
                for q in range(4):
                    square += rotations[n, g, q] * rotations[n, g, q]
                length = max(np.float32(math.sqrt(square)), np.float32(1e-6))
                for q in range(4):
                    rotations[n, g, q] /= length


@njit(cache=True)
def _silence(mean, scale, rotation, logits):
    """Values of a Gaussian that is not computed, beside its opacity."""
    mean[:] = ZERO
    scale[:] = ZERO
    rotation[:] = ZERO
    logits[:] = ZERO
    rotation[0] = ONE


@njit(cache=True)
def _move(each, T, i, j, k, n, g, start, mean):
    """Move a mean along its viewing ray in every block, and keep it near its cell."""
    cx, cy, cz = (np.float32(i) + HALF) * CELL, (np.float32(j) + HALF) * CELL, (np.float32(k) + HALF) * CELL
    x, y, z = cx + start[0], cy + start[1], cz + start[2]
    step = MAX_STEP
    for b in range(len(each)):
        rx, ry, rz = x - T[0, 3], y - T[1, 3], z - T[2, 3]
        length = np.float32(math.sqrt(rx * rx + ry * ry + rz * rz)) + np.float32(1e-6)
        move = step * np.float32(math.tanh(each[b][n, g * WIDTH])) / length
        x = min(max(x + move * rx, cx - REACH), cx + REACH)
        y = min(max(y + move * ry, cy - REACH), cy + REACH)
        z = min(max(z + move * rz, cz - REACH), cz + REACH)
        step *= HALF
    mean[0], mean[1], mean[2] = x, y, z
