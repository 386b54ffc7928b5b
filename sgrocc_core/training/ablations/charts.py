"""The charts of an ablation: its figures with their spread over the seeds, and the accuracy during training.

`python -m sgrocc_core.training.ablations.charts docs/results` redraws the former from the tables of runs
(NAME.runs.csv) in a folder, and curves over shares of labels.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sgrocc_core.drawing.chart import COLOURS, INK, new_figure, plain
from sgrocc_core.training.ablations.ablation import load_ablation
from sgrocc_core.training.ablations.comparison import Estimate
from sgrocc_core.training.ablations.findings import DEPTHS, TITLES, Findings, Key

OURS, PAPER = COLOURS[1], COLOURS[2]
MIN_EXTENT = 2.0
"""Minimum extent of an axis, percent, so that differences of a tenth do not fill a panel; a round guess."""


def results_chart(findings: Findings) -> Figure:
    """Returns a chart in percent with a row for each variant and a panel for each of the layout's figures.

    Small dots are seeds, the large dot is their mean and the bar their sample standard deviation; a diamond is the
    first variant's mean plus the paper's difference.
    """
    layout, variants = findings.layout, findings.variants
    notes = f"{layout.what}, percent. Small dots: {layout.repeated}; bar: mean ± standard deviation."
    if any(variant.paper for variant in variants):
        notes += " Diamonds: the first variant plus the paper's difference (with predicted depth)."
    figure = new_figure(20, 1.8 + 0.65 * len(variants), findings.ablation.title, notes)
    panels = figure.subplots(1, len(layout.panels), sharey=True, squeeze=False)[0]
    region = next(iter(layout.regions))
    for axes, (source, metric) in zip(panels, layout.panels, strict=True):
        title = TITLES[metric]
        if len(layout.sources) > 1:
            title += f", {source} depth" if source in DEPTHS else f", {source}"
        plain(axes, title, "both")
        _draw_panel(axes, findings, (source, region, metric))
    panels[0].set_yticks(range(len(variants)), [variant.name for variant in variants], size=12, color=INK)
    panels[0].set_ylim(len(variants) - 0.4, -0.6)
    return figure


def _draw_panel(axes: Axes, findings: Findings, key: Key) -> None:
    values = [findings.row(variant, key).value for variant in findings.variants]
    paper = _paper_places(findings, key, values[0])
    for y, (variant, value) in enumerate(zip(findings.variants, values, strict=True)):
        colour = OURS if y else INK
        seeds = list(findings.values(variant, key).values())
        axes.plot(seeds, [y] * len(seeds), "o", color=colour, alpha=0.5, markersize=4, label=findings.layout.repeated)
        axes.errorbar(value.mean, y, xerr=value.spread, fmt="o", color=colour, markersize=8, label="mean")
        axes.annotate(
            f"{value.mean:.1f}", (value.mean, y), (0, 7), textcoords="offset points", ha="center", color=colour
        )
        place = paper[y]
        if place is not None:
            axes.plot(place, y, "D", color=PAPER, fillstyle="none", markersize=9, label="paper")
    widen(axes)


def widen(axes: Axes) -> None:
    """Give the x axis at least MIN_EXTENT, and at most five round ticks."""
    low, high = axes.get_xlim()
    margin = max(0.0, (MIN_EXTENT - (high - low)) / 2)
    axes.set_xlim(low - margin, high + margin)
    axes.xaxis.set_major_locator(MaxNLocator(5))


def _paper_places(findings: Findings, key: Key, first: Estimate) -> list[float | None]:
    """The first variant's mean plus the paper's differences; only for predicted depth, which is the paper's."""
    base = findings.reference.paper.get(key[2])
    if key[0] != "predicted" or base is None or findings.variants[0] is not findings.reference:
        return [None] * len(findings.variants)
    places = [None if key[2] not in v.paper else first.mean + v.paper[key[2]] - base for v in findings.variants]
    return [None, *places[1:]]


def curves_chart(findings: Findings) -> Figure:
    """Returns a chart of the mIoU of held-out walks over the steps of training, with a line for each variant."""
    figure = new_figure(14, 8, findings.ablation.title)
    axes = figure.subplots()
    title = "mIoU of held-out walks during training, percent, predicted depth; mean over the seeds"
    plain(axes, title, "y")
    for number, (name, points) in enumerate(findings.curves().items()):
        axes.plot(list(points), list(points.values()), "o-", color=COLOURS[number % len(COLOURS)], label=name)
    axes.set_xlabel("steps")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def shares_chart(findings: Findings) -> Figure:
    """Returns a chart of the mIoU over the share of labels, with a line for each method and a panel for each depth.

    Published figures, which are of other data, are diamonds at their share.
    """
    notes = "mIoU of held-out views, in view, percent; mean ± standard deviation over the seeds. Diamonds: other data."
    figure = new_figure(16, 7, findings.ablation.title, notes)
    sources = list(findings.layout.sources)
    panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
    region = next(iter(findings.layout.regions))
    for axes, source in zip(panels, sources, strict=True):
        plain(axes, f"{source} depth", "both")
        axes.set_xscale("log")
        for number, (method, variants) in enumerate(findings.label_shares().items()):
            values = [findings.row(variant, (source, region, "miou")).value for variant in variants.values()]
            axes.errorbar(
                [100 * share for share in variants], [value.mean for value in values],
                yerr=[value.spread or 0.0 for value in values], fmt="o-", capsize=3, label=method,
                color=COLOURS[number % len(COLOURS)],
            )  # fmt: skip
        for reference in findings.ablation.references:
            place = (100 * reference.share, reference.miou)
            axes.plot(*place, "D", color=PAPER, fillstyle="none", markersize=8)
            axes.annotate(reference.name, place, (8, -3), textcoords="offset points", color=PAPER)
        ticks = sorted({100 * share for method in findings.label_shares().values() for share in method})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        axes.minorticks_off()
        axes.set_xlabel("scenes with voxel labels, percent")
    panels[-1].legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
    return figure


def main() -> None:
    """Draw the charts of all tables of runs in a folder."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("folder", type=Path, help="folder of NAME.runs.csv; NAME.png is written beside it")
    for path in sorted(parser.parse_args().folder.glob("*.runs.csv")):
        name = path.name.removesuffix(".runs.csv")
        findings = Findings.read(load_ablation(name), path)
        results_chart(findings).savefig(path.with_name(f"{name}.png"))
        if findings.label_shares():
            shares_chart(findings).savefig(path.with_name(f"{name}.curve.png"))


if __name__ == "__main__":
    main()
