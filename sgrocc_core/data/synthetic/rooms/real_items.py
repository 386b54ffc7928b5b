"""Furniture that real rooms have and the first edition of the rooms lacks.

Long tables with rows of equal chairs, dark kitchens, fitted cupboards in the walls' tone, plants as tall as a person.
"""

from __future__ import annotations

import numpy as np

from sgrocc_core.data.synthetic.furniture import seating, storage, tables
from sgrocc_core.data.synthetic.furniture.items import FURNITURE, OBJECTS, TABLE, Item, Surface
from sgrocc_core.data.synthetic.rooms.programmes import Row
from sgrocc_core.data.synthetic.solids.materials import PLAIN, Materials
from sgrocc_core.data.synthetic.solids.primitives import Builder
from sgrocc_core.data.synthetic.solids.real_materials import RealMaterials


def long_table(m: Materials) -> Item:
    """A table of 1.8 to 3.6 m with equal chairs in straight rows."""
    r = m.rng
    top, under = (m.wood() if r.random() < 0.7 else m.furniture()), m.furniture()
    w, d, h, thick = r.uniform(1.8, 3.6), r.uniform(0.75, 1.1), r.uniform(0.71, 0.77), r.uniform(0.025, 0.06)
    leg, ends = r.uniform(0.05, 0.1), r.random() < 0.4

    def _build(b: Builder) -> None:
        b.box((0, 0, h - thick / 2), (w, d, thick), TABLE, top)
        if ends:
            for s in (-1, 1):
                b.box((s * w * 0.45, 0, (h - thick) / 2), (0.06, d * 0.85, h - thick), TABLE, under)
        else:
            seating.legs(b, w * 0.97, d * 0.93, h - thick, leg, TABLE, under)

    gap, pitch, missing = r.uniform(0.0, 0.2), r.uniform(0.55, 0.75), r.uniform(0.0, 0.3)
    seats = []
    for k in range(int(w / pitch)):
        x = (k + 0.5) * pitch - int(w / pitch) * pitch / 2
        for s, yaw in ((1, 0.0), (-1, np.pi)):
            if r.random() >= missing:
                seats.append((x + 0.02 * r.normal(), s * (d / 2 + gap), yaw + 0.06 * r.normal()))
    surface = Surface(-w / 2 + 0.03, -d / 2 + 0.03, w / 2 - 0.03, d / 2 - 0.03, h, 0.8, "dining")
    return Item(w, d, _build, (surface,), tuple(seats), 0.7, h, "long table")


def kitchen_line(m: Materials) -> Item:
    """A fitted kitchen of one colour: fronts with bars as handles, sink, splashback, wall cupboards with an oven."""
    assert isinstance(m, RealMaterials)
    r = m.rng
    front = m.dark() if r.random() < 0.5 else m.white() if r.random() < 0.6 else m.lacquer()
    top, steel, plinth = (m.dark() if r.random() < 0.5 else m.furniture()), m.metal(), m.dark()
    splash = m.add(PLAIN, m.any_color(), None, 0.3, 0.03, 0.3, 80)
    w, d, h = r.uniform(1.8, 3.8), r.uniform(0.58, 0.66), r.uniform(0.88, 0.95)
    pitch, drawers = r.uniform(0.45, 0.65), r.random(8) < 0.4
    columns, low, tall = max(3, int(w / pitch)), r.uniform(1.38, 1.52), r.uniform(0.6, 0.9)
    sink, upper, oven = int(r.integers(columns)), r.random() < 0.75, int(r.integers(columns))
    black = m.black()

    def _build(b: Builder) -> None:
        b.box((0, 0.03, h / 2 + 0.03), (w, d - 0.06, h - 0.1), FURNITURE, front)
        b.box((0, 0.06, 0.05), (w, d - 0.12, 0.1), FURNITURE, plinth)
        b.box((0, 0, h - 0.02), (w + 0.02, d + 0.02, 0.04), FURNITURE, top)
        each = w / columns
        for k in range(columns):
            x = (k + 0.5) * each - w / 2
            rows = 3 if drawers[k % len(drawers)] else 1
            for j in range(rows):
                z, tall_front = 0.1 + (j + 0.5) * (h - 0.15) / rows, (h - 0.15) / rows
                b.box((x, -d / 2 + 0.01, z), (each - 0.008, 0.02, tall_front - 0.008), FURNITURE, front)
                b.box((x, -d / 2 - 0.02, z + 0.35 * tall_front), (0.4 * each, 0.018, 0.016), FURNITURE, steel)
        x = (sink + 0.5) * each - w / 2
        b.box((x, 0.0, h + 0.003), (0.8 * each + 0.1, 0.42, 0.01), OBJECTS, steel)
        b.cylinder((x, 0.2, h + 0.15), (0.03, 0.03, 0.3), OBJECTS, steel)
        b.box((x, 0.11, h + 0.29), (0.024, 0.2, 0.024), OBJECTS, steel)
        b.box((0, d / 2 - 0.006, (h + low) / 2), (w, 0.012, low - h), FURNITURE, splash)
        if upper:
            up = b.at(0, d / 2 - 0.17, low)
            up.box((0, 0, tall / 2), (w, 0.32, tall), FURNITURE, front)
            for k in range(columns):
                x = (k + 0.5) * each - w / 2
                up.box((x, -0.165, tall / 2), (each - 0.008, 0.02, tall - 0.01), FURNITURE, front)
                if k == oven:
                    up.box((x, -0.18, 0.22), (0.9 * each, 0.02, 0.36), OBJECTS, black)
                else:
                    up.box((x, -0.19, 0.05), (0.3 * each, 0.018, 0.016), FURNITURE, steel)

    surface = Surface(-w * 0.48, -d * 0.4, w * 0.48, d * 0.35, h, 0.4, "kitchen")
    return Item(w, d, _build, (surface,), front=0.8, height=low + tall if upper else h, name="kitchen unit")


