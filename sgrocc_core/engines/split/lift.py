"""The lifter's samples (Eq. 1, 2): what `network.expert.lifter.SoftGatedLifter` computes after its linear layers.

Most cells of the box are outside the image; those whose samples cannot be inside are left out at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from sgrocc_core.engines.split.projection import (
    HALF,
    MAX_OFFSET,
    NX,
    NY,
    NZ,
    ONE,
    ZERO,
    centre,
    inside,
    nearest,
    out_of_sight,
    to_camera,
)
from sgrocc_core.engines.split.projection import pixel as projected
from sgrocc_core.gaussians.exponential import exp32
from sgrocc_core.geometry.lattice import NUM_ANCHORS
from sgrocc_core.vectors import WIDTH, Vectors

NEGLIGIBLE = np.float32(1e-7)
"""Weight of a sample below which it is left out."""


def lift(
    query: np.ndarray,
    table: np.ndarray,
    width: int,
    depth: np.ndarray,
    thickness: np.ndarray,
    K: np.ndarray,
    T_bc: np.ndarray,
    gate: float,
) -> np.ndarray:
    """Lift a feature map to the cells; all arrays are float32.

    Args:
        query: (16200, 4 S), offsets of S samples before tanh, then the logits of their attention.
        table: (h * w, C), the map after its linear layer.
        width: w of the map.
        depth: (H, W) metres, 0 = none.
        thickness: (h', w') metres; depth is larger by an integer factor.
        K: (4,) fx, fy, cx, cy, pixels.
        T_bc: (4, 4) camera to box frame, metres.
        gate: alpha / (2 sigma^2) of Eq. 2, 1 / m^2.

    Returns:
        (16200, C) float32; 0 where no sample has depth and lies inside the image.
    """
    lifted = np.empty((NUM_ANCHORS, table.shape[1]), np.float32)
    _lift(
        query, table, width, depth, thickness, K, T_bc, np.float32(gate), pixel_scales(depth, width, thickness), lifted
    )
    return lifted


def pixel_scales(depth: np.ndarray, width: int, thickness: np.ndarray) -> np.ndarray:
    """(2,) float32: pixels of a feature map of this width, and of the thickness, per pixel of the depth."""
    return np.float32(1) / np.array([depth.shape[1] // width, depth.shape[1] // thickness.shape[1]], np.float32)


@njit(cache=True, parallel=True, error_model="numpy")
def _lift(query, table, width, depth, thickness, K, T, gate, scales, out):
    for column in prange(NX * NY):
        i, j = column // NY, column % NY
        work = np.empty(query.shape[1], np.float32)
        for k in range(NZ):
            n = column * NZ + k
            out[n, :] = ZERO
            px, py, pz = centre(i, T[0, 3]), centre(j, T[1, 3]), centre(k, T[2, 3])
            x, y, z = to_camera(px, py, pz, T)
            at = (n * query.shape[1], n * out.shape[1])
            lift_cell(query, work, table, width, depth, thickness, x, y, z, K, T, gate, scales, out, at)


@njit(cache=True, error_model="numpy", fastmath={"contract"}, forceinline=True)
def lift_cell(query, work, table, width, depth, thickness, x, y, z, K, T, gate, scales, out, at):
    """Add the samples of the cell at (x, y, z) of the camera frame to its row of out; the rest is that of `lift`.

    The cell's rows begin at the indices at[0] of the query and at[1] of out, both contiguous and taken as flat; work
    (4 S,) is overwritten.
    """
    if out_of_sight(x, y, z, K, depth):
        return
    samples, raw = len(work) // 4, query.ravel()[at[0] : at[0] + len(work)]
    most, total = raw[3 * samples], ZERO
    for s in range(1, samples):
        most = max(most, raw[3 * samples + s])
    for n in range(3 * samples):  # offsets: tanh
        work[n] = MAX_OFFSET - (MAX_OFFSET + MAX_OFFSET) / (ONE + exp32(raw[n] + raw[n]))
    for n in range(3 * samples, 4 * samples):
        work[n] = exp32(raw[n] - most)
    for n in range(3 * samples, 4 * samples):
        total += work[n]
    for s in range(samples):
        ox, oy, oz = work[3 * s], work[3 * s + 1], work[3 * s + 2]
        sx = x + (ox * T[0, 0] + oy * T[1, 0] + oz * T[2, 0])
        sy = y + (ox * T[0, 1] + oy * T[1, 1] + oz * T[2, 1])
        sz = z + (ox * T[0, 2] + oy * T[1, 2] + oz * T[2, 2])
        u, v = projected(sx, sy, sz, K)
        if not inside(u, v, sz, depth):
            continue
        surface = nearest(depth, u, v, ONE)
        if not surface > ZERO:
            continue
        r = z - surface
        r = min(r, ZERO) + max(r - nearest(thickness, u, v, scales[1]), ZERO)
        weight = work[3 * samples + s] / total * exp32(-gate * (r * r))
        if weight > NEGLIGIBLE:
            _add_sample(table, width, u, v, scales[0], weight, out, at[1])


@njit(cache=True, error_model="numpy", fastmath={"contract"}, forceinline=True)
def _add_sample(table, width, u, v, scale, weight, out, at):
    """Add a weighted bilinear sample of the map to the row at `at`; samples are clamped to the border's pixels."""
    height = table.shape[0] // width
    x = min(max((u + HALF) * scale - HALF, ZERO), np.float32(width - 1))
    y = min(max((v + HALF) * scale - HALF, ZERO), np.float32(height - 1))
    left, top = min(np.floor(x), np.float32(width - 2)), min(np.floor(y), np.float32(height - 2))
    a, b = x - left, y - top
    first = int(top) * width + int(left)
    p, q = (ONE - a) * (ONE - b) * weight, a * (ONE - b) * weight
    r, s = (ONE - a) * b * weight, a * b * weight
    channels = table.shape[1]
    _add_four(table, first * channels, channels, width * channels, p, q, r, s, out, at)


