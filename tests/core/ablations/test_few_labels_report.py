"""The ablation of few labels: its variants, and its tables and curve against figures by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch")

from sgrocc_core.errors import ConfigError
from sgrocc_core.training.ablations.ablation import Reference, load_ablation
from sgrocc_core.training.ablations.charts import shares_chart
from sgrocc_core.training.ablations.findings import Findings
from sgrocc_core.training.ablations.report import markdown, write_report

LABELS = load_ablation("labels")
PARTS = ["ours", "network", "projection", "evidence", "teacher"]


def result(miou: float) -> dict:
    figures = {"sc_iou": 0.5, "miou": miou, "boundary_f1": 0.4}
    return {
        "report": {source: {**figures, "in_view": figures, "hidden": figures} for source in ("predicted", "sensor")}
    }


def findings(**mious: tuple[float, ...]) -> Findings:
    results = {name: {seed: result(x) for seed, x in enumerate(values, 1)} for name, values in mious.items()}
    return Findings(LABELS, results)


def test_every_part_comes_with_those_before_it_at_every_share() -> None:
    shares = findings(**{variant.name: (0.1,) for variant in LABELS.variants}).label_shares()
    assert set(shares) == {*PARTS, "taught"}
    for number, part in enumerate(PARTS):
        expected = [0.01, 0.05, 0.1, 0.3] + [1.0] * (number < 2)
        assert list(shares[part]) == expected
        for share, variant in shares[part].items():
            few = variant.overrides["few_labels"]
            assert few["labelled"] == share and variant.name == f"{part}_{100 * share:g}"
            assert ("network" in variant.overrides) == (number > 0)
            used = [key for key in ("heads", "projection", "evidence", "teacher") if few.get(key)]
            assert len(used) == number and bool(few.get("unlabelled")) == (number > 1)


def test_all_but_the_network_is_tried_without_the_network() -> None:
    variants = {variant.name: variant.overrides for variant in LABELS.variants}
    for share in (1, 5, 10, 30):
        few = {key: value for key, value in variants[f"teacher_{share}"]["few_labels"].items() if key != "heads"}
        assert variants[f"taught_{share}"] == {"few_labels": few}


def test_shares_of_the_figure_with_all_labels_are_those_by_hand() -> None:
    text = markdown(findings(ours_100=(0.2, 0.3), ours_10=(0.1, 0.2), teacher_10=(0.24,)), {})
    assert "| with predicted depth | 10 % | 100 % |" in text
    assert "| `ours` | 15.0 (0.60) | 25.0 (1.00) |" in text
    assert "| `teacher` | 24.0 (0.96) |  |" in text


def test_the_curve_has_a_line_for_each_method_and_the_papers_figures(tmp_path: Path) -> None:
    found = findings(ours_1=(0.05,), ours_100=(0.2, 0.3), ours_10=(0.1, 0.2), teacher_10=(0.24,))
    axes = shares_chart(found).axes[0]
    drawn = {bars.get_label(): bars.lines[0].get_xydata().T.tolist() for bars in axes.containers}
    assert drawn == {"ours": [[1, 10, 100], pytest.approx([5, 15, 25])], "teacher": [[10], [24]]}
    assert [text.get_text() for text in axes.texts] == ["OccLE, SemanticKITTI", "OccLE, Occ3D-nuScenes"]
    files = write_report(found, {}, tmp_path / "labels")
    assert tmp_path / "labels.curve.png" in files and (tmp_path / "labels.curve.png").stat().st_size > 10_000


def test_other_ablations_have_no_shares() -> None:
    lifters = load_ablation("lifters")
    assert Findings(lifters, {v.name: {1: result(0.1)} for v in lifters.variants}).label_shares() == {}


def test_a_reference_needs_its_three_values(tmp_path: Path) -> None:
    assert LABELS.references[0] == Reference("OccLE, SemanticKITTI", 0.1, 16.59)
    values = {"variants": [{"name": "a"}, {"name": "b"}], "references": [{"name": "x", "miou": 3}]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(ConfigError, match="must be a mapping of name, share and miou"):
        load_ablation(str(tmp_path / "mine.yaml"))