def fitted_cupboard(m: Materials) -> Item:
    """Cupboards up to 2.4 m in the tone of the room's walls or doors, with thin joints and few handles."""
    assert isinstance(m, RealMaterials)
    r = m.rng
    body, knob, w, d, h = m.fitted(), m.metal(), r.uniform(0.9, 3.0), r.uniform(0.35, 0.62), r.uniform(1.9, 2.25)
    columns, split, handles = max(2, int(w / r.uniform(0.4, 0.6))), r.uniform(0.6, 0.85) * h, r.random() < 0.6

    def _build(b: Builder) -> None:
        b.box((0, 0.01, h / 2), (w, d - 0.02, h), FURNITURE, body)
        for k in range(columns):
            x = (k + 0.5) * w / columns - w / 2
            for low, high in ((0.06, split), (split, h)):
                at = (x, -d / 2 + 0.005, (low + high) / 2)
                b.box(at, (w / columns - 0.008, 0.02, high - low - 0.008), FURNITURE, body)
            if handles:
                side = 0.4 if k % 2 == 0 else -0.4
                b.box((x + side * w / columns, -d / 2 - 0.015, 1.05), (0.015, 0.02, 0.16), FURNITURE, knob)

    return Item(w, d, _build, (), front=0.5, height=h, name="cupboard")


def tall_plant(m: Materials) -> Item:
    """A potted plant of 1.3 to 2.1 m: a few stems with crowns of narrow leaves."""
    r = m.rng
    pot, leaf, stem = m.thing(), m.leaves(), m.wood()
    w, tall, crowns = r.uniform(0.28, 0.5), r.uniform(1.3, 2.1), int(r.integers(2, 5))

    def _build(b: Builder) -> None:
        b.cylinder((0, 0, 0.6 * w), (0.85 * w, 0.85 * w, 1.2 * w), OBJECTS, pot, taper=1.2)
        for _ in range(crowns):
            x, y = r.normal(0, 0.09, 2)
            high = tall * r.uniform(0.5, 0.85)
            b.cylinder((x, y, (1.2 * w + high) / 2), (0.025, 0.025, high - 1.2 * w), OBJECTS, stem)
            crown = b.at(x, y, high)
            for _ in range(int(r.integers(12, 20))):
                blade = crown.at(0, 0, 0, r.uniform(0, 2 * np.pi), r.uniform(0.2, 2.0), 0.0)
                long = r.uniform(0.25, 0.5)
                blade.box((0, 0, long / 2), (0.008, r.uniform(0.025, 0.06), long), OBJECTS, leaf)

    return Item(w + 0.2, w + 0.2, _build, front=0.1, height=tall, name="plant")


REAL_ROWS: dict[str, tuple[Row, ...]] = {
    "living": (Row(fitted_cupboard, 0.4), Row(tall_plant, 0.8), Row(long_table, 0.2, 0, "free")),
    "office": (Row(fitted_cupboard, 0.8), Row(tall_plant, 0.5), Row(storage.cabinet, 0.6)),
    "bedroom": (Row(fitted_cupboard, 0.9),),
    "kitchen": (Row(kitchen_line, 1.4, 1), Row(long_table, 0.5, 0, "free"), Row(fitted_cupboard, 0.5)),
    "meeting": (Row(long_table, 0.9, 0, "free"), Row(fitted_cupboard, 0.5), Row(tall_plant, 0.4)),
    "lounge": (
        Row(long_table, 1.0, 0, "free"),
        Row(kitchen_line, 0.7),
        Row(tall_plant, 1.2),
        Row(tables.dining_table, 0.4, 0, "free"),
    ),
    "studio": (Row(kitchen_line, 0.6), Row(fitted_cupboard, 0.6), Row(tall_plant, 0.3)),
}
"""What the second edition adds to the programmes of the same name."""
TUCKED = 0.6
"""Probability that the chairs of a table stand partly under it."""


def tucked(seats: tuple[tuple[float, float, float], ...], m: Materials) -> float:
    """How far the chairs of a table are pushed under it, metres; 0 for no seats."""
    return float(m.rng.uniform(0.12, 0.4)) if seats and m.rng.random() < TUCKED else 0.0
