"""The innermost step of the splat of blocks: one Gaussian is added to eight voxels of a row, in one vector register.

Numba does not vectorise loops over so few voxels, so that the instructions are given in LLVM's language, which LLVM
translates for every processor. Written with loops, the same took four times as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.geometry.lattice import BLOCK_VOXELS
from sgrocc_core.voxels.splatting.equations import MAX_MAHALANOBIS2, MAX_SPLAT_WEIGHT

WIDTH = 8
"""Voxels along z that are added to at once: more than a Gaussian reaches."""
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
_REAL, _INDEX = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_REAL, WIDTH)


class _Vectors:
    """Builds instructions on vectors of WIDTH numbers."""

    def __init__(self, builder: Any) -> None:
        self.builder = builder

    def constant(self, value: float) -> Any:
        return ir.Constant(_VECTOR, [float(np.float32(value))] * WIDTH)

    def spread(self, value: Any) -> Any:
        """A vector of one number."""
        first = self.builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        all_first = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        return self.builder.shuffle_vector(first, ir.Constant(_VECTOR, ir.Undefined), all_first)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        product = self.builder.fmul(a, b, flags=["contract"])
        return self.builder.fadd(product, c, flags=["contract"])

    def smaller(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), a, b)

    def larger(self, a: Any, b: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def load(self, pointer: Any, offset: Any) -> tuple[Any, Any]:
        """The vector at an offset of an array, and its place."""
        place = self.builder.bitcast(self.builder.gep(pointer, [offset]), _VECTOR.as_pointer())
        value = self.builder.load(place)
        value.align = 4
        return value, place

    def store(self, value: Any, place: Any) -> None:
        self.builder.store(value, place).align = 4

    def kernel(self, q: Any) -> Any:
        """exp(-q / 2) for q from 0 to MAX_MAHALANOBIS2."""
        y = self.builder.fmul(q, self.constant(0.5 / 2**_HALVINGS))
        power = self.constant(_SERIES[-1])
        for coefficient in _SERIES[-2::-1]:
            power = self.multiply_add(power, y, self.constant(coefficient))
        for _ in range(_HALVINGS):
            power = self.builder.fmul(power, power)
        return power

    def within(self, value: Any, low: Any, high: Any) -> Any:
        above = self.builder.fcmp_ordered(">=", value, low)
        return self.builder.and_(above, self.builder.fcmp_ordered("<=", value, high))


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
        vectors = _Vectors(builder)
        to_empty, to_weights, of_shares = (
            context.make_array(signature.args[n])(context, builder, arguments[n]).data for n in (0, 1, 3)
        )
        at, i = arguments[2], arguments[4]
        constant, linear, quadratic, start, low, high, opacity = map(vectors.spread, arguments[5:])
        d = builder.fadd(start, ir.Constant(_VECTOR, [float(n) for n in range(WIDTH)]))
        q = vectors.multiply_add(d, vectors.multiply_add(quadratic, d, linear), constant)
        most = vectors.constant(MAX_MAHALANOBIS2)
        inside = builder.and_(vectors.within(d, low, high), builder.fcmp_ordered("<=", q, most))
        w = builder.select(inside, builder.fmul(opacity, vectors.kernel(q)), vectors.constant(0.0))

        old, place = vectors.load(to_empty, at)
        left = builder.fsub(vectors.constant(1.0), vectors.smaller(w, vectors.constant(MAX_SPLAT_WEIGHT)))
        vectors.store(vectors.larger(builder.fmul(old, left), vectors.constant(LEAST_EMPTY)), place)

        edge = ir.Constant(_INDEX, BLOCK_VOXELS)
        row, z = builder.udiv(at, edge), builder.urem(at, edge)
        first = builder.add(builder.mul(row, ir.Constant(_INDEX, NUM_CLASSES * BLOCK_VOXELS)), z)
        share = builder.mul(i, ir.Constant(_INDEX, NUM_CLASSES))
        for c in range(NUM_CLASSES):
            s = builder.load(builder.gep(of_shares, [builder.add(share, ir.Constant(_INDEX, c))]))
            old, place = vectors.load(to_weights, builder.add(first, ir.Constant(_INDEX, c * BLOCK_VOXELS)))
            vectors.store(vectors.multiply_add(w, vectors.spread(s), old), place)
        return context.get_dummy_value()

    return signature, generate


add_row: Any = intrinsic(_add_row)
"""Compiled `_add_row`, which Numba calls without its first argument."""
