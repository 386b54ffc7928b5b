"""The picture of `sgrocc bench growth`: over the frames of the walk, the time of a step, the memory, and the map's size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from sgrocc_core.bench.growth import STAGES, Growth
from sgrocc_core.drawing.picture import INK, LINE, SOFT_INK, tick_step, write_picture, write_text

WIDTH, PANEL, HEADER, LEFT, RIGHT, GAP = 1400, 260, 110, 110, 300, 90
BACKGROUND = (250, 249, 246)
COLORS = ((31, 119, 180), (200, 90, 40), (60, 150, 80), (38, 42, 48))


def draw_growth(growth: Growth, title: str, path: Path) -> None:
    """Draw a walk to a PNG.

    Raises:
        OSError: the file cannot be written.
    """
    write_picture(path, render_growth(growth, title))


def render_growth(growth: Growth, title: str) -> np.ndarray:
    """The picture, (H, W, 3) uint8 RGB; one point a room, times are medians over its frames."""
    rooms = growth.rooms
    panels: list[tuple[str, dict[str, list[float]]]] = [
        ("time a frame without the networks, ms", {s: [growth.median(r, s) for r in range(len(rooms))] for s in (*STAGES, "sum")}),
        ("memory, MB", {
            "memory and voxel map": [r["memory_mb"] for r in rooms],
            "process, above its start": [r["rss_mb"] - growth.start_mb for r in rooms],
        }),
        ("occupied voxels, thousands", {"voxels": [r["voxels"] / 1000 for r in rooms]}),
    ]  # fmt: skip
    page = np.full((HEADER + len(panels) * (PANEL + GAP), WIDTH, 3), BACKGROUND, np.uint8)
    write_text(page, title, (LEFT, 50), 32, INK, bold=True)
    frames = [r["frame"] for r in rooms]
    for number, (name, lines) in enumerate(panels):
        _panel(page, HEADER + number * (PANEL + GAP), name, frames, lines)
    return page


def _panel(page: np.ndarray, top: int, name: str, frames: list[float], lines: dict[str, list[float]]) -> None:
    """One panel, from 0 upwards, with its lines' names at their right ends."""
    highest = 1.08 * max(1e-6, *(v for values in lines.values() for v in values))
    bottom, width = top + PANEL, WIDTH - LEFT - RIGHT

    def x(frame: float) -> int:
        return LEFT + round(width * frame / frames[-1])

    def y(value: float) -> int:
        return bottom - round(PANEL * max(value, 0.0) / highest)

    write_text(page, name, (LEFT, top - 14), 22, INK)
    step = tick_step(highest)
    for tick in np.arange(0, highest, step):
        cv2.line(page, (LEFT, y(tick)), (LEFT + width, y(tick)), LINE, 1)
        write_text(page, f"{tick:g}", (LEFT - 14, y(tick) + 6), 18, SOFT_INK, right=True)
    step = tick_step(frames[-1])
    for tick in np.arange(0, frames[-1] + 1, step):
        write_text(page, f"{tick:g}", (x(tick) - 12, bottom + 26), 18, SOFT_INK)
    taken: list[int] = []
    for (label, values), color in zip(lines.items(), COLORS if len(lines) > 1 else COLORS[-1:]):
        points = np.array([(x(f), y(v)) for f, v in zip(frames, values)], np.int32)
        cv2.polylines(page, [points], False, color, 2, cv2.LINE_AA)
        at = y(values[-1]) + 6
        while any(abs(at - other) < 24 for other in taken):
            at -= 4
        taken.append(at)
        write_text(page, label, (LEFT + width + 14, at), 20, color)
