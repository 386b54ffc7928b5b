"""The ablation of depth from motion: its variants, what is refused, and its report."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from sgrocc_core.cli import main
from sgrocc_core.errors import ConfigError
from sgrocc_core.training.ablations.ablation import Variant, load_ablation
from sgrocc_core.training.ablations.depth import depth_variant, evaluate_variants
from sgrocc_core.training.ablations.findings import Findings
from sgrocc_core.training.ablations.report import write_report
from tests.samples.constant_depth import Constant, video


def test_the_shipped_ablation_asks_what_it_should() -> None:
    variants = {v.name: depth_variant(v) for v in load_ablation("depth").variants}
    assert variants["one image"].motion_depth == "none" and variants["tracks"].motion_depth == "tracks"
    assert [variants[name].sources for name in ("one source", "two sources", "stereo")] == [1, 2, 4]
    assert variants["32 planes"].every == 2
    assert [variants[name].metres for name in ("poses off by 5 mm", "poses off by 2 cm")] == [0.005, 0.02]


def test_an_unknown_key_is_named() -> None:
    with pytest.raises(ConfigError, match=r"variant 'x': unknown key 'planes'; the keys are motion_depth"):
        depth_variant(Variant("x", {"planes": 32}))
    with pytest.raises(ConfigError, match=r"variant 'x': sources is 9"):
        depth_variant(Variant("x", {"sources": 9}))


def test_a_model_without_stereo_is_refused() -> None:
    with pytest.raises(ConfigError, match="has no network for stereo"):
        evaluate_variants(load_ablation("depth"), Constant(has_stereo=False), [video(3)])


def test_results_are_by_video_and_the_report_shows_them(tmp_path: Path) -> None:
    ablation = load_ablation("depth")
    results, facts = evaluate_variants(ablation, Constant(), [video(4), video(4, seed=1), video(1)])
    assert set(results["stereo"]) == {0, 1}  # the third video has no image with a source
    assert facts["images"] == "8 of 2 videos, 6 with a source"
    files = write_report(Findings(ablation, results), facts, tmp_path / "depth")
    text = files[0].read_text()
    assert "| `stereo` | 2 | 0.0 ± 0.0 | 100.0 ± 0.0 |" in text and "paired by video" in text
    assert all(file.stat().st_size > 0 for file in files)


def test_other_ablations_need_a_budget(capsys: pytest.CaptureFixture) -> None:
    assert main(["ablate", "lifters"]) == 1
    assert "give --budget" in capsys.readouterr().err
