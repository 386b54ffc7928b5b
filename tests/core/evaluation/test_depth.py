"""Evaluation of depth on videos: which images count, what variants differ in, and the figures, by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sgrocc_core.cli import main
from sgrocc_core.data.videos import open_videos
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.evaluation.depth import DepthCounts, DepthEvaluation, DepthVariant, evaluate_depth, table
from tests.samples.constant_depth import Constant, video
from tests.samples.rooms.little_videos import write_videos


def test_errors_are_relative_and_every_image_counts_the_same() -> None:
    counts, spread = DepthCounts(), np.full((1, 2), 1.0)
    counts.add(np.array([[1.1, 0.5]]), spread, np.array([[1.0, 0.0]]))  # off by a tenth; one pixel is unknown
    counts.add(np.array([[3.0, 3.0]]), spread, np.array([[2.0, 2.0]]))  # off by a half
    figures = counts.figures()
    assert figures["abs_rel"] == pytest.approx(0.3) and figures["delta1"] == pytest.approx(0.5)
    assert figures["images"] == 2


def test_only_images_that_have_a_source_count_as_moving() -> None:
    report = evaluate_depth(Constant(), [video(4)], [DepthVariant("stereo"), DepthVariant("image", "none")])["variants"]
    assert report["stereo"]["all"]["images"] == 4 and report["stereo"]["moving"]["images"] == 3
    assert report["stereo"]["moving"]["abs_rel"] == 0.0 and report["stereo"]["all"]["abs_rel"] == pytest.approx(0.125)
    assert report["image"]["moving"]["abs_rel"] == pytest.approx(0.5)
    assert report["stereo"]["moving"]["calibration"]["p50"] == 1.0


def test_the_number_of_sources_and_of_planes_reaches_the_engine() -> None:
    engine = Constant()
    evaluate_depth(engine, [video(6)], [DepthVariant("two", sources=2, every=4)])
    assert [len(asked.features) for asked in engine.asked] == [1, 2, 2, 2, 2]
    assert {asked.every for asked in engine.asked} == {4}


def test_errors_of_the_poses_are_told_to_the_variant_and_not_to_the_choice_of_images() -> None:
    engine = Constant()
    variants = [DepthVariant("exact"), DepthVariant("off", metres=0.02)]
    first = evaluate_depth(engine, [video(4)], variants, seed=1)["variants"]
    assert first["exact"]["moving"]["images"] == first["off"]["moving"]["images"] == 3
    exact, off = engine.asked[0].transforms, engine.asked[1].transforms
    assert not np.allclose(exact, off)


def test_a_model_without_stereo_leaves_its_variants_out() -> None:
    evaluation = DepthEvaluation(Constant(has_stereo=False), [DepthVariant("stereo"), DepthVariant("image", "none")])
    assert [variant.name for variant in evaluation.variants] == ["image"]


def test_videos_without_depth_are_refused() -> None:
    with pytest.raises(DataError, match="no image has depth to compare with"):
        evaluate_depth(Constant(), [video(2, depth=None)], [DepthVariant("image", "none")])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"motion_depth": "guess"}, "motion_depth is 'guess'"),
        ({"sources": 0}, "sources is 0; it must lie between 1 and 4"),
        ({"metres": 2.0}, "metres is 2.0; it must lie between 0 and 1"),
    ],
)
def test_variants_that_are_not_allowed_are_named(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DepthVariant("wrong", **values)


def test_the_command_scores_the_videos_of_a_set(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    root = write_videos(tmp_path / "set", scenes=2, frames=3)
    lines = [f"gathered_data/walls_{s}/{k:05d}.pkl\n" for s in range(2) for k in range(3)]
    (root / "occscannet" / "test_final.txt").write_text("".join(lines))
    assert len(open_videos(root, "test", (320, 240), limit=1)) == 1
    arguments = ["--data", root, "--model", "small", "--json", tmp_path / "depth.json", "--threads", "1"]
    assert main(["eval", "depth", *map(str, arguments)]) == 0
    report = json.loads((tmp_path / "depth.json").read_text())
    assert report["videos"] == 2 and report["variants"]["tracks"]["all"]["images"] == 6
    assert "2 videos, 6 images, 4 with a source" in capsys.readouterr().out
    assert table(report).count("\n") == 2 + len(report["variants"])
