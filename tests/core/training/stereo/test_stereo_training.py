"""Training of stereo: what it changes, that it resumes exactly, what it passes on, and that its loss falls."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import yaml

from sgrocc_core.cli import main
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.network import weights_file
from sgrocc_core.training.config import load_config
from sgrocc_core.training.stage import StepInput
from sgrocc_core.training.stereo.calibrate import fit_factor
from sgrocc_core.training.stereo.clips import ClipConfig, ClipOptions, Clips
from sgrocc_core.training.stereo.look import depths_of_video
from sgrocc_core.training.stereo.stage import StereoStage
from sgrocc_core.training.trainer import Trainer
from tests.samples.rooms.little_videos import write_videos

EXPERT = {"channels": 8, "wide": 8, "hidden": 16, "offsets": 2, "gaussians": 1, "blocks": 1}
CONFIG = {
    "model": "own", "threads": 1, "workers": 0, "device": "cpu", "amp": False, "network": EXPERT,
    "validate_minutes": 60,
    "average": 0.5, "image": {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]},
    "stereo": {"planes": 16, "fine": 8, "half": 8, "quarter": 8}, "clip": {"views": 3, "validation_videos": 1},
    "checkpoint_minutes": 60, "stages": {"stereo": {"steps": 3, "batch": 1, "rate": 0.002}},
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos `train` and `test`, `config.yaml`, and `start.safetensors` with an image engine and an expert."""
    folder = tmp_path_factory.mktemp("stereo")
    write_videos(folder / "train", scenes=2, frames=6)
    write_videos(folder / "test", scenes=1, frames=5, seed=9)
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    torch.manual_seed(0)
    image, expert = build_networks({"image": CONFIG["image"], "expert": EXPERT})
    weights_file.save_model(folder / "start.safetensors", {"image.": image, "expert.": expert})
    return folder


def train(place: Path, out: Path, *options: str) -> Path:
    paths = ["--config", place / "config.yaml", "--data", place / "train", "--heldout", place / "test", "--out", out]
    more = ["--start", place / "start.safetensors", "--packed", place / "packed", *options]
    assert main(["train", "stereo", *map(str, (*paths, *more))]) == 0
    return out / "stereo.weights.safetensors"


def trainer(place: Path, out: Path) -> Trainer:
    config = load_config(place / "config.yaml")
    made = Trainer(config, StereoStage(config, [next(place.glob("packed/train-*/train_videos"))], None), out)
    made.warm_start(place / "start.safetensors")
    return made


def first_inputs(made: Trainer, count: int) -> list[StepInput]:
    return list(itertools.islice(made.stage.batches(made.stage.load_data(), 0), count))


def test_the_command_trains_stereo_and_leaves_the_other_networks_as_they_were(place: Path, tmp_path: Path) -> None:
    weights = train(place, tmp_path / "run")
    before, after = (weights_file.read_weights(path) for path in (place / "start.safetensors", weights))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert {name.split(".")[0] for name in after} == {"image", "expert", "stereo"}
    result = json.loads((tmp_path / "run" / "stereo.result.json").read_text())
    assert result["step"] == 3
    assert {"abs_rel", "image_abs_rel", "p50", "p90", "images"} <= set(result["figures"])
    assert result["figures"]["images"] > 0


def test_a_run_that_goes_on_is_the_run_that_was_not_stopped(place: Path, tmp_path: Path) -> None:
    train(place, tmp_path / "any")  # packs the videos
    whole, half = trainer(place, tmp_path / "whole"), trainer(place, tmp_path / "half")
    half.stage.networks["stereo."].load_state_dict(whole.stage.networks["stereo."].state_dict())
    inputs = first_inputs(whole, 2)
    for given in inputs:
        whole.train_step(given)
    half.train_step(inputs[0])
    half.save()
    resumed = trainer(place, tmp_path / "half")
    resumed.resume()
    assert resumed.step == 1
    resumed.train_step(inputs[1])
    found = resumed.stage.networks["stereo."].state_dict()
    for name, value in whole.stage.networks["stereo."].state_dict().items():
        assert torch.allclose(value, found[name], atol=1e-6), name
    resumed.save()
    kept = weights_file.read_weights(tmp_path / "half" / "stereo.weights.safetensors")
    assert any(name.startswith("expert.") for name in kept)


