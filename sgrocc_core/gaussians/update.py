"""Update of the cells in memory by one view (method, section 4): confirmed cells are averaged, others overwritten.

The rate is lambda = 1 - C W / (W + w) for every unconstrained field but the logits, with nlerp for rotations, and
W <- min(C W + w, W_max). An occupied cell that is observed free in three frames is removed.

The logits have a weight V of their own (ours): C confirms where a cell's matter lies, and falls with every look that
finds the surface beside the cell's centre, so that with W a class would be that of the last two or three looks. At a
surface and behind one V is kept whole; a cell observed free keeps C V. The weight of a look is w times the occupancy
that it predicts, since the class of no matter says nothing.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from sgrocc_core.gaussians.confidence import (
    FREE,
    MIN_OCCUPANCY,
    SURFACE,
    TEMPERATURE,
    UNSEEN,
    cell_occupancy,
    class_distribution,
    geometric_confidence,
    semantic_confidence,
)
from sgrocc_core.gaussians.gaussians import MIN_RAW_OPACITY
from sgrocc_core.geometry.lattice import BLOCK_CELLS, CELL_SIZE

MAX_CELL_WEIGHT = 8.0
"""Maximum weight W_max of a cell's history (ours; method, section 4)."""
MAX_CLASS_WEIGHT = 30.0
"""Maximum weight V_max of a cell's classes (ours): 8, without the occupancy, has 0.2 points of mIoU less (6 walks)."""
MIN_CLASS_SHARE = 0.02
"""Smallest share of a look's weight that counts for the classes (round guess)."""
MEAN_REACH = 0.5 * CELL_SIZE + 0.08
"""Bound of a mean's offset from the cell's centre along each axis, metres: 0.08 m outside (method, section 2)."""
SEEN_THROUGH_FRAMES = 3
"""Number of frames in which an occupied cell is observed free before it is removed (method, section 4)."""
REMOVED_OPACITY = -8.0
"""Raw opacity of a removed Gaussian (round guess); its sigmoid is 3e-4."""
PARTS = 32
"""Parts that the cells are divided into for the processor's cores (round guess)."""


class CellFields(NamedTuple):
    """Fields of the cells; the first axis runs over all cells of all blocks.

    Means are offsets from the cell's centre, metres, so that they keep their precision anywhere in the world. Scales,
    opacities and logits are raw; rotations are unit quaternions (w, x, y, z).
    """

    means: np.ndarray  # (N, G, 3)
    scales: np.ndarray  # (N, G, 3)
    rotations: np.ndarray  # (N, G, 4)
    opacities: np.ndarray  # (N, G)
    logits: np.ndarray  # (N, G, 11)
    features: np.ndarray  # (N, C)
    tag: np.ndarray  # (N,) uint8: 1 = refined in view at least once
    weight: np.ndarray  # (N,) float32: W
    class_weight: np.ndarray  # (N,) float32: V
    stamp: np.ndarray  # (N,) int64: time of the last view, nanoseconds
    seen_through: np.ndarray  # (N,) uint8: frames in which the occupied cell was observed free
    label: np.ndarray  # (N,) uint8: most probable class of the cell's Gaussians, 0 if none is splatted


class NewFields(NamedTuple):
    """Arrays of `LocalGaussians`, the output of the spatial expert for the box; means in the box frame."""

    means: np.ndarray
    scales: np.ndarray
    rotations: np.ndarray
    opacities: np.ndarray
    logits: np.ndarray
    features: np.ndarray


@njit(cache=True)
def part_of(part, count):
    """First and end of a part of `count` things."""
    part = np.int64(part)
    return part * count // PARTS, (part + 1) * count // PARTS


@njit(parallel=True, cache=True)
def update_cells(stored, index, new, anchors, centres, state, residual, sigma, weight, stamp, factors):
    """Blend the Gaussians of one view into the stored cells.

    Args:
        stored: CellFields, changed in place.
        index: (n,) int64, rows of `stored` to update, each once.
        new: NewFields.
        anchors: (n,) int64, the corresponding rows of `new`.
        centres: (n, 3) float32, centres of the cells in the box frame, metres.
        state: (A,) uint8, see `CellView`.
        residual: (A,) float32, metres, see `CellView`.
        sigma: (A,) float32, metres, see `CellView`.
        weight: (A,) float32, see `CellView`.
        stamp: time of the view, nanoseconds.
        factors: a value of CONFIDENCES.

    Returns:
        (n,) bool, the cells with a splatted Gaussian before or after the update.
    """
    changed = np.zeros(len(index), np.bool_)
    look = (state, residual, sigma, weight)
    for part in prange(PARTS):
        _update_part(part_of(part, len(index)), stored, index, new, anchors, centres, look, stamp, factors, changed)
    return changed


