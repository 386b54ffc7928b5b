"""Furnishes a scene with models: which model stands where a primitive would, and what colours it has."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

from sgrocc_core.data.assets.entry import Entry
from sgrocc_core.data.assets.library import Library
from sgrocc_core.data.assets.model import Model
from sgrocc_core.data.synthetic.furniture import beds, clutter, seating, storage, tables
from sgrocc_core.data.synthetic.furniture.items import BED, CHAIR, FURNITURE, OBJECTS, SOFA, TABLE, TVS, Item, Surface
from sgrocc_core.data.synthetic.solids.materials import FABRIC, LEAVES, PLAIN, PRINT, WOOD, Color, Materials
from sgrocc_core.data.synthetic.solids.primitives import Builder

Maker = Callable[[Materials], Item]

ROLES: dict[Maker, tuple[str, ...]] = {
    seating.sofa: ("sofa",),
    seating.armchair: ("armchair",),
    seating.bench: ("bench",),
    seating.stool: ("stool", "chair"),
    seating.office_chair: ("chair",),
    beds.bed: ("bed",),
    tables.dining_table: ("table",),
    tables.desk: ("table",),
    tables.coffee_table: ("coffee",),
    tables.side_table: ("side",),
    storage.cabinet: ("low", "tall"),
    storage.shelf: ("tall", "low"),
    storage.tv_bench: ("screen",),
    clutter.plant: ("plant",),
    clutter.floor_thing: ("floor",),
}
"""Roles of the models that may stand where a maker's primitives would."""
OWN_COLOURS = 0.55
"""Probability that a model keeps the colours of its file, slightly varied."""
TUCKED = 0.5
"""Probability that the chairs of a table stand partly under it."""
FRONT = {CHAIR: 0.3, SOFA: 0.5, BED: 0.4, TABLE: 0.5, FURNITURE: 0.5, OBJECTS: 0.1}
"""Free space required in front of each class, metres."""
_ROLE_NAMES = {
    "sofa": "sofa",
    "armchair": "armchair",
    "bench": "bench",
    "stool": "stool",
    "chair": "chair",
    "coffee": "coffee table",
    "side": "side table",
    "low": "sideboard",
    "plant": "plant",
}
USES = {"coffee": "coffee", "side": "side", "table": "dining", "low": "top", "tall": "high", "sofa": "soft"}
"""Which objects stand on the models of a role; on the others none."""


class Furnisher:
    """Draws models for one scene.

    Args:
        library: the prepared models.
        held_out: whether the scene is not for training; it then has other models than scenes for training.

    Attributes:
        used: names of the models that were built.
    """

    def __init__(self, library: Library, held_out: bool) -> None:
        self._library, self._roles = library, library.of_role(held_out)
        self.used: set[str] = set()

    def instead_of(self, maker: Maker) -> Maker:
        """A maker that draws a model with the library's share, and otherwise calls the given one."""
        choice = [e for role in ROLES.get(maker, ()) for e in self._roles.get(role, ())]
        if not choice:
            return maker

        def make(m: Materials) -> Item:
            if m.rng.random() >= self._library.share:
                return maker(m)
            entry = choice[m.rng.integers(len(choice))]
            return self._screen(entry, m) if entry.role == "screen" else self._item(entry, m)

        return make

    def chair(self, maker: Maker, m: Materials) -> Maker:
        """The maker of a room's chairs at tables: with the library's share, one model in the same colours for all."""
        choice = self._roles.get("chair", ())
        if not choice or m.rng.random() >= self._library.share:
            return maker
        item = self._item(choice[m.rng.integers(len(choice))], m)
        return lambda _: item

    def small(self, b: Builder, m: Materials, room: float) -> bool:
        """Place a small object, no higher than `room` metres, with the library's share; whether it did."""
        if m.rng.random() >= self._library.share:
            return False
        choice = [e for e in self._roles.get("small", ()) if e.size[2] < room]
        if not choice:
            return False
        entry = choice[m.rng.integers(len(choice))]
        model = self._library.model(entry)
        self._put(b.piece("thing", entry.size), entry, model, painted(model, entry.label, m))
        return True

    def tucked(self, seats: tuple[tuple[float, float, float], ...], m: Materials) -> float:
        """How far the chairs of a table are pushed under it, metres; 0 for no seats."""
        return float(m.rng.uniform(0.15, 0.4)) if seats and m.rng.random() < TUCKED else 0.0

    def _put(self, b: Builder, entry: Entry, model: Model, materials: list[int]) -> None:
        b.model(model, entry.label, materials)
        self.used.add(entry.name)

    def _item(self, entry: Entry, m: Materials) -> Item:
        """A model as a piece of furniture."""
        model = self._library.model(entry)
        materials = painted(model, entry.label, m)
        w, d, h = entry.size
        half_w, half_d, top = (float(v) for v in model.surface)
        surfaces: tuple[Surface, ...] = ()
        if half_w > 0 and entry.role in USES:
            use = USES[entry.role]
            use = "desk" if use == "dining" and m.rng.random() < 0.4 else "high" if use == "top" and top > 1.3 else use
            surfaces = (Surface(-half_w, -half_d, half_w, half_d, top, 0.7 if use in ("dining", "desk") else 0.5, use),)
        seats = tables.seats_around(w, d, m.rng) if entry.role == "table" and 0.6 < h < 0.85 else ()
        front = FRONT.get(entry.label, 0.3)
        return Item(w, d, lambda b: self._put(b, entry, model, materials), surfaces, seats, front, h, _called(entry))

    def _screen(self, entry: Entry, m: Materials) -> Item:
        """A screen on a low board of primitives."""
        r, model = m.rng, self._library.model(entry)
        materials, body = painted(model, TVS, m), m.furniture()
        w, d, h = max(entry.size[0] + 0.1, r.uniform(0.8, 1.8)), max(entry.size[1] + 0.05, r.uniform(0.35, 0.5)), 0.0
        h = r.uniform(0.35, 0.75)
        at, turn = r.uniform(-0.5, 0.5) * (w - entry.size[0] - 0.05), r.uniform(-0.15, 0.15)

        def _build(b: Builder) -> None:
            b.box((0, 0, h / 2), (w, d, h), FURNITURE, body)
            self._put(b.at(at, 0.0, h, turn).piece("tv", entry.size), entry, model, materials)

        return Item(w, d, _build, (), front=0.8, height=h + entry.size[2], name="tv bench")


