"""What stereo says of packed views: it is written beside them, changed as they are, and read by the expert's stages."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import yaml

from sgrocc_core.cli import main
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.network import weights_file
from sgrocc_core.network.stereo.network import build_stereo
from sgrocc_core.training.config import load_config
from sgrocc_core.training.data import packed
from sgrocc_core.training.data.augmentation import geometry
from sgrocc_core.training.local.stage import LocalStage
from sgrocc_core.training.stereo.clips import Clips
from sgrocc_core.training.stereo.look import depths_of_video
from sgrocc_core.training.stereo.stage import StereoStage

EXPERT = {"channels": 8, "wide": 8, "hidden": 16, "offsets": 2, "gaussians": 1, "blocks": 1}
IMAGE = {"widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]}
STEREO = {"planes": 16, "fine": 8, "half": 8, "quarter": 8}
CONFIG = {
    "model": "own", "threads": 1, "workers": 0, "device": "cpu", "amp": False, "network": EXPERT, "image": IMAGE,
    "stereo": STEREO, "clip": {"views": 3}, "seed": 5, "sensor_share": 0.3, "motion_share": 1.0,
    "stages": {"expert": {"steps": 9, "batch": 2}},
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos `train` with their depths from motion, `config.yaml`, and `start.safetensors` with all networks."""
    folder = tmp_path_factory.mktemp("motion")
    made = ["synth", "--video", "--scenes", "2", "--frames", "5", "--size", "320x240", "--seed", "3"]
    assert main([*made, "--out", str(folder / "train")]) == 0
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    torch.manual_seed(0)
    image, expert = build_networks({"image": IMAGE, "expert": EXPERT})
    networks = {"image.": image, "expert.": expert, "stereo.": build_stereo(STEREO, image)}
    weights_file.save_model(folder / "start.safetensors", networks)
    del networks["stereo."]
    weights_file.save_model(folder / "alone.safetensors", networks)
    assert depths(folder) == 0
    return folder


def depths(place: Path, start: str = "start.safetensors") -> int:
    paths = ["--config", place / "config.yaml", "--data", place / "train", "--packed", place / "packed"]
    return main(["train", "depths", *map(str, paths), "--start", str(place / start)])


def folder_of(place: Path, split: str) -> Path:
    return next(place.glob(f"packed/train-*/{split}"))


def test_views_have_what_stereo_says_online_and_the_first_of_a_video_nothing(place: Path) -> None:
    config = load_config(place / "config.yaml")
    stage = StereoStage(config, [folder_of(place, "train_videos")], None)
    tensors = weights_file.read_weights(place / "start.safetensors")
    assert weights_file.load_networks(stage.networks, tensors, place) == list(stage.networks)
    options = dataclasses.replace(stage.options, augment=False, which="all")
    clips = Clips([folder_of(place, "train_videos")], options)
    some = 0
    for number, scene in enumerate(clips.scenes):
        written = np.load(folder_of(place, "train") / scene.name / "motion.npy")
        rng = np.random.default_rng((config.seed, number))
        found = depths_of_video(stage.engine.eval(), stage.stereo.eval(), clips, number, stage.compute, rng)
        assert written.shape == (5, 2, 60, 80) and not written[0].any()
        for k, (_, by_kind) in enumerate(found):
            assert written[k].any() == ("stereo" in by_kind)
            if "stereo" in by_kind:
                np.testing.assert_allclose(written[k], np.stack(by_kind["stereo"]), rtol=2e-3)
                some += 1
    assert some > 3


def test_it_follows_every_change_of_the_depth_image(place: Path) -> None:
    scene = packed.open_scene(next(folder_of(place, "train").iterdir()))
    assert scene.view(1).motion is None
    view = scene.view(1, motion=True)
    assert view.motion is not None and view.motion.shape == (2, *view.depth.shape)
    view = dataclasses.replace(view, motion=np.stack([view.depth, 2 * view.depth]))
    for seed in range(12):
        changed = geometry(view, np.random.default_rng(seed))
        assert changed.motion is not None
        assert np.array_equal(changed.motion, np.stack([changed.depth, 2 * changed.depth]))


def test_the_expert_is_trained_on_it(place: Path) -> None:
    """Views without a sensor pass on the depth from motion that they have, the others that of their sensor."""
    stage = LocalStage(load_config(place / "config.yaml"), "expert", [folder_of(place, "train")], None)
    objective, seen = stage.objective(), []
    assert stage.expert is not None
    stage.expert.register_forward_pre_hook(lambda _, given: seen.append(given[1:3]))
    from_motion = 0
    for step, given in enumerate(itertools.islice(stage.batches(stage.load_data(), 0), 8)):
        stage.loss(objective, given.values, step)
        batch, (depth, spread) = given.values.batch, seen[-1]
        for b in range(len(depth)):
            stereo = batch["motion"][b]
            if batch["prior"][b].any() or not stereo.any():
                continue
            inside = batch["mask"][b][:, 2::4, 2::4] > 0
            assert torch.equal(depth[b][:, 2::4, 2::4][inside], stereo[:1][inside])
            assert torch.equal(spread[b][:, 2::4, 2::4], stereo[1:])
            from_motion += 1
    assert from_motion > 1


def test_without_stereo_there_is_nothing_to_write(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert depths(place, "alone.safetensors") == 1
    assert "has no stereo network" in capsys.readouterr().err


def test_views_that_are_not_the_frames_of_the_video_are_named(place: Path, capsys: pytest.CaptureFixture) -> None:
    scene = next(folder_of(place, "train").iterdir())
    images = np.load(scene / "image.npy")
    packed.open_scene.cache_clear()
    try:
        np.save(scene / "image.npy", 255 - images)
        assert depths(place) == 1
        assert f"the views of {scene} are not the frames of" in capsys.readouterr().err
    finally:
        np.save(scene / "image.npy", images)
        packed.open_scene.cache_clear()


def test_without_data_the_command_says_what_it_needs(capsys: pytest.CaptureFixture) -> None:
    assert main(["train", "depths"]) == 1
    assert "--data DIR" in capsys.readouterr().err
