"""Tables and desks: dining, meeting, coffee and side tables, office and standing desks."""

from __future__ import annotations

import numpy as np

from sgrocc_core.data.synthetic.furniture.items import FURNITURE, TABLE, Item, Surface
from sgrocc_core.data.synthetic.furniture.seating import legs
from sgrocc_core.data.synthetic.solids.materials import Materials
from sgrocc_core.data.synthetic.solids.primitives import Builder


def seats_around(w: float, d: float, r: np.random.Generator) -> tuple[tuple[float, float, float], ...]:
    """Poses of chairs along the sides and at the ends of a w x d metre table; yaw 0 faces -y."""
    seats: list[tuple[float, float, float]] = []
    count = max(1, int(w / 0.65))
    gap = r.uniform(0.05, 0.32)
    for k in range(count):
        x = (k + 0.5) / count * w - w / 2
        seats += [(x, d / 2 + gap, 0.0), (x, -d / 2 - gap, np.pi)]
    seats += [(-w / 2 - gap, 0.0, np.pi / 2), (w / 2 + gap, 0.0, -np.pi / 2)]
    keep = r.uniform(0.4, 1.0)
    return tuple((x, y, yaw + 0.25 * r.normal() * (r.random() < 0.6)) for x, y, yaw in seats if r.random() < keep)


def dining_table(m: Materials) -> Item:
    """A rectangular or round table with legs, panels or pedestals; also for meetings."""
    r = m.rng
    top, under = m.furniture(), m.furniture()
    round_top = r.random() < 0.28
    w, d = (r.uniform(0.8, 1.4),) * 2 if round_top else (r.uniform(0.9, 2.6), r.uniform(0.7, 1.15))
    h, thick, style = r.uniform(0.71, 0.77), r.uniform(0.02, 0.06), r.choice(["legs", "pedestal", "panels"])
    leg, round_leg = r.uniform(0.035, 0.09), r.random() < 0.4

    def _build(b: Builder) -> None:
        (b.cylinder if round_top else b.box)((0, 0, h - thick / 2), (w, d, thick), TABLE, top)
        if style == "legs":
            inner = 0.68 if round_top else 0.95
            legs(b, w * inner, d * inner, h - thick, leg, TABLE, under, round_leg)
            if not round_top:
                b.box((0, 0, h - thick - 0.04), (w * 0.86, d * 0.8, 0.06), TABLE, under)
        elif style == "panels" and not round_top:
            for s in (-1, 1):
                b.box((s * w * 0.42, 0, h / 2), (0.05, d * 0.8, h - thick), TABLE, under)
        else:
            for x in (0.0,) if w < 1.5 else (-w * 0.3, w * 0.3):
                b.cylinder((x, 0, h / 2), (0.1, 0.1, h - thick), TABLE, under)
                b.cylinder((x, 0, 0.02), (min(0.6, d * 0.7),) * 2 + (0.04,), TABLE, under)

    inset = 0.28 * w if round_top else 0.04
    surface = Surface(
        -w / 2 + inset * (0.5 if round_top else 1),
        -d / 2 + inset * 0.5,
        w / 2 - inset * 0.5,
        d / 2 - inset * 0.5,
        h,
        0.8,
        "dining",
    )
    name = "round table" if round_top else "long table" if w > 1.9 else "table"
    return Item(w, d, _build, (surface,), seats_around(w, d, r), 0.7, h, name)


def coffee_table(m: Materials) -> Item:
    """A low table, rectangular or round, with legs or solid, sometimes with a shelf below."""
    r = m.rng
    top, under = m.furniture(), m.furniture()
    round_top = r.random() < 0.35
    w, d = (r.uniform(0.5, 0.95),) * 2 if round_top else (r.uniform(0.7, 1.35), r.uniform(0.45, 0.75))
    h, thick, shelf, solid = r.uniform(0.3, 0.5), r.uniform(0.02, 0.07), r.random() < 0.35, r.random() < 0.15

    def _build(b: Builder) -> None:
        (b.cylinder if round_top else b.box)((0, 0, h - thick / 2), (w, d, thick), TABLE, top)
        if solid:
            (b.cylinder if round_top else b.box)((0, 0, (h - thick) / 2), (w * 0.85, d * 0.85, h - thick), TABLE, under)
            return
        legs(
            b,
            w * (0.7 if round_top else 0.95),
            d * (0.7 if round_top else 0.95),
            h - thick,
            0.045,
            TABLE,
            under,
            round_top,
        )
        if shelf:
            b.box((0, 0, h * 0.35), (w * 0.65, d * 0.65, 0.02), TABLE, top)

    k = 0.34 if round_top else 0.46
    surface = Surface(-k * w, -k * d, k * w, k * d, h, 0.6, "coffee")
    return Item(w, d, _build, (surface,), front=0.35, height=h, name="coffee table")