@njit(cache=True)
def _update_part(part, stored, index, new, anchors, centres, look, stamp, factors, changed):
    state, residual, sigma, weight = look
    distribution = np.empty((2, stored.logits.shape[2]), np.float32)
    for i in range(part[0], part[1]):
        n, a = index[i], anchors[i]
        before = stored.opacities[n].max() > MIN_RAW_OPACITY
        confidence = stored_confidence(stored, n, state[a], residual[a], sigma[a], factors, distribution)
        kept = confidence * stored.weight[n]
        rate = np.float32(1.0 - kept / (stored.weight[n] + weight[a]))
        classes = _class_weight(stored, n, state[a], confidence)
        share = weight[a] * max(cell_occupancy(new.opacities[a]), np.float32(MIN_CLASS_SHARE))
        _blend(stored, n, new, a, centres[i], rate, np.float32(share / (classes + share)))
        stored.weight[n] = min(kept + weight[a], MAX_CELL_WEIGHT)
        stored.class_weight[n] = min(classes + share, MAX_CLASS_WEIGHT)
        stored.tag[n], stored.stamp[n] = 1, stamp
        _count_seen_through(stored, n, state[a])
        after = stored.opacities[n].max() > MIN_RAW_OPACITY
        stored.label[n] = 0
        if after:
            class_distribution(stored.logits[n], stored.opacities[n], 1.0, distribution)
            stored.label[n] = distribution[0].argmax() + 1
        changed[i] = before or after


@njit(cache=True, forceinline=True)
def _class_weight(stored, n, state, confidence):
    """The weight V that the classes of a cell keep in a view."""
    if stored.tag[n] != 1:
        return np.float32(0.0)
    return stored.class_weight[n] * np.float32(confidence if state == FREE else 1.0)


@njit(cache=True, forceinline=True)
def stored_confidence(stored, n, state, residual, sigma, factors, distribution):
    """Confidence C = m C_geo C_sem (Eq. 8) of a stored cell in a view.

    Args:
        stored: CellFields.
        n: row of the cell.
        state: view state of the cell.
        residual: z - D, metres.
        sigma: sigma_g, metres.
        factors: whether C_geo and C_sem are used.
        distribution: (2, C) float32, work array.
    """
    if stored.tag[n] != 1:
        return 0.0
    occupancy = cell_occupancy(stored.opacities[n])
    confidence = geometric_confidence(state, occupancy, residual, sigma) if factors[0] else 1.0
    if factors[1] and occupancy >= MIN_OCCUPANCY:
        class_distribution(stored.logits[n], stored.opacities[n], TEMPERATURE, distribution)
        confidence *= semantic_confidence(distribution[0], occupancy)
    return confidence


@njit(parallel=True, cache=True)
def read_history(stored, rows, state, residual, sigma, stamp, factors, features, past):
    """Read the history of the cells of the local box before an update.

    Args:
        stored: CellFields.
        rows: (A,) int64, rows of `stored`, -1 = none.
        state: (A,) uint8, see `CellView`.
        residual: (A,) float32, metres, see `CellView`.
        sigma: (A,) float32, metres, see `CellView`.
        stamp: time of the view, nanoseconds.
        factors: a value of CONFIDENCES.
        features: (A, C) float32, zero; filled, see `History`.
        past: (A, 3) float32, zero; filled, see `History`. Tagged cells that are unseen in this view have confidence 1.
    """
    look = (state, residual, sigma)
    for part in prange(PARTS):
        _read_part(part_of(part, len(rows)), stored, rows, look, stamp, factors, features, past)


@njit(cache=True)
def _read_part(part, stored, rows, look, stamp, factors, features, past):
    state, residual, sigma = look
    distribution = np.empty((2, stored.logits.shape[2]), np.float32)
    for a in range(part[0], part[1]):
        n = rows[a]
        if n < 0 or stored.tag[n] == 0:
            continue
        features[a] = stored.features[n]
        past[a, 0] = 1.0
        if state[a] == UNSEEN:
            past[a, 1] = 1.0
        else:
            past[a, 1] = stored_confidence(stored, n, state[a], residual[a], sigma[a], factors, distribution)
        past[a, 2] = max(stamp - stored.stamp[n], 0) * 1e-9


