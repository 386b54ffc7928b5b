"""`sgrocc train local` on a set in the published layout: it packs, trains, resumes and prints the result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("torch")

from sgrocc_core.cli import main
from sgrocc_core.network import weights_file
from sgrocc_core.training.session import TrainingData
from tests.samples.recordings.published_layout import write_lists, write_local

CONFIG = """
device: cpu
amp: false
threads: 1
workers: 0
model: own
image: {channels: 4, widths: [8, 8, 8, 8], blocks: [1, 1, 1, 1]}
network: {channels: 4, wide: 4, hidden: 8, feature_channels: 4, offsets: 1, gaussians: 1, blocks: 1}
stages: {image: {steps: 2, batch: 2}, expert: {steps: 1, batch: 1}, joint: {steps: 1, batch: 1}}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A set of two scenes, of which the embodied test has one, and a configuration."""
    lines = []
    for scene in ("scene0000_00", "scene0001_00"):
        for frame in ("00000", "00020"):
            write_local(tmp_path / "set", scene, frame)
            lines.append(f"gathered_data/{scene}/{frame}.pkl")
    write_lists(
        tmp_path / "set", train_final=lines, test_final=lines, train_mini_final=lines[:1], test_mini_final=lines[2:3]
    )
    write_lists(tmp_path / "set", test_online=["scene0001_00"])
    (tmp_path / "train.yaml").write_text(CONFIG)
    return tmp_path


def train(place: Path, *options: str) -> int:
    paths = {"--config": "train.yaml", "--data": "set", "--heldout": "set", "--packed": "packed", "--out": "out"}
    return main(
        ["train", "local", *(word for option, name in paths.items() for word in (option, str(place / name))), *options]
    )


def scenes(place: Path) -> dict[str, set[str]]:
    """Packed scenes by split."""
    found: dict[str, set[str]] = {}
    for path in (place / "packed").glob("*/*/*/packed.json"):
        found.setdefault(path.parents[1].name, set()).add(path.parent.name)
    return found


def test_all_stages_train_one_after_the_other_and_a_finished_run_resumes_to_nothing(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(place, "--start", "none") == 0
    printed = capsys.readouterr().out
    assert "stage image: starts from random weights; CPU, float32, one process" in printed
    assert "image.weights.safetensors (image)" in printed and "expert.weights.safetensors (image, expert)" in printed
    result = json.loads((place / "out" / "joint.result.json").read_text())
    assert result["step"] == 1 and {"abs_rel", "predicted_sc_iou", "sensor_miou"} <= set(result["figures"])
    assert scenes(place) == {split: {"scene0000_00", "scene0001_00"} for split in ("train", "test")}
    before = weights_file.read_weights(place / "out" / "image.weights.safetensors")
    assert train(place, "--resume", "--stage", "image") == 0
    assert "stage image: resumed at step 2" in capsys.readouterr().out
    after = weights_file.read_weights(place / "out" / "image.weights.safetensors")
    assert all(bool((before[name] == after[name]).all()) for name in before)


def test_outside_the_checkout_a_run_says_which_weights_it_starts_from(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model `tiny` is installed under a prefix of ROS; the working directory holds nothing of it."""
    share = place / "prefix" / "share" / "sgrocc_ros"
    (share / "config" / "models").mkdir(parents=True)
    (share / "config" / "models" / "tiny.yaml").write_text("image: {}\nexpert: {}\n")
    (share / "models" / "tiny").mkdir(parents=True)
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(place / "prefix"))
    (place / "elsewhere").mkdir()
    monkeypatch.chdir(place / "elsewhere")
    (place / "train.yaml").write_text(CONFIG.replace("model: own", "model: tiny"))
    assert train(place, "--stage", "image") == 0
    assert "starts from random weights (the model tiny has none: there is no /" in capsys.readouterr().out
    own = share / "models" / "tiny" / "weights.safetensors"
    (place / "out" / "image.weights.safetensors").rename(own)
    assert train(place, "--stage", "image") == 0
    assert f"stage image: starts from {own} (image)" in capsys.readouterr().out


def test_without_leaks_training_and_validation_share_no_scene(place: Path) -> None:
    assert train(place, "--start", "none", "--stage", "image", "--no-leak") == 0
    assert scenes(place) == {"train_no_leak": {"scene0000_00"}, "test_no_leak": {"scene0001_00"}}


def test_the_mini_lists_are_read_where_asked_for(place: Path) -> None:
    data = TrainingData((place / "set",), place / "set", place / "packed", mini=True)
    held = data.heldout_set()
    assert held is not None
    for each in (*data.training_sets(), held):
        each.pack()
    assert scenes(place) == {"train_mini": {"scene0000_00"}, "test_mini": {"scene0001_00"}}


def test_a_batch_that_is_not_allowed_is_one_line_of_error(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "train.yaml").write_text("stages: {image: {batch: none}}")
    assert train(place, "--start", "none") == 1
    assert "stages.image: batch is 'none'; it must be a whole number" in capsys.readouterr().err
