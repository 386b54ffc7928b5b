"""What belongs to the building in the second edition of the rooms.

Rows of closed doors, glass walls, painted and panelled walls, posters, ceiling tracks, two floors in a room, sockets.
"""

from __future__ import annotations

import numpy as np

from sgrocc_core.data.synthetic.rooms.layouts import (
    FLOOR,
    FURNITURE,
    OBJECTS,
    WALL,
    WINDOW,
    Edge,
    Layout,
    Opening,
    outline,
)
from sgrocc_core.data.synthetic.rooms.openings import edge_frame
from sgrocc_core.data.synthetic.solids.materials import LAMP, WOOD, Materials
from sgrocc_core.data.synthetic.solids.primitives import Builder
from sgrocc_core.data.synthetic.solids.real_materials import RealMaterials


def add_openings(layout: Layout, b: Builder, m: RealMaterials) -> None:
    """Add rows of closed doors and glass walls. Must run after `add_doors` and before `add_windows`."""
    if m.rng.random() < 0.6:
        _door_row(layout, b, m)
    if m.rng.random() < 0.35:
        _glass_wall(layout, b, m)


def add_fittings(layout: Layout, b: Builder, m: RealMaterials) -> None:
    """Add what belongs to walls, floor and ceiling. Must run after `add_shell`."""
    r = m.rng
    _second_floor(layout, b, m)
    kind = r.choice(["none", "paint", "panels", "cladding"], p=[0.5, 0.25, 0.15, 0.1])
    if kind != "none":
        _lower_walls(layout, b, m, str(kind))
    for _ in range(r.poisson(1.0)):
        _poster(layout, b, m)
    if r.random() < 0.4:
        _track(layout, b, m)
    for _ in range(r.poisson(1.5)):
        _socket(layout, b, m)


def _door_row(layout: Layout, b: Builder, m: RealMaterials) -> None:
    r = m.rng
    edges = [e for e in outline(layout.rects) if e.length > 1.6]
    if not edges:
        return
    edge = edges[int(np.argmax([e.length * r.uniform(0.5, 1.0) for e in edges]))]
    leaf, frame, handle = m.fitted(), (m.white() if r.random() < 0.5 else m.dark()), m.metal()
    width, top, pitch = r.uniform(0.8, 0.98), min(r.uniform(1.98, 2.2), layout.height - 0.1), r.uniform(1.15, 2.2)
    along = r.uniform(0.12, 0.6)
    for _ in range(int(r.integers(1, 5))):
        if along + width + 0.1 > edge.length:
            return
        if not any(o.overlaps(edge, along, along + width, 0.15) for o in layout.openings):
            layout.openings.append(Opening(edge, along, along + width, None))
            near, far = edge.point(along, 0.8), edge.point(along + width, 0.0)
            low, high = np.minimum(near, far), np.maximum(near, far)
            layout.keep_clear.append((float(low[0]), float(low[1]), float(high[0]), float(high[1])))
            _door(edge_frame(b, edge, along + width / 2), m, width, top, (leaf, frame, handle))
        along += pitch


def _door(f: Builder, m: Materials, width: float, top: float, materials: tuple[int, int, int]) -> None:
    """A closed leaf, nearly flush with the wall."""
    leaf, frame, handle = materials
    f = f.piece("door", (width, 0.06, top))
    f.box((0, 0, top / 2), (width, 0.03, top), FURNITURE, leaf)
    for side in (-1, 1):
        f.box((side * (width / 2 + 0.025), 0, top / 2 + 0.025), (0.05, 0.06, top + 0.05), FURNITURE, frame)
    f.box((0, 0, top + 0.03), (width + 0.1, 0.06, 0.05), FURNITURE, frame)
    side = 1 if m.rng.random() < 0.5 else -1
    f.box((side * 0.4 * width, -0.05, 1.03), (0.12, 0.03, 0.02), FURNITURE, handle)
    f.box((side * 0.44 * width, -0.03, 1.03), (0.02, 0.05, 0.02), FURNITURE, handle)


