"""Doors and windows of a layout: closed and open leaves, adjacent spaces, glazing, curtains, sills and radiators."""

from __future__ import annotations

import numpy as np

from sgrocc_core.data.synthetic.rooms.layouts import (
    FURNITURE,
    OBJECTS,
    WALL,
    WINDOW,
    Edge,
    Layout,
    Leaf,
    Opening,
    outline,
)
from sgrocc_core.data.synthetic.solids.materials import OUTSIDE, Materials
from sgrocc_core.data.synthetic.solids.primitives import Builder


def _overlaps(
    rect: tuple[float, float, float, float], others: list[tuple[float, float, float, float]], margin: float
) -> bool:
    x0, y0, x1, y1 = rect
    return any(x0 - margin < o[2] and x1 + margin > o[0] and y0 - margin < o[3] and y1 + margin > o[1] for o in others)


def add_doors(layout: Layout, b: Builder, m: Materials) -> None:
    """Add doors: closed leaves in the wall, or doorways to adjacent spaces. Must run before `add_shell`."""
    rng = m.rng
    door, frame = (m.wood() if rng.random() < 0.4 else m.furniture()), m.furniture()
    main_edges = [e for e in outline(layout.rects) if e.length > 1.2]
    for _ in range(rng.integers(1, 4)):
        edge = main_edges[rng.integers(len(main_edges))]
        wide = rng.random() < 0.2 and edge.length > 2.6
        width = rng.uniform(1.3, 2.4) if wide else rng.uniform(0.78, 1.0)
        along = rng.uniform(0.1, edge.length - width - 0.1)
        if any(o.overlaps(edge, along, along + width, 0.2) for o in layout.openings):
            continue
        top = (
            min(rng.uniform(1.98, 2.15), layout.height - 0.15)
            if not wide
            else min(rng.uniform(2.1, 2.6), layout.height)
        )
        layout.openings.append(Opening(edge, along, along + width, None))
        near, far = edge.point(along, 0.9), edge.point(along + width, 0.0)
        layout.keep_clear.append(
            (min(near[0], far[0]), min(near[1], far[1]), max(near[0], far[0]), max(near[1], far[1]))
        )
        opened = (wide or rng.random() < 0.55) and _open_space(layout, b, m, edge, along, width, top)
        if opened and not wide and rng.random() < 0.75:
            layout.leaves.append(_open_leaf(b, m, edge, along, width, top, door))
        elif not opened:
            width = min(width, 1.0)
            _closed_leaf(b, m, edge, along, width, top, door, frame)


def _open_space(layout: Layout, b: Builder, m: Materials, edge: Edge, along: float, width: float, top: float) -> bool:
    rng, t = m.rng, layout.thickness
    deep, before, after = rng.uniform(1.2, 3.2), rng.uniform(0.1, 2.2), rng.uniform(0.1, 2.2)
    near, far = edge.point(along - before, -t), edge.point(along + width + after, -t - deep)
    space = (min(near[0], far[0]), min(near[1], far[1]), max(near[0], far[0]), max(near[1], far[1]))
    if _overlaps(space, layout.rects, t - 1e-6):
        return False
    a, c = edge.point(along, 0.0), edge.point(along + width, -t)
    passage = (min(a[0], c[0]), min(a[1], c[1]), max(a[0], c[0]), max(a[1], c[1]))
    layout.rects += [passage, space]
    size = (passage[2] - passage[0], passage[3] - passage[1], layout.height - top)
    if size[2] > 0.02:
        lintel = m.wall()
        b.box(
            ((passage[0] + passage[2]) / 2, (passage[1] + passage[3]) / 2, (layout.height + top) / 2),
            size,
            WALL,
            lintel,
        )
    layout.keep_clear.append(passage)
    where = np.array([(space[0] + space[2]) / 2, (space[1] + space[3]) / 2, layout.height - 0.15])
    layout.lights.append((where, np.array([1.0, 0.95, 0.85]), rng.uniform(0.0, 3.0), 0.15))
    return True


def edge_frame(b: Builder, edge: Edge, along: float, inside: float = 0.0) -> Builder:
    """The builder at a point of an edge, `inside` metres into the room."""
    x, y = edge.point(along, inside)
    return b.at(x, y, 0, edge.yaw)


def _open_leaf(b: Builder, m: Materials, edge: Edge, along: float, width: float, top: float, material: int) -> Leaf:
    first = b.count
    hinge_right = m.rng.random() < 0.5
    x = along + (width if hinge_right else 0.0)
    swing = m.rng.uniform(0.9, 2.6)
    frame = edge_frame(b, edge, x, 0.02)
    mirrored = (edge.axis == 0) == (edge.outward > 0)  # direction of `along` in the edge's frame
    side = (-1 if hinge_right else 1) * (1 if not mirrored else -1)
    leaf = frame.at(0, 0, 0, -swing if side > 0 else np.pi + swing).piece("door", (width, 0.06, top))
    leaf.box((width / 2, 0, top / 2), (width - 0.02, 0.045, top - 0.03), FURNITURE, material)
    leaf.box((width - 0.1, 0, 1.03), (0.13, 0.13, 0.025), FURNITURE, m.metal())
    return Leaf(first, b.count, frame.position, width, swing if side > 0 else -swing)


