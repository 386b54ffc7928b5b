"""One row of a table of 3D models: where a model is, what it is, how large, how it stands and under which licence."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sgrocc_core.classes import label_of
from sgrocc_core.errors import DataError

CHAIR, BED, SOFA, TABLE, TVS, FURNITURE, OBJECTS = (
    label_of(n) for n in ("chair", "bed", "sofa", "table", "tvs", "furniture", "objects")
)
CLASSES = ("chair", "bed", "sofa", "table", "tvs", "furniture", "objects")
"""Classes a model may have; the shell of a room is never a model."""
ROLES = (
    *("chair", "stool", "armchair", "bench", "sofa", "bed", "table", "coffee", "side"),
    *("low", "tall", "screen", "plant", "floor", "small"),
)
"""What a model can stand for in a room; `low` and `tall` are storage, `floor` and `small` are objects."""
LIMITS = {
    "chair": ((0.25, 0.25, 0.28), (2.0, 1.25, 1.4)),
    "bed": ((0.5, 0.7, 0.12), (2.4, 2.7, 2.2)),
    "sofa": ((0.9, 0.5, 0.4), (3.6, 2.4, 1.3)),
    "table": ((0.25, 0.2, 0.2), (3.2, 1.9, 1.4)),
    "tvs": ((0.15, 0.01, 0.12), (1.8, 0.7, 1.1)),
    "furniture": ((0.2, 0.15, 0.25), (3.4, 1.2, 2.5)),
    "objects": ((0.03, 0.03, 0.02), (1.3, 1.3, 2.05)),
}
"""Smallest and largest width, depth and height of each class, metres; others are toys, trees and the like."""
_AXES = {"x": (1, 0, 0), "y": (0, 1, 0), "z": (0, 0, 1), "-x": (-1, 0, 0), "-y": (0, -1, 0), "-z": (0, 0, -1)}


@dataclass(frozen=True)
class Entry:
    """A model that a table names.

    Attributes:
        name: unique name, such as `Scopia/armchair3`.
        label: class label.
        role: one of ROLES.
        path: the file, or the archive that contains it.
        member: its name inside the archive; empty for a file.
        size: width, depth and height in a room, metres.
        rotation: (3, 3) from the file's axes to those of furniture: x right, y to its back, z up.
        licence: as the table states it.
        creator: as the table states it.
        title: what the table calls it.
        top: height on which objects may stand, metres; None = its height.
    """

    name: str
    label: int
    role: str
    path: Path
    member: str
    size: tuple[float, float, float]
    rotation: np.ndarray
    licence: str
    creator: str
    title: str
    top: float | None = None


def upright(up: str, front: str) -> np.ndarray:
    """(3, 3) rotation from a file's axes to those of furniture (x right, y to the back, z up).

    Args:
        up: axis of the file that points up: x, y, z, -x, -y or -z.
        front: axis of the file to which the model's front looks.

    Raises:
        DataError: no such axis, or both axes are on one line.
    """
    for name, axis in (("up", up), ("front", front)):
        if axis not in _AXES:
            raise DataError(f"{name} is {axis!r}; it must be one of {', '.join(_AXES)}")
    z, back = np.array(_AXES[up]), -np.array(_AXES[front])
    if z @ back:
        raise DataError(f"up is {up} and front is {front}; they must be different axes")
    return np.array([np.cross(back, z), back, z], np.float64)


def role_of(kind: str, size: tuple[float, float, float], seat: float | None = None) -> str | None:
    """What a model of a class and size (width, depth, height in metres) stands for; None: nothing in a room.

    Args:
        kind: class name.
        size: width, depth and height, metres.
        seat: height of a chair's seat, metres, if it is known.
    """
    low, high = LIMITS[kind]
    if any(not a <= s <= b for a, s, b in zip(low, size, high)):
        return None
    w, d, h = size
    if kind == "chair":
        if w >= 1.15:
            return "bench"
        if (seat or 0.0) >= 0.58 or h < 0.6:
            return "stool"
        return "armchair" if w >= 0.68 and d >= 0.62 else "chair"
    if kind == "table":
        if h < 0.6:
            return "coffee" if w >= 0.6 else "side"
        return "table" if max(w, d) >= 0.65 else "side"
    if kind == "furniture":
        return "tall" if h >= 1.2 else "low"
    if kind == "objects":
        if max(w, d) <= 0.45 and h <= 0.5:
            return "small"
        return "floor" if h >= 0.4 else None
    return {"bed": "bed", "sofa": "sofa", "tvs": "screen"}[kind]
