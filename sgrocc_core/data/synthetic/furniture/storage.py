"""Storage furniture (wardrobes, cabinets, shelves, fridges, kitchen counters), screens, and objects on walls."""

from __future__ import annotations

import numpy as np

from sgrocc_core.data.synthetic.furniture.items import FURNITURE, OBJECTS, TVS, Item, Surface
from sgrocc_core.data.synthetic.solids.materials import MARBLE, PAGE, TILES, Materials
from sgrocc_core.data.synthetic.solids.primitives import Builder


def _front(
    b: Builder, w: float, y: float, low: float, high: float, columns: int, rows: int, door: int, knob: int
) -> None:
    """Doors or drawer fronts with gaps and knobs on the plane y."""
    cw, ch = w / columns, (high - low) / rows
    for i in range(columns):
        for j in range(rows):
            x, z = -w / 2 + (i + 0.5) * cw, low + (j + 0.5) * ch
            b.box((x, y, z), (cw - 0.012, 0.02, ch - 0.012), FURNITURE, door)
            if rows > columns:
                b.box((x, y - 0.02, z + ch * 0.2), (min(0.14, cw * 0.5), 0.02, 0.015), FURNITURE, knob)
            else:
                b.box(
                    (x + (0.38 * cw if i % 2 == 0 else -0.38 * cw), y - 0.02, z),
                    (0.015, 0.02, min(0.16, ch * 0.5)),
                    FURNITURE,
                    knob,
                )


def cabinet(m: Materials) -> Item:
    """A wardrobe, chest, sideboard, locker or bedside cabinet, with doors or drawers."""
    r = m.rng
    body, door, knob = m.furniture(), m.furniture() if r.random() < 0.4 else -1, m.metal()
    kind = r.choice(["wardrobe", "chest", "sideboard", "locker", "bedside"])
    w, d, h, columns, rows = {
        "wardrobe": (r.uniform(0.8, 2.2), r.uniform(0.5, 0.65), r.uniform(1.8, 2.25), int(r.integers(2, 5)), 1),
        "chest": (
            r.uniform(0.6, 1.2),
            r.uniform(0.38, 0.5),
            r.uniform(0.75, 1.2),
            int(r.integers(1, 3)),
            int(r.integers(3, 6)),
        ),
        "sideboard": (
            r.uniform(1.1, 2.2),
            r.uniform(0.36, 0.5),
            r.uniform(0.5, 0.9),
            int(r.integers(2, 5)),
            int(r.integers(1, 3)),
        ),
        "locker": (
            r.uniform(0.4, 1.0),
            r.uniform(0.4, 0.5),
            r.uniform(1.1, 1.95),
            int(r.integers(1, 3)),
            int(r.integers(1, 5)),
        ),
        "bedside": (r.uniform(0.36, 0.55), r.uniform(0.34, 0.45), r.uniform(0.4, 0.62), 1, 2),
    }[str(kind)]
    foot = r.choice([0.0, 0.06, 0.14])

    def _build(b: Builder) -> None:
        b.box((0, 0.01, foot + (h - foot) / 2), (w, d - 0.02, h - foot), FURNITURE, body)
        if foot > 0:
            b.box((0, 0.03, foot / 2), (w * 0.9, d * 0.8, foot), FURNITURE, knob)
        _front(b, w * 0.98, -d / 2 + 0.005, foot + 0.03, h - 0.03, columns, rows, body if door < 0 else door, knob)

    surface = Surface(
        -w * 0.47, -d * 0.42, w * 0.47, d * 0.42, h, 0.6 if h < 1.4 else 0.35, "top" if h < 1.4 else "high"
    )
    name = {"chest": "chest of drawers", "bedside": "bedside cabinet"}.get(str(kind), str(kind))
    return Item(w, d, _build, (surface,), front=0.5, height=h, name=name)


def shelf(m: Materials) -> Item:
    """An open shelf of boards and sides, with or without a back; clutter.py fills it."""
    r = m.rng
    body, back = m.furniture(), r.random() < 0.65
    w, d, h = r.uniform(0.5, 1.9), r.uniform(0.24, 0.4), r.uniform(0.8, 2.2)
    rows, columns, thick = (
        max(2, int(h / r.uniform(0.28, 0.42))),
        max(1, int(w / r.uniform(0.4, 0.95))),
        r.uniform(0.016, 0.04),
    )
    step, cell, panel = h / rows, w / columns, m.furniture()
    closed = int(r.integers(0, 2))

    def _build(b: Builder) -> None:
        for k in range(rows + 1):
            b.box((0, 0, min(max(k * step, thick / 2), h - thick / 2)), (w, d, thick), FURNITURE, body)
        for k in range(columns + 1):
            b.box((-w / 2 + k * cell, 0, h / 2), (thick, d, h), FURNITURE, body)
        if back:
            b.box((0, d / 2 - 0.008, h / 2), (w, 0.018, h), FURNITURE, panel)
        if closed:
            b.box((0, 0, step / 2), (w - 0.02, d + 0.01, step), FURNITURE, panel)

    surfaces = tuple(
        Surface(
            -w / 2 + i * cell + thick,
            -d / 2 + 0.01,
            -w / 2 + (i + 1) * cell - thick,
            d / 2 - 0.03,
            k * step + thick,
            step - 2 * thick,
            "shelf",
        )
        for k in range(closed, rows)
        for i in range(columns)
    )
    top = Surface(-w * 0.47, -d * 0.4, w * 0.47, d * 0.4, h, 0.4, "top")
    return Item(w, d, _build, (*surfaces, top), front=0.4, height=h, name="shelf")


