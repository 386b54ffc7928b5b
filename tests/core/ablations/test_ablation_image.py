"""Ablations of the image engine: a small one from end to end, and the report against figures computed by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch", reason="PyTorch is not installed: make setup-train")

from sgrocc_core.cli import main
from sgrocc_core.network import weights_file
from sgrocc_core.training.ablations.ablation import Ablation, Variant, load_ablation
from sgrocc_core.training.ablations.charts import results_chart
from sgrocc_core.training.ablations.findings import Findings
from sgrocc_core.training.ablations.report import markdown, summary_rows
from tests.samples.rooms.little_walks import two_rooms

EXPERT = {"channels": 4, "wide": 4, "hidden": 8, "feature_channels": 4, "offsets": 1, "blocks": 1, "gaussians": 1}
OWN = {"kind": "small", "channels": 4, "widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}


def result(abs_rel: float) -> dict[str, object]:
    figures = {"abs_rel": abs_rel, "delta1": 0.5, "abs_rel_scaled": 0.2, "miou_2d": 0.4}
    return {"report": {"image": figures, "views": 2}}


def findings() -> Findings:
    results = {"own": {1: result(0.30), 2: result(0.32)}, "frozen": {1: result(0.20), 2: result(0.24)}}
    return Findings(Ablation("hand", "By hand", "", (Variant("own"), Variant("frozen")), "image"), results)


def test_the_report_gives_depth_and_2d_classes() -> None:
    text = markdown(findings(), {})
    assert "## Depth and 2D classes" in text and "sensor depth" not in text
    assert "AbsRel, image" in text and "2D mIoU, image" in text
    # own: 30, 32; frozen: 20, 24, that is -10 and -8: mean -9, standard error 1
    assert "| `own` | 2 | 31.0 ± 1.4 | 50.0 ± 0.0 |" in text
    assert "| `frozen` | 2 | 22.0 ± 2.8 (-9.0 ± 1.0) |" in text
    assert len(summary_rows(findings())) == 2 * 4


def test_the_chart_has_a_panel_for_each_figure() -> None:
    panels = results_chart(findings()).axes
    assert [axes.get_title(loc="left") for axes in panels] == ["AbsRel", "within 1.25", "AbsRel, scaled", "2D mIoU"]
    assert [text.get_text() for text in panels[0].get_yticklabels()] == ["own", "frozen"]


def test_the_backbones_are_compared() -> None:
    ablation = load_ablation("backbone")
    assert [(v.name, v.overrides.get("image", {}).get("tune")) for v in ablation.variants] == [
        ("own", None), ("frozen", None), ("tuned", 0.1),
    ]  # fmt: skip
    assert ablation.task == "image"


@pytest.mark.slow
def test_an_image_ablation_runs_from_end_to_end_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two_rooms(tmp_path / "rooms")
    config = {
        "workers": 0, "threads": 1, "amp": False, "device": "cpu", "network": EXPERT, "image": OWN,
        "stages": {"image": {"batch": 1, "rate": 0.001}},
    }  # fmt: skip
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    variants = [{"name": "own"}, {"name": "wide", "config": {"image": {"widths": [12, 8, 8, 8]}}}]
    (tmp_path / "two.yaml").write_text(yaml.safe_dump({"title": "Two widths", "task": "image", "variants": variants}))
    rooms = str(tmp_path / "rooms")
    command = ["ablate", str(tmp_path / "two.yaml"), "--budget", "2", "--seeds", "1", "--data", rooms]
    command += ["--heldout", rooms, "--config", str(tmp_path / "config.yaml"), "--out", str(tmp_path / "out")]
    command += ["--results", str(tmp_path / "docs")]
    assert main(command) == 0
    for name, width in (("own", 8), ("wide", 12)):
        found = json.loads((tmp_path / "out" / "results" / "two" / name / "seed_1.json").read_text())
        assert found["training"]["steps"] == 2 and found["report"]["views"] == 2
        assert 0 < found["report"]["image"]["abs_rel"] < 20 and 0 <= found["report"]["image"]["miou_2d"] <= 1
        weights = weights_file.read_weights(Path(found["training"]["folder"]) / "image.weights.safetensors")
        assert weights["image.fine_lateral.weight"].shape[1] == width
    (tmp_path / "docs" / "two.md").unlink()
    monkeypatch.setattr("sgrocc_core.training.ablations.image.begin", lambda *_, **__: pytest.fail("trained again"))
    assert main(command) == 0 and (tmp_path / "docs" / "two.md").is_file()
