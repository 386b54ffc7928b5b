"""Geometry of unfurnished rooms: footprints, outline, openings and adjacent spaces.

A footprint is a union of rectangles in the room's frame; walls follow its outline. Everything else is built inside it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sgrocc_core.classes import label_of

CEILING, FLOOR, WALL, WINDOW, FURNITURE, OBJECTS = (
    label_of(n) for n in ("ceiling", "floor", "wall", "window", "furniture", "objects")
)
SLAB = 0.12
"""Thickness of floor and ceiling, metres."""


@dataclass(frozen=True)
class Edge:
    """A straight segment of the outline.

    Attributes:
        axis: 0 for a segment of constant x, 1 for constant y.
        at: the constant coordinate, metres.
        start: lower end along the other axis, metres.
        end: upper end along the other axis, metres.
        outward: direction out of the room along `axis`, +1 or -1.
    """

    axis: int
    at: float
    start: float
    end: float
    outward: int

    @property
    def length(self) -> float:
        """Length in metres."""
        return self.end - self.start

    def point(self, along: float, inside: float) -> tuple[float, float]:
        """x, y of the point `along` metres from the start and `inside` metres into the room."""
        across = self.at - self.outward * inside
        return (across, self.start + along) if self.axis == 0 else (self.start + along, across)

    @property
    def yaw(self) -> float:
        """Yaw of furniture whose back (+y) is at this edge, radians."""
        normal = (self.outward, 0.0) if self.axis == 0 else (0.0, self.outward)
        return float(np.arctan2(normal[1], normal[0]) - np.pi / 2)


@dataclass(frozen=True)
class Opening:
    """A door or window in a wall.

    Attributes:
        edge: edge of the outline.
        start: metres along the edge.
        stop: metres along the edge.
        span: heights of sill and top of a window, metres; None for a door.
    """

    edge: Edge
    start: float
    stop: float
    span: tuple[float, float] | None

    def on(self, edge: Edge) -> tuple[float, float] | None:
        """Start and stop in metres along another edge of the same line; None if that edge is on another line."""
        e = self.edge
        if e.axis != edge.axis or e.outward != edge.outward or abs(e.at - edge.at) > 1e-6:
            return None
        return self.start + e.start - edge.start, self.stop + e.start - edge.start

    def overlaps(self, edge: Edge, start: float, stop: float, margin: float) -> bool:
        """Whether it overlaps the interval from start to stop of an edge, with a margin, metres."""
        mine = self.on(edge)
        return mine is not None and start < mine[1] + margin and stop > mine[0] - margin


@dataclass(frozen=True)
class Leaf:
    """An open door leaf: solids `first` up to, not including, `stop` of the scene.

    Attributes:
        first: index of its first solid.
        stop: index after its last solid.
        hinge: (3,) point of the hinge on the floor, in the room's frame, metres.
        width: metres.
        closing: rotation about the hinge that closes it, radians.
    """

    first: int
    stop: int
    hinge: np.ndarray
    width: float
    closing: float


@dataclass
class Layout:
    """The shell of a scene.

    Attributes:
        rects: (x0, y0, x1, y1) of all spaces, including doorways, metres.
        main: number of rectangles that belong to the main room.
        height: of the room, metres.
        thickness: of the walls, metres.
        edges: outline.
        openings: doors and windows.
        keep_clear: rectangles without furniture.
        pillars: rectangles occupied by pillars.
        lights: (position (3,), linear colour (3,), intensity, radius) of lamps and windows.
        windows: (centre (3,), normal into the room (3,), half width, half height) of the glass.
        leaves: open door leaves.
    """

    rects: list[tuple[float, float, float, float]]
    main: int
    height: float
    thickness: float
    edges: list[Edge] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    keep_clear: list[tuple[float, float, float, float]] = field(default_factory=list)
    pillars: list[tuple[float, float, float, float]] = field(default_factory=list)
    lights: list[tuple[np.ndarray, np.ndarray, float, float]] = field(default_factory=list)
    windows: list[tuple[np.ndarray, np.ndarray, float, float]] = field(default_factory=list)
    leaves: list[Leaf] = field(default_factory=list)

    def contains(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether points are inside the footprint; x and y are arrays of the same shape, metres."""
        inside = np.zeros(np.shape(x), bool)
        for x0, y0, x1, y1 in self.rects:
            inside |= (x > x0) & (x < x1) & (y > y0) & (y < y1)
        return inside