@njit(cache=True, forceinline=True)
def _blend(stored, n, new, a, centre, rate, class_rate):
    """Apply x <- x + rate (x_new - x) to every field of cell n, to the logits at their own; a rate of 1 replaces."""
    reach = np.float32(MEAN_REACH)
    for g in range(stored.opacities.shape[1]):
        for k in range(3):
            offset = min(max(new.means[a, g, k] - centre[k], -reach), reach)
            mean = stored.means[n, g, k] + rate * (offset - stored.means[n, g, k])
            stored.means[n, g, k] = min(max(mean, -reach), reach)  # rounding may exceed the bound
            stored.scales[n, g, k] += rate * (new.scales[a, g, k] - stored.scales[n, g, k])
        stored.opacities[n, g] += rate * (new.opacities[a, g] - stored.opacities[n, g])
        for c in range(stored.logits.shape[2]):
            stored.logits[n, g, c] += class_rate * (new.logits[a, g, c] - stored.logits[n, g, c])
        _nlerp(stored.rotations[n, g], new.rotations[a, g], rate)
    for c in range(stored.features.shape[1]):
        stored.features[n, c] += rate * (new.features[a, c] - stored.features[n, c])


@njit(cache=True, forceinline=True)
def _nlerp(q, target, rate):
    """Move the unit quaternion q towards target (or its negative, the same rotation) and normalise, in place."""
    dot = np.float32(0.0)
    for k in range(4):
        dot += q[k] * target[k]
    sign = np.float32(1.0) if dot >= 0 else np.float32(-1.0)
    norm = np.float32(0.0)
    for k in range(4):
        q[k] += rate * (sign * target[k] - q[k])
        norm += q[k] * q[k]
    norm = np.sqrt(norm)
    if norm > 1e-6:
        for k in range(4):
            q[k] /= norm
    else:
        q[0], q[1], q[2], q[3] = 1.0, 0.0, 0.0, 0.0


@njit(cache=True, forceinline=True)
def _count_seen_through(stored, n, state):
    """Count the frames in which an occupied cell is observed free and remove it at the third; a surface resets."""
    if state == SURFACE:
        stored.seen_through[n] = 0
    elif state == FREE and cell_occupancy(stored.opacities[n]) >= MIN_OCCUPANCY:
        stored.seen_through[n] = min(stored.seen_through[n] + 1, SEEN_THROUGH_FRAMES)
        if stored.seen_through[n] >= SEEN_THROUGH_FRAMES:
            for g in range(stored.opacities.shape[1]):
                stored.opacities[n, g] = min(stored.opacities[n, g], np.float32(REMOVED_OPACITY))


@njit(cache=True)
def mark_reached(rows, reach, neighbours, marked):
    """Mark the blocks within reach of cells.

    Args:
        rows: (n,) int64, rows of the cells.
        reach: distance, cells, below the edge of a block.
        neighbours: (slots, 27) int32, see `GaussianMemory`.
        marked: (slots,) bool, changed in place.
    """
    for row in rows:
        slot, cell = row // BLOCK_CELLS**3, row % BLOCK_CELLS**3
        (x0, x1), (y0, y1), (z0, z1) = (
            _sides(cell // BLOCK_CELLS**2, reach),
            _sides(cell // BLOCK_CELLS % BLOCK_CELLS, reach),
            _sides(cell % BLOCK_CELLS, reach),
        )
        for x in range(x0, x1):
            for y in range(y0, y1):
                for z in range(z0, z1):
                    other = neighbours[slot, (x * 3 + y) * 3 + z]
                    if other >= 0:
                        marked[other] = True


@njit(cache=True)
def _sides(place, reach):
    """First and end of the blocks 0 (lower), 1 (own) and 2 (upper) that a cell reaches along an axis."""
    return (0 if place < reach else 1), (3 if place >= BLOCK_CELLS - reach else 2)


@njit(cache=True)
def number_rows(table, i0, j0, k0, rows):
    """Write the rows of the cells of a box.

    Args:
        table: (X, Y, Z) int64, slots of the blocks that the box intersects, -1 = none.
        i0: place of the box's first cell in its block, along x.
        j0: along y.
        k0: along z.
        rows: (30, 30, 18) int64, written; -1 for cells without a block.
    """
    edge = BLOCK_CELLS
    for i in range(i0, i0 + rows.shape[0]):
        for j in range(j0, j0 + rows.shape[1]):
            for k in range(k0, k0 + rows.shape[2]):
                slot = table[i // edge, j // edge, k // edge]
                local = (i % edge * edge + j % edge) * edge + k % edge
                rows[i - i0, j - j0, k - k0] = slot * edge**3 + local if slot >= 0 else -1
