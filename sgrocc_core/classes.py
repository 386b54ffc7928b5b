"""The eleven semantic classes of Occ-ScanNet: names, colours, and the structural ones."""

from __future__ import annotations

import numpy as np

EMPTY = 0
UNKNOWN = 255
"""Label of an occupied voxel without a class."""

NAMELESS = 254
"""Label of a voxel of a training target that is occupied by a class that is not known."""

NAMES: tuple[str, ...] = (
    "empty",
    "ceiling",
    "floor",
    "wall",
    "window",
    "chair",
    "bed",
    "sofa",
    "table",
    "tvs",
    "furniture",
    "objects",
)
"""Class names by label, 0 to 11; label 0 is empty space."""
NUM_CLASSES = len(NAMES) - 1
"""Number of occupied classes, labels 1 to 11; logit c of a Gaussian belongs to label c + 1."""

STRUCTURAL: tuple[int, ...] = (1, 2, 3, 4)
"""Labels of the structure of a room: ceiling, floor, wall, window."""

COLORS: np.ndarray = np.array(
    [
        (255, 255, 255),
        (196, 214, 226),
        (152, 134, 108),
        (222, 205, 160),
        (110, 190, 240),
        (230, 120, 40),
        (200, 90, 170),
        (160, 60, 60),
        (120, 180, 60),
        (40, 60, 110),
        (150, 105, 60),
        (225, 55, 75),
    ],
    dtype=np.uint8,
)
"""(12, 3) uint8, RGB of each label."""

UNLABELLED = "unlabelled"
"""Displayed name of the label UNKNOWN."""

UNKNOWN_COLOR: tuple[int, int, int] = (128, 128, 128)


def color_table() -> np.ndarray:
    """RGB colour of every possible label byte.

    Returns:
        (256, 3) uint8; labels without a class, including 255, are grey.
    """
    table = np.full((256, 3), UNKNOWN_COLOR, np.uint8)
    table[: len(COLORS)] = COLORS
    return table


def label_of(name: str) -> int:
    """The label of a class name, 1 to 11.

    Raises:
        ValueError: Unknown name; the message lists the known ones.
    """
    if name not in NAMES:
        raise ValueError(f"unknown class {name!r}; the classes are {', '.join(NAMES[1:])}")
    return NAMES.index(name)
