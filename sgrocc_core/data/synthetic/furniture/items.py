"""A piece of furniture before placement: its footprint, how to build it, and surfaces on which objects may stand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sgrocc_core.classes import label_of
from sgrocc_core.data.synthetic.solids.primitives import Builder

CHAIR, BED, SOFA, TABLE, TVS, FURNITURE, OBJECTS = (
    label_of(n) for n in ("chair", "bed", "sofa", "table", "tvs", "furniture", "objects")
)


@dataclass(frozen=True)
class Surface:
    """A horizontal surface for objects, in the item's frame.

    Attributes:
        x0: lower bound of x, metres.
        y0: lower bound of y, metres.
        x1: upper bound of x, metres.
        y1: upper bound of y, metres.
        z: height of the surface, metres.
        room: free height above it, metres.
        use: kind of surface, which decides what is placed on it.
    """

    x0: float
    y0: float
    x1: float
    y1: float
    z: float
    room: float = 1.0
    use: str = "table"


@dataclass(frozen=True)
class Item:
    """Furniture in its own frame: origin on the floor at the centre of its footprint, back at +y, front at -y.

    Attributes:
        width: footprint along x, metres.
        depth: footprint along y, metres.
        build: adds its solids to a builder.
        surfaces: where objects may stand.
        seats: (x, y, yaw) of chairs that belong to it, metres and radians.
        front: free space required in front of it, metres.
        height: metres.
        name: what a person would call it; one of `pieces.LABEL_OF`, or an object's.
    """

    width: float
    depth: float
    build: Callable[[Builder], None]
    surfaces: tuple[Surface, ...] = ()
    seats: tuple[tuple[float, float, float], ...] = ()
    front: float = 0.5
    height: float = field(default=0.8)
    name: str = "thing"