def _closed_leaf(
    b: Builder, m: Materials, edge: Edge, along: float, width: float, top: float, material: int, frame_material: int
) -> None:
    f = edge_frame(b, edge, along + width / 2, 0.0).piece("door", (width, 0.06, top))
    f.box((0, 0.0, top / 2), (width, 0.06, top), FURNITURE, material)
    for side in (-1, 1):
        f.box((side * (width / 2 + 0.03), 0.0, top / 2 + 0.03), (0.08, 0.09, top + 0.06), FURNITURE, frame_material)
    f.box((0, 0.0, top + 0.035), (width + 0.14, 0.09, 0.07), FURNITURE, frame_material)
    f.box((0.4 * width, -0.06, 1.03), (0.12, 0.06, 0.025), FURNITURE, m.metal())
    if m.rng.random() < 0.35:
        inset = m.lacquer()
        for z in (0.28, 0.72):
            f.box((0, -0.03, top * z), (0.62 * width, 0.02, top * 0.33), FURNITURE, inset)


def add_windows(layout: Layout, b: Builder, m: Materials) -> None:
    """Add windows to outer walls, and their light to the layout. Must run after `add_doors` and before `add_shell`."""
    rng = m.rng
    outside, frame = (
        m.add(OUTSIDE, (1, 1, 1), emission=rng.uniform(0.6, 3.5)),
        (m.white() if rng.random() < 0.6 else m.furniture()),
    )
    edges = [e for e in outline(layout.rects) if e.length > 1.0]
    rng.shuffle(edges)
    count = rng.integers(0, 4)
    sill = float(rng.choice([rng.uniform(0.75, 1.1), rng.uniform(0.3, 0.6), 0.08], p=[0.7, 0.15, 0.15]))
    top = min(sill + rng.uniform(1.0, 1.7), layout.height - 0.1) if sill > 0.2 else min(2.3, layout.height - 0.12)
    for edge in edges:
        if count == 0:
            break
        width = min(rng.uniform(0.7, 3.0), edge.length - 0.3)
        along = rng.uniform(0.15, edge.length - width - 0.1)
        probe = np.linspace(0.05, width - 0.05, 8)
        px, py = np.array([edge.point(along + p, -0.35) for p in probe]).T
        taken = any(o.overlaps(edge, along, along + width, 0.1) for o in layout.openings)
        if layout.contains(px, py).any() or taken:
            continue
        layout.openings.append(Opening(edge, along, along + width, (sill, top)))
        _window(layout, b, m, edge, along, (width, sill, top), outside, frame)
        count -= 1


def _window(
    layout: Layout,
    b: Builder,
    m: Materials,
    edge: Edge,
    along: float,
    extent: tuple[float, float, float],
    outside: int,
    frame: int,
) -> None:
    rng = m.rng
    width, sill, top = extent
    f = edge_frame(b, edge, along + width / 2, 0.0).piece("window", (width, 0.1, top - sill))
    inset, z, tall = rng.uniform(0.04, layout.thickness - 0.04), (sill + top) / 2, top - sill
    f.box((0, inset, z), (width, 0.03, tall), WINDOW, outside)
    bar = rng.uniform(0.04, 0.09)
    for k in np.linspace(-0.5, 0.5, int(rng.integers(2, 5))):
        f.box((k * (width - bar), inset - 0.02, z), (bar, 0.06, tall), WINDOW, frame)
    for k in (-0.5, 0.5) if rng.random() < 0.7 else (-0.5, 0.1, 0.5):
        f.box((0, inset - 0.02, z + k * (tall - bar)), (width, 0.06, bar), WINDOW, frame)
    if rng.random() < 0.6 and sill > 0.2:
        f.box((0, -0.06, sill - 0.015), (width + 0.1, 0.2, 0.03), WINDOW, frame)
    if rng.random() < 0.4:
        curtain, hung = m.fabric(), f.piece("curtain")
        reach = rng.uniform(0.2, 0.45)
        low = 0.02 if rng.random() < 0.6 else max(sill - 0.1, 0.02)
        for side in (-1, 1):
            for k in range(int(reach / 0.09) + 1):
                x = side * (width / 2 + 0.1 - 0.09 * k)
                hung.cylinder(
                    (x, -0.1, (low + top + 0.1) / 2), (0.1, 0.08 + 0.04 * (k % 2), top + 0.1 - low), OBJECTS, curtain
                )
    elif rng.random() < 0.25:
        drop = rng.uniform(0.15, 0.9) * tall
        f.piece("blind").box((0, -0.04, top - drop / 2), (width, 0.03, drop), OBJECTS, m.fabric())
    layout.windows.append((f.to_room(0, inset - 0.07, z), f.direction(0, -1, 0), width / 2, tall / 2))
    colour = np.array([0.85, 0.95, 1.1]) if rng.random() < 0.7 else np.array([1.2, 1.0, 0.75])
    layout.lights.append(
        (f.to_room(0, -0.12, z), colour, rng.uniform(0.3, 3.0) * width * tall, 0.45 * min(width, tall))
    )
    if sill > 0.5 and rng.random() < 0.5 and width > 0.6:
        _radiator(f.piece("radiator"), m, min(width, 1.8) * 0.9)


def _radiator(f: Builder, m: Materials, width: float) -> None:
    """Ribs with a pipe, or a flat panel, under a window."""
    paint = m.white() if m.rng.random() < 0.8 else m.lacquer()
    high = m.rng.uniform(0.4, 0.6)
    if m.rng.random() < 0.4:
        f.box((0, -0.08, 0.12 + high / 2), (width, 0.09, high), OBJECTS, paint)
        return
    pitch = m.rng.uniform(0.05, 0.07)
    for k in range(int(width / pitch)):
        f.box((-width / 2 + (k + 0.5) * pitch, -0.09, 0.12 + high / 2), (0.62 * pitch, 0.11, high), OBJECTS, paint)
    for z in (0.16, 0.06 + high):
        f.box((0, -0.09, z), (width, 0.05, 0.05), OBJECTS, paint)
    f.cylinder((width / 2 + 0.05, -0.06, 0.1), (0.025, 0.025, 0.25), OBJECTS, paint)
