"""`sgrocc adapt` as a whole, with a tiny model: it trains, is resumed, compares, and writes a model that maps."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.cli import main
from sgrocc_core.data.videos import open_videos
from sgrocc_core.engines.export import export_model
from sgrocc_core.engines.open import open_engine
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.mapping.from_motion import Motion
from sgrocc_core.mapping.mapper import OccupancyMapper
from sgrocc_core.training.adapt.from_motion import depth_of_motion, stereo_depth
from sgrocc_core.training.adapt.recording import read_recording
from sgrocc_core.training.adapt.run import Adaptation, AdaptOptions
from sgrocc_core.training.adapt.scores import ROWS, table, worse
from tests.samples.recordings.published_layout import write_lists, write_local
from tests.samples.rooms.round_walk import FRAMES

NETWORKS = {
    "image": {"channels": 4, "widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]},
    "expert": {"channels": 4, "wide": 4, "hidden": 8, "feature_channels": 4, "offsets": 1, "gaussians": 1, "blocks": 1},
}


@pytest.fixture
def options(tmp_path: Path) -> AdaptOptions:
    torch.manual_seed(0)
    image, expert = build_networks(NETWORKS)
    export_model(image, expert, NETWORKS, "tiny", tmp_path / "tiny")
    lines = []
    for frame in ("00000", "00020"):
        write_local(tmp_path / "set", "scene0000_00", frame)
        lines.append(f"gathered_data/scene0000_00/{frame}.pkl")
    write_lists(tmp_path / "set", train_final=lines, test_final=lines)
    return AdaptOptions(
        str(tmp_path / "tiny"), tmp_path / "mine", tmp_path / "work", "walk", minutes=0.2,
        data=(tmp_path / "set",), heldout=tmp_path / "set", device="cpu", threads=1, command="sgrocc adapt --bag walk",
    )  # fmt: skip


@pytest.mark.slow
def test_a_recording_becomes_a_model_unless_it_is_worse_and_a_finished_run_is_resumed(options: AdaptOptions) -> None:
    said: list[str] = []
    recording = read_recording(FRAMES, 60, (320, 240), "walk")
    refused = Adaptation(options, said.append).run(recording)
    assert any("52 frames are learned from, 6 held out, 2 between them left out" in line for line in said)
    scores = json.loads((options.work / "scores.json").read_text())
    problems = worse(scores["before"], scores["after"])  # a few steps may make a random model better or worse
    assert (refused is None) == (not problems) == options.out.exists()
    if problems:
        assert refused is not None and problems[0] in refused
    else:
        card = (options.out / "MODEL_CARD.md").read_text()
        assert "sgrocc adapt --bag walk" in card and f"| {scores['after']['recording/abs_rel']:.3f} |" in card
    engine = open_engine(options.work / "model" if problems else options.out, "onnxruntime", "cpu", 1)
    assert engine.spec.name == "mine"
    OccupancyMapper(engine).step(FRAMES[0])
    again = dataclasses.replace(options, out=options.out.with_name("again"))
    with pytest.raises(DataError, match="continue it with --resume"):
        Adaptation(again, said.append).run(recording)
    with pytest.raises(ConfigError, match="holds a run with another minutes, seed"):
        Adaptation(dataclasses.replace(again, resume=True, seed=2, minutes=3.0), said.append).run(recording)
    assert (Adaptation(dataclasses.replace(again, resume=True), said.append).run(recording) is None) == (not problems)


@pytest.mark.slow
def test_a_recording_without_depth_needs_a_model_with_stereo(options: AdaptOptions) -> None:
    blind = [dataclasses.replace(frame, depth=None) for frame in FRAMES]
    recording = read_recording(blind, 60, (320, 240), "walk")
    with pytest.raises(DataError, match="walk has no depth, and the model tiny has no stereo from motion"):
        Adaptation(options, print).run(recording)


@pytest.mark.slow
def test_depth_of_motion_is_kept_where_views_agree(tmp_path: Path) -> None:
    engine = open_engine("small", "onnxruntime", "cpu", 1)
    asked = ["--video", "--scenes", "1", "--frames", "52", "--size", "320x240", "--seed", "4", "--split", "test"]
    assert main(["synth", *asked, "--out", str(tmp_path)]) == 0
    (video,) = open_videos(tmp_path, "test", (320, 240), 1, 0)
    recording = read_recording(list(video), 52, engine.spec.image_size, "walk")
    found = depth_of_motion(engine, recording, "walk")
    raw, kept = [], []
    motion = Motion()
    for frame, view, truth in zip(recording.frames, found.views, recording.views, strict=True):
        first = stereo_depth(engine, motion, frame)
        raw += list(abs(first / truth.depth - 1)[(first > 0) & (truth.depth > 0)])
        kept += list(abs(view.depth / truth.depth - 1)[(view.depth > 0) & (truth.depth > 0)])
    assert 0.05 * len(raw) < len(kept) < len(raw)
    assert np.mean(kept) < min(0.12, np.mean(raw))


def test_what_got_worse_is_told_with_its_figures() -> None:
    before = {row.key: 0.4 for row in ROWS}
    assert worse(before, before) == []
    after = {**before, "recording/abs_rel": 0.401, "rooms/sensor_miou": 0.389, "rooms/predicted_miou": 0.391}
    assert worse(before, after) == [
        "held-out tenth: AbsRel of one colour image went from 0.400 to 0.401",
        "held-out rooms: mIoU, sensor depth went from 0.400 to 0.389",
    ]
    assert worse(before, {**after, "recording/abs_rel": float("nan")})[0].endswith("0.400 to nan")
    lines = table(before, after).splitlines()
    assert len(lines) == 1 + len(ROWS) and lines[1].endswith("0.400    0.401  worse")
