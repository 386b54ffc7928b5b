"""Checks of arrays that come out of a file: names, shapes, types and finite values, before anything is made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from sgrocc_core.errors import DataError

ArrayLayout = Mapping[str, tuple[tuple[int | str, ...], Any]]
"""Shape and type of each array by name; a letter in a shape stands for any length, the same one wherever it occurs; `str` is any text."""


def check_layout(what: str, found: Mapping[str, tuple[tuple[int, ...], np.dtype]], layout: ArrayLayout) -> None:
    """Check shapes and types, which may be known before the arrays are read.

    Args:
        what: holds the arrays, for the message. found: shape and type of each array, by name.

    Raises:
        DataError: an array is missing, or of another shape or type; says which and what it must be.
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
    """Check arrays that are read: as `check_layout`, and that floats are finite.

    Raises:
        DataError: names the array and what is wrong with it.
    """
    check_layout(what, {name: (array.shape, array.dtype) for name, array in arrays.items()}, layout)
    for name in layout:
        if arrays[name].dtype.kind == "f" and not np.isfinite(arrays[name]).all():
            raise DataError(f"{what}: {name!r} holds values that are not finite")


def check_range(what: str, name: str, array: np.ndarray, low: float, high: float) -> None:
    """Check that finite values lie in a range, inclusive; DataError names the array, the worst value and the range."""
    if array.size and not (low <= array.min() and array.max() <= high):
        worst = array.min() if array.min() < low else array.max()
        raise DataError(f"{what}: {name!r} holds {worst}; it must lie between {low:g} and {high:g}")