def _glass_wall(layout: Layout, b: Builder, m: RealMaterials) -> None:
    """Panes between posts, with a transom and perhaps a low wall under them."""
    r = m.rng
    edges = [e for e in outline(layout.rects) if e.length > 2.2]
    if not edges:
        return
    edge = edges[r.integers(len(edges))]
    width = min(r.uniform(1.6, 4.5), edge.length - 0.25)
    along = r.uniform(0.1, edge.length - width - 0.1)
    probe = np.array([edge.point(along + p, -0.35) for p in np.linspace(0.05, width - 0.05, 8)]).T
    if layout.contains(*probe).any() or any(o.overlaps(edge, along, along + width, 0.1) for o in layout.openings):
        return
    sill = 0.0 if r.random() < 0.7 else r.uniform(0.7, 1.0)
    top = layout.height - 0.02 if r.random() < 0.3 else min(r.uniform(2.1, 2.8), layout.height - 0.06)
    layout.openings.append(Opening(edge, along, along + width, (sill, top)))
    frame = m.wood() if r.random() < 0.5 else m.dark() if r.random() < 0.6 else m.white()
    f, bar, glass = edge_frame(b, edge, along + width / 2), r.uniform(0.04, 0.09), m.glass()
    f = f.piece("window", (width, 0.1, top - sill))
    f.box((0, 0.04, (sill + top) / 2), (width, 0.025, top - sill), WINDOW, glass)
    for x in np.linspace(-0.5, 0.5, 2 + int(width / r.uniform(0.7, 1.4))):
        f.box((x * (width - bar), 0.02, (sill + top) / 2), (bar, 0.08, top - sill), WINDOW, frame)
    rails = [sill + bar / 2, top - bar / 2] + ([2.02] if sill < 0.5 and top > 2.3 else [])
    for z in rails:
        f.box((0, 0.02, z), (width, 0.08, bar), WINDOW, frame)


def _spans(layout: Layout, edge: Edge, high: float) -> list[tuple[float, float]]:
    """Parts (start, stop) of an edge, metres, without doors and windows below a height."""
    found = [o.on(edge) for o in layout.openings if o.span is None or o.span[0] < high]
    gaps = sorted(s for s in found if s is not None and s[0] < edge.length and s[1] > 0)
    at, spans = 0.0, []
    for start, stop in [*gaps, (edge.length, edge.length)]:
        if start - at > 0.1:
            spans.append((at, start))
        at = max(at, stop)
    return spans


def _lower_walls(layout: Layout, b: Builder, m: RealMaterials, kind: str) -> None:
    """Paint or panels on the walls up to some height, or wood on one wall."""
    r = m.rng
    high = r.uniform(0.8, 1.6) if kind != "cladding" else layout.height - 0.01
    thick = 0.01 if kind == "paint" else r.uniform(0.02, 0.04)
    if kind == "paint":
        material = m.lacquer() if r.random() < 0.7 else m.dark()
    else:
        colour = m.wood_color()
        material = m.add(WOOD, colour, colour, r.uniform(0.05, 0.1), r.uniform(0.2, 0.5), 0.05, 30)
    edges = [e for e in layout.edges if e.length > 0.5]
    if kind == "cladding":
        edges = [max(edges, key=lambda e: e.length * r.uniform(0.5, 1.0))] if edges else []
    for edge in edges:
        for start, stop in _spans(layout, edge, high):
            edge_frame(b, edge, (start + stop) / 2, thick / 2).box(
                (0, 0, high / 2), (stop - start, thick, high), WALL, material
            )


def _poster(layout: Layout, b: Builder, m: RealMaterials) -> None:
    """A large print or board, up to the height of a person."""
    r = m.rng
    w, h = r.uniform(0.5, 1.4), r.uniform(0.8, 1.9)
    edges = [e for e in layout.edges if e.length > w + 0.4]
    if not edges:
        return
    edge = edges[r.integers(len(edges))]
    along = r.uniform(w / 2 + 0.1, edge.length - w / 2 - 0.1)
    if any(o.overlaps(edge, along - w / 2, along + w / 2, 0.02) for o in layout.openings):
        return
    z = min(max(r.uniform(1.1, 1.6), h / 2 + 0.05), layout.height - h / 2 - 0.05)
    f = edge_frame(b, edge, along).piece("poster", (w, 0.03, h))
    f.box((0, -0.01, z), (w, 0.02, h), OBJECTS, m.picture())
    if r.random() < 0.4:  # a second print on the first
        f.box((0, -0.015, z + 0.2 * h), (0.8 * w, 0.02, 0.35 * h), OBJECTS, m.picture())