def _called(entry: Entry) -> str:
    """The name of a model as a piece of a scene, by its role and size."""
    w, d, h = entry.size
    if entry.role == "bed":
        return "single bed" if min(w, d) < 1.3 else "double bed"
    if entry.role == "table":
        return "long table" if max(w, d) > 1.9 else "table"
    if entry.role == "tall":
        return "wardrobe" if h > 1.7 else "cupboard"
    return _ROLE_NAMES.get(entry.role, "thing")


def _varied(colour: np.ndarray, hue: float, saturation: float, value: float) -> Color:
    """An sRGB colour with its hue shifted and its saturation and value scaled."""
    h, s, v = colorsys.rgb_to_hsv(*(float(np.clip(c, 0, 1)) for c in colour))
    return colorsys.hsv_to_rgb((h + hue) % 1.0, min(1.0, s * saturation), min(1.0, max(0.03, v * value)))


def painted(model: Model, label: int, m: Materials) -> list[int]:
    """Materials for the parts of a model: those of its file slightly varied, or others that suit its class.

    Args:
        model: the model.
        label: its class.
        m: materials of the scene, which grow.

    Returns:
        A row of the material table for each part.
    """
    r = m.rng
    own = label in (OBJECTS, TVS) or r.random() < OWN_COLOURS
    hue, saturation, value = 0.015 * r.normal(), r.uniform(0.7, 1.2), r.uniform(0.75, 1.25)
    rows = []
    for p, (dark, light) in enumerate(model.colours):
        if own or (p > 0 and r.random() < 0.6):
            colours = [_varied(c, hue, saturation, value) for c in (light, dark)]
            rows.append(_kept(colours, bool(model.textured[p]), label, m))
        elif label in (CHAIR, SOFA, BED):
            rows.append(m.fabric() if p == 0 else (m.fabric, m.furniture, m.metal)[r.integers(3)]())
        else:
            rows.append(m.furniture() if p == 0 or r.random() < 0.6 else m.metal())
    return rows


def _kept(colours: list[Color], textured: bool, label: int, m: Materials) -> int:
    """A material of two given colours; what had a texture has a pattern."""
    r, (light, dark) = m.rng, colours
    gloss = float(r.choice([0.0, 0.05, 0.2]))
    if not textured:
        return m.add(PLAIN, light, None, 0.1, r.uniform(0.02, 0.12), gloss, r.uniform(20, 70))
    red, green, blue = light
    if green > 1.1 * red and green > 1.1 * blue:
        return m.add(LEAVES, light, dark, r.uniform(0.02, 0.06), 1.0)
    if label in (CHAIR, SOFA, BED):
        return m.add(FABRIC, light, dark, r.uniform(0.005, 0.03), r.uniform(0.4, 1.0))
    if label in (TABLE, FURNITURE) and red > blue:
        return m.add(WOOD, light, dark, r.uniform(0.02, 0.07), r.uniform(0.5, 1.0), gloss, 30)
    pattern = PRINT if r.random() < 0.2 else FABRIC
    return m.add(pattern, light, dark, r.uniform(0.02, 0.12), 0.6, gloss, 30)