def fridge(m: Materials) -> Item:
    """A fridge: white or metal, with two doors, tall or low."""
    r = m.rng
    body = m.metal() if r.random() < 0.4 else m.white()
    w, d, h, split, knob = (
        r.uniform(0.54, 0.8),
        r.uniform(0.55, 0.7),
        float(r.choice([0.85, r.uniform(1.5, 1.95)])),
        r.uniform(0.3, 0.7),
        m.metal(),
    )

    def _build(b: Builder) -> None:
        b.box((0, 0.02, h / 2), (w, d - 0.04, h), FURNITURE, body)
        for low, high in ((0.05, h * split), (h * split, h)):
            b.box((0, -d / 2 + 0.02, (low + high) / 2), (w - 0.01, 0.04, high - low - 0.015), FURNITURE, body)
            b.box((w * 0.4, -d / 2 - 0.02, (low + high) / 2), (0.025, 0.03, 0.35 * (high - low)), FURNITURE, knob)

    return Item(
        w,
        d,
        _build,
        (Surface(-w * 0.4, -d * 0.4, w * 0.4, d * 0.4, h, 0.4, "high" if h > 1.2 else "kitchen"),),
        front=0.6,
        height=h,
        name="fridge",
    )


def counter(m: Materials) -> Item:
    """A kitchen unit: doors, worktop, sink, stove, oven, and optionally wall cupboards, hood and splashback."""
    r = m.rng
    door, top, knob, black = (
        m.furniture(),
        (m.add(MARBLE, m.any_color(), m.any_color(), 0.3, 0.5, 0.3, 40) if r.random() < 0.4 else m.furniture()),
        m.metal(),
        m.black(),
    )
    w, d, h = r.uniform(1.2, 3.2), r.uniform(0.58, 0.65), r.uniform(0.86, 0.95)
    columns, upper, hood, splash = max(2, int(w / 0.55)), r.random() < 0.7, r.random() < 0.5, r.random() < 0.4
    sink, stove, tiles = (
        r.uniform(-0.35, -0.1) * w,
        r.uniform(0.1, 0.35) * w,
        m.add(TILES, m.any_color(), (0.8, 0.8, 0.78), 0.12, 0.1, 0.3, 50),
    )
    wide, low = r.uniform(0.5, 1.0) * w, r.uniform(1.35, 1.5)

    def _build(b: Builder) -> None:
        b.box((0, 0.02, 0.1 + (h - 0.14) / 2), (w, d - 0.06, h - 0.14), FURNITURE, door)
        b.box((0, 0.05, 0.05), (w, d - 0.12, 0.1), FURNITURE, black)
        _front(b, w, -d / 2 + 0.015, 0.1, h - 0.05, columns, 1, door, knob)
        b.box((0, 0, h - 0.02), (w + 0.02, d + 0.02, 0.04), FURNITURE, top)
        b.box((sink, 0, h + 0.002), (0.5, 0.4, 0.012), OBJECTS, knob)
        b.cylinder((sink, 0.2, h + 0.13), (0.03, 0.03, 0.26), OBJECTS, knob)
        b.box((sink, 0.11, h + 0.26), (0.025, 0.2, 0.025), OBJECTS, knob)
        b.box((stove, 0, h + 0.004), (0.56, 0.5, 0.01), OBJECTS, black)
        b.box((stove, -d / 2 + 0.003, h * 0.55), (0.55, 0.025, 0.5), OBJECTS, black)
        if splash:
            b.box((0, d / 2 - 0.005, h + 0.27), (w, 0.015, 0.55), FURNITURE, tiles)
        if upper:
            up = b.at(-(w - wide) / 2, d / 2 - 0.17, low)
            up.box((0, 0, 0.33), (wide, 0.32, 0.66), FURNITURE, door)
            _front(up, wide, -0.165, 0.01, 0.65, max(2, int(wide / 0.5)), 1, door, knob)
        if hood and (not upper or wide < 0.6 * w):
            b.box((stove, d / 2 - 0.25, low + 0.15), (0.6, 0.45, 0.1), OBJECTS, knob)
            b.box((stove, d / 2 - 0.15, low + 0.6), (0.3, 0.28, 0.9), OBJECTS, knob)

    surface = Surface(-w * 0.48, -d * 0.4, w * 0.48, d * 0.35, h, 0.4, "kitchen")
    return Item(w, d, _build, (surface,), front=0.8, height=2.0, name="kitchen unit")