def _track(layout: Layout, b: Builder, m: RealMaterials) -> None:
    """A rail with spots under the ceiling, or a row of pendant lamps."""
    r = m.rng
    x0, y0, x1, y1 = layout.rects[0]
    turn, drop = (np.pi / 2 if r.random() < 0.5 else 0.0), min(r.uniform(0.02, 0.5), layout.height - 2.15)
    room = (y1 - y0 if turn else x1 - x0) - 0.4
    long = min(r.uniform(1.5, 4.0), room)
    if long < 0.8 or drop < 0.01:
        return
    x, y = r.uniform(x0 + 0.3, x1 - 0.3), r.uniform(y0 + 0.3, y1 - 0.3)
    x, y = (x, (y0 + y1) / 2) if turn else ((x0 + x1) / 2, y)
    rail, black = b.at(x, y, layout.height - drop, turn).piece("ceiling lamp"), m.dark()
    rail.box((0, 0, 0), (long, 0.04, 0.04), OBJECTS, black)
    for s in (-0.4, 0.4):
        rail.cylinder((s * long, 0, drop / 2), (0.012, 0.012, drop), OBJECTS, black)
    glow = m.add(LAMP, (1.0, 0.97, 0.9), emission=r.uniform(2.0, 8.0) if r.random() < 0.8 else 0.3)
    for s in np.linspace(-0.45, 0.45, int(r.integers(2, 6))):
        head = rail.at(s * long, 0, -0.1, r.uniform(0, 6.28), r.uniform(0.0, 0.8))
        head.cylinder((0, 0, 0), (0.075, 0.075, 0.14), OBJECTS, black)
        head.cylinder((0, 0, -0.072), (0.06, 0.06, 0.008), OBJECTS, glow)
    where = rail.to_room(0.0, 0.0, -0.25)
    layout.lights.append((where, np.array([1.0, 0.93, 0.8]), r.uniform(0.5, 3.0), 0.2))


def _second_floor(layout: Layout, b: Builder, m: RealMaterials) -> None:
    """Another floor in a part of the room, with a strip of metal at its edge, and squares of another tone."""
    r = m.rng
    x0, y0, x1, y1 = layout.rects[0]
    if r.random() < 0.4:
        share, other, strip = r.uniform(0.25, 0.75), m.floor(), m.metal()
        if r.random() < 0.5:
            x1 = x0 + share * (x1 - x0)
            b.box((x1, (y0 + y1) / 2, 0.006), (0.035, y1 - y0, 0.012), FLOOR, strip)
        else:
            y1 = y0 + share * (y1 - y0)
            b.box(((x0 + x1) / 2, y1, 0.006), (x1 - x0, 0.035, 0.012), FLOOR, strip)
        b.box(((x0 + x1) / 2, (y0 + y1) / 2, 0.004), (x1 - x0, y1 - y0, 0.01), FLOOR, other)
    if r.random() < 0.2 and min(x1 - x0, y1 - y0) > 1.6:
        tone = m.rug()
        for _ in range(int(r.integers(1, 5))):
            w, d = 0.5 * r.integers(1, 4, 2)
            x, y = r.uniform(x0 + w / 2, x1 - w / 2), r.uniform(y0 + d / 2, y1 - d / 2)
            b.box((x, y, 0.006), (w, d, 0.011), FLOOR, tone)


def _socket(layout: Layout, b: Builder, m: RealMaterials) -> None:
    """A socket, and perhaps a cable on the floor to a strip of sockets; too thin to be a class of its own."""
    r = m.rng
    edges = [e for e in layout.edges if e.length > 0.8]
    if not edges:
        return
    edge = edges[r.integers(len(edges))]
    along = r.uniform(0.2, edge.length - 0.2)
    if any(o.overlaps(edge, along, along, 0.1) for o in layout.openings):
        return
    f, white = edge_frame(b, edge, along), m.white()
    f.box((0, -0.005, 0.3), (0.085, 0.02, 0.085), WALL, white)
    if r.random() < 0.6:
        cable, heading, at = (m.dark() if r.random() < 0.6 else white), -np.pi / 2, f.at(0.0, -0.03)
        for _ in range(int(r.integers(3, 8))):
            heading += r.normal(0, 0.7)
            long = r.uniform(0.12, 0.3)
            piece = at.at(0.0, 0.0, 0.0, heading)
            piece.box((long / 2, 0, 0.005), (long, 0.008, 0.008), FLOOR, cable)
            at = at.at(long * np.cos(heading), long * np.sin(heading))
        if r.random() < 0.5:
            at.box((0, 0, 0.025), (0.3, 0.055, 0.045), OBJECTS, white, (heading, 0.0, 0.0))
