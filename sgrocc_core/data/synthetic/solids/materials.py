"""Procedural materials: a table of patterns, colours and gloss, and palettes that draw them at random."""

from __future__ import annotations

import colorsys

import numpy as np

Color = tuple[float, float, float]

(
    PLAIN,
    WOOD,
    TILES,
    FABRIC,
    CHECKER,
    STRIPES,
    BRICK,
    PLASTER,
    OUTSIDE,
    SCREEN,
    PRINT,
    PLANKS,
    LEAVES,
    METAL,
    MARBLE,
    PANELS,
    PAGE,
    LAMP,
) = range(18)
"""Patterns that textures.py evaluates at a hit point."""

ROW = 14
"""Length of a material's row.

Pattern, colour (3), second colour (3), scale (m), contrast, gloss, sharpness, emission, seed, unused.
"""


def linear(color: Color) -> np.ndarray:
    """Convert sRGB in 0..1 to linear light, (3,)."""
    return np.clip(np.array(color, np.float64), 0.0, 1.0) ** 2.2


def dimmed(color: Color, factor: float) -> Color:
    """A darker or lighter tone of an sRGB colour."""
    return color[0] * factor, color[1] * factor, color[2] * factor


class Materials:
    """The material table of one scene, and the random choices that fill it.

    Attributes:
        rng: random generator of the scene.
        real: whether these are the palettes of the second edition of the rooms.
    """

    real = False

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self._rows: list[np.ndarray] = []

    def table(self) -> np.ndarray:
        """The table, (M, ROW) float64."""
        return np.array(self._rows, np.float64).reshape(-1, ROW)

    def add(
        self,
        pattern: int,
        color: Color,
        color2: Color | None = None,
        scale: float = 0.1,
        contrast: float = 0.1,
        gloss: float = 0.0,
        sharpness: float = 20.0,
        emission: float = 0.0,
    ) -> int:
        """Add a material; colours are sRGB in 0..1, scale in metres. Returns its index."""
        second = color if color2 is None else color2
        row = np.r_[
            pattern,
            linear(color),
            linear(second),
            scale,
            contrast,
            gloss,
            sharpness,
            emission,
            self.rng.integers(1, 100000),
            0.0,
        ]
        self._rows.append(row)
        return len(self._rows) - 1

    def hsv(self, h: float, s: float, v: float) -> Color:
        """Convert hue, saturation, value in 0..1 to sRGB."""
        return colorsys.hsv_to_rgb(h % 1.0, float(np.clip(s, 0, 1)), float(np.clip(v, 0, 1)))

    def any_color(self) -> Color:
        """A colour of an object: grey, muted, saturated, very dark or very light."""
        r = self.rng
        kind = r.random()
        if kind < 0.22:
            return self.hsv(r.random(), 0.06 * r.random(), r.uniform(0.25, 0.8))
        if kind < 0.42:
            return self.hsv(r.random(), 0.25 * r.random(), r.uniform(0.1, 0.28))
        if kind < 0.56:
            return self.hsv(r.random(), 0.1 * r.random(), r.uniform(0.8, 0.95))
        if kind < 0.78:
            return self.hsv(
                r.choice([0.06, 0.09, 0.12, 0.6, 0.3]) + 0.03 * r.normal(), r.uniform(0.15, 0.45), r.uniform(0.3, 0.8)
            )
        return self.hsv(r.random(), r.uniform(0.4, 0.85), r.uniform(0.25, 0.8))

    def wood_color(self) -> Color:
        """Light birch, oak, walnut, cherry or black-brown."""
        r = self.rng
        h, s, v = [
            (0.10, 0.28, 0.82),
            (0.09, 0.45, 0.66),
            (0.07, 0.52, 0.42),
            (0.04, 0.6, 0.45),
            (0.07, 0.35, 0.18),
            (0.1, 0.2, 0.9),
        ][r.integers(6)]
        return self.hsv(h + 0.012 * r.normal(), s * r.uniform(0.75, 1.2), v * r.uniform(0.8, 1.1))

    def wood(self) -> int:
        """Wood grain for furniture."""
        c, r = self.wood_color(), self.rng
        dark = dimmed(c, r.uniform(0.6, 0.85))
        return self.add(
            WOOD, c, dark, r.uniform(0.02, 0.07), r.uniform(0.4, 1.0), r.choice([0.0, 0.06, 0.2]), r.uniform(15, 60)
        )

    def lacquer(self) -> int:
        """Painted or laminated furniture."""
        r = self.rng
        return self.add(
            PLAIN, self.any_color(), None, 0.3, r.uniform(0.02, 0.1), r.choice([0.0, 0.08, 0.25]), r.uniform(15, 80)
        )

    def furniture(self) -> int:
        """Wood or lacquer; white and black are frequent."""
        p = self.rng.random()
        if p < 0.45:
            return self.wood()
        if p < 0.62:
            return self.white()
        if p < 0.75:
            return self.add(
                PLAIN, self.hsv(self.rng.random(), 0.1, self.rng.uniform(0.08, 0.25)), None, 0.3, 0.08, 0.12, 40
            )
        return self.lacquer()

    def white(self) -> int:
        """Off-white paint."""
        r = self.rng
        return self.add(
            PLAIN,
            self.hsv(0.1 + 0.05 * r.normal(), 0.06 * r.random(), r.uniform(0.78, 0.96)),
            None,
            0.4,
            0.04,
            r.choice([0.0, 0.1]),
            30,
        )

    def metal(self) -> int:
        """Chrome, steel, black or painted metal."""
        r = self.rng
        v = r.choice([0.16, 0.35, 0.6, 0.8])
        return self.add(
            METAL, self.hsv(0.6, 0.05 * r.random(), v), None, 0.05, 0.25, r.uniform(0.2, 0.6), r.uniform(20, 80)
        )

    def black(self) -> int:
        """Black plastic."""
        return self.add(
            PLAIN, self.hsv(0.6, 0.05, self.rng.uniform(0.08, 0.2)), None, 0.2, 0.1, self.rng.uniform(0.02, 0.2), 40
        )

    def fabric(self) -> int:
        """Upholstery and textiles: plain weave, striped, checked or printed."""
        r, p = self.rng, self.rng.random()
        c = self.any_color()
        if p < 0.7:
            return self.add(FABRIC, c, dimmed(c, r.uniform(0.6, 0.95)), r.uniform(0.004, 0.02), r.uniform(0.15, 0.6))
        if p < 0.8:
            return self.add(STRIPES, c, self.any_color(), r.uniform(0.02, 0.12), 0.2)
        if p < 0.87:
            return self.add(CHECKER, c, self.any_color(), r.uniform(0.03, 0.1), 0.2)
        if p < 0.93:
            return self.add(PRINT, c, self.any_color(), r.uniform(0.04, 0.12), 0.5)
        return self.add(PLAIN, c, None, 0.05, 0.15, r.uniform(0.05, 0.2), 15)  # leather

    def wall(self) -> int:
        """Mostly painted plaster; also brick, panels, wallpaper, tiles and wood."""
        r, p = self.rng, self.rng.random()
        c = self.hsv(r.choice([0.1, 0.12, 0.6, 0.3]) + 0.05 * r.normal(), 0.14 * r.random(), r.uniform(0.62, 0.97))
        if p < 0.25:
            c = self.hsv(r.random(), r.uniform(0.1, 0.5), r.uniform(0.3, 0.85))
        if p > 0.95:
            return self.add(
                BRICK, self.hsv(0.03, 0.5, r.uniform(0.35, 0.7)), self.hsv(0.1, 0.1, 0.7), r.uniform(0.06, 0.09), 0.3
            )
        if p > 0.91:
            return self.add(PANELS, c, dimmed(c, 0.8), r.uniform(0.2, 0.9), 0.5)
        if p > 0.87:
            return self.add(STRIPES, c, dimmed(c, r.uniform(0.8, 0.95)), r.uniform(0.05, 0.2), 0.1)
        if p > 0.84:
            return self.add(TILES, c, dimmed(c, 0.75), r.uniform(0.1, 0.3), 0.1, 0.2, 40)
        if p > 0.82:
            return self.wood()
        return self.add(PLASTER, c, None, r.uniform(0.02, 0.3), r.uniform(0.03, 0.15))

    def floor(self) -> int:
        """Planks, parquet, tiles, carpet, concrete, linoleum or marble."""
        r, p = self.rng, self.rng.random()
        if p < 0.38:
            c = self.wood_color()
            return self.add(
                PLANKS,
                c,
                dimmed(c, r.uniform(0.65, 0.9)),
                r.uniform(0.06, 0.2),
                r.uniform(0.3, 1.0),
                r.choice([0.0, 0.1, 0.3]),
                30,
            )
        if p < 0.55:
            c = self.hsv(r.choice([0.1, 0.6, 0.05]), 0.2 * r.random(), r.uniform(0.2, 0.9))
            return self.add(
                TILES,
                c,
                dimmed(c, r.uniform(0.5, 1.2)),
                r.uniform(0.15, 0.6),
                r.uniform(0.05, 0.3),
                r.choice([0.05, 0.3]),
                50,
            )
        if p < 0.78:
            c = self.hsv(r.choice([0.6, 0.1, 0.0, 0.3, r.random()]), r.uniform(0.0, 0.4), r.uniform(0.15, 0.65))
            return self.add(FABRIC, c, dimmed(c, r.uniform(0.5, 0.9)), r.uniform(0.006, 0.04), r.uniform(0.3, 1.0))
        if p < 0.84:
            return self.add(CHECKER, self.any_color(), self.any_color(), r.uniform(0.2, 0.6), 0.1, 0.15, 40)
        if p < 0.9:
            return self.add(
                MARBLE,
                self.hsv(0.1, 0.1, r.uniform(0.4, 0.9)),
                self.hsv(0.1, 0.1, r.uniform(0.2, 0.7)),
                r.uniform(0.2, 0.6),
                0.6,
                0.3,
                60,
            )
        return self.add(
            PLASTER,
            self.hsv(r.random(), 0.1 * r.random(), r.uniform(0.2, 0.7)),
            None,
            r.uniform(0.05, 0.4),
            0.3,
            r.choice([0.0, 0.15]),
            20,
        )

    def rug(self) -> int:
        """A carpet on the floor."""
        r, p = self.rng, self.rng.random()
        if p < 0.4:
            return self.add(PRINT, self.any_color(), self.any_color(), r.uniform(0.05, 0.25), 0.7)
        if p < 0.65:
            return self.add(STRIPES, self.any_color(), self.any_color(), r.uniform(0.04, 0.2), 0.4)
        c = self.any_color()
        return self.add(FABRIC, c, dimmed(c, 0.6), r.uniform(0.01, 0.04), 0.8)

    def ceiling(self) -> int:
        """White plaster, acoustic tiles or wood."""
        r, p = self.rng, self.rng.random()
        if p < 0.62:
            return self.add(PLASTER, self.hsv(0.1, 0.05 * r.random(), r.uniform(0.75, 0.97)), None, 0.2, 0.06)
        if p < 0.88:
            v = r.uniform(0.7, 0.93)
            return self.add(TILES, (v, v, v * 0.98), (v * 0.75, v * 0.75, v * 0.75), r.choice([0.6, 0.62, 0.5]), 0.1)
        if p < 0.94:
            return self.wood()
        return self.add(PLASTER, self.any_color(), None, 0.3, 0.1)

    def thing(self) -> int:
        """A small object of plastic, paper, print, metal or fabric."""
        r, p = self.rng, self.rng.random()
        if p < 0.55:
            return self.add(PLAIN, self.any_color(), None, 0.05, 0.1, r.choice([0.0, 0.2]), 30)
        if p < 0.75:
            return self.add(
                PRINT, self.any_color(), self.any_color(), r.uniform(0.01, 0.06), 0.8, r.choice([0.0, 0.1]), 20
            )
        if p < 0.85:
            return self.metal()
        return self.fabric()

    def cardboard(self) -> int:
        """Brown cardboard."""
        r = self.rng
        return self.add(PLAIN, self.hsv(0.085, 0.4, r.uniform(0.5, 0.75)), None, 0.05, 0.15)

    def picture(self) -> int:
        """Paintings, posters and printed pages."""
        r = self.rng
        if r.random() < 0.35:
            return self.add(PAGE, (0.93, 0.93, 0.9), (0.1, 0.1, 0.12), r.uniform(0.01, 0.03), 0.8)
        return self.add(PRINT, self.any_color(), self.any_color(), r.uniform(0.05, 0.3), 1.0, r.choice([0.0, 0.25]), 60)

    def screen(self) -> int:
        """A display, switched off (black, glossy) or on."""
        r = self.rng
        if r.random() < 0.6:
            return self.add(
                PLAIN, self.hsv(0.6, 0.05, r.uniform(0.04, 0.14)), None, 0.3, 0.05, r.uniform(0.1, 0.5), 120
            )
        return self.add(
            SCREEN, self.any_color(), self.any_color(), r.uniform(0.05, 0.2), 0.9, 0.1, 60, r.uniform(0.2, 1.2)
        )

    def leaves(self) -> int:
        """Foliage."""
        r = self.rng
        return self.add(
            LEAVES,
            self.hsv(r.uniform(0.2, 0.4), r.uniform(0.3, 0.8), r.uniform(0.15, 0.6)),
            (0.04, 0.08, 0.03),
            r.uniform(0.02, 0.06),
            1.0,
        )