def side_table(m: Materials) -> Item:
    """A small table with legs, a pedestal or a solid body."""
    r = m.rng
    top, w, h = m.furniture(), r.uniform(0.35, 0.55), r.uniform(0.42, 0.65)
    under, style = m.furniture(), r.choice(["legs", "pedestal", "cube"])

    def _build(b: Builder) -> None:
        if style == "cube":
            b.box((0, 0, h / 2), (w, w, h), TABLE, top)
            return
        b.cylinder((0, 0, h - 0.015), (w, w, 0.03), TABLE, top)
        if style == "pedestal":
            b.cylinder((0, 0, h / 2), (0.05, 0.05, h), TABLE, under)
            b.cylinder((0, 0, 0.015), (w * 0.7, w * 0.7, 0.03), TABLE, under)
        else:
            legs(b, w * 0.75, w * 0.75, h, 0.03, TABLE, under, True, 0.08)

    surface = Surface(-w * 0.33, -w * 0.33, w * 0.33, w * 0.33, h, 0.6, "side")
    return Item(w, w, _build, (surface,), front=0.2, height=h, name="side table")


def desk(m: Materials) -> Item:
    """An office or writing desk, sometimes with a drawer unit; some are standing desks."""
    r = m.rng
    top, under, drawer = m.furniture(), (m.metal() if r.random() < 0.5 else m.furniture()), m.furniture()
    w, d, thick = r.uniform(1.0, 1.9), r.uniform(0.58, 0.85), r.uniform(0.02, 0.045)
    h = r.uniform(0.7, 0.77) if r.random() < 0.88 else r.uniform(0.95, 1.15)
    style, box, side = r.choice(["legs", "panels", "tee"]), r.random() < 0.55, r.choice([-1, 1])

    def _build(b: Builder) -> None:
        b.box((0, 0, h - thick / 2), (w, d, thick), TABLE, top)
        if style == "legs":
            legs(b, w, d, h - thick, 0.045, TABLE, under)
        elif style == "panels":
            for s in (-1, 1):
                b.box((s * (w / 2 - 0.02), 0, h / 2), (0.03, d * 0.95, h - thick), TABLE, under)
            b.box((0, d * 0.4, h * 0.7), (w * 0.96, 0.02, h * 0.4), TABLE, under)
        else:
            for s in (-1, 1):
                b.box((s * w * 0.38, 0, h / 2), (0.07, 0.09, h - thick), TABLE, under)
                b.box((s * w * 0.38, 0, 0.02), (0.08, d * 0.9, 0.04), TABLE, under)
        if box and h < 0.8:
            x = side * (w / 2 - 0.27)
            b.box((x, 0.03, 0.31), (0.4, 0.5, 0.6), FURNITURE, drawer)
            for z in (0.14, 0.34, 0.52):
                b.box((x, -0.23, z), (0.37, 0.02, 0.15), FURNITURE, drawer)
                b.box((x, -0.245, z), (0.12, 0.02, 0.015), FURNITURE, under)

    surface = Surface(-w / 2 + 0.03, -d / 2 + 0.03, w / 2 - 0.03, d / 2 - 0.03, h, 0.9, "desk")
    seat = ((float(r.uniform(-0.2, 0.2)), float(-d / 2 - r.uniform(0.05, 0.4)), float(np.pi + 0.5 * r.normal())),)
    return Item(w, d, _build, (surface,), seat, 0.8, h, "desk")
