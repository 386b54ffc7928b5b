"""Reads the pickles of public data sets without executing code: only NumPy arrays, NumPy scalars and plain containers.

A pickle is a program that names functions to call. Every name used by NumPy's own pickles is mapped to a small function
in this file, which checks its arguments and builds the array from raw bytes; any other name is refused. NumPy's own
functions are never used: given a malicious state they could create object arrays, or arrays larger than their data.
"""

from __future__ import annotations

import math
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from sgrocc_core.errors import DataError

ADMITTED = "only NumPy arrays and plain containers are admitted"
_CODES = re.compile(r"[<>=|]?(\?|b1|[iu][1248]|f[248]|c8|c16|S\d{1,6}|U\d{1,6})")
_PLAIN = (str, bytes, bool, int, float, complex, type(None), np.generic, np.ndarray)


class _Refused(pickle.UnpicklingError):
    """The pickle asks for something that a data file does not need."""


class _Dtype:
    """A pickled dtype of numbers or text: first its code, then its byte order."""

    __slots__ = ("dtype",)

    def __init__(self, code: object) -> None:
        if not isinstance(code, str) or not _CODES.fullmatch(code):
            raise _Refused(f"it holds an array of type {code!r}; {ADMITTED}, of numbers or text")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: object) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "=", "|"):
            raise _Refused(f"it holds an array whose type has the state {state!r}")
        self.dtype = self.dtype.newbyteorder(order)


class _Array:
    """A pickled array: created empty, then filled from its state (version, shape, dtype, Fortran order, bytes)."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value: np.ndarray | None = None

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise _Refused("it holds an array without shape, type and bytes")
        _, shape, dtype, fortran, raw = state
        self.value = _filled(raw, dtype, shape, "F" if fortran else "C")


def _filled(raw: object, dtype: object, shape: object, order: object) -> np.ndarray:
    """A new array from bytes whose length must match its shape."""
    if not isinstance(dtype, _Dtype):
        raise _Refused(f"it holds an array of type {dtype!r}; {ADMITTED}, of numbers or text")
    if not isinstance(raw, (bytes, bytearray)):
        raise _Refused(f"it holds an array made of a {type(raw).__name__}; {ADMITTED}")
    if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape) or order not in ("C", "F"):
        raise _Refused(f"it holds an array of shape {shape!r} and order {order!r}")
    if math.prod(shape) * dtype.dtype.itemsize != len(raw):
        raise _Refused(f"it holds an array of shape {shape} and type {dtype.dtype} with {len(raw)} bytes")
    values = np.frombuffer(raw, dtype.dtype).reshape(shape, order=order).copy(order)  # type: ignore[call-overload]
    return values.view(np.uint8).astype(bool) if values.dtype.kind == "b" else values


class _Call:
    """Replacement for a name in a pickle. It has no attributes, so a pickle cannot alter it for the next one."""

    __slots__ = ()


class _Ndarray(_Call):
    pass


class _Reconstruct(_Call):
    def __call__(self, kind: object, shape: object, code: object) -> _Array:
        if not isinstance(kind, _Ndarray):
            raise _Refused(f"it rebuilds {kind!r}; {ADMITTED}")
        return _Array()


class _MakeDtype(_Call):
    def __call__(self, code: object, align: object = False, copy: object = False) -> _Dtype:
        return _Dtype(code)


class _Scalar(_Call):
    def __call__(self, dtype: object, raw: object = b"") -> Any:
        return _filled(raw, dtype, (), "C")[()]


class _FromBuffer(_Call):
    def __call__(self, raw: object, dtype: object, shape: object, order: object) -> np.ndarray:
        return _filled(raw, dtype, shape, order)


class _Latin1(_Call):
    """Protocol 2 writes bytes as text to be encoded."""

    def __call__(self, text: object, encoding: object = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise _Refused(f"it encodes a {type(text).__name__} as {encoding!r}; {ADMITTED}")
        return text.encode("latin1")


class _MakeDict(_Call):
    def __call__(self, pairs: Any = ()) -> dict[Any, Any]:
        return dict(pairs)


class _MakeSet(_Call):
    def __call__(self, values: Any = ()) -> set[Any]:
        return set(values)


class _NoBytes(_Call):
    """Protocol 2 writes empty bytes as a call without arguments."""

    def __call__(self) -> bytes:
        return b""


_NAMES: dict[tuple[str, str], _Call] = {
    ("numpy", "ndarray"): _Ndarray(),
    ("numpy", "dtype"): _MakeDtype(),
    ("_codecs", "encode"): _Latin1(),
    ("collections", "OrderedDict"): _MakeDict(),
    # the module's name in Python 3, and in protocol 2
    **{(module, "set"): _MakeSet() for module in ("builtins", "__builtin__")},
    **{(module, "bytes"): _NoBytes() for module in ("builtins", "__builtin__")},
    # NumPy 1 and NumPy 2
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _Reconstruct() for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _Scalar() for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _FromBuffer() for core in ("core", "_core")},
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = _NAMES.get((module, name))
        if found is None:
            raise _Refused(f"it asks for {module}.{name}; {ADMITTED}")
        return found


def _settled(value: Any, done: dict[int, Any]) -> Any:
    """Replace `_Array` objects by their arrays and check that all other values are plain.

    A container that occurs several times is converted once.
    """
    if isinstance(value, _Array):
        if value.value is None:
            raise _Refused("it holds an array without content")
        return value.value
    if type(value) in (dict, list, tuple, set, frozenset):
        if id(value) not in done:
            done[id(value)] = _settled_container(value, done)
        return done[id(value)]
    if isinstance(value, _PLAIN):
        return value
    raise _Refused(f"it holds a {type(value).__name__}; {ADMITTED}")


def _settled_container(value: Any, done: dict[int, Any]) -> Any:
    if type(value) is dict:
        return {_settled(key, done): _settled(content, done) for key, content in value.items()}
    return type(value)([_settled(content, done) for content in value])


def load_plain_pickle(path: Path, remedy: str = "get the file again") -> dict[str, Any]:
    """Load a pickled dict of arrays and plain values.

    Args:
        path: the file.
        remedy: what to do about a missing or damaged file, for the error message.

    Raises:
        DataError: no such file, not a pickle of a dict, or a pickle that needs more than arrays and plain containers.
    """
    try:
        with open(path, "rb") as file:
            content = _settled(_PlainUnpickler(file).load(), {})
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: {remedy}") from error
    except _Refused as error:
        raise DataError(f"{path} is refused: {error}. Do not load it by other means; {remedy}") from error
    except Exception as error:  # a damaged pickle may raise anything
        raise DataError(f"{path} cannot be read ({type(error).__name__}: {error}): {remedy}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; it must be a dict: {remedy}")
    return content


def wanted(content: dict[str, Any], key: str, path: Path) -> Any:
    """`content[key]`.

    Raises:
        DataError: no such key; the message lists the existing keys.
    """
    if key not in content:
        raise DataError(f"{path} has no {key!r}; its keys are {', '.join(map(str, content))}")
    return content[key]
