"""Places furniture on a raster of the floor: at walls or freely, without overlaps and outside doorways."""

from __future__ import annotations

import numpy as np

from sgrocc_core.data.synthetic.furniture.items import Item
from sgrocc_core.data.synthetic.rooms.layouts import Edge, Layout

CELL = 0.05
"""Edge length of a raster cell, metres."""


class FloorPlan:
    """Raster of the occupied floor.

    Attributes:
        low: (2,) corner of the raster, metres.
        x: (X, Y) x coordinates of the cells, metres.
        y: (X, Y) y coordinates of the cells, metres.
        inside: (X, Y) bool, cells inside the footprint.
        main: (X, Y) bool, cells inside the main room.
        taken: (X, Y) bool, cells under furniture.
        clear: (X, Y) bool, cells to be kept free.
    """

    def __init__(self, layout: Layout) -> None:
        rects = np.array(layout.rects)
        self.low = rects[:, :2].min(0) - 0.5
        shape = np.ceil((rects[:, 2:].max(0) + 0.5 - self.low) / CELL).astype(int)
        self.x, self.y = np.meshgrid(*(self.low[a] + (np.arange(shape[a]) + 0.5) * CELL for a in (0, 1)), indexing="ij")
        self.inside = layout.contains(self.x, self.y)
        self.main = Layout(layout.rects[: layout.main], layout.main, 0.0, 0.0).contains(self.x, self.y)
        self.taken = np.zeros_like(self.inside)
        self.clear = self._filled(layout.keep_clear)
        self.taken |= self._filled(layout.pillars)

    def _filled(self, rects: list[tuple[float, float, float, float]]) -> np.ndarray:
        mask = np.zeros_like(self.inside)
        for x0, y0, x1, y1 in rects:
            mask |= (self.x > x0) & (self.x < x1) & (self.y > y0) & (self.y < y1)
        return mask

    def under(self, x: float, y: float, yaw: float, w: float, d: float, shift: float = 0.0) -> np.ndarray:
        """(X, Y) bool: cells under a w x d metre rectangle at x, y, rotated by yaw and shifted along its own y axis."""
        c, s = np.cos(yaw), np.sin(yaw)
        dx, dy = self.x - x, self.y - y
        return (np.abs(c * dx + s * dy) < w / 2) & (np.abs(-s * dx + c * dy - shift) < d / 2)

    def fits(self, x: float, y: float, yaw: float, item: Item, main_only: bool = True) -> bool:
        """Whether an item's footprint is free at a pose and the space in front of it is mostly free."""
        under = self.under(x, y, yaw, item.width - 0.02, item.depth - 0.02)
        space = self.main if main_only else self.inside
        if not under.any() or (under & (~space | self.taken | self.clear)).any():
            return False
        if item.front > 0:
            before = self.under(x, y, yaw, item.width * 0.8, item.front, -(item.depth + item.front) / 2) & self.inside
            return bool((before & self.taken).sum() < 0.3 * max(before.sum(), 1))
        return True

    def take(self, x: float, y: float, yaw: float, item: Item) -> None:
        """Mark an item's footprint as taken."""
        self.taken |= self.under(x, y, yaw, item.width, item.depth)

    def at_wall(
        self, layout: Layout, item: Item, rng: np.random.Generator, tries: int = 24
    ) -> tuple[float, float, float, Edge] | None:
        """A free pose with the back to a wall: x, y, yaw, edge; None if none was found. Tall items avoid windows."""
        edges = [e for e in layout.edges if e.length > item.width + 0.02]
        if not edges:
            return None
        weights = np.array([e.length for e in edges])
        for _ in range(tries):
            edge = edges[rng.choice(len(edges), p=weights / weights.sum())]
            span = edge.length - item.width
            along = rng.uniform(0, span) if rng.random() < 0.7 else rng.choice([0.01, span - 0.01])
            blocked = any(
                o.overlaps(edge, along, along + item.width, 0.0) and (o.span is None or o.span[0] < item.height)
                for o in layout.openings
            )
            if blocked:
                continue
            x, y = edge.point(along + item.width / 2, item.depth / 2 + rng.uniform(0.015, 0.05))
            if self.fits(x, y, edge.yaw, item):
                return x, y, edge.yaw, edge
        return None

    def free(
        self, item: Item, rng: np.random.Generator, aligned: bool, tries: int = 24
    ) -> tuple[float, float, float] | None:
        """A free pose anywhere in the main room: x, y, yaw; None if none was found."""
        cells = np.argwhere(self.main & ~self.taken)
        for _ in range(tries if len(cells) else 0):
            i, j = cells[rng.integers(len(cells))]
            yaw = rng.integers(4) * np.pi / 2 + (0.0 if aligned else rng.uniform(-0.6, 0.6))
            x, y = float(self.x[i, j]), float(self.y[i, j])
            if self.fits(x, y, yaw, item):
                return x, y, float(yaw)
        return None
