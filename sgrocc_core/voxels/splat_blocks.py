"""Splat of 16^3 blocks of the sparse map from the Gaussians of each block and its 26 neighbours; see `splat.py`.

Every block is one task with its own small grid. Blocks are independent, and only log P(empty) and the most probable
class are stored. This is the only parallel kernel of the map: the others take a millisecond or two, and waiting for a
second thread costs more than that on a busy machine.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from sgrocc_core.gaussians.gaussians import MIN_RAW_OPACITY, constrain_scales, covariance, sigmoid, softmax
from sgrocc_core.gaussians.memory import BLOCK_ROWS, NEIGHBOURS, GaussianMemory
from sgrocc_core.geometry.lattice import BLOCK_CELLS, BLOCK_VOXELS, CELL_SIZE, VOXEL_SIZE
from sgrocc_core.voxels.splat_numba import add_gaussian, supports


def splat_blocks(memory: GaussianMemory, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Splat the memory onto blocks.

    Args:
        memory: memory with the Gaussians; cells of tag 0 are not splatted.
        slots: (S,) int64, slots of the blocks.

    Returns:
        log_empty: (S, 16, 16, 16) float32, log P(empty).
        labels: (S, 16, 16, 16) uint8, the most probable class, 0 outside the support of all Gaussians.
    """
    near = memory.neighbours[slots]
    needed = np.unique(near[near >= 0])
    block, cell, g = _active(memory, needed)
    first = np.searchsorted(block, np.arange(len(needed) + 1))
    position = np.searchsorted(needed, near)  # valid if near >= 0
    inside = near >= 0
    ranges = np.stack(
        [np.where(inside, first[position * inside], 0), np.where(inside, first[position * inside + inside], 0)], -1
    )

    base = memory.keys[needed].min(0).astype(np.int64) - 1 if len(needed) else np.zeros(3, np.int64)
    rows, fields = needed[block] * BLOCK_ROWS + cell, memory.fields
    local = np.stack(np.unravel_index(cell, (BLOCK_CELLS,) * 3), 1) + (memory.keys[needed[block]] - base) * BLOCK_CELLS
    means = (local + 0.5) * CELL_SIZE + fields.means[rows, g]
    covariances = covariance(constrain_scales(fields.scales[rows, g]), fields.rotations[rows, g])
    extent = (memory.keys[needed].max(0) - base + 2) * BLOCK_VOXELS if len(needed) else np.zeros(3, np.int64)
    centres, precisions, bounds = supports(means, covariances, np.zeros(3), extent, VOXEL_SIZE, np.arange(len(rows)))
    opacities, shares = sigmoid(fields.opacities[rows, g]), softmax(fields.logits[rows, g])
    corners = (memory.keys[slots] - base) * BLOCK_VOXELS
    log_empty = np.zeros((len(slots), *[BLOCK_VOXELS] * 3), np.float32)
    labels = np.zeros(log_empty.shape, np.uint8)
    if len(rows):
        _splat_blocks(centres, precisions, bounds, opacities, shares, ranges, corners, VOXEL_SIZE, log_empty, labels)
    return log_empty, labels


def _active(memory: GaussianMemory, slots: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splatted Gaussians of blocks, (M,) each: index into slots, ascending, cell of the block, Gaussian of the cell."""
    opacities = memory.fields.opacities.reshape(-1, BLOCK_ROWS, memory.gaussians_per_cell)[slots]
    tags = memory.fields.tag.reshape(-1, BLOCK_ROWS)[slots]
    block, cell, g = np.nonzero((opacities > MIN_RAW_OPACITY) & (tags == 1)[..., None])
    return block, cell, g


@njit(parallel=True, cache=True, error_model="numpy")
def _splat_blocks(centres, precisions, bounds, opacities, shares, ranges, corners, voxel_size, log_empty, labels):
    edge, classes = log_empty.shape[1], shares.shape[1]
    for s in prange(len(corners)):
        start = (corners[s, 0], corners[s, 1], corners[s, 2])
        stop = (start[0] + edge, start[1] + edge, start[2] + edge)
        product, folded = np.ones((edge, edge, edge), np.float64), np.zeros((edge, edge, edge), np.float64)
        weights = np.zeros((edge, edge, edge, classes), np.float32)
        for n in range(len(NEIGHBOURS)):
            for i in range(ranges[s, n, 0], ranges[s, n, 1]):
                add_gaussian(
                    centres[i],
                    precisions[i],
                    bounds[i],
                    opacities[i],
                    shares[i],
                    start,
                    stop,
                    voxel_size,
                    product,
                    folded,
                    weights,
                )
        for x in range(edge):
            for y in range(edge):
                for z in range(edge):
                    if product[x, y, z] < 1.0 or folded[x, y, z] < 0.0:
                        log_empty[s, x, y, z] = folded[x, y, z] + math.log(product[x, y, z])
                        labels[s, x, y, z] = weights[x, y, z].argmax() + 1
