"""Small objects on furniture and on the floor: plants, lamps, boxes, bags, bottles, books, coats."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sgrocc_core.data.synthetic.furniture.items import OBJECTS, Item, Surface
from sgrocc_core.data.synthetic.furniture.storage import screen_on
from sgrocc_core.data.synthetic.solids.materials import LAMP, PLAIN, Materials
from sgrocc_core.data.synthetic.solids.primitives import Builder

Small = Callable[[Builder, Materials, float], bool]


def books(b: Builder, m: Materials, width: float, depth: float, height: float) -> None:
    """A row of upright books along x from 0 to width; metres."""
    r, x = m.rng, 0.0
    shades = [m.thing() for _ in range(5)]
    while x < width:
        t, h = r.uniform(0.018, 0.055), height * r.uniform(0.6, 0.95)
        lean = 0.2 if r.random() < 0.06 else 0.0
        b.box(
            (x + t / 2, 0, h / 2),
            (t * 0.94, depth * r.uniform(0.65, 0.95), h),
            OBJECTS,
            shades[r.integers(5)],
            (0.0, lean, 0.0),
        )
        x += t + (0.08 if lean else 0.0)


def _stack(b: Builder, m: Materials, room: float) -> None:
    z = 0.0
    for _ in range(m.rng.integers(1, 6)):
        t = m.rng.uniform(0.015, 0.05)
        if z + t > room:
            break
        b.box(
            (0, 0, z + t / 2),
            (m.rng.uniform(0.15, 0.22), m.rng.uniform(0.2, 0.3), t),
            OBJECTS,
            m.thing(),
            (m.rng.uniform(-0.4, 0.4), 0.0, 0.0),
        )
        z += t


def _bottle(b: Builder, m: Materials, room: float) -> None:
    h, w = min(m.rng.uniform(0.14, 0.32), room), m.rng.uniform(0.05, 0.09)
    glass = m.add(PLAIN, m.any_color(), None, 0.1, 0.05, 0.5, 60)
    b.cylinder((0, 0, h * 0.33), (w, w, h * 0.66), OBJECTS, glass)
    b.cylinder((0, 0, h * 0.8), (w * 0.7, w * 0.7, h * 0.4), OBJECTS, glass, taper=0.4)


def _cup(b: Builder, m: Materials, room: float) -> None:
    h = min(m.rng.uniform(0.07, 0.12), room)
    b.cylinder((0, 0, h / 2), (0.08, 0.08, h), OBJECTS, m.thing())


def _bowl(b: Builder, m: Materials, room: float) -> None:
    w = m.rng.uniform(0.14, 0.3)
    b.cylinder((0, 0, min(0.04, room / 2)), (w * 0.6, w * 0.6, min(0.08, room)), OBJECTS, m.thing(), taper=1.6)
    if m.rng.random() < 0.5 and room > 0.2:
        fruit = m.lacquer()
        for _ in range(4):
            x, y = m.rng.uniform(-0.06, 0.06, 2)
            b.ball((x, y, 0.1), (0.075, 0.075, 0.075), OBJECTS, fruit)


def _basket(b: Builder, m: Materials, room: float) -> None:
    """A crate or basket with things in it."""
    r, side = m.rng, m.thing()
    w, d, h = r.uniform(0.25, 0.5), r.uniform(0.2, 0.35), min(r.uniform(0.08, 0.22), room)
    b.box((0, 0, 0.01), (w, d, 0.02), OBJECTS, side)
    for s in (-1, 1):
        b.box((s * w / 2, 0, h / 2), (0.015, d, h), OBJECTS, side)
        b.box((0, s * d / 2, h / 2), (w, 0.015, h), OBJECTS, side)
    skins = [m.lacquer(), m.lacquer(), m.thing()]
    for _ in range(int(12 * w / 0.3)):
        size = r.uniform(0.06, 0.11)
        b.ball(
            (r.uniform(-0.4, 0.4) * w, r.uniform(-0.4, 0.4) * d, r.uniform(0.4, 1.0) * h),
            (size, size, size * r.uniform(0.8, 1.3)),
            OBJECTS,
            skins[r.integers(3)],
        )


def _machine(b: Builder, m: Materials, room: float) -> None:
    """A coffee machine, microwave or printer: a body with a darker front and fittings."""
    r = m.rng
    w, d, h = r.uniform(0.25, 0.5), r.uniform(0.3, 0.42), min(r.uniform(0.25, 0.5), room)
    body, front, metal = (m.metal() if r.random() < 0.5 else m.furniture()), m.black(), m.metal()
    b.box((0, 0, h / 2), (w, d, h), OBJECTS, body)
    b.box((-0.06 * w, -d / 2, h * 0.45), (w * 0.7, 0.02, h * 0.6), OBJECTS, front)
    b.box((0, -d / 2 - 0.01, h * 0.85), (w * 0.5, 0.02, h * 0.16), OBJECTS, m.screen())
    b.cylinder((0.4 * w, -d / 2 - 0.01, h * 0.5), (0.03, 0.03, 0.06), OBJECTS, metal)
    for x in (-0.25, 0.0, 0.25):
        if r.random() < 0.5:
            b.cylinder((x * w, 0, h + 0.04), (0.07, 0.07, 0.08), OBJECTS, m.white())


def _laptop(b: Builder, m: Materials, room: float) -> None:
    body = m.metal()
    b.box((0, 0, 0.01), (0.34, 0.24, 0.02), OBJECTS, body)
    if room > 0.3:
        lid = b.at(0, 0.12, 0.015, 0.0, 0.0, -m.rng.uniform(0.1, 0.5))
        lid.box((0, 0, 0.12), (0.34, 0.015, 0.24), OBJECTS, body)
        lid.box((0, -0.008, 0.12), (0.31, 0.006, 0.21), OBJECTS, m.screen())


def _vase(b: Builder, m: Materials, room: float) -> None:
    h = min(m.rng.uniform(0.15, 0.3), room * 0.6)
    b.ball((0, 0, h * 0.45), (h * 0.7, h * 0.7, h * 0.9), OBJECTS, m.thing())
    if room > 0.5 and m.rng.random() < 0.6:
        foliage(b.at(0, 0, h), m, 0.15, 0.25)


def _box(b: Builder, m: Materials, room: float) -> None:
    w, d, h = m.rng.uniform(0.1, 0.34, 3)
    b.box(
        (0, 0, min(h, room) / 2), (w, d, min(h, room)), OBJECTS, m.cardboard() if m.rng.random() < 0.35 else m.thing()
    )


def _lamp(b: Builder, m: Materials, room: float) -> None:
    h = min(m.rng.uniform(0.3, 0.55), room)
    b.cylinder((0, 0, 0.015), (0.16, 0.16, 0.03), OBJECTS, m.thing())
    b.cylinder((0, 0, h / 2), (0.025, 0.025, h), OBJECTS, m.metal())
    on = m.rng.random() < 0.4
    shade = m.add(LAMP, m.hsv(0.1, 0.3, 0.95), emission=1.8) if on else m.fabric()
    b.cylinder((0, 0, h * 0.82), (0.26, 0.26, h * 0.36), OBJECTS, shade, taper=m.rng.uniform(0.5, 1.0))


def _paper(b: Builder, m: Materials, room: float) -> None:
    for _ in range(m.rng.integers(1, 4)):
        x, y = m.rng.uniform(-0.1, 0.1, 2)
        b.box((x, y, 0.004), (0.21, 0.297, 0.008), OBJECTS, m.picture(), (m.rng.uniform(0, 3), 0.0, 0.0))


def _gadget(b: Builder, m: Materials, room: float) -> None:
    w = m.rng.uniform(0.15, 0.4)
    h = min(m.rng.uniform(0.1, 0.32), room)
    b.box((0, 0, h / 2), (w, m.rng.uniform(0.15, 0.32), h), OBJECTS, m.metal() if m.rng.random() < 0.5 else m.black())


def _soft(b: Builder, m: Materials, room: float) -> None:
    b.cushion(
        (0, 0, 0.07),
        (m.rng.uniform(0.25, 0.5), m.rng.uniform(0.25, 0.45), 0.14),
        OBJECTS,
        m.fabric(),
        (m.rng.uniform(0, 6), 0.1, 0.1),
    )


def _plant_pot(b: Builder, m: Materials, room: float) -> None:
    s = m.rng.uniform(0.1, 0.2)
    b.cylinder((0, 0, s / 2), (s * 0.8, s * 0.8, s), OBJECTS, m.thing(), taper=1.3)
    if room > 0.3:
        foliage(b.at(0, 0, s), m, min(0.2, room / 3), min(0.3, room - s))


_SMALL: dict[str, tuple[Callable[[Builder, Materials, float], None], ...]] = {
    "desk": (_machine, _stack, _cup, _laptop, _paper, _bottle, _gadget, _lamp, _box, _plant_pot, _paper),
    "dining": (_basket, _basket, _cup, _bowl, _bottle, _vase, _stack, _laptop, _box, _paper, _cup),
    "coffee": (_stack, _cup, _bowl, _vase, _paper, _bottle, _plant_pot),
    "side": (_lamp, _stack, _cup, _vase, _plant_pot, _gadget, _box),
    "top": (_vase, _box, _lamp, _stack, _plant_pot, _gadget, _bowl),
    "high": (_box, _box, _soft),
    "soft": (_soft, _stack, _laptop, _box),
    "kitchen": (_machine, _basket, _bottle, _bottle, _cup, _bowl, _gadget, _box, _gadget, _cup, _plant_pot),
    "shelf": (_box, _vase, _stack, _bottle, _bowl, _gadget, _plant_pot),
}
NAMES: dict[Callable[[Builder, Materials, float], None], str] = {
    _machine: "machine",
    _stack: "books",
    _cup: "cup",
    _laptop: "laptop",
    _paper: "papers",
    _bottle: "bottle",
    _gadget: "device",
    _lamp: "lamp",
    _box: "box",
    _plant_pot: "potted plant",
    _basket: "basket",
    _bowl: "bowl",
    _vase: "vase",
    _soft: "cushion",
}
"""What the small objects are called."""


def fill_surface(b: Builder, m: Materials, surface: Surface, density: float, small: Small | None = None) -> None:
    """Place objects on a surface of an item.

    Args:
        b: frame of the item.
        m: materials of the scene.
        surface: where.
        density: from 0 (tidy) to 1 (cluttered).
        small: places a model where it returns True, given the frame, the materials and the free height in metres.
    """
    r, w, d = m.rng, surface.x1 - surface.x0, surface.y1 - surface.y0
    if surface.use == "shelf":
        _fill_shelf(b, m, surface, density)
        return
    if surface.use == "desk" and r.random() < 0.75:
        _monitors(b, m, surface)
    count = r.poisson(density * (1.5 + 6.0 * w * d) * (0.35 if surface.use in ("soft", "high") else 1.0))
    for _ in range(min(count, 14)):
        x, y = (
            surface.x0 + 0.08 + r.random() * max(w - 0.16, 0.01),
            surface.y0 + 0.08 + r.random() * max(d - 0.16, 0.01),
        )
        kinds = _SMALL[surface.use]
        kind = kinds[r.integers(len(kinds))]
        at = b.at(x, y, surface.z, r.uniform(0, 2 * np.pi) if r.random() < 0.6 else 0.0)
        if small is None or not small(at, m, surface.room):
            kind(at.piece(NAMES[kind]), m, surface.room)


def _monitors(b: Builder, m: Materials, surface: Surface) -> None:
    r = m.rng
    count, x, size = (
        int(r.integers(1, 3)),
        (surface.x0 + surface.x1) / 2 + r.uniform(-0.15, 0.15),
        r.uniform(0.42, 0.68),
    )
    for k in range(count):
        at = x + (k - (count - 1) / 2) * (size + 0.05)
        screen_on(b.at(at, surface.y1 - 0.14, surface.z, r.uniform(-0.2, 0.2) - 0.25 * (2 * k - count + 1)), m, size)
    keys, b = (m.black() if r.random() < 0.6 else m.white()), b.piece("keyboard")
    b.box((x, surface.y0 + 0.25, surface.z + 0.012), (0.44, 0.14, 0.024), OBJECTS, keys)
    b.ball((x + 0.32, surface.y0 + 0.24, surface.z + 0.015), (0.06, 0.1, 0.035), OBJECTS, keys)


def _fill_shelf(b: Builder, m: Materials, surface: Surface, density: float) -> None:
    r, w, d = m.rng, surface.x1 - surface.x0, surface.y1 - surface.y0
    y, p = (surface.y0 + surface.y1) / 2, m.rng.random()
    if p < 0.45:
        books(b.at(surface.x0, y, surface.z).piece("books"), m, w * r.uniform(0.4, 1.0), d, min(surface.room, 0.3))
    elif p < 0.45 + 0.4 * min(1.0, density + 0.3):
        for _ in range(r.integers(1, 4)):
            kinds = _SMALL["shelf"]
            kind = kinds[r.integers(len(kinds))]
            kind(b.at(surface.x0 + r.uniform(0.1, 0.9) * w, y, surface.z).piece(NAMES[kind]), m, surface.room)
    elif p < 0.9 and r.random() < 0.5:
        b.piece("box").box(
            ((surface.x0 + surface.x1) / 2, y, surface.z + surface.room * 0.4),
            (w * 0.9, d * 0.9, surface.room * 0.8),
            OBJECTS,
            m.thing(),
        )


def foliage(b: Builder, m: Materials, radius: float, height: float) -> None:
    """Leaves within a radius above the origin, metres."""
    r, leaf = m.rng, m.leaves()
    kind = r.random()
    if kind < 0.4:
        _palm(b, m, radius, height, leaf)
        return
    if kind < 0.7:
        for _ in range(r.integers(5, 12)):
            x, y = r.normal(0, 0.4 * radius, 2)
            s = radius * r.uniform(0.5, 0.9)
            b.ball((x, y, height * r.uniform(0.2, 0.9)), (s, s, s * 0.9), OBJECTS, leaf)
        return
    for _ in range(r.integers(7, 16)):
        a, tilt = r.uniform(0, 2 * np.pi), r.uniform(0.2, 1.1)
        stem = b.at(0, 0, 0, a, tilt, 0.0)
        stem.ball((0, 0, height * 0.55), (height * 0.1 + 0.02, height * 0.22, height), OBJECTS, leaf)


def _palm(b: Builder, m: Materials, radius: float, height: float, leaf: int) -> None:
    """Thin blades that bend outwards from a few centres."""
    r = m.rng
    for _ in range(r.integers(1, 4)):
        x, y = r.normal(0, 0.25 * radius, 2)
        heart = b.at(x, y, height * r.uniform(0.0, 0.45))
        for _ in range(r.integers(14, 28)):
            blade = heart.at(0, 0, 0, r.uniform(0, 2 * np.pi), r.uniform(0.15, 1.7), 0.0)
            long = r.uniform(0.5, 1.0) * max(radius * 1.3, height * 0.5)
            blade.box((0, 0, long / 2), (0.008, r.uniform(0.02, 0.05), long), OBJECTS, leaf)


def plant(m: Materials) -> Item:
    """A potted plant on the floor, between knee and head height."""
    r = m.rng
    w, tall, trunk, pot = r.uniform(0.22, 0.42), r.uniform(0.4, 1.3), r.random() < 0.4, m.thing()

    def _build(b: Builder) -> None:
        b.cylinder((0, 0, w * 0.5), (w * 0.8, w * 0.8, w), OBJECTS, pot, taper=1.25)
        stem = tall * 0.5 if trunk else 0.0
        if trunk:
            b.cylinder((0, 0, w + stem / 2), (0.04, 0.04, stem), OBJECTS, m.wood())
        foliage(b.at(0, 0, w + stem), m, 0.3 * tall + 0.08, tall - stem)

    return Item(w + 0.15, w + 0.15, _build, front=0.1, height=w + tall, name="plant")


def floor_lamp(m: Materials) -> Item:
    """A standing lamp: a shade on a pole."""
    r = m.rng
    metal, high, wide, taper = m.metal(), r.uniform(1.35, 1.8), r.uniform(0.25, 0.5), r.uniform(0.5, 1.6)
    shade = m.add(LAMP, m.hsv(0.1, 0.3, 0.95), emission=2.2) if r.random() < 0.4 else m.fabric()

    def _build(b: Builder) -> None:
        b.cylinder((0, 0, 0.015), (0.3, 0.3, 0.03), OBJECTS, metal)
        b.cylinder((0, 0, high / 2), (0.03, 0.03, high), OBJECTS, metal)
        b.cylinder((0, 0, high), (wide, wide, 0.3), OBJECTS, shade, taper=taper)

    return Item(0.4, 0.4, _build, front=0.1, height=high, name="floor lamp")


def floor_thing(m: Materials) -> Item:
    """An object on the floor: boxes, bag, bin, suitcase, basket, computer, pile of cushions or easel."""
    r = m.rng
    kind = r.choice(["boxes", "bag", "bin", "case", "basket", "tower", "pile", "easel"])
    skin, second = m.thing(), m.fabric()
    s, k = r.uniform(0.25, 0.55), r.random(6)

    def _build(b: Builder) -> None:
        if kind == "boxes":
            z = 0.0
            for i in range(1 + int(3 * k[0])):
                e = s * (1 - 0.15 * i)
                b.box(
                    (0, 0, z + e * 0.35),
                    (e, e * (0.7 + 0.3 * k[1]), e * 0.7),
                    OBJECTS,
                    m.cardboard() if k[2] < 0.7 else skin,
                    (0.5 * (k[3] - 0.5) * (i + 1), 0.0, 0.0),
                )
                z += e * 0.7
        elif kind == "bag":
            b.cushion((0, 0, s * 0.45), (s, s * 0.6, s * 0.9), OBJECTS, second, (0.0, 0.0, 0.15 * k[0]))
            b.box((0, 0, s * 0.95), (s * 0.4, 0.03, 0.12), OBJECTS, second)
        elif kind in ("bin", "basket"):
            b.cylinder(
                (0, 0, s * 0.5),
                (s * 0.75, s * 0.75, s),
                OBJECTS,
                skin if kind == "bin" else second,
                taper=0.85 + 0.4 * k[1],
            )
        elif kind == "case":
            b.box((0, 0, 0.33 + 0.04), (0.42, 0.24, 0.62), OBJECTS, skin)
            for x in (-0.12, 0.12):
                b.box((x, 0.08, 0.75), (0.02, 0.02, 0.3 * k[0] + 0.02), OBJECTS, m.black())
        elif kind == "tower":
            b.box((0, 0, 0.22), (0.2, 0.42, 0.44), OBJECTS, m.black())
        elif kind == "pile":
            for i in range(4):
                b.cushion(
                    (0.15 * (k[i] - 0.5), 0.15 * (k[5 - i] - 0.5), 0.05 + 0.06 * i),
                    (0.45, 0.35, 0.12),
                    OBJECTS,
                    second if i % 2 else skin,
                    (6 * k[i], 0.1, 0.05),
                )
        else:
            board = b.at(0, 0.05, 0, 0.0, 0.0, -0.15)
            board.box((0, 0, 0.75), (0.7, 0.03, 0.9), OBJECTS, m.picture())
            for x in (-0.3, 0.3):
                board.box((x, 0.02, 0.6), (0.03, 0.03, 1.2), OBJECTS, m.wood())

    name = {"boxes": "box", "case": "suitcase", "tower": "computer", "pile": "pile of cushions"}.get(
        str(kind), str(kind)
    )
    return Item(0.6 if kind == "easel" else s + 0.1, s + 0.1, _build, front=0.0, height=s, name=name)


def coat_stand(m: Materials) -> Item:
    """A coat stand of a person's height with coats."""
    wood, coats = m.wood(), [m.fabric() for _ in range(3)]
    r = m.rng.random(6)

    def _build(b: Builder) -> None:
        b.cylinder((0, 0, 0.85), (0.04, 0.04, 1.7), OBJECTS, wood)
        b.cylinder((0, 0, 0.02), (0.45, 0.45, 0.04), OBJECTS, wood)
        for i in range(1 + int(3 * r[0])):
            a = 2.1 * i + r[1]
            b.cushion(
                (0.13 * np.cos(a), 0.13 * np.sin(a), 1.2 - 0.1 * r[2 + i]),
                (0.4, 0.22, 0.95),
                OBJECTS,
                coats[i],
                (a + 1.57, 0.0, 0.0),
            )

    return Item(0.6, 0.6, _build, front=0.1, height=1.7, name="coat stand")
