"""Names of colours and of what things are made of, and the materials of a scene that they stand for."""

from __future__ import annotations

import colorsys
import copy
from collections.abc import Callable

import numpy as np

from sgrocc_core.data.synthetic.solids.materials import FABRIC, METAL, PLAIN, PLANKS, WOOD, Color, Materials, dimmed

HUES: dict[str, tuple[float, float, float]] = {
    "black": (0.6, 0.05, 0.1),
    "white": (0.1, 0.03, 0.92),
    "grey": (0.6, 0.04, 0.5),
    "red": (0.0, 0.8, 0.7),
    "orange": (0.07, 0.85, 0.9),
    "brown": (0.07, 0.6, 0.38),
    "beige": (0.1, 0.25, 0.8),
    "yellow": (0.15, 0.75, 0.9),
    "green": (0.35, 0.65, 0.5),
    "blue": (0.61, 0.7, 0.6),
    "purple": (0.77, 0.55, 0.5),
    "pink": (0.93, 0.4, 0.88),
}
"""Hue, saturation and value, 0 to 1, of the middle of each named colour."""
MADE_OF: dict[int, str] = {WOOD: "wooden", PLANKS: "wooden", METAL: "metal"}
"""What a pattern of the generator is called."""


def colour_name(linear: np.ndarray) -> str:
    """The name of a colour, one of HUES.

    Args:
        linear: (3,) linear RGB, 0 to 1.
    """
    h, s, v = colorsys.rgb_to_hsv(*(float(c) for c in np.clip(linear, 0.0, 1.0) ** (1 / 2.2)))
    if v < 0.24 or (s < 0.14 and v < 0.28):
        return "black"
    if s < 0.14:
        return "white" if v > 0.72 else "grey"
    if h < 0.03 or h > 0.96:
        return "pink" if s < 0.5 and v > 0.7 else "red"
    if h < 0.125:
        return "brown" if v < 0.6 else "beige" if s < 0.45 else "orange"
    for name, last in (("yellow", 0.19), ("green", 0.46), ("blue", 0.7), ("purple", 0.84)):
        if h < last:
            return name
    return "pink"


def look(materials: np.ndarray, row: int) -> str:
    """What a thing of a material looks like: `wooden`, `metal`, or the name of its colour.

    Args:
        materials: (M, ROW) table of the scene.
        row: of the material.
    """
    return MADE_OF.get(int(materials[row, 0])) or colour_name(materials[row, 1:4])


_COLOURED = (
    "furniture",
    "fabric",
    "wood",
    "lacquer",
    "white",
    "metal",
    "black",
    "thing",
    "fitted",
    "dark",
    "rug",
    "picture",
)
"""Palettes that a colour replaces."""
_HARD = ("furniture", "lacquer", "white", "metal", "black", "thing", "fitted", "dark", "wood")
"""Palettes that a material replaces."""


def dyed(m: Materials, look: str) -> Materials:
    """The same table of materials with palettes that all give one look.

    Args:
        m: materials of the scene, which grow.
        look: a name of HUES, `wooden`, `metal`, or empty.
    """
    if look == "":
        return m
    other = copy.copy(m)
    if look in HUES:
        for name in _COLOURED:
            setattr(other, name, _coloured(m, look, FABRIC if name in ("fabric", "rug") else PLAIN))
        for name in ("wall", "ceiling"):
            setattr(other, name, _coloured(m, look, PLAIN))
        other.floor = _coloured(m, look, FABRIC)  # type: ignore[method-assign]
    else:
        made = type(m).wood if look == "wooden" else type(m).metal
        for name in (*_HARD, "fabric", "wall"):
            setattr(other, name, lambda: made(m))
        other.floor = (lambda: _planks(m)) if look == "wooden" else (lambda: _metal_floor(m))  # type: ignore
    return other


def _coloured(m: Materials, look: str, pattern: int) -> Callable[[], int]:
    def make() -> int:
        h, s, v = HUES[look]
        r = m.rng
        colour = m.hsv(h + 0.008 * r.normal(), s * r.uniform(0.95, 1.05), v * r.uniform(0.97, 1.03))
        return m.add(pattern, colour, dimmed(colour, 0.85), 0.02, 0.1, 0.05, 30)

    return make


def _planks(m: Materials) -> int:
    colour: Color = m.wood_color()
    return m.add(PLANKS, colour, dimmed(colour, 0.8), m.rng.uniform(0.06, 0.2), 0.6, 0.1, 30)


def _metal_floor(m: Materials) -> int:
    return m.add(METAL, (0.6, 0.6, 0.62), None, 0.05, 0.25, 0.3, 40)
