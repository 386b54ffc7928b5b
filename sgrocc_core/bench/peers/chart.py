"""The picture of `sgrocc bench peers`: time, accuracy and memory of all mappers as bars."""

from __future__ import annotations

from matplotlib.figure import Figure

from sgrocc_core.bench.peers.compare import BACK_END, STEP, Comparison
from sgrocc_core.drawing.chart import COLOURS, SOFT_INK, new_figure, plain
from sgrocc_core.report import summarise


def peers_chart(found: Comparison, title: str, subtitle: str) -> Figure:
    """Returns the chart; ours is the first, in a colour of its own.

    Args:
        found: what was measured.
        title: first line.
        subtitle: last line.
    """
    stages = summarise(found.times)
    panels: list[tuple[str, dict[str, float], str]] = [
        ("milliseconds per frame, p50", {name: row["p50"] for name, row in stages.items()}, "{:.0f}")
    ]
    for region, words in (("seen", "where an image saw"), ("in_view", "also behind surfaces")):
        for key, score in (("boundary_f1", "F1 of the boundary"), ("iou", "IoU of occupied")):
            scores = {name: rows[region][key] for name, rows in found.scores.items()}
            if scores:
                panels.append((f"{score}, {words}", scores, "{:.2f}"))
    panels.append(("memory of the map, MB", {n: mb for n, mb in found.memory.items() if mb is not None}, "{:.1f}"))
    figure = new_figure(13, 1.0 + 1.6 * len(panels), title, subtitle)
    for axes, (words, values, form) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels):
        plain(axes, words, "x")
        names = sorted(values, key=lambda name: (name != STEP, name != BACK_END))
        colours = [COLOURS[2] if name in (STEP, BACK_END) else SOFT_INK for name in names]
        bars = axes.barh(names, [values[name] for name in names], color=colours)
        axes.bar_label(bars, [form.format(values[name]) for name in names], padding=4, color=SOFT_INK)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12 * max(*values.values(), 1e-9))
    return figure