def screen_on(b: Builder, m: Materials, w: float, thick: float = 0.045, stand: bool = True, label: int = TVS) -> None:
    """A flat screen facing -y, whose foot or lower edge is at the frame's origin."""
    h, bezel, glass = (
        w * (0.56 if m.rng.random() < 0.8 else 0.72),
        m.black() if m.rng.random() < 0.8 else m.white(),
        m.screen(),
    )
    if label == TVS and b.inside != "tv":
        b = b.piece("tv" if w > 0.69 else "monitor", (w, 0.2, h))
    low = 0.02
    if stand:
        low = m.rng.uniform(0.06, 0.16)
        b.box((0, 0, 0.01), (w * 0.4, 0.18, 0.02), label, bezel)
        b.box((0, 0.02, low / 2 + 0.05), (0.06, 0.03, low + 0.1), label, bezel)
    b.box((0, 0, low + h / 2), (w, thick, h), label, bezel)
    b.box((0, -thick / 2, low + h / 2), (w - 0.03, 0.008, h - 0.03), label, glass)


def tv_bench(m: Materials) -> Item:
    """A low board with a television on it, or on the wall above it."""
    r = m.rng
    body, knob, w, d, h = m.furniture(), m.metal(), r.uniform(1.0, 2.0), r.uniform(0.35, 0.48), r.uniform(0.3, 0.6)
    size, hung, columns = r.uniform(0.7, 1.45), r.random() < 0.35, int(r.integers(2, 4))

    def _build(b: Builder) -> None:
        b.box((0, 0, h / 2), (w, d, h), FURNITURE, body)
        _front(b, w * 0.97, -d / 2, 0.03, h - 0.03, columns, 1, body, knob)
        if hung:
            screen_on(b.at(0, d / 2 - 0.04, h + r.uniform(0.2, 0.45)), m, size, 0.06, False)
        else:
            screen_on(b.at(0, 0.02, h, r.uniform(-0.15, 0.15)), m, min(size, w * 0.95), 0.055)

    surface = Surface(-w * 0.47, -d * 0.4, w * 0.47, -d * 0.15, h, 0.25, "side")
    return Item(w, d, _build, (surface,), front=0.8, height=h + 0.7, name="tv bench")


def stand_screen(m: Materials) -> Item:
    """A television on a rolling stand, as in meeting rooms."""
    r = m.rng
    size, high, black = r.uniform(1.0, 1.6), r.uniform(0.9, 1.2), m.black()

    def _build(b: Builder) -> None:
        for s in (-1, 1):
            b.box((s * 0.3, 0, high / 2), (0.05, 0.05, high), TVS, black)
            b.box((s * 0.3, 0, 0.05), (0.06, 0.6, 0.05), TVS, black)
        b.box((0, 0, 0.4), (0.6, 0.4, 0.03), TVS, black)
        screen_on(b.at(0, -0.04, high - 0.1), m, size, 0.06, False)

    return Item(size, 0.62, _build, front=0.8, height=high + 0.9, name="tv")


PANELS = {"picture": "picture", "poster": "poster", "board": "whiteboard", "clock": "clock", "row": "row of pictures"}
"""What the objects on walls are called, by kind."""


def wall_panel(b: Builder, m: Materials, kind: str | None = None) -> None:
    """An object on a wall, centred at the origin: picture, poster, whiteboard, clock, or a row of pictures.

    Args:
        b: its frame.
        m: materials of the scene.
        kind: a key of PANELS; None draws one.
    """
    r = m.rng
    kind = kind or str(r.choice(["picture", "poster", "board", "clock", "row"], p=[0.45, 0.2, 0.15, 0.1, 0.1]))
    b = b.piece(PANELS[kind])
    if kind == "board":
        w, h = r.uniform(0.9, 2.0), r.uniform(0.7, 1.2)
        b.box((0, -0.012, 0), (w, 0.024, h), OBJECTS, m.metal())
        b.box(
            (0, -0.022, 0),
            (w - 0.05, 0.01, h - 0.05),
            OBJECTS,
            m.add(PAGE, (0.95, 0.95, 0.96), (0.2, 0.2, 0.5), 0.05, 0.3, 0.2, 60) if r.random() < 0.6 else m.lacquer(),
        )
    elif kind == "clock":
        b.cylinder((0, -0.02, 0.3), (0.3, 0.3, 0.04), OBJECTS, m.thing(), (0.0, 0.0, np.pi / 2))
    elif kind == "row":
        for x in np.arange(-0.5, 0.6, r.uniform(0.3, 0.5)):
            s = r.uniform(0.15, 0.28)
            b.box((x, -0.012, r.uniform(-0.1, 0.1)), (s, 0.024, s * r.uniform(0.8, 1.4)), OBJECTS, m.picture())
    else:
        w, h = r.uniform(0.3, 1.3), r.uniform(0.3, 1.0)
        if kind == "picture":
            b.box((0, -0.013, 0), (w + 0.06, 0.026, h + 0.06), OBJECTS, m.furniture())
        b.box((0, -0.02, 0), (w, 0.02, h), OBJECTS, m.picture())
