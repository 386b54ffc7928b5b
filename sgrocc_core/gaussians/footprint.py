"""The footprint of the observed space, outside which a view does not change the memory (method, section 4).

From inside a room nobody knows what lies behind its walls, under its floor and above its ceiling. The network is
trained to leave it empty, but where it is not sure it fills it with more of them, up to a metre deep. So cells outside
the footprint are unseen: they are neither written nor published.

A column of voxels belongs to the footprint if depth ever observed a voxel of it, free or hit, at any height. Around
these columns REACH is added for the thickness of walls. Space that is hidden behind furniture is added too: up to
BEHIND from an observed column, through columns in which the view predicts hardly any structure. In height, the
footprint of a column reaches from the lowest to the highest voxel observed in its block or the eight around it, and
LAYERS beyond.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit

from sgrocc_core.classes import STRUCTURAL
from sgrocc_core.gaussians.confidence import FREE, MIN_OCCUPANCY, UNSEEN, CellView, cell_occupancy
from sgrocc_core.gaussians.gaussians import LocalGaussians
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.geometry.lattice import BLOCK_VOXELS, BOX_CELLS, BOX_VOXELS, CELL_VOXELS

REACH = 2.5
"""Largest distance of a column from an observed one, voxels: walls are 0.16 to 0.2 m thick."""
LAYERS = 2
"""Voxels below the lowest and above the highest observed one: the thickness of floors and ceilings."""
BEHIND = 3
"""Cells of hidden space behind furniture, counted from an observed column (of 0 and 3, on generated walks)."""
WALLED = 0.35
"""Share of a column's cells that are structure, from which it is a wall and ends hidden space."""
ENOUGH = 4
"""Voxels of a cell that must lie in the footprint, of 8."""
NONE_LOW, NONE_HIGH = 2**30, -(2**30)
"""Heights of the lowest and the highest observed voxel of a column without any."""


def within_footprint(memory: GaussianMemory, corner: np.ndarray, view: CellView, gaussians: LocalGaussians) -> CellView:
    """The view without the cells outside the footprint; call it after the frame's evidence was added.

    Args:
        memory: memory with the evidence of all frames so far.
        corner: (3,) int, cell index of the lowest corner of the local box.
        view: view of the cells of the box.
        gaussians: the network's prediction for the box, which tells walls from what stands in front of them.

    Returns:
        The view, in which the surface and hidden cells outside the footprint are unseen.
    """
    first = np.asarray(corner, np.int64) * CELL_VOXELS
    low, high, start = observed_columns(memory, first)
    state = view.state.copy()
    structural = np.zeros(gaussians.logits.shape[2] + 1, np.bool_)
    structural[list(STRUCTURAL)] = True
    walled = _walled(state, gaussians.opacities, gaussians.logits, structural, BOX_CELLS)
    x, y = (int(v) for v in first[:2] - start)
    _leave_out(low, high, x, y, int(first[2]), walled, BOX_CELLS, state)
    return replace(view, state=state)