def _four(typing_context, table, first, channels, line, p, q, r, s, out, at):  # type: ignore[no-untyped-def]
    """Add four rows of a table to a row: those at `first` and `first` + channels, and those a line after them."""
    whole, real = types.int64, types.float32
    signature = types.void(table, whole, whole, whole, real, real, real, real, out, whole)

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        vectors = Vectors(context, builder)
        source, target = vectors.data(signature.args[0], given[0]), vectors.data(signature.args[8], given[8])
        first, channels, line, at = (given[n] for n in (1, 2, 3, 9))
        factors = [vectors.spread(value) for value in given[4:8]]
        below = builder.add(first, line)
        rows = [first, builder.add(first, channels), below, builder.add(below, channels)]
        with cgutils.for_range(builder, builder.sdiv(channels, vectors.index(WIDTH))) as loop:
            offset = builder.mul(loop.index, vectors.index(WIDTH))
            place = vectors.place(target, builder.add(at, offset))
            total = vectors.load(place)
            for factor, row in zip(factors, rows):
                total = vectors.multiply_add(
                    factor, vectors.load(vectors.place(source, builder.add(row, offset))), total
                )
            vectors.store(total, place)
        with cgutils.for_range_slice(
            builder, builder.sub(channels, builder.srem(channels, vectors.index(WIDTH))), channels, vectors.index(1)
        ) as (index, _):
            place = builder.gep(target, [builder.add(at, index)])
            total = builder.load(place)
            for value, row in zip(given[4:8], rows):
                number = builder.load(builder.gep(source, [builder.add(row, index)]))
                total = builder.fadd(total, builder.fmul(value, number, flags=["contract"]), flags=["contract"])
            builder.store(total, place)
        return context.get_dummy_value()

    return signature, generate


_add_four: Any = intrinsic(_four)
"""Compiled `_four`, which Numba calls without its first argument."""
