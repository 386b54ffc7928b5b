"""Chairs, stools, armchairs, sofas and benches, each in several shapes."""

from __future__ import annotations

import numpy as np

from sgrocc_core.data.synthetic.furniture.items import CHAIR, OBJECTS, SOFA, Item, Surface
from sgrocc_core.data.synthetic.solids.materials import Materials
from sgrocc_core.data.synthetic.solids.primitives import Builder


def legs(
    b: Builder,
    w: float,
    d: float,
    h: float,
    thick: float,
    label: int,
    material: int,
    round_leg: bool = False,
    splay: float = 0.0,
) -> None:
    """Four legs at the corners of a w x d metre rectangle, up to height h."""
    for sx in (-1, 1):
        for sy in (-1, 1):
            place = (sx * (w / 2 - thick), sy * (d / 2 - thick), h / 2)
            tilt = (0.0, -sx * splay, sy * splay)
            (b.cylinder if round_leg else b.box)(place, (thick, thick, h), label, material, tilt)


def office_chair(m: Materials) -> Item:
    """A swivel chair on a five-star base, with or without armrests."""
    r = m.rng
    seat, black, metal = m.fabric(), m.black(), m.metal()
    w, h, back, arms = r.uniform(0.44, 0.54), r.uniform(0.42, 0.54), r.uniform(0.4, 0.75), r.random() < 0.65
    lean = r.uniform(0.05, 0.25)

    def _build(b: Builder) -> None:
        for k in range(5):
            a = k * 2 * np.pi / 5
            b.box((0.15 * np.cos(a), 0.15 * np.sin(a), 0.075), (0.3, 0.04, 0.035), CHAIR, black, (a, 0.1, 0.0))
            b.ball((0.29 * np.cos(a), 0.29 * np.sin(a), 0.03), (0.055, 0.055, 0.06), CHAIR, black)
        b.cylinder((0, 0, h / 2), (0.05, 0.05, h - 0.08), CHAIR, metal)
        b.cushion((0, 0, h), (w, w, 0.1), CHAIR, seat)
        b.cushion(
            (0, w / 2 + lean * back / 2, h + 0.12 + back / 2), (w * 0.95, 0.09, back), CHAIR, seat, (0.0, 0.0, -lean)
        )
        b.box((0, w / 2, h + 0.08), (0.08, 0.04, 0.3), CHAIR, black)
        if arms:
            for s in (-1, 1):
                b.box((s * (w / 2 + 0.03), 0, h + 0.11), (0.03, 0.05, 0.22), CHAIR, black)
                b.cushion((s * (w / 2 + 0.03), -0.02, h + 0.23), (0.07, 0.28, 0.04), CHAIR, black)

    return Item(0.64, 0.66, _build, front=0.3, height=h + back, name="office chair")


def dining_chair(m: Materials) -> Item:
    """A chair with four legs; wooden, upholstered, with a plastic shell or a slatted back."""
    r = m.rng
    frame = m.wood() if r.random() < 0.55 else m.metal() if r.random() < 0.5 else m.lacquer()
    seat = m.fabric() if r.random() < 0.5 else frame
    w, h, back, style = (
        r.uniform(0.38, 0.5),
        r.uniform(0.43, 0.49),
        r.uniform(0.32, 0.6),
        r.choice(["slats", "panel", "shell", "ladder"]),
    )
    thick, splay, soft, lean = (
        r.uniform(0.022, 0.045),
        r.choice([0.0, 0.12]),
        r.uniform(0.03, 0.08),
        r.uniform(0.0, 0.2),
    )

    def _build(b: Builder) -> None:
        legs(b, w, w, h, thick, CHAIR, frame, r.random() < 0.5, splay)
        if style == "shell":
            b.cushion((0, 0, h), (w * 1.05, w, 0.07), CHAIR, seat)
            b.cushion((0, w / 2 - 0.02, h + back * 0.45), (w * 1.05, 0.06, back), CHAIR, seat, (0.0, 0.0, -0.18))
            for s in (-1, 1):
                b.cushion((s * w * 0.5, 0.05, h + 0.09), (0.035, w * 0.75, 0.16), CHAIR, seat)
            return
        (b.cushion if soft > 0.045 else b.box)((0, 0, h), (w, w, soft), CHAIR, seat)
        top = b.at(0, w / 2 - thick / 2, h, 0.0, 0.0, -lean)
        for s in (-1, 1):
            top.box((s * (w / 2 - thick), 0, back / 2), (thick, thick, back), CHAIR, frame)
        if style == "panel":
            top.box((0, 0, back * 0.6), (w * 0.9, 0.03, back * 0.75), CHAIR, seat)
        elif style == "slats":
            for x in np.linspace(-0.3, 0.3, 4):
                top.box((x * w, 0, back * 0.5), (0.03, 0.02, back), CHAIR, frame)
            top.box((0, 0, back), (w, 0.03, 0.06), CHAIR, frame)
        else:
            for z in (0.4, 0.7, 1.0):
                top.box((0, 0, back * z), (w, 0.025, 0.07), CHAIR, frame)

    return Item(w + 0.04, w + 0.08, _build, front=0.25, height=h + back, name="chair")


