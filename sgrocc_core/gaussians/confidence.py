"""View states of cells in the current depth image, and the hybrid confidence (Eq. 6 to 8; method, section 4).

A cell is unseen (outside the image, beyond `max_distance`, or without depth), free (in front of the smallest depth of
its footprint in the image), at a surface, or hidden behind one. The confidence C = m C_geo C_sem is the share of the
stored weight that is kept in the update by this view.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numba import njit, prange

from sgrocc_core.depth.layer import DepthLayer, footprint_minimum, sensor_sigma
from sgrocc_core.gaussians.exponential import exp32
from sgrocc_core.geometry.camera import NEAREST, pinhole
from sgrocc_core.geometry.lattice import BOX_CELLS, CELL_SIZE

UNSEEN, FREE, SURFACE, HIDDEN = 0, 1, 2, 3
"""View states of a cell."""

BAND = 3.0
"""Half width of the band around a surface, in sigma_g (method, section 4)."""
MIN_OCCUPANCY = 0.5
"""Minimum occupancy of a cell that counts as occupied."""
TEMPERATURE, SEMANTIC_LOW, SEMANTIC_HIGH = 0.5, 0.3, 0.8
"""T, t_lo and t_hi of Eq. 7 (values ours; method, section 4)."""
DISTANCE_HALF = 3.0
"""Distance at which the weight of a view is halved, metres (round guess)."""
BORDER = 0.1
"""Width of the border in which the weight of a view decreases, relative to the image size (round guess)."""
MIN_BORDER_WEIGHT = 0.1
"""Factor of the weight at the border itself (round guess)."""
CONFIDENCES = {"none": (False, False), "geometric": (True, False), "semantic": (False, True), "hybrid": (True, True)}
"""Whether C_geo and C_sem of Eq. 8 are used; without both, C = 1 for every cell with a history."""
HIDDEN_WEIGHT = 0.1
"""Weight of a view of a hidden cell relative to a view of a surface (method, section 4)."""


@dataclass(frozen=True)
class CellView:
    """View of the cells of the local box in one frame, in C order of the (30, 30, 18) cells.

    Attributes:
        state: (A,) uint8, UNSEEN, FREE, SURFACE or HIDDEN.
        residual: (A,) float32, depth z of the cell minus measured depth D, metres.
        sigma: (A,) float32, sigma_g, metres.
        weight: (A,) float32, weight w of this view.
    """

    state: np.ndarray
    residual: np.ndarray
    sigma: np.ndarray
    weight: np.ndarray


def view_cells(layers: list[DepthLayer], T_bc: np.ndarray, max_distance: float) -> CellView:
    """View states of the cells of the box; each layer is used for the cells without depth in the layers before it.

    Args:
        layers: depth of the frame, the most trusted layer first.
        T_bc: (4, 4) camera to box frame, metres.
        max_distance: distance along the optical axis beyond which cells are unseen, metres.
    """
    anchors = BOX_CELLS[0] * BOX_CELLS[1] * BOX_CELLS[2]
    view = CellView(np.zeros(anchors, np.uint8), *(np.zeros(anchors, np.float32) for _ in range(3)))
    R, t = np.ascontiguousarray(T_bc[:3, :3], np.float64), np.ascontiguousarray(T_bc[:3, 3], np.float64)
    for layer in layers:
        _view_cells(
            layer.depth,
            layer.spread,
            layer.minima,
            layer.stride,
            pinhole(layer.K),
            R,
            t,
            BOX_CELLS,
            max_distance,
            view.state,
            view.residual,
            view.sigma,
            view.weight,
        )
    return view


@njit(parallel=True, cache=True)
def _view_cells(depth, spread, minima, stride, K, R, t, cells, max_distance, state, residual, sigma, weight):
    for i in prange(cells[0]):
        _view_slice(
            np.int64(i), depth, spread, minima, stride, K, R, t, cells, max_distance, state, residual, sigma, weight
        )


@njit(cache=True)
def _view_slice(i, depth, spread, minima, stride, K, R, t, cells, max_distance, state, residual, sigma, weight):
    """View the cells of one plane of the box."""
    height, width = depth.shape
    plane = cells[1] * cells[2]
    for a in range(i * plane, (i + 1) * plane):
        if state[a] != UNSEEN:
            continue
        k = a % cells[2]
        j = (a // cells[2]) % cells[1]
        px, py, pz = (i + 0.5) * CELL_SIZE - t[0], (j + 0.5) * CELL_SIZE - t[1], (k + 0.5) * CELL_SIZE - t[2]
        x = R[0, 0] * px + R[1, 0] * py + R[2, 0] * pz
        y = R[0, 1] * px + R[1, 1] * py + R[2, 1] * pz
        z = R[0, 2] * px + R[1, 2] * py + R[2, 2] * pz
        if z < NEAREST or z > max_distance:
            continue
        u, v = K[0] * x / z + K[2], K[1] * y / z + K[3]
        if not (-0.5 <= u < width - 0.5 and -0.5 <= v < height - 0.5):
            continue
        nearest = float(footprint_minimum(minima, stride, u, v, 0.5 * CELL_SIZE * K[0] / z))
        if nearest == np.inf:
            continue
        column, row = min(max(int(u + 0.5), 0), width - 1), min(max(int(v + 0.5), 0), height - 1)
        here = float(depth[row, column])
        if here <= 0.0:
            here = nearest
        s = sensor_sigma(z) if spread.size == 0 else float(spread[row, column])
        r = z - here if abs(z - here) < abs(z - nearest) else z - nearest
        state[a] = view_state(z, here, nearest, s)
        residual[a], sigma[a] = r, s
        weight[a] = view_weight(math.sqrt(x * x + y * y + z * z), u, v, width, height) * (
            HIDDEN_WEIGHT if state[a] == HIDDEN else 1.0
        )


@njit(cache=True, forceinline=True)
def view_state(z, depth, nearest, sigma):
    """View state of a cell.

    A cell is free only if all depth in its footprint lies behind it. A cell between a foreground and a far background
    is hidden: partly covered space is neither confirmed nor free.

    Args:
        z: depth of the cell's centre, metres.
        depth: measured depth at the cell's centre, metres.
        nearest: smallest measured depth in the cell's footprint, metres.
        sigma: sigma_g, metres.
    """
    if z < nearest - BAND * sigma:
        return FREE
    if abs(z - depth) <= BAND * sigma or abs(z - nearest) <= BAND * sigma:
        return SURFACE
    return HIDDEN


@njit(cache=True, forceinline=True)
def view_weight(distance, u, v, width, height):
    """Weight of a view, 0..1, decreasing with the distance (metres) and towards the border of the image (pixels)."""
    border = min((u + 0.5) / width, (width - 0.5 - u) / width, (v + 0.5) / height, (height - 0.5 - v) / height) / BORDER
    return max(min(border, 1.0), MIN_BORDER_WEIGHT) / (1.0 + (distance / DISTANCE_HALF) ** 2)


@njit(cache=True, forceinline=True)
def cell_occupancy(opacities):
    """Occupancy of a cell from the raw opacities (G,) of its Gaussians: 1 - prod(1 - sigmoid)."""
    empty = np.float32(1.0)
    for g in range(len(opacities)):
        empty /= np.float32(1.0) + exp32(opacities[g])
    return np.float32(1.0) - empty


@njit(cache=True, forceinline=True)
def geometric_confidence(state, occupancy, residual, sigma):
    """Geometric confidence C_geo with g of Eq. 6, occupancy o: g or 1 - g at a surface, 1 - o if free, 1 if hidden."""
    if state == FREE:
        return 1.0 - occupancy
    if state == HIDDEN:
        return 1.0
    g = math.exp(-residual * residual / (2.0 * sigma * sigma))
    return g if occupancy >= MIN_OCCUPANCY else 1.0 - g


@njit(cache=True, forceinline=True)
def class_distribution(logits, opacities, temperature, out):
    """Write to out[0] the opacity-weighted mean of softmax(l / T); out is (2, C), its second row is overwritten.

    The logits l are (G, C) float32, the raw opacities (G,) float32.
    """
    mean, here = out[0], out[1]
    classes, scale, total = len(mean), np.float32(1.0 / temperature), np.float32(0.0)
    mean[:] = 0.0
    for g in range(len(opacities)):
        o, top, norm = np.float32(1.0) / (np.float32(1.0) + exp32(-opacities[g])), logits[g, 0], np.float32(0.0)
        for c in range(1, classes):
            top = max(top, logits[g, c])
        for c in range(classes):
            here[c] = exp32((logits[g, c] - top) * scale)
        for c in range(classes):
            norm += here[c]
        for c in range(classes):
            mean[c] += here[c] * (o / norm)
        total += o
    for c in range(classes):
        mean[c] /= max(total, np.float32(1e-12))


@njit(cache=True, forceinline=True)
def semantic_confidence(distribution, occupancy):
    """Semantic confidence C_sem (Eq. 7) of a class distribution (C,) at temperature T; 1 if not occupied."""
    if occupancy < MIN_OCCUPANCY:
        return 1.0
    return min(max((distribution.max() - SEMANTIC_LOW) / (SEMANTIC_HIGH - SEMANTIC_LOW), 0.0), 1.0)
