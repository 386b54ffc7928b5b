"""The shell of a scene: floors, ceilings, walls around their openings, skirting, pillars, beams, ceiling lamps."""

from __future__ import annotations

import numpy as np

from sgrocc_core.data.synthetic.rooms.layouts import CEILING, FLOOR, OBJECTS, SLAB, WALL, Edge, Layout, outline
from sgrocc_core.data.synthetic.solids.materials import LAMP, Materials
from sgrocc_core.data.synthetic.solids.primitives import Builder


def add_shell(layout: Layout, b: Builder, m: Materials) -> None:
    """Add floors, ceiling, walls, skirting, pillars, beams and ceiling lamps. Sets `layout.edges`."""
    rng = m.rng
    layout.edges = outline(layout.rects)
    walls = [m.wall() for _ in range(1 if rng.random() < 0.4 else 3)]
    floor, other, ceiling = m.floor(), m.floor(), m.ceiling()
    for i, (x0, y0, x1, y1) in enumerate(layout.rects):
        t = layout.thickness
        centre, size = ((x0 + x1) / 2, (y0 + y1) / 2), (x1 - x0 + 2 * t, y1 - y0 + 2 * t, SLAB)
        b.box((*centre, -SLAB / 2), size, FLOOR, floor if i < layout.main or rng.random() < 0.4 else other)
        b.box((*centre, layout.height + SLAB / 2), size, CEILING, ceiling)
    _floor_zones(layout, b, m)
    for edge in layout.edges:
        material = walls[rng.integers(len(walls))] if edge.length > 0.6 else walls[0]
        _wall(layout, b, edge, material)
        if rng.random() < 0.75 and edge.length > 0.5:
            _skirting(layout, b, m, edge)
    _pillars_and_beams(layout, b, m, walls[0], ceiling)
    _lamps(layout, b, m)


def _floor_zones(layout: Layout, b: Builder, m: Materials) -> None:
    """Give a part of the main room another floor, such as carpet beside wood or tiles in front of kitchen units."""
    if m.rng.random() > 0.3:
        return
    x0, y0, x1, y1 = layout.rects[0]
    share = m.rng.uniform(0.25, 0.65)
    if m.rng.random() < 0.5:
        x1 = x0 + share * (x1 - x0)
    else:
        y1 = y0 + share * (y1 - y0)
    b.box(((x0 + x1) / 2, (y0 + y1) / 2, 0.002), (x1 - x0, y1 - y0, 0.006), FLOOR, m.floor())


def _wall(layout: Layout, b: Builder, edge: Edge, material: int) -> None:
    t, eps = layout.thickness, 1e-3
    ends = []
    for at, sign in ((edge.start, -1), (edge.end, 1)):
        beyond = (
            (edge.at - edge.outward * eps, at + sign * eps)
            if edge.axis == 0
            else (at + sign * eps, edge.at - edge.outward * eps)
        )
        reentrant = layout.contains(np.array(beyond[0]), np.array(beyond[1]))
        ends.append(-2 * eps if reentrant else t)  # avoids coplanar faces, which would flicker
    spans = [(o.on(edge), o.span) for o in layout.openings if o.span is not None]
    holes = sorted(
        (s[0] + edge.start, s[1] + edge.start, *span)
        for s, span in spans
        if s is not None and span and s[0] < edge.length and s[1] > 0
    )
    at = edge.start - ends[0]
    pieces = []
    for start, stop, sill, top in holes:
        pieces += [(at, start, 0.0, layout.height), (start, stop, 0.0, sill), (start, stop, top, layout.height)]
        at = stop
    pieces.append((at, edge.end + ends[1], 0.0, layout.height))
    for start, stop, low, high in pieces:
        if stop - start < 1e-3 or high - low < 1e-3:
            continue
        across, middle = edge.at + edge.outward * t / 2, (start + stop) / 2
        centre = (across, middle, (low + high) / 2) if edge.axis == 0 else (middle, across, (low + high) / 2)
        size = (t, stop - start, high - low) if edge.axis == 0 else (stop - start, t, high - low)
        b.box(centre, size, WALL, material)


def _skirting(layout: Layout, b: Builder, m: Materials, edge: Edge) -> None:
    gaps = sorted(s for o in layout.openings if (o.span is None or o.span[0] < 0.2) and (s := o.on(edge)) is not None)
    material, at = m.white() if m.rng.random() < 0.6 else m.furniture(), 0.0
    high = m.rng.uniform(0.05, 0.12)
    for start, stop in [*gaps, (edge.length, edge.length)]:
        if start - at > 0.05:
            x, y = edge.point((at + start) / 2, 0.005)
            b.at(x, y, 0, edge.yaw).box((0, 0, high / 2), (start - at, 0.02, high), WALL, material)
        at = stop