@pytest.mark.slow
def test_the_loss_falls_on_clips_that_are_seen_again(place: Path, tmp_path: Path) -> None:
    train(place, tmp_path / "any")
    torch.manual_seed(0)
    made = trainer(place, tmp_path / "run")
    given = first_inputs(made, 1)[0]
    losses = [made.train_step(given)["planes"] for _ in range(25)]
    assert np.mean(losses[-3:]) < 0.8 * losses[0]  # the steepest fall is that of the first steps


def test_a_clip_whose_views_have_no_sources_teaches_nothing(place: Path, tmp_path: Path) -> None:
    train(place, tmp_path / "any")
    made = trainer(place, tmp_path / "run")
    given = first_inputs(made, 1)[0]
    given.values["sources"][:] = -1
    assert made.train_step(given)["loss"] == 0.0


def test_stages_of_other_training_are_refused(capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "stereo", "--stage", "image"]) == 1
    assert "the stages of stereo training are stereo, all" in capsys.readouterr().err


def test_left_out_videos_are_not_trained_on(place: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packed"
    names = [f"scene_{k}" for k in range(60)]
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name / "video.json").write_text('{"format_version": 1, "frames": 9}')
    config = ClipConfig(left_out=5)
    found = {w: {p.name for p in Clips([folder], ClipOptions(config, which=w)).scenes} for w in ("trained", "left_out")}
    assert found["trained"] | found["left_out"] == set(names) and not found["trained"] & found["left_out"]
    assert 4 < len(found["left_out"]) < 24


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_factor_of_a_spread_that_is_wrong_as_a_whole_is_found(factor: float) -> None:
    errors = np.abs(np.random.default_rng(0).laplace(0, 1, 20_000))
    assert fit_factor(errors * factor) == pytest.approx(factor, rel=0.03)


def test_calibrated_weights_have_a_scaled_spread_and_are_otherwise_the_same(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    config = yaml.safe_load((place / "config.yaml").read_text())
    config["clip"]["left_out"] = 1  # all of them
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(config))
    weights = train(place, tmp_path / "run")
    arguments = ["--config", tmp_path / "all.yaml", "--start", weights, "--data", place / "train", "--out", tmp_path]
    assert main(["train", "calibrate", *map(str, arguments), "--packed", str(place / "packed")]) == 0
    assert "are left out of the training; at least 16 are needed" in capsys.readouterr().err
    after = weights_file.read_weights(tmp_path / "calibrated.weights.safetensors")
    before = weights_file.read_weights(weights)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"image.shape_head.bias", "stereo.regulariser.shape.bias"}
    assert before["image.shape_head.bias"][1] == after["image.shape_head.bias"][1]  # the thickness


def test_a_video_is_looked_at_with_the_errors_of_a_tracker_if_asked(place: Path) -> None:
    config = load_config(place / "config.yaml")
    train(place, place / "seen")  # packs the videos
    folders = [next(place.glob("packed/train-*/train_videos"))]
    stage = StereoStage(config, folders, None)
    clips = Clips(folders, dataclasses.replace(stage.options, augment=False))

    def look(seed: int | None) -> list[np.ndarray]:
        rng = None if seed is None else np.random.default_rng(seed)
        found = depths_of_video(stage.engine.eval(), stage.stereo.eval(), clips, 0, stage.compute, rng)
        return [depths["stereo"][0] for _, depths in found if "stereo" in depths]

    exact, again, disturbed, same = look(None), look(None), look(2), look(2)
    assert len(exact) > 1 and all(map(np.array_equal, exact, again)) and all(map(np.array_equal, disturbed, same))
    assert not all(map(np.array_equal, exact, disturbed))


def test_videos_that_are_all_trained_on_are_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    arguments = ["--start", place / "start.safetensors", "--data", place / "train", "--out", tmp_path]
    more = ["--config", place / "config.yaml", "--packed", place / "packed"]
    assert main(["train", "calibrate", *map(str, (*arguments, *more))]) == 1
    assert "is left out of the training; see clip: left_out" in capsys.readouterr().err