def cantilever_chair(m: Materials) -> Item:
    """A bent tube with a thin seat and back, as in canteens."""
    r = m.rng
    tube, shell = m.metal(), (m.black() if r.random() < 0.5 else m.furniture() if r.random() < 0.6 else m.fabric())
    w, h, back, t, arms = r.uniform(0.42, 0.52), r.uniform(0.43, 0.48), r.uniform(0.32, 0.45), 0.025, r.random() < 0.3

    def _build(b: Builder) -> None:
        for s in (-1, 1):
            x = s * w / 2
            b.cylinder((x, 0, 0.015), (t, t, w), CHAIR, tube, (0.0, 0.0, np.pi / 2))
            b.cylinder((x, -w / 2, h / 2), (t, t, h), CHAIR, tube)
            b.cylinder((x, 0, h), (t, t, w), CHAIR, tube, (0.0, 0.0, np.pi / 2))
            b.cylinder((x, w / 2 + 0.03, h + back * 0.6), (t, t, back * 1.2), CHAIR, tube, (0.0, 0.0, -0.15))
            if arms:
                b.box((x, 0.02, h + 0.2), (0.045, w * 0.8, 0.03), CHAIR, shell)
                b.cylinder((x, -w * 0.35, h + 0.1), (t, t, 0.2), CHAIR, tube)
        b.cylinder((0, w / 2, 0.015), (t, t, w), CHAIR, tube, (0.0, np.pi / 2, 0.0))
        b.box((0, 0, h + 0.015), (w, w * 0.95, 0.03), CHAIR, shell)
        b.box((0, w / 2 + 0.06, h + back * 0.85), (w, 0.025, back * 0.65), CHAIR, shell, (0.0, 0.0, -0.15))

    return Item(w + 0.06, w + 0.12, _build, front=0.2, height=h + back, name="chair")


def stool(m: Materials) -> Item:
    """A round or square stool, bar stool or pouf."""
    r = m.rng
    seat, frame = (m.fabric() if r.random() < 0.5 else m.furniture()), (m.wood() if r.random() < 0.5 else m.metal())
    w, h, style = (
        r.uniform(0.3, 0.42),
        r.choice([0.45, 0.65, 0.78]) * r.uniform(0.93, 1.07),
        r.choice(["legs", "pedestal", "pouf"], p=[0.55, 0.2, 0.25]),
    )
    square = r.random() < 0.4

    def _build(b: Builder) -> None:
        if style == "pouf":
            (b.cushion if square else b.cylinder)((0, 0, 0.21), (w * 1.2, w * 1.2, 0.42), CHAIR, seat)
            return
        if style == "legs":
            legs(b, w * 0.95, w * 0.95, h, 0.032, CHAIR, frame, True, 0.08)
            b.box((0, 0, h * 0.35), (w * 0.8, 0.02, 0.02), CHAIR, frame)
        else:
            b.cylinder((0, 0, 0.015), (w * 1.1, w * 1.1, 0.03), CHAIR, frame)
            b.cylinder((0, 0, h / 2), (0.05, 0.05, h), CHAIR, frame)
        (b.box if square else b.cylinder)((0, 0, h), (w, w, 0.05), CHAIR, seat)

    name = "pouf" if style == "pouf" else "stool"
    return Item(w + 0.06, w + 0.06, _build, front=0.15, height=h, name=name)


def armchair(m: Materials) -> Item:
    """A chair with soft arms, labelled as chair."""
    r = m.rng
    cover, leg = m.fabric(), m.furniture()
    w, d, h, back = r.uniform(0.68, 0.9), r.uniform(0.7, 0.85), r.uniform(0.36, 0.45), r.uniform(0.35, 0.6)
    arm, slim = r.uniform(0.08, 0.18), r.random() < 0.35

    def _build(b: Builder) -> None:
        legs(b, w * 0.9, d * 0.9, 0.16, 0.04, CHAIR, leg, True)
        low = 0.28 if slim else 0.12
        b.cushion((0, -0.02, (low + h) / 2), (w - 0.04, d - 0.06, h - low), CHAIR, cover)
        b.cushion((0, d / 2 - 0.1, h + back / 2 - 0.05), (w - 0.06, 0.2, back + 0.1), CHAIR, cover, (0.0, 0.0, -0.15))
        for s in (-1, 1):
            if slim:
                b.box((s * (w / 2 - 0.03), 0, h + 0.18), (0.05, d * 0.8, 0.035), CHAIR, leg)
                b.box((s * (w / 2 - 0.03), -d * 0.35, h / 2 + 0.09), (0.04, 0.04, h + 0.18), CHAIR, leg)
                b.box((s * (w / 2 - 0.03), d * 0.35, h / 2 + 0.09), (0.04, 0.04, h + 0.18), CHAIR, leg)
            else:
                b.cushion((s * (w / 2 - arm / 2), 0, 0.1 + (h + 0.1) / 2), (arm, d, h + 0.1), CHAIR, cover)

    return Item(w, d, _build, front=0.45, height=h + back, name="armchair")


def sofa(m: Materials) -> Item:
    """A sofa with two to four seats, with or without a chaise, boxy or soft, with cushions."""
    r = m.rng
    cover, leg, pillow = m.fabric(), m.furniture(), [m.fabric() for _ in range(2)]
    seats = int(r.integers(2, 5))
    w, d, h, back = (
        0.35 + seats * r.uniform(0.55, 0.68),
        r.uniform(0.78, 1.0),
        r.uniform(0.36, 0.46),
        r.uniform(0.28, 0.5),
    )
    arm, chaise, soft = r.uniform(0.1, 0.24), r.random() < 0.28 and seats > 2, r.random() < 0.7
    loose, high, side = r.random(int(seats) + 1), r.uniform(0.05, 0.22), r.choice([-1, 1])
    reach = 0.75 if chaise else 0.0

    def _build(b: Builder) -> None:
        f = b.at(0, reach / 2)
        put = f.cushion if soft else f.box
        legs(f, w * 0.94, d * 0.9, 0.12, 0.05, SOFA, leg)
        f.box((0, 0, 0.08 + (h - 0.22) / 2), (w, d, h - 0.2), SOFA, cover)
        put((0, d / 2 - 0.11, 0.1 + (h + back) / 2), (w, 0.22, h + back - 0.08), SOFA, cover, (0.0, 0.0, -0.06))
        for s in (-1, 1):
            put((s * (w / 2 - arm / 2), 0, 0.08 + (h + high) / 2), (arm, d, h + high), SOFA, cover)
        each = (w - 2 * arm) / seats
        for k in range(seats):
            x = -w / 2 + arm + (k + 0.5) * each
            f.cushion((x, -0.09, h - 0.04), (each * 1.01, d - 0.22, 0.18), SOFA, cover)
            f.cushion((x, d / 2 - 0.27, h + back * 0.45), (each * 0.98, 0.17, back), SOFA, cover, (0.0, 0.0, -0.22))
            if loose[k] < 0.35:
                f.piece("cushion").cushion(
                    (x, d / 2 - 0.4, h + 0.2),
                    (0.42, 0.14, 0.38),
                    OBJECTS,
                    pillow[k % 2],
                    (0.6 * (loose[k] - 0.17), 0.2, -0.35),
                )
        if chaise:
            x = side * (w / 2 - each / 2 - 0.02)
            f.box((x, -d / 2 - reach / 2, 0.06 + (h - 0.2) / 2), (each, reach, h - 0.2), SOFA, cover)
            f.cushion((x, -d / 2 - reach / 2, h - 0.04), (each, reach, 0.18), SOFA, cover)

    surface = Surface(-w / 2 + arm, reach / 2 - d * 0.4, w / 2 - arm, reach / 2 + d * 0.1, h + 0.05, 0.6, "soft")
    name = "corner sofa" if chaise else "sofa"
    return Item(w, d + reach, _build, (surface,), front=0.5, height=h + back, name=name)


def bench(m: Materials) -> Item:
    """A long seat without a back, or with one as in waiting rooms."""
    r = m.rng
    seat, frame = (m.fabric() if r.random() < 0.4 else m.wood()), m.furniture()
    w, d, back = r.uniform(0.9, 1.7), r.uniform(0.34, 0.48), r.random() < 0.4

    def _build(b: Builder) -> None:
        legs(b, w, d, 0.44, 0.05, CHAIR, frame)
        b.box((0, 0, 0.45), (w, d, 0.06), CHAIR, seat)
        if back:
            b.box((0, d / 2, 0.72), (w, 0.04, 0.35), CHAIR, seat, (0.0, 0.0, -0.1))

    surface = Surface(-w / 2, -d / 2, w / 2, d / 2, 0.48, 0.5, "soft")
    return Item(w, d + 0.04, _build, (surface,), front=0.4, height=0.5, name="bench")


CHAIRS = (office_chair, dining_chair, cantilever_chair, stool)
"""Chairs that may stand at a table."""
