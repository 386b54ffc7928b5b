"""The picture of an ablation: a row a variant, a panel a figure; every seed, their mean and spread, and the paper's difference."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from sgrocc_core.drawing.picture import INK, LINE, SOFT_INK, tick_step, write_picture, write_text
from sgrocc_core.training.ablations.report import TITLES

if TYPE_CHECKING:
    from sgrocc_core.training.ablations.comparison import Estimate
    from sgrocc_core.training.ablations.report import Findings, Key

COLUMNS = 4
"""Panels, from left to right."""
MARGIN, HEADER, FOOTER, NAMES, PANEL, ROW, GAP = 48, 170, 96, 310, 380, 64, 28
WIDTH = 2 * MARGIN + NAMES + COLUMNS * (PANEL + GAP)
BACKGROUND, OURS, FIRST, PAPER = (250, 249, 246), (31, 119, 180), (38, 42, 48), (200, 90, 40)


def draw_chart(findings: Findings, path: Path) -> None:
    """Draw what was found to a PNG; figures in percent, of what is in view.

    Raises:
        OSError: the file cannot be written.
    """
    write_picture(path, render_chart(findings))


def render_chart(findings: Findings) -> np.ndarray:
    """The picture, (H, W, 3) uint8 RGB."""
    height = HEADER + ROW * len(findings.variants) + FOOTER
    page = np.full((height, WIDTH, 3), BACKGROUND, np.uint8)
    write_text(page, findings.ablation.title, (MARGIN, 66), 34, INK, bold=True)
    layout = findings.layout
    write_text(
        page, f"{layout.what}, percent. Small dots: seeds; bar: mean ± standard deviation.", (MARGIN, 102), 21, SOFT_INK
    )
    for i, variant in enumerate(findings.variants):
        y = _row(i)
        write_text(page, variant.name, (MARGIN, y + 8), 23, INK, bold=i == 0)
        cv2.line(page, (MARGIN, y + ROW // 2), (WIDTH - MARGIN, y + ROW // 2), LINE, 1)
    region = next(iter(layout.regions))
    for column, (source, metric) in enumerate(layout.panels):
        title = TITLES[metric] if source == "image" else f"{TITLES[metric]}, {source} depth"
        _panel(page, findings, MARGIN + NAMES + column * (PANEL + GAP), title, (source, region, metric))
    if any(variant.paper for variant in findings.variants):
        y = height - 24
        _diamond(page, (MARGIN + 9, y - 7))
        text = "where the paper's difference to its own first row would put the variant (its depth is predicted)"
        write_text(page, text, (MARGIN + 30, y), 20, SOFT_INK)
    return page


def _row(i: int) -> int:
    return HEADER + ROW * i + ROW // 2


def _panel(page: np.ndarray, findings: Findings, left: int, title: str, key: Key) -> None:
    values = [findings.row(variant, key).value for variant in findings.variants]
    seeds = [list(findings.values(variant, key).values()) for variant in findings.variants]
    paper = _paper_places(findings, key, values[0])
    low, high = axis_range(
        [*(v for group in seeds for v in group), *(v.mean for v in values), *(p for p in paper if p is not None)]
    )

    def x(value: float) -> int:
        return left + round(PANEL * (value - low) / (high - low))

    write_text(page, title, (left, HEADER - 22), 22, INK)
    bottom = HEADER + ROW * len(values)
    step = tick_step(high - low)
    for tick in np.arange(np.ceil(low / step) * step, high + 1e-9, step):
        cv2.line(page, (x(tick), HEADER - 8), (x(tick), bottom), LINE, 1)
        write_text(page, f"{tick:g}", (x(tick) - 10, bottom + 26), 18, SOFT_INK)
    for i, (value, group) in enumerate(zip(values, seeds)):
        colour = FIRST if i == 0 else OURS
        y = _row(i)
        if paper[i] is not None:
            _diamond(page, (x(paper[i] or 0.0), y))
        if value.spread is not None:
            cv2.line(page, (x(value.mean - value.spread), y), (x(value.mean + value.spread), y), colour, 3, cv2.LINE_AA)
        for one in group:
            cv2.circle(
                page,
                (x(one), y),
                4,
                tuple(int(0.5 * c + 0.5 * b) for c, b in zip(colour, BACKGROUND)),
                cv2.FILLED,
                cv2.LINE_AA,
            )
        cv2.circle(page, (x(value.mean), y), 8, colour, cv2.FILLED, cv2.LINE_AA)
        write_text(page, f"{value.mean:.1f}", (x(value.mean) - 18, y - 14), 18, colour)


def _paper_places(findings: Findings, key: Key, first: Estimate) -> list[float | None]:
    """Our first variant's mean plus the paper's difference, for the panels that the paper has: its depth is predicted."""
    base = findings.reference.paper.get(key[2])
    if key[0] != "predicted" or base is None or findings.variants[0] is not findings.reference:
        return [None] * len(findings.variants)
    places = [None if key[2] not in v.paper else first.mean + v.paper[key[2]] - base for v in findings.variants]
    return [None, *places[1:]]


def _diamond(page: np.ndarray, at: tuple[int, int]) -> None:
    corners = np.array([(at[0] - 9, at[1]), (at[0], at[1] - 9), (at[0] + 9, at[1]), (at[0], at[1] + 9)], np.int32)
    cv2.polylines(page, [corners], True, PAPER, 2, cv2.LINE_AA)


def axis_range(values: list[float]) -> tuple[float, float]:
    """Ends of an axis that shows all values with a margin, at least 2 wide."""
    low, high = min(values), max(values)
    margin = max(0.12 * (high - low), 0.5 * (2.0 - (high - low)))
    return low - margin, high + margin
