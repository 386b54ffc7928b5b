"""Materials as in photographs of homes and offices: whites, greys and wood, one tone of wall per room, few patterns."""

from __future__ import annotations

import numpy as np

from sgrocc_core.data.synthetic.solids.materials import (
    BRICK,
    FABRIC,
    PLAIN,
    PLANKS,
    PLASTER,
    TILES,
    WOOD,
    Color,
    Materials,
    dimmed,
)


class RealMaterials(Materials):
    """The palettes of the second edition of the rooms.

    Most walls of a room share one tone, and so do its fitted cupboards and doors; both may be the same white.
    """

    real = True

    def __init__(self, rng: np.random.Generator) -> None:
        super().__init__(rng)
        self._wall = -1
        self._fitted = -1

    def any_color(self) -> Color:
        """A colour of an object: near black, grey, white or muted; one in seven is saturated."""
        r, kind = self.rng, self.rng.random()
        if kind < 0.24:
            return self.hsv(r.random(), 0.25 * r.random(), r.uniform(0.05, 0.22))
        if kind < 0.44:
            return self.hsv(r.random(), 0.06 * r.random(), r.uniform(0.25, 0.8))
        if kind < 0.6:
            return self.hsv(r.random(), 0.1 * r.random(), r.uniform(0.8, 0.97))
        if kind < 0.86:
            hue = r.choice([0.06, 0.09, 0.12, 0.6, 0.3, 0.0]) + 0.03 * r.normal()
            return self.hsv(hue, r.uniform(0.12, 0.45), r.uniform(0.25, 0.8))
        return self.hsv(r.random(), r.uniform(0.5, 0.9), r.uniform(0.3, 0.85))

    def wall(self) -> int:
        """The room's tone of plaster; sometimes an accent."""
        if self._wall < 0:
            self._wall = self._plaster()
        p = self.rng.random()
        if p < 0.78:
            return self._wall
        return self._accent() if p > 0.9 else self._plaster()

    def _plaster(self) -> int:
        r, p = self.rng, self.rng.random()
        value = r.uniform(0.82, 0.98) if p < 0.6 else r.uniform(0.45, 0.8)
        colour = self.hsv(r.choice([0.1, 0.12, 0.6]) + 0.04 * r.normal(), 0.08 * r.random(), value)
        if p > 0.9:
            colour = self.hsv(r.random(), r.uniform(0.1, 0.45), r.uniform(0.35, 0.85))
        return self.add(PLASTER, colour, None, r.uniform(0.02, 0.3), r.uniform(0.02, 0.08))

    def _accent(self) -> int:
        r, p = self.rng, self.rng.random()
        if p < 0.2:
            bricks = self.hsv(0.03, 0.5, r.uniform(0.35, 0.7))
            return self.add(BRICK, bricks, self.hsv(0.1, 0.1, 0.7), r.uniform(0.06, 0.09), 0.3)
        if p < 0.5:
            return self.wood()
        return self.add(PLASTER, self.hsv(r.random(), r.uniform(0.4, 0.85), r.uniform(0.25, 0.8)), None, 0.2, 0.05)

    def fitted(self) -> int:
        """The room's fitted cupboards and closed doors: the tone of its walls, white, anthracite or wood."""
        if self._fitted < 0:
            p = self.rng.random()
            self._fitted = self._wall_paint() if p < 0.25 else self.white() if p < 0.5 else self.dark()
            if p > 0.8:
                self._fitted = self.wood()
        return self._fitted

    def _wall_paint(self) -> int:
        wall = self.wall()
        red, green, blue = (float(v) ** (1 / 2.2) for v in self._rows[wall][1:4])
        return self.add(PLAIN, (red, green, blue), None, 0.4, 0.03, 0.08, 30)

    def dark(self) -> int:
        """Anthracite or black laminate."""
        r = self.rng
        colour = self.hsv(r.choice([0.6, 0.1]), 0.12 * r.random(), r.uniform(0.06, 0.26))
        return self.add(PLAIN, colour, None, 0.3, 0.06, r.choice([0.03, 0.1, 0.2]), r.uniform(20, 60))

    def furniture(self) -> int:
        """Wood, white, dark or grey laminate, seldom a colour."""
        r, p = self.rng, self.rng.random()
        if p < 0.38:
            return self.wood()
        if p < 0.62:
            return self.white()
        if p < 0.82:
            return self.dark()
        if p < 0.91:
            return self.add(PLAIN, self.hsv(0.1, 0.06 * r.random(), r.uniform(0.35, 0.7)), None, 0.3, 0.05, 0.08, 40)
        return self.lacquer()

    def wood(self) -> int:
        """Wood grain with less contrast than in drawings."""
        r, colour = self.rng, self.wood_color()
        gloss = r.choice([0.0, 0.06, 0.2])
        return self.add(
            WOOD, colour, dimmed(colour, r.uniform(0.75, 0.92)), r.uniform(0.02, 0.07), r.uniform(0.3, 0.8), gloss, 30
        )

    def fabric(self) -> int:
        """Upholstery: mostly plain weave; the rest as ever."""
        if self.rng.random() > 0.85:
            return super().fabric()
        r, colour = self.rng, self.any_color()
        return self.add(
            FABRIC, colour, dimmed(colour, r.uniform(0.75, 0.95)), r.uniform(0.004, 0.02), r.uniform(0.1, 0.5)
        )

    def floor(self) -> int:
        """Planks, carpet, tiles or linoleum."""
        r, p = self.rng, self.rng.random()
        if p < 0.48:
            colour = self.wood_color()
            dark = dimmed(colour, r.uniform(0.65, 0.9))
            gloss = r.choice([0.0, 0.1, 0.3])
            return self.add(PLANKS, colour, dark, r.uniform(0.06, 0.2), r.uniform(0.3, 0.9), gloss, 30)
        if p < 0.78:
            colour = self.hsv(r.choice([0.6, 0.62, 0.1, 0.0, 0.35]), r.uniform(0.0, 0.75), r.uniform(0.12, 0.6))
            if r.random() < 0.5:  # carpet tiles
                return self.add(TILES, colour, dimmed(colour, 0.93), 0.5, r.uniform(0.1, 0.4))
            return self.add(
                FABRIC, colour, dimmed(colour, r.uniform(0.6, 0.9)), r.uniform(0.006, 0.03), r.uniform(0.3, 0.9)
            )
        colour = self.hsv(r.choice([0.1, 0.6, 0.05]), 0.12 * r.random(), r.uniform(0.3, 0.9))
        if p < 0.9:
            joint = dimmed(colour, r.uniform(0.6, 1.1))
            return self.add(TILES, colour, joint, r.uniform(0.2, 0.6), r.uniform(0.05, 0.2), r.choice([0.05, 0.3]), 50)
        return self.add(PLASTER, colour, None, r.uniform(0.05, 0.4), 0.2, r.choice([0.0, 0.15]), 20)

    def rug(self) -> int:
        """A carpet on the floor, mostly of one colour."""
        if self.rng.random() < 0.3:
            return super().rug()
        r, colour = self.rng, self.any_color()
        return self.add(FABRIC, colour, dimmed(colour, r.uniform(0.6, 0.9)), r.uniform(0.01, 0.04), 0.6)

    def ceiling(self) -> int:
        """White plaster or acoustic tiles; seldom wood."""
        r, p = self.rng, self.rng.random()
        if p > 0.8:
            return super().ceiling()
        return self.add(PLASTER, self.hsv(0.1, 0.04 * r.random(), r.uniform(0.8, 0.97)), None, 0.2, 0.04)

    def glass(self) -> int:
        """Frosted or dark glass; the renderer has no transparency."""
        r = self.rng
        value = r.uniform(0.55, 0.9) if r.random() < 0.7 else r.uniform(0.06, 0.2)
        return self.add(
            PLAIN, self.hsv(r.choice([0.45, 0.55, 0.6]), 0.1 * r.random(), value), None, 0.6, 0.05, 0.35, 90
        )
