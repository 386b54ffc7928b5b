"""3x3x3 convolutions on parts of the lattice: Winograd's F(4x4, 3x3) in x and y, products over z and the channels.

Four by four columns are made at once from six by six: transformed, multiplied and transformed back (Lavin and Gray
2016, "Fast algorithms for convolutional neural networks"), with a quarter of the multiplications. The rows of a column
are next to each other, so that the three taps along z are part of the products.

Numba compiles this file again only when it has changed itself: change it together with `product`, which is inlined.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, prange, types
from numba.core import cgutils
from numba.extending import intrinsic

from sgrocc_core.engines.split.product import PANEL, packed, product
from sgrocc_core.vectors import WIDTH, Vectors

TILE = 4
"""Columns of a tile along each axis."""
SIDE = TILE + 2
"""Columns that a tile is made from, along each axis."""
TO_WEIGHTS = np.array(
    [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]], np.float64
) / 24  # fmt: skip
"""G of F(4, 3)."""
_TO_INPUT = (
    (4, 0, -5, 0, 1, 0), (0, -4, -4, 1, 1, 0), (0, 4, -4, -1, 1, 0), (0, -2, -1, 2, 1, 0), (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)  # fmt: skip
"""Transposed B of F(4, 3)."""
_TO_OUTPUT = ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1))
"""Transposed A of F(4, 3)."""


def transformed(weights: np.ndarray) -> np.ndarray:
    """Transform and pack the weights of a convolution.

    Args:
        weights: (N, C, 3, 3, 3) of PyTorch's order: output, input, x, y, z.

    Returns:
        (36, panels, 3 C, PANEL) float32: of each product, the taps along z one after the other.
    """
    turned = np.einsum("ax,by,ncxyz->abzcn", TO_WEIGHTS, TO_WEIGHTS, weights.astype(np.float64), optimize=True)
    return packed(turned.reshape(SIDE * SIDE, -1, turned.shape[-1]))


def _transform(matrix: tuple[tuple[int, ...], ...]) -> Callable[..., Any]:
    """A kernel that writes linear combinations of six equally spaced runs of numbers."""

    def transform(typing_context, source, at, step, target, to, stride, length):  # type: ignore[no-untyped-def]
        whole = types.int64
        signature = types.void(source, whole, whole, target, whole, whole, whole)

        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            vectors = Vectors(context, builder)
            to_source, to_target = vectors.data(signature.args[0], given[0]), vectors.data(signature.args[3], given[3])
            at, step, to, stride, length = (given[n] for n in (1, 2, 4, 5, 6))
            begins = [builder.add(at, builder.mul(step, vectors.index(n))) for n in range(SIDE)]
            ends = [builder.add(to, builder.mul(stride, vectors.index(n))) for n in range(len(matrix))]
            with cgutils.for_range(builder, builder.sdiv(length, vectors.index(WIDTH))) as loop:
                offset = builder.mul(loop.index, vectors.index(WIDTH))
                runs = [vectors.load(vectors.place(to_source, builder.add(begin, offset))) for begin in begins]
                for row, end in zip(matrix, ends):
                    terms = [vectors.times(factor, run) for factor, run in zip(row, runs) if factor]
                    total = terms[0]
                    for term in terms[1:]:
                        total = builder.fadd(total, term, flags=["contract"])
                    vectors.store(total, vectors.place(to_target, builder.add(end, offset)))
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(transform)


_to_input: Any = _transform(_TO_INPUT)
_to_output: Any = _transform(_TO_OUTPUT)


@njit(cache=True)
def _made(x, x0, y0, z0, rows, step, weights, channels):
    """(4, 4, rows, channels): the tile at (x0, y0, z0) of the padded volume x, without bias."""
    tall, inputs = x.shape[2], x.shape[3]
    line, plane = step * tall * inputs, step * x.shape[1] * tall * inputs
    length = (rows + 2 * step) * inputs
    first = ((x0 * x.shape[1] + y0) * tall + z0) * inputs
    half = np.empty((SIDE, SIDE, length), np.float32)
    whole = np.empty((SIDE, SIDE, length), np.float32)
    for b in range(SIDE):
        _to_input(x, first + b * line, plane, half, b * length, SIDE * length, length)
    for a in range(SIDE):
        _to_input(half, a * SIDE * length, length, whole, a * SIDE * length, length, length)
    size, panels = rows * channels, channels // PANEL
    products = np.empty((SIDE, SIDE, size), np.float32)
    nothing = np.zeros(channels, np.float32)
    tap, taps = inputs * PANEL, 3 if step == 1 else 1  # taps whose rows are next to each other
    for p in range(SIDE * SIDE):
        at, to, first = p * length, p * size, 3 * p * panels * tap
        depth = taps * inputs
        product(
            whole, at, inputs, rows, depth, weights, first, 3 * tap, panels, nothing, 0, 0, products, to, channels
        )  # fmt: skip
        for k in range(taps, 3):
            product(
                whole, at + k * step * inputs, inputs, rows, inputs, weights, first + k * tap, 3 * tap, panels,
                products, to, channels, products, to, channels,
            )  # fmt: skip
    columns = np.empty((TILE, SIDE, size), np.float32)
    made = np.empty((TILE, TILE, size), np.float32)
    for b in range(SIDE):
        _to_output(products, b * size, SIDE * size, columns, b * size, SIDE * size, size)
    for a in range(TILE):
        _to_output(columns, a * SIDE * size, size, made, a * TILE * size, size, size)
    return made


@njit(parallel=True, cache=True)
def convolve(size, x, pad, step, tiles, weights, bias, added, relu, out, out_pad):
    """Convolve tiles of a volume, add a bias and maybe another volume, and maybe leave out what is negative.

    Args:
        size: X and Y, columns of the volume.
        x: (X + 2 pad + ..., Y + 2 pad + ..., Z + 2 pad, C) float32, with zeros around the volume; large enough for
            whole tiles.
        pad: zeros before the volume along each axis, at least `step`.
        step: dilation of the convolution.
        tiles: (T, 4) int64: first column along x and y, first row, and number of rows of each tile; the columns of a
            tile are `step` apart.
        weights: see `transformed`.
        bias: (N,) float32, N a multiple of PANEL.
        added: volume that is added, padded as `out`; of no size to add none.
        relu: whether negative numbers become 0.
        out: padded volume with N channels, written at the tiles.
        out_pad: its zeros before the volume.
    """
    for t in prange(len(tiles)):
        i, j, z, rows = tiles[t, 0], tiles[t, 1], tiles[t, 2], tiles[t, 3]
        made = _made(x, i + pad - step, j + pad - step, z + pad - step, rows, step, weights, len(bias))
        for a in range(TILE):
            for b in range(TILE):
                u, v = i + step * a, j + step * b
                if u < size[0] and v < size[1]:
                    _finish(made[a, b], bias, added, relu, out, u + out_pad, v + out_pad, z + out_pad, rows)


@njit(cache=True)
def _finish(made, bias, added, relu, out, u, v, z, rows):
    count = len(bias)
    least = np.float32(0.0) if relu else np.float32(-np.inf)
    for k in range(rows):
        here, to = made[k * count : (k + 1) * count], out[u, v, z + k]
        if added.size:
            more = added[u, v, z + k]
            for c in range(count):
                here[c] += more[c]
        for c in range(count):
            to[c] = max(here[c] + bias[c], least)