def _pillars_and_beams(layout: Layout, b: Builder, m: Materials, wall: int, ceiling: int) -> None:
    rng, (x0, y0, x1, y1) = m.rng, layout.rects[0]
    h = layout.height
    if rng.random() < 0.15 and min(x1 - x0, y1 - y0) > 3.5:
        for _ in range(rng.integers(1, 3)):
            x, y, w = rng.uniform(x0 + 1.2, x1 - 1.2), rng.uniform(y0 + 1.2, y1 - 1.2), rng.uniform(0.25, 0.55)
            (b.box if rng.random() < 0.6 else b.cylinder)((x, y, h / 2), (w, w * rng.uniform(0.8, 1.2), h), WALL, wall)
            layout.pillars.append((x - w / 2 - 0.06, y - w / 2 - 0.06, x + w / 2 + 0.06, y + w / 2 + 0.06))
    if rng.random() < 0.25:
        along_x = rng.random() < 0.5
        deep, wide = min(rng.uniform(0.1, 0.3), h - 2.15), rng.uniform(0.12, 0.35)
        material = ceiling if rng.random() < 0.6 else m.wood()
        for k in np.arange(0.5, (y1 - y0 if along_x else x1 - x0) - 0.3, rng.uniform(0.8, 2.5)):
            centre = ((x0 + x1) / 2, y0 + k, h - deep / 2) if along_x else (x0 + k, (y0 + y1) / 2, h - deep / 2)
            b.box(centre, (x1 - x0, wide, deep) if along_x else (wide, y1 - y0, deep), CEILING, material)
    if rng.random() < 0.12:
        drop, side = min(rng.uniform(0.15, 0.4), h - 2.15), rng.uniform(0.4, 0.9)
        b.box((x0 + side / 2, (y0 + y1) / 2, h - drop / 2), (side, y1 - y0, drop), CEILING, ceiling)


def _lamps(layout: Layout, b: Builder, m: Materials) -> None:
    rng, h = m.rng, layout.height
    tone = np.array([[1.0, 0.93, 0.8], [1.0, 0.98, 0.95], [0.95, 1.0, 1.08], [1.0, 0.85, 0.62]][rng.integers(4)])
    style, lit = rng.choice(["panel", "dome", "pendant", "spot", "tube"]), rng.random() < 0.88
    power = rng.uniform(1.5, 5.0) if lit else 0.0
    glow = m.add(LAMP, (1.0, 0.98, 0.93), emission=rng.uniform(3.0, 7.0) if lit else 0.3)
    metal = m.metal()
    for x0, y0, x1, y1 in layout.rects[: layout.main]:
        nx, ny = max(1, int((x1 - x0) / rng.uniform(2.0, 3.5))), max(1, int((y1 - y0) / rng.uniform(2.0, 3.5)))
        for i in range(nx):
            for j in range(ny):
                x, y = x0 + (i + 0.5) * (x1 - x0) / nx, y0 + (j + 0.5) * (y1 - y0) / ny
                low, radius = _lamp(b.at(x, y, h).piece("ceiling lamp"), m, str(style), glow, metal)
                layout.lights.append((np.array([x, y, h - low - 0.05]), tone, power / np.sqrt(nx * ny), radius))


def _lamp(b: Builder, m: Materials, style: str, glow: int, metal: int) -> tuple[float, float]:
    rng = m.rng
    if style == "panel":
        w = 0.6 if rng.random() < 0.7 else 1.2
        b.box((0, 0, -0.02), (w, 0.6, 0.045), OBJECTS, glow)
        return 0.05, 0.3
    if style == "tube":
        b.box((0, 0, -0.04), (1.3, 0.16, 0.08), OBJECTS, metal)
        b.box((0, 0, -0.09), (1.2, 0.07, 0.04), OBJECTS, glow)
        return 0.12, 0.3
    if style == "spot":
        b.box((0, 0, -0.03), (0.8, 0.04, 0.04), OBJECTS, metal)
        for x in (-0.3, 0.0, 0.3):
            b.cylinder((x, 0, -0.11), (0.08, 0.08, 0.12), OBJECTS, glow, (rng.uniform(0, 6), 0.5, 0.0), 0.7)
        return 0.2, 0.1
    if style == "dome":
        w = rng.uniform(0.25, 0.5)
        b.ball((0, 0, -0.03), (w, w, rng.uniform(0.1, 0.22)), OBJECTS, glow)
        return 0.15, w / 2
    drop, w = rng.uniform(0.35, 0.7), rng.uniform(0.22, 0.5)
    b.cylinder((0, 0, -drop / 2), (0.02, 0.02, drop), OBJECTS, metal)
    if rng.random() < 0.5:
        b.cylinder((0, 0, -drop), (w, w, w * 0.6), OBJECTS, glow, taper=rng.uniform(0.4, 1.0))
    else:
        b.ball((0, 0, -drop), (w, w, w * rng.uniform(0.6, 1.0)), OBJECTS, glow)
    return drop + 0.3 * w, 0.5 * w
