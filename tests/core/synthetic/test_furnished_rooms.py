"""Rooms with furniture models: depth and labels against primitives, the same seed, licences, the command."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh

from sgrocc_core.classes import UNKNOWN, label_of
from sgrocc_core.cli import main
from sgrocc_core.data.assets.config import AssetConfig
from sgrocc_core.data.assets.library import Library, prepare_all
from sgrocc_core.data.synthetic.config import read_config
from sgrocc_core.data.synthetic.generate import GeneratedFrame, GeneratedScene, prepare, render_frames
from sgrocc_core.data.synthetic.rendering.camera_effects import draw_style
from sgrocc_core.data.synthetic.rendering.render import Renderer
from sgrocc_core.data.synthetic.rendering.voxelise import voxelise
from sgrocc_core.data.synthetic.solids.primitives import Builder
from sgrocc_core.data.synthetic.trajectories import camera_pose
from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.camera import back_project
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.training.data.rendering import RenderConfig, rendered_samples
from tests.samples.rooms.furniture import HEADER, write_folder, write_obj
from tests.samples.rooms.solid_scene import SIZE, intrinsics, scene_of

SOFA, CHAIR = label_of("sofa"), label_of("chair")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_folder(tmp_path_factory.mktemp("furniture") / "models")


@pytest.fixture(scope="module")
def library(folder) -> Library:
    return prepare_all(AssetConfig(folder, 1.0, folder.parent / "cache"))


@pytest.fixture(scope="module")
def furnished(library) -> tuple[GeneratedScene, list[GeneratedFrame]]:
    for seed in range(30):  # the first room with a sofa
        scene = prepare("train", seed, 0, 3, SIZE, 4, assets=library)
        if "sofa" in scene.scene.models:
            return scene, list(render_frames(scene, SIZE))
    raise AssertionError("no room with a sofa")


def test_a_model_of_a_box_is_seen_and_labelled_like_the_primitive(tmp_path):
    size = (0.7, 0.5, 0.6)
    mesh = trimesh.creation.box(size)
    write_obj(tmp_path / "box.obj", mesh)
    (tmp_path / "assets.csv").write_text(HEADER + "box.obj,furniture,z,0.7,0.5,0.6,CC0,\n")
    library = prepare_all(AssetConfig(tmp_path, 1.0, tmp_path / "cache"))
    T_wc = camera_pose(np.array([0.5, 2.0, 1.2]), 0.0, 0.4, 0.0)
    seen = []
    for as_model in (True, False):
        b = Builder()
        b.box((2, 2, -0.05), (4, 4, 0.1), label_of("floor"), 0)
        frame = b.at(2.3, 2.0, 0.0, 0.6)
        if as_model:
            frame.model(library.model(library.entries[0]), 10, [0])
        else:
            frame.box((0, 0, 0.3), size, 10, 0)
        scene = scene_of(b, 0.3)
        grid = voxelise(scene, np.array([0.013, 0.027, 0.041]))
        seen.append((grid, *Renderer(scene, draw_style(np.random.default_rng(0))).depth_and_labels(
            T_wc, intrinsics(), SIZE)))  # fmt: skip
    (grid, depth, labels), (expected, expected_depth, expected_labels) = seen
    assert (labels == 10).sum() > 200
    np.testing.assert_array_equal(labels, expected_labels)
    np.testing.assert_allclose(depth, expected_depth, atol=1e-4)
    differ = (grid.labels == 10) != (expected.labels == 10)
    assert differ.sum() <= 0.02 * (expected.labels == 10).sum()  # a voxel that the box only grazes


def test_models_stand_in_the_room_as_solids(furnished):
    scene, _ = furnished
    assert (scene.grid.labels == SOFA).sum() > 0.5 * (1.8 * 0.9 * 0.4) / VOXEL_SIZE**3


def test_depth_hits_on_models_fall_into_voxels_of_their_label_or_beside_one(furnished):
    scene, frames = furnished
    hit_any = 0
    for frame in frames:
        valid = (frame.view.depth > 0) & np.isin(frame.view.labels, (SOFA, CHAIR))
        points = back_project(np.where(valid, frame.view.depth, 0), frame.K, frame.T_wc)
        index = np.floor((points - scene.grid.origin) / VOXEL_SIZE).astype(int) - scene.grid.low
        hit = scene.grid.labels[tuple(index.T)]
        hit_any += len(hit)
        assert ((hit > 0) & (hit != UNKNOWN)).mean() > 0.995 if len(hit) else True
    assert hit_any > 100


def test_the_same_seed_and_models_give_the_same_labels_and_depth(library, folder, furnished):
    scene, frames = furnished
    other = prepare_all(AssetConfig(folder, 1.0, folder.parent / "another_cache"))  # prepared a second time
    again = prepare("train", scene.words[1], 0, 3, SIZE, 4, assets=other)
    np.testing.assert_array_equal(again.grid.labels, scene.grid.labels)
    for a, b in zip(frames, render_frames(again, SIZE), strict=True):
        np.testing.assert_array_equal(a.view.depth, b.view.depth)
        np.testing.assert_array_equal(a.view.labels, b.view.labels)


def test_rooms_rendered_during_training_have_the_same_models(folder, library, tmp_path):
    config = RenderConfig(tmp_path, 1, 2, SIZE, 4, seed=3, assets=AssetConfig(folder, 1.0, folder.parent / "cache"))
    made = prepare("train", 3, 0, 2, SIZE, 4, assets=library)
    assert made.scene.models
    for sample, frame in zip(rendered_samples(config, 0), render_frames(made, SIZE), strict=True):
        np.testing.assert_array_equal(sample.target, frame.target)
        np.testing.assert_array_equal(sample.depth, frame.view.depth)


def test_training_takes_models_only_for_the_rooms_that_it_renders(folder, tmp_path, capsys):
    assert main(["train", "local", "--assets", str(folder), "--out", str(tmp_path)]) == 1
    assert "--assets is given without --render" in capsys.readouterr().err


def test_a_share_of_the_furniture_stays_primitive(library):
    rare = replace(library, share=0.01)
    scenes = [prepare("train", 3, index, 2, SIZE, 4, assets=rare).scene for index in range(3)]
    assert sum(len(s.models) for s in scenes) <= 2


def test_the_command_writes_the_licences_and_what_was_left_out(folder, tmp_path, capsys):
    config = tmp_path / "c.yaml"
    config.write_text(f"assets: {{folder: {folder}, share: 1.0, cache: {folder.parent / 'cache'}}}\nmin_classes: 4\n")
    arguments = ["synth", "--config", str(config), "--scenes", "2", "--frames", "1", "--size", "96x72", "--jobs", "1"]
    assert main([*arguments, "--out", str(tmp_path / "set")]) == 0
    assert "assets.csv" in capsys.readouterr().out
    with open(tmp_path / "set/assets.csv") as file:
        rows = list(csv.DictReader(file))
    assert rows and {row["licence"] for row in rows} == {"CC0"} and all(1 <= int(row["rooms"]) <= 2 for row in rows)
    assert "bowl,it cannot be made solid" in (tmp_path / "set/assets_left_out.csv").read_text()


def test_without_models_the_command_says_so(tmp_path, capsys):
    out = str(tmp_path / "set")
    assert main(["synth", "--scenes", "1", "--frames", "1", "--size", "96x72", "--jobs", "1", "--out", out]) == 0
    assert "furniture of primitives only" in capsys.readouterr().out
    assert not (tmp_path / "set/assets.csv").exists()


def test_a_folder_that_is_not_there_is_one_sentence(tmp_path, capsys):
    assert main(["synth", "--assets", str(tmp_path / "none"), "--out", str(tmp_path / "set")]) != 0
    said = capsys.readouterr().err.strip().splitlines()
    assert "sweethome3d-furniture" in said[-1] and "Traceback" not in "".join(said)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("assets: chairs", "must be a mapping"), ("assets: {share: 0.3}", "no folder"),
        ("assets: {folder: x, part: 1}", "unknown key 'part'"), ("assets: {folder: x, share: all}", "must be a number"),
        ("assets: {folder: x, share: 3}", "above 0 and at most 1"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_of_models_names_what_is_allowed(tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_config(tmp_path / "c.yaml", tmp_path, {})


def test_the_option_overrides_the_configuration_s_folder(tmp_path):
    (tmp_path / "c.yaml").write_text("assets: {folder: there, share: 0.25}")
    chosen = read_config(tmp_path / "c.yaml", tmp_path, {"assets": "here"}).assets
    assert chosen is not None and (chosen.folder, chosen.share) == (Path("here"), 0.25)
