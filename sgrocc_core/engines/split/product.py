"""Products of matrices in compiled kernels: six rows by sixteen columns at once, in the processor's registers.

Numba does not keep a block of sums in registers, so that the innermost loop is made of `vectors`. The right matrix is
packed into panels of PANEL columns, which are read in order.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from sgrocc_core.vectors import WIDTH, Vectors

PANEL = 16
"""Columns of a panel."""


def packed(weights: np.ndarray) -> np.ndarray:
    """Pack a right matrix for `product`.

    Args:
        weights: (..., K, N).

    Returns:
        (..., panels, K, PANEL) float32; columns from N on are 0.
    """
    *lead, depth, columns = weights.shape
    panels = -(-columns // PANEL)
    wide = np.zeros((*lead, depth, panels * PANEL), np.float32)
    wide[..., :columns] = weights
    return np.ascontiguousarray(np.moveaxis(wide.reshape(*lead, depth, panels, PANEL), -2, -3))


def padded(bias: np.ndarray) -> np.ndarray:
    """A vector (N,) as float32 with zeros up to a multiple of PANEL."""
    out = np.zeros(-(-len(bias) // PANEL) * PANEL, np.float32)
    out[: len(bias)] = bias
    return out


def _block(rows: int) -> Callable[..., Any]:
    """A kernel for a block of `rows` by PANEL of a product; see `product`."""

    def block(typing_context, a, at_a, step_a, depth, b, at_b, start, at_start, step_start, c, at_c, step_c):  # type: ignore[no-untyped-def]
        whole = types.int64
        signature = types.void(a, whole, whole, whole, b, whole, start, whole, whole, c, whole, whole)

        def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
            vectors = Vectors(context, builder)
            to_a, to_b, to_start, to_c = (vectors.data(signature.args[n], given[n]) for n in (0, 4, 6, 9))
            at_a, step_a, depth, at_b, at_start, step_start, at_c, step_c = (
                given[n] for n in (1, 2, 3, 5, 7, 8, 10, 11)
            )
            sums = []
            for row in range(rows):
                begin = builder.add(at_start, builder.mul(step_start, vectors.index(row)))
                for half in range(PANEL // WIDTH):
                    value = vectors.load(vectors.place(to_start, builder.add(begin, vectors.index(half * WIDTH))))
                    sums.append(cgutils.alloca_once_value(builder, value))
            firsts = [builder.add(at_a, builder.mul(step_a, vectors.index(row))) for row in range(rows)]
            with cgutils.for_range(builder, depth) as loop:
                right = builder.add(at_b, builder.mul(loop.index, vectors.index(PANEL)))
                halves = [
                    vectors.load(vectors.place(to_b, builder.add(right, vectors.index(half * WIDTH))))
                    for half in range(PANEL // WIDTH)
                ]
                for row in range(rows):
                    left = vectors.spread(builder.load(builder.gep(to_a, [builder.add(firsts[row], loop.index)])))
                    for half, value in enumerate(halves):
                        total = sums[row * len(halves) + half]
                        builder.store(vectors.multiply_add(left, value, builder.load(total)), total)
            for row in range(rows):
                begin = builder.add(at_c, builder.mul(step_c, vectors.index(row)))
                for half in range(PANEL // WIDTH):
                    place = vectors.place(to_c, builder.add(begin, vectors.index(half * WIDTH)))
                    vectors.store(builder.load(sums[row * (PANEL // WIDTH) + half]), place)
            return context.get_dummy_value()

        return signature, generate

    return intrinsic(block)


_six: Any = _block(6)
_five: Any = _block(5)
_four: Any = _block(4)
_three: Any = _block(3)
_two: Any = _block(2)
_one: Any = _block(1)


def _pointer(typing_context, array):  # type: ignore[no-untyped-def]
    """Pointer to the first number of an array, of one type whatever the array's dimensions."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return Vectors(context, builder).data(signature.args[0], given[0])

    return types.CPointer(types.float32)(array), generate


_first: Any = intrinsic(_pointer)


def _use(typing_context, array):  # type: ignore[no-untyped-def]
    """Do nothing with an array; Numba frees an array after its last use, and does not see the use of a pointer."""

    def generate(context: Any, builder: Any, signature: Any, given: Any) -> Any:
        return context.get_dummy_value()

    return types.void(array), generate


_keep: Any = intrinsic(_use)


@njit(cache=True)
def _blocks(a, at_a, step_a, rows, depth, b, at_b, step_b, panels, start, at_start, step_start, c, at_c, step_c):
    """The product in blocks of rows; see `product`. It is compiled once, since all its arguments have one type."""
    for panel in range(panels):
        right, begin, to = at_b + panel * step_b, at_start + panel * PANEL, at_c + panel * PANEL
        left, more = at_a, rows
        while more >= 6:
            _six(a, left, step_a, depth, b, right, start, begin, step_start, c, to, step_c)
            left, begin, to, more = left + 6 * step_a, begin + 6 * step_start, to + 6 * step_c, more - 6
        if more == 5:
            _five(a, left, step_a, depth, b, right, start, begin, step_start, c, to, step_c)
        elif more == 4:
            _four(a, left, step_a, depth, b, right, start, begin, step_start, c, to, step_c)
        elif more == 3:
            _three(a, left, step_a, depth, b, right, start, begin, step_start, c, to, step_c)
        elif more == 2:
            _two(a, left, step_a, depth, b, right, start, begin, step_start, c, to, step_c)
        elif more == 1:
            _one(a, left, step_a, depth, b, right, start, begin, step_start, c, to, step_c)


@njit(inline="always")
def product(a, at_a, step_a, rows, depth, b, at_b, step_b, panels, start, at_start, step_start, c, at_c, step_c):
    """Write start + a b to c. All are contiguous float32 arrays of any shape, addressed as flat ones.

    Args:
        a: left matrix.
        at_a: index of its first number.
        step_a: numbers from one row to the next.
        rows: number of its rows.
        depth: K, number of its columns, which are next to each other.
        b: right matrix, see `packed`.
        at_b: index of its first number.
        step_b: numbers from one panel to the next.
        panels: number of its panels.
        start: what the product is added to; it may be c itself.
        at_start: index of its first number.
        step_start: numbers from one row to the next; 0 adds one vector to all rows.
        c: written.
        at_c: index of its first number.
        step_c: numbers from one row to the next.
    """
    whole = np.int64  # a constant would have a type of its own
    _blocks(
        _first(a), whole(at_a), whole(step_a), whole(rows), whole(depth),
        _first(b), whole(at_b), whole(step_b), whole(panels),
        _first(start), whole(at_start), whole(step_start),
        _first(c), whole(at_c), whole(step_c),
    )  # fmt: skip
    _keep(a)
    _keep(b)
    _keep(start)
    _keep(c)
