"""The layers of the expert that treat each cell by itself, column by column, and the step to half the resolution.

Numba compiles this file again only when it has changed itself: change it together with `product`, which is inlined.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from sgrocc_core.engines.split.code import CODE_CHANNELS
from sgrocc_core.engines.split.lift import lift_cell
from sgrocc_core.engines.split.product import PANEL, product
from sgrocc_core.engines.split.projection import NX, NY, NZ, STRIDE, ZERO, centre, to_camera
from sgrocc_core.engines.split.reach import LOW

PAD, LOW_PAD = 1, 2
"""Zeros before the box in the volumes of both resolutions."""
PAST = 3
"""Numbers of a cell's past: tag, confidence and age."""


@njit(cache=True, forceinline=True)
def _without_negative(array):
    flat = array.ravel()
    for n in range(len(flat)):
        flat[n] = max(flat[n], ZERO)


@njit(cache=True)
def _layer(a, at, step, rows, weights, bias, c, to):
    """Write a layer of cells to c from `to` on, in rows as long as the bias; weights are packed: (panels, K, PANEL)."""
    depth, count = weights.shape[1], len(bias)
    product(a, at, step, rows, depth, weights, 0, depth * PANEL, len(weights), bias, 0, 0, c, to, count)


@njit(cache=True)
def _add_layer(a, at, step, rows, weights, count, c, to):
    """Add a layer without bias to c from `to` on, in rows of `count` numbers."""
    depth = weights.shape[1]
    product(a, at, step, rows, depth, weights, 0, depth * PANEL, len(weights), c, to, count, c, to, count)


@njit(cache=True)
def tabulate(pixels, layers):
    """The lifter's table (P, C) from the pixels (P, F) of the feature map and its packed weights and bias.

    NumPy's product would leave a thread behind that waits for more work and keeps a core busy.
    """
    weights, bias = layers
    table = np.empty((len(pixels), len(bias)), np.float32)
    _layer(pixels, 0, pixels.shape[1], len(pixels), weights, bias, table, 0)
    return table


@njit(cache=True, forceinline=True)
def _run(runs, turn):
    """The column of a turn, its place along x and y, and the first row and the number of rows of its run."""
    column = turn * STRIDE % (NX * NY)
    i, j = column // NY, column % NY
    return column, i, j, runs[i, j, 0], runs[i, j, 1] - runs[i, j, 0]


@njit(parallel=True, cache=True)
def embed(runs, code, layers, x):
    """Write the embedded geometric code of cells to a volume.

    Args:
        runs: (30, 30, 2) int64, see `reach`.
        code: (16200, 44) float32.
        layers: packed weights and bias of the two layers.
        x: padded volume, written at the runs.
    """
    weights0, bias0, weights1, bias1 = layers
    hidden = len(bias0)
    for turn in prange(NX * NY):
        column, i, j, z, rows = _run(runs, turn)
        if rows <= 0:
            continue
        between = np.empty((rows, hidden), np.float32)
        first = (column * NZ + z) * CODE_CHANNELS
        _layer(code, first, CODE_CHANNELS, rows, weights0, bias0, between, 0)
        _without_negative(between)
        to = _at(x, i, j, z, PAD)
        _layer(between, 0, hidden, rows, weights1, bias1, x, to)


@njit(cache=True, forceinline=True)
def _at(volume, i, j, k, pad):
    """Index of the first number of a cell of a padded volume."""
    return (((i + pad) * volume.shape[1] + j + pad) * volume.shape[2] + k + pad) * volume.shape[3]


@njit(parallel=True, cache=True)
def fuse(runs, history, past, layers, x):
    """Fuse the features of cells with their history, in place (Eq. 4 and 5); see `network.expert.fusion`.

    Args:
        runs: (30, 30, 2) int64.
        history: (16200, C) float32.
        past: (16200, 3) float32.
        layers: packed weights of the history and of the past and bias of phi's first layer; packed weights and bias
            of phi's second layer after the history's matrix; packed matrix of the current features.
        x: padded volume, changed at the runs.
    """
    of_history, of_past, bias0, weights1, bias1, current = layers
    hidden, channels = len(bias0), x.shape[3]
    for turn in prange(NX * NY):
        column, i, j, z, rows = _run(runs, turn)
        if rows <= 0:
            continue
        between, mixed = np.empty((rows, hidden), np.float32), np.empty((rows, channels), np.float32)
        state = np.empty((rows, PAST), np.float32)
        n = column * NZ + z
        for k in range(rows):
            state[k, 0], state[k, 1] = past[n + k, 0], past[n + k, 1]
            state[k, 2] = np.float32(math.log(np.float32(1.0) + past[n + k, 2]))
        _layer(history, n * channels, channels, rows, of_history, bias0, between, 0)
        _add_layer(state, 0, PAST, rows, of_past, hidden, between, 0)
        _without_negative(between)
        _layer(between, 0, hidden, rows, weights1, bias1, mixed, 0)
        _add_layer(x, _at(x, i, j, z, PAD), channels, rows, current, channels, mixed, 0)
        x[i + PAD, j + PAD, z + PAD : z + PAD + rows] = mixed


