"""Checks of arrays read from a file: names, shapes, types, finite values and ranges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sgrocc_core.errors import DataError

ArrayLayout = Mapping[str, tuple[tuple[int | str, ...], Any]]
"""Shape and type of each array, by name.

A letter in a shape stands for any length, and for the same one wherever it occurs; the type `str` stands for any text.
"""


def check_layout(what: str, found: Mapping[str, tuple[tuple[int, ...], np.dtype]], layout: ArrayLayout) -> None:
    """Check shapes and types; the arrays themselves need not be read yet.

    Args:
        what: What holds the arrays, for the error message.
        found: Shape and type of each array, by name.
        layout: The required shapes and types.

    Raises:
        DataError: An array is missing or has a wrong shape or type; names it and the required one.
    """
    missing = [name for name in layout if name not in found]
    if missing:
        raise DataError(f"{what} lacks {', '.join(missing)}")
    lengths: dict[str, int] = {}
    for name, (wanted, dtype) in layout.items():
        shape, kind = found[name]
        fits = kind.kind == "U" if dtype is str else kind == np.dtype(dtype)
        fits &= len(shape) == len(wanted)
        if fits:
            fits = all(n == (lengths.setdefault(w, n) if isinstance(w, str) else w) for n, w in zip(shape, wanted))
        if not fits:
            must = ", ".join(f"{w} = {lengths[w]}" if w in lengths else str(w) for w in wanted)
            raise DataError(
                f"{what}: {name!r} is {shape} {kind}; it must be ({must}) {'text' if dtype is str else np.dtype(dtype)}"
            )


def check_arrays(what: str, arrays: Mapping[str, np.ndarray], layout: ArrayLayout) -> None:
    """Check shapes and types as `check_layout` does, and that floats are finite.

    Args:
        what: What holds the arrays, for the error message.
        arrays: The arrays by name.
        layout: The required shapes and types.

    Raises:
        DataError: An array does not fit; names it and what is wrong with it.
    """
    check_layout(what, {name: (array.shape, array.dtype) for name, array in arrays.items()}, layout)
    for name in layout:
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise DataError(f"{what}: {name!r} holds values that are not finite")


def check_range(what: str, name: str, array: np.ndarray, low: float, high: float) -> None:
    """Check that finite values lie in a range.

    Args:
        what: What holds the array, for the error message.
        name: Name of the array.
        array: The values.
        low: Smallest allowed value.
        high: Largest allowed value.

    Raises:
        DataError: A value is out of range; names the array, the worst value and the range.
    """
    if array.size and not (low <= array.min() and array.max() <= high):
        worst = array.min() if array.min() < low else array.max()
        raise DataError(f"{what}: {name!r} holds {worst}; it must lie between {low:g} and {high:g}")
