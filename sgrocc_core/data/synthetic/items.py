"""A piece of furniture before it is placed: its footprint, how to build it, and the surfaces on which things may stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sgrocc_core.classes import label_of
from sgrocc_core.data.synthetic.primitives import Builder

CHAIR, BED, SOFA, TABLE, TVS, FURNITURE, OBJECTS = (
    label_of(n) for n in ("chair", "bed", "sofa", "table", "tvs", "furniture", "objects")
)


@dataclass(frozen=True)
class Surface:
    """A horizontal place for things: x0, y0, x1, y1, z metres in the item's frame; free height above it; what it is used for."""

    x0: float
    y0: float
    x1: float
    y1: float
    z: float
    room: float = 1.0
    use: str = "table"


@dataclass(frozen=True)
class Item:
    """Furniture in its own frame: origin on the floor in the middle of its footprint, back towards +y, front towards -y.

    Attributes:
        width, depth: footprint along x and y, m. build: draws it. surfaces: where clutter may stand.
        seats: (x, y, yaw) of chairs that belong to it. front: free space wanted before it, m.
    """

    width: float
    depth: float
    build: Callable[[Builder], None]
    surfaces: tuple[Surface, ...] = ()
    seats: tuple[tuple[float, float, float], ...] = ()
    front: float = 0.5
    height: float = field(default=0.8)
