"""Which cells each layer of the expert has to compute, if only some cells' Gaussians are wanted.

A set of cells is held as one run of rows per column of the box: the first row, and the end. It contains the cells that
are needed and maybe more, so that what is computed of the wanted cells is what the whole box would give.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from sgrocc_core.engines.split.winograd import TILE
from sgrocc_core.geometry.lattice import BOX_CELLS

NX, NY, NZ = BOX_CELLS
LOW = (NX // 2, NY // 2, NZ // 2)
"""Cells of the half-resolution level."""
ROWS = 6
"""Runs of rows of a tile are multiples of this: rows that a product takes at once."""


class Need(NamedTuple):
    """What one block of the expert computes.

    Attributes:
        given: (30, 30, 2) int64, runs of the cells that the block takes.
        first: (T, 4) int64, tiles of the first convolution; see `winograd.convolve`.
        second: (T, 4) int64, tiles of the second.
        down: (15, 15) bool, columns of the half-resolution level.
        low1: (T, 4) int64, tiles of its first convolution.
        low2: (T, 4) int64, tiles of its second.
        made: (30, 30, 2) int64, runs of the cells that the block gives.
    """

    given: np.ndarray
    first: np.ndarray
    second: np.ndarray
    down: np.ndarray
    low1: np.ndarray
    low2: np.ndarray
    made: np.ndarray


def needs(wanted: np.ndarray | None, blocks: int) -> list[Need]:
    """What each block of the expert has to compute, the first one first.

    Args:
        wanted: (16200,) bool, cells whose Gaussians are wanted; None for all.
        blocks: number of blocks.
    """
    made = np.empty((NX, NY, 2), np.int64)
    if wanted is None:
        made[..., 0], made[..., 1] = 0, NZ
    else:
        _runs(np.ascontiguousarray(wanted, np.bool_).reshape(BOX_CELLS), made)
    found: list[Need] = []
    for _ in range(blocks):
        found.append(_need(made))
        made = found[-1].given
    return found[::-1]


def _need(made: np.ndarray) -> Need:
    first, given = np.empty_like(made), np.empty_like(made)
    _widen(made, first)
    _widen(first, given)
    low2, low1, down = (np.zeros(LOW[:2], np.bool_) for _ in range(3))
    _low(made, low2, low1, down, given)
    return Need(given, _tiles(first), _tiles(made), down, _low_tiles(low1, 1), _low_tiles(low2, 2), made)


def _low_tiles(columns: np.ndarray, step: int) -> np.ndarray:
    """Tiles of whole columns of the half-resolution level, with columns that are `step` apart."""
    side = TILE * step
    places = [
        (i + p, j + q, 0, LOW[2])
        for i in range(0, LOW[0], side)
        for j in range(0, LOW[1], side)
        for p in range(step)
        for q in range(step)
        if columns[i + p : i + p + side : step, j + q : j + q + side : step].any()
    ]
    return np.array(places[::2] + places[1::2], np.int64).reshape(-1, 4)


def _tiles(runs: np.ndarray) -> np.ndarray:
    found = np.empty((-(-NX // TILE) * -(-NY // TILE), 4), np.int64)
    found = found[: _cover(runs, found)]
    return np.concatenate([found[::2], found[1::2]])  # contiguous parts, one for each core, hold about the same work


@njit(cache=True)
def _runs(wanted, runs):
    """First and end of the wanted rows of each column; 0 and 0 without any."""
    for i in range(NX):
        for j in range(NY):
            first, end = NZ, 0
            for k in range(NZ):
                if wanted[i, j, k]:
                    first, end = min(first, k), k + 1
            runs[i, j, 0], runs[i, j, 1] = (first, end) if end > 0 else (0, 0)


@njit(cache=True)
def _widen(runs, out):
    """Runs of the cells at most one cell from those of other runs along each axis."""
    for i in range(NX):
        for j in range(NY):
            first, end = NZ, 0
            for u in range(max(i - 1, 0), min(i + 2, NX)):
                for v in range(max(j - 1, 0), min(j + 2, NY)):
                    if runs[u, v, 1] > runs[u, v, 0]:
                        first, end = min(first, runs[u, v, 0]), max(end, runs[u, v, 1])
            out[i, j, 0], out[i, j, 1] = (max(first - 1, 0), min(end + 1, NZ)) if end > 0 else (0, 0)


@njit(cache=True)
def _cover(runs, tiles):
    """Write the tiles that contain runs; their number."""
    count = 0
    for i in range(0, NX, TILE):
        for j in range(0, NY, TILE):
            first, end = NZ, 0
            for u in range(i, min(i + TILE, NX)):
                for v in range(j, min(j + TILE, NY)):
                    if runs[u, v, 1] > runs[u, v, 0]:
                        first, end = min(first, runs[u, v, 0]), max(end, runs[u, v, 1])
            if end == 0:
                continue
            rows = (end - first + ROWS - 1) // ROWS * ROWS
            tiles[count, 0], tiles[count, 1] = i, j
            tiles[count, 2], tiles[count, 3] = min(first, NZ - rows), rows
            count += 1
    return count


@njit(cache=True)
def _low(made, low2, low1, down, given):
    """Mark the columns of the half-resolution level, and complete the runs of cells that these take."""
    for i in range(NX):
        for j in range(NY):
            if made[i, j, 1] > made[i, j, 0]:
                low2[i // 2, j // 2] = True
    _grow(low2, low1, 2)
    _grow(low1, down, 1)
    for i in range(LOW[0]):
        for j in range(LOW[1]):
            if down[i, j]:  # cell n of the level takes the cells 2 n - 1 to 2 n + 1
                for u in range(max(2 * i - 1, 0), 2 * i + 2):
                    for v in range(max(2 * j - 1, 0), 2 * j + 2):
                        given[u, v, 0], given[u, v, 1] = 0, NZ


@njit(cache=True)
def _grow(columns, out, reach):
    """Mark the columns at most `reach` from one of the columns along each axis."""
    for i in range(columns.shape[0]):
        for j in range(columns.shape[1]):
            if columns[i, j]:
                out[max(i - reach, 0) : i + reach + 1, max(j - reach, 0) : j + reach + 1] = True