def observed_columns(memory: GaussianMemory, first: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lowest and highest observed voxel of every column of the blocks of the local box and one block around them.

    Args:
        memory: the memory.
        first: (3,) int, lowest voxel of the box.

    Returns:
        low: (X, Y) int64, height of the lowest voxel with evidence, NONE_LOW without any.
        high: (X, Y) int64, height of the highest one, NONE_HIGH without any.
        start: (2,) int64, x and y of the first column.
    """
    begin, end = first // BLOCK_VOXELS - 1, (first + np.array(BOX_VOXELS) - 1) // BLOCK_VOXELS + 2
    axes = [np.arange(a, b) for a, b in zip(begin, end)]
    keys = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    slots = memory.slots(keys)
    shape = (end - begin)[:2] * BLOCK_VOXELS
    low, high = np.full(shape, NONE_LOW, np.int64), np.full(shape, NONE_HIGH, np.int64)
    held = slots >= 0
    _columns(memory.evidence, slots[held], keys[held] - np.array([*begin[:2], 0]), low, high)
    return low, high, begin[:2] * BLOCK_VOXELS


@njit(cache=True)
def _columns(evidence, slots, keys, low, high):
    """Fill low and high from blocks (B,); keys (B, 3) count from the first block along x and y."""
    for b in range(len(slots)):
        x, y, z = keys[b, 0] * BLOCK_VOXELS, keys[b, 1] * BLOCK_VOXELS, keys[b, 2] * BLOCK_VOXELS
        for i in range(BLOCK_VOXELS):
            for j in range(BLOCK_VOXELS):
                for k in range(BLOCK_VOXELS):
                    if evidence[slots[b], i, j, k] != 0.0:
                        low[x + i, y + j] = min(low[x + i, y + j], z + k)
                        break
                for k in range(BLOCK_VOXELS - 1, -1, -1):
                    if evidence[slots[b], i, j, k] != 0.0:
                        high[x + i, y + j] = max(high[x + i, y + j], z + k)
                        break


@njit(cache=True)
def _walled(state, opacities, logits, structural, cells):
    """(X, Y) bool for the columns of cells of the box: outside the view, or with a share of WALLED of structure."""
    walled = np.ones((cells[0], cells[1]), np.bool_)
    for i in range(cells[0]):
        for j in range(cells[1]):
            count, seen = 0, 0
            for k in range(cells[2]):
                a = (i * cells[1] + j) * cells[2] + k
                if state[a] == UNSEEN:
                    continue
                seen += 1
                if state[a] != FREE and cell_occupancy(opacities[a]) >= MIN_OCCUPANCY:
                    count += structural[_class(opacities[a], logits[a])]
            walled[i, j] = seen == 0 or count >= WALLED * cells[2]
    return walled


@njit(cache=True)
def _class(opacities, logits):
    """Class of the most opaque Gaussian of a cell; raw opacities (G,), logits (G, 11)."""
    return logits[opacities.argmax()].argmax() + 1


@njit(cache=True)
def _leave_out(low, high, x, y, z, walled, cells, state):
    """Set the surface and hidden cells outside the footprint to unseen; (x, y, z): lowest voxel of the box."""
    wide, deep = CELL_VOXELS * cells[0], CELL_VOXELS * cells[1]
    reach = int(REACH)
    # Observed columns and hidden ones behind furniture, of the box and `reach` voxels around it.
    inside = np.zeros((wide + 2 * reach, deep + 2 * reach), np.bool_)
    for i in range(inside.shape[0]):
        for j in range(inside.shape[1]):
            inside[i, j] = high[x + i - reach, y + j - reach] != NONE_HIGH
    _add_hidden(inside, walled, reach)
    floor, ceiling = _heights(low, high)
    for i in range(cells[0]):
        for j in range(cells[1]):
            for k in range(cells[2]):
                a = (i * cells[1] + j) * cells[2] + k
                if state[a] == UNSEEN or state[a] == FREE:
                    continue
                within = 0
                for n in range(CELL_VOXELS * CELL_VOXELS):
                    u, v = CELL_VOXELS * i + n // CELL_VOXELS, CELL_VOXELS * j + n % CELL_VOXELS
                    if not _near(inside, u + reach, v + reach, reach):
                        continue
                    at = ((x + u) // BLOCK_VOXELS, (y + v) // BLOCK_VOXELS)
                    for m in range(CELL_VOXELS):
                        height = z + CELL_VOXELS * k + m
                        within += floor[at] - LAYERS <= height <= ceiling[at] + LAYERS
                if within < ENOUGH:
                    state[a] = UNSEEN


@njit(cache=True)
def _near(inside, u, v, reach):
    """Whether a column of `inside` lies within REACH of column (u, v)."""
    if inside[u, v]:
        return True
    for p in range(-reach, reach + 1):
        for q in range(-reach, reach + 1):
            if p * p + q * q <= REACH * REACH and inside[u + p, v + q]:
                return True
    return False


@njit(cache=True)
def _add_hidden(inside, walled, reach):
    """Add columns without walls, cell by cell, up to BEHIND cells from the observed ones."""
    columns = np.zeros(walled.shape, np.int64)  # 0: outside; n: reached in step n
    for i in range(walled.shape[0]):
        for j in range(walled.shape[1]):
            u, v = reach + CELL_VOXELS * i, reach + CELL_VOXELS * j
            if inside[u : u + CELL_VOXELS, v : v + CELL_VOXELS].any():
                columns[i, j] = 1
    for step in range(1, BEHIND + 1):
        for i in range(walled.shape[0]):
            for j in range(walled.shape[1]):
                if columns[i, j] != 0 or walled[i, j]:
                    continue
                for p, q in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                    a, b = i + p, j + q
                    if 0 <= a < walled.shape[0] and 0 <= b < walled.shape[1] and columns[a, b] == step:
                        columns[i, j] = step + 1
                        u, v = reach + CELL_VOXELS * i, reach + CELL_VOXELS * j
                        inside[u : u + CELL_VOXELS, v : v + CELL_VOXELS] = True
                        break


@njit(cache=True)
def _heights(low, high):
    """Lowest and highest observed voxel of each block and the eight around it, two (X / 16, Y / 16) arrays."""
    shape = (low.shape[0] // BLOCK_VOXELS, low.shape[1] // BLOCK_VOXELS)
    floor, ceiling = np.full(shape, NONE_LOW, np.int64), np.full(shape, NONE_HIGH, np.int64)
    for i in range(low.shape[0]):
        for j in range(low.shape[1]):
            at = (i // BLOCK_VOXELS, j // BLOCK_VOXELS)
            floor[at] = min(floor[at], low[i, j])
            ceiling[at] = max(ceiling[at], high[i, j])
    wide_floor, wide_ceiling = floor.copy(), ceiling.copy()
    for i in range(shape[0]):
        for j in range(shape[1]):
            for p in range(max(i - 1, 0), min(i + 2, shape[0])):
                for q in range(max(j - 1, 0), min(j + 2, shape[1])):
                    wide_floor[i, j] = min(wide_floor[i, j], floor[p, q])
                    wide_ceiling[i, j] = max(wide_ceiling[i, j], ceiling[p, q])
    return wide_floor, wide_ceiling