def outline(rects: list[tuple[float, float, float, float]]) -> list[Edge]:
    """Edges of a union of rectangles, with collinear segments merged."""
    edges: list[Edge] = []
    grid = [np.unique(np.round([r[a] for r in rects] + [r[a + 2] for r in rects], 6)) for a in (0, 1)]
    mid = [(g[1:] + g[:-1]) / 2 for g in grid]
    inside = np.zeros((len(mid[0]) + 2, len(mid[1]) + 2), bool)
    for x0, y0, x1, y1 in rects:
        inside[1:-1, 1:-1] |= ((mid[0] > x0) & (mid[0] < x1))[:, None] & ((mid[1] > y0) & (mid[1] < y1))[None]
    for axis in (0, 1):
        cells = inside if axis == 0 else inside.T
        lines, along = grid[axis], grid[1 - axis]
        for i, at in enumerate(lines):
            for outward, row in ((1, cells[i] & ~cells[i + 1]), (-1, cells[i + 1] & ~cells[i])):
                j = 0
                while j < len(row):
                    if not row[j]:
                        j += 1
                        continue
                    k = j
                    while row[k + 1]:
                        k += 1
                    edges.append(Edge(axis, float(at), float(along[j - 1]), float(along[k]), outward))
                    j = k + 1
    return edges


def draw_footprint(rng: np.random.Generator) -> list[tuple[float, float, float, float]]:
    """Draw the rectangles of a main room: plain, L, T, U, or with niches; 9 to 60 square metres."""
    w, d = rng.uniform(2.8, 7.5), rng.uniform(2.8, 6.5)
    kind = rng.choice(["plain", "L", "T", "U", "niche"], p=[0.38, 0.22, 0.1, 0.08, 0.22])
    if kind == "plain" or min(w, d) < 3.2:
        return [(0, 0, w, d)]
    a, b = rng.uniform(0.35, 0.65) * w, rng.uniform(0.35, 0.65) * d
    if kind == "L":
        return [(0, 0, w, b), (0, 0, a, d)] if rng.random() < 0.5 else [(0, 0, w, b), (w - a, 0, w, d)]
    if kind == "T":
        x = rng.uniform(0.15, 0.4) * w
        return [(0, 0, w, b), (x, 0, x + max(1.6, 0.4 * w), d)]
    if kind == "U":
        side = max(1.5, 0.3 * w)
        return [(0, 0, w, b), (0, 0, side, d), (w - side, 0, w, d)] if w - 2 * side > 0.8 else [(0, 0, w, d)]
    rects = [(0.0, 0.0, w, d)]
    for _ in range(rng.integers(1, 3)):
        span, deep, at = rng.uniform(0.7, 2.0), rng.uniform(0.3, 0.9), rng.uniform(0, 0.8)
        x, y = at * max(w - span, 0), at * max(d - span, 0)
        sides = [
            (x, -deep, x + span, 0.1),
            (x, d - 0.1, x + span, d + deep),
            (-deep, y, 0.1, y + span),
            (w - 0.1, y, w + deep, y + span),
        ]
        rects.append(sides[rng.integers(4)])
    return rects


def draw_layout(rng: np.random.Generator) -> Layout:
    """Draw a main room without openings and adjacent spaces, which `add_doors` adds."""
    main = draw_footprint(rng)
    height = float(
        rng.choice([rng.uniform(2.3, 2.7), rng.uniform(2.5, 3.0), rng.uniform(3.0, 3.6)], p=[0.45, 0.4, 0.15])
    )
    return Layout(list(main), len(main), height, float(rng.uniform(0.12, 0.2)))
