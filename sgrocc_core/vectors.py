"""Instructions on vectors of eight numbers for compiled kernels, in LLVM's language, which it translates for every CPU.

Numba keeps no block of sums in registers and does not vectorise short loops; the innermost loops of the splat and of
the expert's kernels are therefore built from these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

WIDTH = 8
"""Numbers of a vector."""
REAL, INDEX = ir.FloatType(), ir.IntType(64)
VECTOR = ir.VectorType(REAL, WIDTH)


class Vectors:
    """Builds instructions on vectors of WIDTH numbers of flat arrays.

    Args:
        context: Numba's.
        builder: LLVM's.
    """

    def __init__(self, context: Any, builder: Any) -> None:
        self.context, self.builder = context, builder

    def data(self, kind: Any, array: Any) -> Any:
        """Pointer to the first number of an array; a pointer is itself."""
        if isinstance(kind, types.CPointer):
            return array
        return self.context.make_array(kind)(self.context, self.builder, array).data

    def place(self, pointer: Any, offset: Any) -> Any:
        """Pointer to the vector at an offset."""
        return self.builder.bitcast(self.builder.gep(pointer, [offset]), VECTOR.as_pointer())

    def load(self, place: Any) -> Any:
        """The vector at a place."""
        value = self.builder.load(place)
        value.align = 4
        return value

    def store(self, value: Any, place: Any) -> None:
        """Write a vector to a place."""
        self.builder.store(value, place).align = 4

    def spread(self, value: Any) -> Any:
        """A vector of one number."""
        first = self.builder.insert_element(ir.Constant(VECTOR, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
        all_first = ir.Constant(ir.VectorType(ir.IntType(32), WIDTH), [0] * WIDTH)
        return self.builder.shuffle_vector(first, ir.Constant(VECTOR, ir.Undefined), all_first)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """The sum a b + c of vectors, with one rounding where the processor can."""
        product = self.builder.fmul(a, b, flags=["contract"])
        return self.builder.fadd(product, c, flags=["contract"])

    def constant(self, value: float) -> Any:
        """A vector of one number, rounded to float32."""
        return ir.Constant(VECTOR, [float(np.float32(value))] * WIDTH)

    def smaller(self, a: Any, b: Any) -> Any:
        """The smaller numbers of two vectors."""
        return self.builder.select(self.builder.fcmp_ordered("<", a, b), a, b)

    def larger(self, a: Any, b: Any) -> Any:
        """The larger numbers of two vectors."""
        return self.builder.select(self.builder.fcmp_ordered(">", a, b), a, b)

    def within(self, value: Any, low: Any, high: Any) -> Any:
        """Which numbers lie between those of two other vectors, the ends included."""
        above = self.builder.fcmp_ordered(">=", value, low)
        return self.builder.and_(above, self.builder.fcmp_ordered("<=", value, high))

    def times(self, factor: float, value: Any) -> Any:
        """A vector times a number."""
        return self.builder.fmul(ir.Constant(VECTOR, [factor] * WIDTH), value, flags=["contract"])

    def index(self, value: int) -> Any:
        """A whole number."""
        return ir.Constant(INDEX, value)