@njit(parallel=True, cache=True)
def lift_runs(runs, layers, table, width, depth, thickness, K, T, gate, scales, x):
    """Add the lifter's samples to the features of cells.

    Args:
        runs: (30, 30, 2) int64.
        layers: packed weights and bias of the query.
        table: see `lift.lift`.
        width: see `lift.lift`.
        depth: see `lift.lift`.
        thickness: see `lift.lift`.
        K: see `lift.lift`.
        T: see `lift.lift`.
        gate: float32, see `lift.lift`.
        scales: (2,) float32, pixels of the feature map and of the thickness per pixel of the depth.
        x: padded volume, changed at the runs.
    """
    weights, bias = layers
    asked = len(bias)
    for turn in prange(NX * NY):
        _, i, j, z, rows = _run(runs, turn)
        if rows <= 0:
            continue
        query, work = np.empty((rows, asked), np.float32), np.empty(asked, np.float32)
        _layer(x, _at(x, i, j, z, PAD), x.shape[3], rows, weights, bias, query, 0)
        px, py = centre(i, T[0, 3]), centre(j, T[1, 3])
        for k in range(rows):
            pz = centre(z + k, T[2, 3])
            u, v, w = to_camera(px, py, pz, T)
            at = (k * asked, _at(x, i, j, z + k, PAD))
            lift_cell(query, work, table, width, depth, thickness, u, v, w, K, T, gate, scales, x, at)


@njit(parallel=True, cache=True)
def go_down(columns, x, layers, low):
    """Convolve with stride 2 to the half-resolution level, without what is negative.

    Args:
        columns: (15, 15) bool, columns to make.
        x: padded volume.
        layers: (9, panels, 3 C, PANEL) packed weights, by the taps along x and y, and bias.
        low: padded volume of the half-resolution level, written at the columns.
    """
    weights, bias = layers
    channels, wide = x.shape[3], len(bias)
    tap = weights.size // 9
    for turn in prange(LOW[0] * LOW[1]):
        column = turn * STRIDE % (LOW[0] * LOW[1])
        i, j = column // LOW[1], column % LOW[1]
        if not columns[i, j]:
            continue
        to = _at(low, i, j, 0, LOW_PAD)
        for n in range(9):
            at = _at(x, 2 * i + n // 3 - 1, 2 * j + n % 3 - 1, -1, PAD)
            if n == 0:
                low[i + LOW_PAD, j + LOW_PAD, LOW_PAD : LOW_PAD + LOW[2]] = bias
            product(
                x, at, 2 * channels, LOW[2], 3 * channels, weights, n * tap, 3 * channels * PANEL, wide // PANEL,
                low, to, wide, low, to, wide,
            )  # fmt: skip
        _without_negative(low[i + LOW_PAD, j + LOW_PAD, LOW_PAD : LOW_PAD + LOW[2]])


@njit(parallel=True, cache=True)
def go_up(runs, low, up, feed, x):
    """Add the half-resolution level to cells and feed them forward, in place.

    Args:
        runs: (30, 30, 2) int64.
        low: padded volume of the half-resolution level.
        up: (4, panels, W, PANEL) packed weights of the two cells at each place in x and y, and their bias (4, 2 C).
        feed: packed weights and bias of the two layers.
        x: padded volume, changed at the runs.
    """
    weights, biases = up
    weights0, bias0, weights1, bias1 = feed
    channels, wide, hidden = x.shape[3], low.shape[3], len(bias0)
    part = weights.size // 4
    for turn in prange(NX * NY):
        _, i, j, z, rows = _run(runs, turn)
        if rows <= 0:
            continue
        begin = z // 2
        count = (z + rows + 1) // 2 - begin
        spread, between = np.empty((2 * count, channels), np.float32), np.empty((rows, hidden), np.float32)
        side = i % 2 * 2 + j % 2
        product(
            low, _at(low, i // 2, j // 2, begin, LOW_PAD), wide, count, wide, weights, side * part,
            wide * PANEL, 2 * channels // PANEL, biases, side * 2 * channels, 0, spread, 0, 2 * channels,
        )  # fmt: skip
        cells, here = spread[z - 2 * begin : z - 2 * begin + rows], x[i + PAD, j + PAD, z + PAD : z + PAD + rows]
        for k in range(rows):
            for c in range(channels):
                cells[k, c] = max(cells[k, c] + here[k, c], ZERO)
        at = (z - 2 * begin) * channels
        _layer(spread, at, channels, rows, weights0, bias0, between, 0)
        _without_negative(between)
        for k in range(rows):
            for c in range(channels):
                cells[k, c] += bias1[c]
        product(
            between, 0, hidden, rows, hidden, weights1, 0, hidden * PANEL, channels // PANEL, spread, at, channels,
            x, _at(x, i, j, z, PAD), channels,
        )  # fmt: skip


@njit(parallel=True, cache=True)
def propose(runs, x, code, layers, each, shared):
    """Compute the refinement's layers for cells; see `network.expert.refinement`.

    Args:
        runs: (30, 30, 2) int64.
        x: padded volume.
        code: (16200, 44) float32.
        layers: packed weights of the features and of the code and bias of the first layer; packed weights and bias
            of the second; of what differs between a cell's Gaussians; of what they share.
        each: (16200, G * 20) float32, written at the runs.
        shared: (16200, 16) float32, written at the runs.
    """
    of_x, of_code, bias0, weights1, bias1, weights2, bias2, weights3, bias3 = layers
    hidden = len(bias0)
    for turn in prange(NX * NY):
        column, i, j, z, rows = _run(runs, turn)
        if rows <= 0:
            continue
        one, two = np.empty((rows, hidden), np.float32), np.empty((rows, hidden), np.float32)
        n = column * NZ + z
        _layer(x, _at(x, i, j, z, PAD), x.shape[3], rows, of_x, bias0, one, 0)
        _add_layer(code, n * CODE_CHANNELS, CODE_CHANNELS, rows, of_code, hidden, one, 0)
        _without_negative(one)
        _layer(one, 0, hidden, rows, weights1, bias1, two, 0)
        _without_negative(two)
        _layer(two, 0, hidden, rows, weights2, bias2, each, n * len(bias2))
        _layer(two, 0, hidden, rows, weights3, bias3, shared, n * len(bias3))
