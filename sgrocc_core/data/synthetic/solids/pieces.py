"""What a scene is made of: every piece of furniture and every object, with its name, class, place and size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgrocc_core.classes import label_of

_NAMES: dict[str, tuple[str, ...]] = {
    "chair": ("chair", "office chair", "armchair", "stool", "pouf", "bench"),
    "bed": ("single bed", "double bed", "bunk bed"),
    "sofa": ("sofa", "corner sofa"),
    "table": ("table", "round table", "long table", "coffee table", "side table", "desk"),
    "tvs": ("tv", "monitor"),
    "furniture": (
        "wardrobe",
        "chest of drawers",
        "sideboard",
        "locker",
        "bedside cabinet",
        "shelf",
        "fridge",
        "kitchen unit",
        "tv bench",
        "cupboard",
        "door",
    ),
    "floor": ("rug",),
    "window": ("window",),
}
LABEL_OF: dict[str, int] = {name: label_of(label) for label, names in _NAMES.items() for name in names}
"""Class of each name that is not of the class `objects`."""
OBJECTS = label_of("objects")


@dataclass(frozen=True)
class Piece:
    """A piece of furniture or an object, as it was placed.

    Attributes:
        name: what a person would call it, such as `double bed`.
        origin: (3,) its frame's origin, usually on the floor below its middle, in the room's frame, metres.
        yaw: of its frame, whose back is at +y and whose front is at -y, radians.
        size: width along x, depth along y and height, metres; 0 where it is not known.
        within: index of the piece that it stands on or belongs to, -1 = none.
    """

    name: str
    origin: np.ndarray
    yaw: float
    size: tuple[float, float, float]
    within: int

    @property
    def label(self) -> int:
        """Its class."""
        return LABEL_OF.get(self.name, OBJECTS)
