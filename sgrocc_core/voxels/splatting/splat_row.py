"""The innermost step of the splat of blocks: one Gaussian is added to WIDTH voxels of a row, in one vector register.

They are more than a Gaussian reaches along z. Numba does not vectorise loops over so few voxels, so that it is made of
`vectors`. Written with loops, the same took four times as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.geometry.lattice import BLOCK_VOXELS
from sgrocc_core.vectors import VECTOR, WIDTH, Vectors
from sgrocc_core.voxels.splatting.equations import MAX_MAHALANOBIS2, MAX_SPLAT_WEIGHT

LEAST_EMPTY = 1e-30
"""Smallest P(empty) that is told apart from 0."""
_HALVINGS = 3
"""exp(-q / 2) is computed as exp(-q / 16) to the power of eight."""


def _exponential_series() -> list[float]:
    """Coefficients of a polynomial for exp(-y), 0 <= y <= 1.13; with the power of eight it errs by less than 1e-4."""
    y = 0.6 + 0.6 * np.cos(np.linspace(0, np.pi, 200))
    series = np.polynomial.polynomial.polyfit(y, np.exp(-y), 5, w=np.exp(y))
    return [1.0, *series[1:].tolist()]


_SERIES = _exponential_series()


def _exponential(vectors: Vectors, q: Any) -> Any:
    """exp(-q / 2) of a vector of numbers from 0 to MAX_MAHALANOBIS2."""
    y = vectors.builder.fmul(q, vectors.constant(0.5 / 2**_HALVINGS))
    power = vectors.constant(_SERIES[-1])
    for coefficient in _SERIES[-2::-1]:
        power = vectors.multiply_add(power, y, vectors.constant(coefficient))
    for _ in range(_HALVINGS):
        power = vectors.builder.fmul(power, power)
    return power


def _add_row(typing_context, empty, weights, at, shares, i, constant, linear, quadratic, start, low, high, opacity):  # type: ignore[no-untyped-def]
    """Add a Gaussian to WIDTH voxels of a row of a block.

    Its squared Mahalanobis distance at voxel n is constant + d (linear + quadratic d), d = start + n.

    Args:
        typing_context: of Numba, given by it.
        empty: (16, 16, 16) float32, P(empty), changed in place.
        weights: (16, 16, NUM_CLASSES, 16) float32, sums of the weights of each class, changed in place.
        at: int64, index of the first voxel in the flat block.
        shares: (M, NUM_CLASSES) float32, class probabilities.
        i: int64, row of the Gaussian in `shares`.
        constant: float32.
        linear: float32.
        quadratic: float32.
        start: float32, place of the first voxel's centre, voxels from the Gaussian's centre.
        low: float32, lower end of the Gaussian's support, voxels from its centre.
        high: float32, upper end of its support.
        opacity: float32, 0..1.
    """
    signature = types.void(empty, weights, types.int64, shares, types.int64, *[types.float32] * 7)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = Vectors(context, builder)
        to_empty, to_weights, of_shares = (vectors.data(signature.args[n], arguments[n]) for n in (0, 1, 3))
        at, i = arguments[2], arguments[4]
        constant, linear, quadratic, start, low, high, opacity = map(vectors.spread, arguments[5:])
        d = builder.fadd(start, ir.Constant(VECTOR, [float(n) for n in range(WIDTH)]))
        q = vectors.multiply_add(d, vectors.multiply_add(quadratic, d, linear), constant)
        most = vectors.constant(MAX_MAHALANOBIS2)
        inside = builder.and_(vectors.within(d, low, high), builder.fcmp_ordered("<=", q, most))
        w = builder.select(inside, builder.fmul(opacity, _exponential(vectors, q)), vectors.constant(0.0))

        place = vectors.place(to_empty, at)
        old = vectors.load(place)
        left = builder.fsub(vectors.constant(1.0), vectors.smaller(w, vectors.constant(MAX_SPLAT_WEIGHT)))
        vectors.store(vectors.larger(builder.fmul(old, left), vectors.constant(LEAST_EMPTY)), place)

        edge = vectors.index(BLOCK_VOXELS)
        row, z = builder.udiv(at, edge), builder.urem(at, edge)
        first = builder.add(builder.mul(row, vectors.index(NUM_CLASSES * BLOCK_VOXELS)), z)
        share = builder.mul(i, vectors.index(NUM_CLASSES))
        for c in range(NUM_CLASSES):
            s = builder.load(builder.gep(of_shares, [builder.add(share, vectors.index(c))]))
            place = vectors.place(to_weights, builder.add(first, vectors.index(c * BLOCK_VOXELS)))
            vectors.store(vectors.multiply_add(w, vectors.spread(s), vectors.load(place)), place)
        return context.get_dummy_value()

    return signature, generate


add_row: Any = intrinsic(_add_row)
"""Compiled `_add_row`, which Numba calls without its first argument."""
