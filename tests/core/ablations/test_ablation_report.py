"""An ablation's table, file of figures and charts, against figures by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sgrocc_core.training.ablations.ablation import Ablation, Variant
from sgrocc_core.training.ablations.charts import results_chart, widen
from sgrocc_core.training.ablations.findings import Findings
from sgrocc_core.training.ablations.report import markdown, summary_rows, write_report


def result(sc_iou: float, miou: float) -> dict[str, object]:
    part = {"sc_iou": sc_iou, "miou": miou, "boundary_f1": 0.1}
    return {"report": {source: {**part, "in_view": part, "hidden": part} for source in ("predicted", "sensor")}}


def findings() -> Findings:
    """SC-IoU of b is 5 below a, the paper's order.

    MIoU of b is 2 below a with spread, opposite to the paper's order.
    """
    variants = (
        Variant("a", paper={"sc_iou": 58.0, "miou": 40.0}),
        Variant("b", paper={"sc_iou": 54.0, "miou": 41.0}),
        Variant("c"),
    )
    results = {
        "a": {1: result(0.50, 0.30), 2: result(0.60, 0.30), 3: result(0.55, 0.30)},
        "b": {1: result(0.45, 0.28), 2: result(0.55, 0.30), 3: result(0.501, 0.26)},
    }
    return Findings(Ablation("hand", "By hand", "A note.", variants), results)


def test_the_table_has_mean_spread_and_paired_difference() -> None:
    text = markdown(findings(), {"machine": "none"})
    # a: 50, 60, 55: mean 55, spread 5. b: 45, 55, 50.1.
    # Differences -5, -5, -4.9: mean -4.97, spread 0.058, error 0.033.
    assert "| `a` | 3 | 55.0 ± 5.0 |" in text
    assert "| `b` | 3 | 50.0 ± 5.0 (-5.0 ± 0.0 \\*) | 28.0 ± 2.0 (-2.0 ± 1.2) |" in text
    assert "| `b` | 54.00 (-4.00) | 41.00 (+1.00) |" in text
    assert (
        "SC-IoU: clearly as in the paper: `a` above `b`; clearly the other way round: none; within the spread: none."
        in text
    )
    assert (
        "mIoU: clearly as in the paper: none; clearly the other way round: none; "
        "within the spread: `a` above `b` (other way)." in text
    )
    assert "`c`" in text and "| `c` | 3" not in text  # no runs of it yet
    assert "- machine: none" in text


def test_the_csv_has_every_figure() -> None:
    rows = summary_rows(findings())
    assert len(rows) == 2 * 2 * 3 * 3
    row = next(
        r for r in rows if (r["variant"], r["depth"], r["region"], r["metric"]) == ("b", "sensor", "hidden", "miou")
    )
    assert (row["mean"], row["spread"], row["difference"], row["clear"], row["paper"]) == (
        "28.0000",
        "2.0000",
        "-2.0000",
        False,
        41.0,
    )
    assert row["difference_error"] == "1.1547"  # differences -2, 0, -4: spread 2, over the root of 3


def drawn(axes: Axes, label: str) -> list[float]:
    """Places along x of what is drawn under a label, from the top row down."""
    containers = [c.lines[0] for c in axes.containers if c.get_label() == label]
    lines = [*containers, *(line for line in axes.lines if line.get_label() == label)]
    return [float(x) for line in sorted(lines, key=lambda line: line.get_ydata()[0]) for x in line.get_xdata()]


def test_the_chart_shows_seeds_mean_spread_and_the_papers_difference() -> None:
    figure = results_chart(findings())
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert list(panels) == [
        f"{name}, {depth} depth" for depth in ("predicted", "sensor") for name in ("SC-IoU", "mIoU")
    ]
    predicted, sensor = panels["SC-IoU, predicted depth"], panels["SC-IoU, sensor depth"]
    assert [text.get_text() for text in predicted.get_yticklabels()] == ["a", "b"]  # c has no runs yet
    assert drawn(predicted, "seeds") == pytest.approx([50, 60, 55, 45, 55, 50.1])
    assert drawn(predicted, "mean") == pytest.approx([55, 50.0333], abs=1e-3)
    assert drawn(predicted, "paper") == pytest.approx([51])  # 4 below ours; the paper has no sensor depth
    assert drawn(sensor, "paper") == []
    bar = predicted.containers[0].lines[2][0].get_segments()[0]
    assert bar[:, 0] == pytest.approx([50, 60])  # 55 ± 5


def test_axes_show_all_values_and_two_percent_at_least() -> None:
    axes = Figure().subplots()
    axes.plot([50.0, 50.2], [0, 1])
    widen(axes)
    assert axes.get_xlim() == (pytest.approx(49.1), pytest.approx(51.1))


def test_the_chart_can_be_drawn_again_from_the_table_of_runs(tmp_path: Path) -> None:
    given = findings()
    write_report(given, {}, tmp_path / "hand")
    found = Findings.read(given.ablation, tmp_path / "hand.runs.csv")
    assert summary_rows(found) == summary_rows(given)
    assert (tmp_path / "hand.png").stat().st_size > 5_000
