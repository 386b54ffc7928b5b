"""The chart of `sgrocc bench growth`: time of a step, memory and size of the map over the frames of the walk."""

from __future__ import annotations

from matplotlib.figure import Figure

from sgrocc_core.bench.growth import STAGES, Growth
from sgrocc_core.drawing.chart import COLOURS, INK, new_figure, plain


def growth_chart(growth: Growth, title: str) -> Figure:
    """Returns the chart, with one point for each room; times are medians over its frames."""
    rooms = growth.rooms
    panels: dict[str, dict[str, list[float]]] = {
        "time per frame without the networks, ms": {
            stage: [growth.median(room, stage) for room in range(len(rooms))] for stage in (*STAGES, "sum")
        },
        "memory, MB": {
            "memory and voxel map": [room["memory_mb"] for room in rooms],
            "process, above its start": [room["rss_mb"] - growth.start_mb for room in rooms],
        },
        "occupied voxels, thousands": {"voxels": [room["voxels"] / 1000 for room in rooms]},
    }
    figure = new_figure(14, 11.5, title)
    for axes, (name, lines) in zip(figure.subplots(len(panels), sharex=True), panels.items(), strict=True):
        plain(axes, name, "y")
        for (label, values), colour in zip(lines.items(), (*COLOURS[1:4], INK) if len(lines) > 1 else (INK,)):
            axes.plot([room["frame"] for room in rooms], values, color=colour, label=label)
        axes.set_ylim(bottom=0)
        axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure
