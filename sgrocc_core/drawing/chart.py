"""Charts of measured figures in one style, drawn with matplotlib, which only the commands that need it import."""

from __future__ import annotations

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, SOFT_INK, LINE, BACKGROUND = "#262a30", "#787c82", "#d6d3cc", "#faf9f6"
COLOURS = (INK, "#1f77b4", "#c85a28", "#2c8c46", "#9450aa", "#b4961e", "#787878")
"""Colours of the lines of a chart, in their order."""


def new_figure(width: float, height: float, title: str, subtitle: str = "") -> Figure:
    """Returns an empty figure with a title at its top left.

    Args:
        width: inches; a PNG has 100 pixels per inch.
        height: inches.
        title: first line, bold.
        subtitle: second line, smaller.
    """
    figure = Figure((width, height), layout="constrained", facecolor=BACKGROUND)
    figure.suptitle(title, x=0.01, ha="left", weight="bold", size=18, color=INK)
    if subtitle:
        figure.supxlabel(subtitle, x=0.01, ha="left", size=11, color=SOFT_INK)
    return figure


def plain(axes: Axes, title: str, grid: Literal["both", "x", "y"]) -> None:
    """Give axes a title at their left, grid lines and no frame.

    Args:
        axes: to change.
        title: of the axes.
        grid: axis whose ticks have grid lines.
    """
    axes.set_title(title, loc="left", size=12, color=INK)
    axes.set_facecolor(BACKGROUND)
    axes.grid(axis=grid, color=LINE)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelcolor=SOFT_INK)
