"""The picture of an embodied ablation's training: mIoU on held-out walks over the steps, a line a variant."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from sgrocc_core.drawing.picture import INK, LINE, SOFT_INK, write_picture, write_text
from sgrocc_core.training.ablations.chart import BACKGROUND, MARGIN, axis_range, tick_step

if TYPE_CHECKING:
    from sgrocc_core.training.ablations.report import Findings

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 1400, 820, 110, 150, 360, 90
COLOURS = ((38, 42, 48), (31, 119, 180), (200, 90, 40), (44, 140, 70), (148, 80, 170), (180, 150, 30), (120, 120, 120))


def draw_curves(findings: Findings, path: Path) -> None:
    """Draw the curves to a PNG.

    Raises:
        OSError: the file cannot be written.
    """
    write_picture(path, render_curves(findings))


def render_curves(findings: Findings) -> np.ndarray:
    """The picture, (H, W, 3) uint8 RGB; there must be curves."""
    curves = findings.curves()
    page = np.full((HEIGHT, WIDTH, 3), BACKGROUND, np.uint8)
    write_text(page, findings.ablation.title, (MARGIN, 62), 34, INK, bold=True)
    write_text(
        page,
        "mIoU of held-out walks while training, percent, predicted depth; mean over the seeds",
        (MARGIN, 98),
        21,
        SOFT_INK,
    )
    low, high = axis_range([value for points in curves.values() for value in points.values()])
    last = max(max(points) for points in curves.values())
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(step: float, value: float) -> tuple[int, int]:
        return LEFT + round((right - LEFT) * step / max(last, 1)), bottom - round(
            (bottom - TOP) * (value - low) / (high - low)
        )

    step = tick_step(high - low)
    for tick in np.arange(np.ceil(low / step) * step, high + 1e-9, step):
        y = place(0, tick)[1]
        cv2.line(page, (LEFT, y), (right, y), LINE, 1)
        write_text(page, f"{tick:g}", (LEFT - 50, y + 6), 18, SOFT_INK)
    for tick in np.arange(0, last + 1, tick_step(max(last, 1))):
        x = place(tick, low)[0]
        cv2.line(page, (x, bottom), (x, bottom + 8), LINE, 1)
        write_text(page, f"{tick:g}", (x - 12, bottom + 32), 18, SOFT_INK)
    write_text(page, "steps", (right - 40, bottom + 62), 18, SOFT_INK)
    for number, (name, points) in enumerate(curves.items()):
        colour = COLOURS[number % len(COLOURS)]
        corners = np.array([place(at, value) for at, value in points.items()], np.int32)
        cv2.polylines(page, [corners], False, colour, 3, cv2.LINE_AA)
        for corner in corners:
            cv2.circle(page, tuple(map(int, corner)), 5, colour, cv2.FILLED, cv2.LINE_AA)
        y = TOP + 40 * number
        cv2.line(page, (right + 30, y - 6), (right + 66, y - 6), colour, 4, cv2.LINE_AA)
        write_text(page, name, (right + 78, y), 20, INK, bold=number == 0)
    return page
