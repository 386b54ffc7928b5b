"""The second edition of the rooms: truth against geometry, seeds, what is in them, and the options that ask for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sgrocc_core.classes import label_of
from sgrocc_core.cli import main
from sgrocc_core.data.synthetic.config import read_config
from sgrocc_core.data.synthetic.generate import GeneratedFrame, GeneratedScene, prepare, render_frames
from sgrocc_core.data.synthetic.rendering.camera_effects import draw_real_style, draw_style, take_picture
from sgrocc_core.data.synthetic.rooms.real_items import fitted_cupboard, kitchen_line, long_table, tall_plant
from sgrocc_core.data.synthetic.solids.primitives import Builder
from sgrocc_core.data.synthetic.solids.real_materials import RealMaterials
from sgrocc_core.data.synthetic.trajectories import draw_real_walker
from sgrocc_core.errors import ConfigError
from sgrocc_core.training.data.rendering import RenderConfig, rendered_samples
from tests.samples.rooms.solid_scene import SIZE, hits


@pytest.fixture(scope="module", params=[4, 9])
def made(request) -> tuple[GeneratedScene, list[GeneratedFrame]]:
    scene = prepare("train", request.param, 0, 3, SIZE, edition=2)
    return scene, list(render_frames(scene, SIZE))


def test_depth_hits_fall_into_voxels_of_their_label_or_beside_one(made):
    scene, frames = made
    for frame in frames:
        occupied, labelled = hits(scene, frame)
        assert occupied > 0.995 and labelled > 0.97


def test_a_room_is_closed(made):
    for frame in made[1]:
        assert (frame.view.depth > 0).mean() > 0.9999


def test_the_same_seed_gives_the_same_labels_and_depth(made):
    first, frames = made
    again = prepare("train", first.words[1], 0, 3, SIZE, edition=2)
    np.testing.assert_array_equal(again.grid.labels, first.grid.labels)
    for a, b in zip(frames, render_frames(again, SIZE), strict=True):
        np.testing.assert_array_equal(a.view.depth, b.view.depth)
        np.testing.assert_array_equal(a.view.image, b.view.image)


def test_the_two_editions_of_a_seed_are_different_rooms(made):
    other = prepare("train", made[0].words[1], 0, 3, SIZE)
    assert other.grid.labels.shape != made[0].grid.labels.shape or (other.grid.labels != made[0].grid.labels).any()


@pytest.mark.parametrize(
    ("maker", "label", "least"),
    [(long_table, "table", 1.8), (kitchen_line, "furniture", 1.8), (fitted_cupboard, "furniture", 0.9)],
)
def test_fitted_furniture_stays_inside_its_footprint(maker, label, least):
    for seed in range(5):
        m, b = RealMaterials(np.random.default_rng(seed)), Builder()
        item = maker(m)
        item.build(b)
        solids = b.solids()
        reach = (np.abs(solids.rotations) @ solids.halves[:, :, None])[..., 0]
        assert item.width >= least and label_of(label) in solids.labels
        assert np.abs(solids.centres[:, 0]).max() < item.width / 2
        assert (np.abs(solids.centres) + reach)[:, 1].max() < item.depth / 2 + 0.06  # handles stand out
        assert (solids.centres - reach)[:, 2].min() > -0.01 and (solids.centres + reach)[:, 2].max() < 2.5


def test_a_tall_plant_is_as_tall_as_a_person():
    heights = []
    for seed in range(8):
        b = Builder()
        tall_plant(RealMaterials(np.random.default_rng(seed))).build(b)
        solids = b.solids()
        tops = solids.centres[:, 2] + (np.abs(solids.rotations) @ solids.halves[:, :, None])[:, 2, 0]
        heights.append(tops.max())
    assert min(heights) > 0.9 and max(heights) > 1.6 and max(heights) < 2.4


def test_most_walls_of_a_room_share_one_tone():
    for seed in range(5):
        m = RealMaterials(np.random.default_rng(seed))
        walls = [m.wall() for _ in range(60)]
        assert np.bincount(walls).max() >= 36  # of 78 in 100, to within four standard deviations


def test_the_second_cameras_have_less_noise_and_more_heights():
    rng = np.random.default_rng(1)
    first = [draw_style(rng).noise[0] for _ in range(60)]
    second = [draw_real_style(rng).noise[0] for _ in range(60)]
    assert np.mean(second) < 0.6 * np.mean(first)
    heights = [draw_real_walker(rng).height for _ in range(200)]
    assert min(heights) < 0.3 and max(heights) > 1.8


def test_glare_spreads_only_light_that_is_overexposed():
    style = replace(draw_style(np.random.default_rng(0)), glare=0.0, noise=(0.0, 0.0), motion=0.0, sharpen=0.0)
    dim, lamp = np.full((120, 160, 3), 0.2, np.float32), np.full((120, 160, 3), 0.2, np.float32)
    lamp[40:60, 60:80] = 60.0
    for light, changes in ((dim, False), (lamp, True)):
        plain, spread = (
            take_picture(light, replace(style, glare=share), np.random.default_rng(3)).astype(int)
            for share in (0.0, 0.5)
        )
        difference = (spread - plain)[50, 90:100].mean()
        assert difference > 5 if changes else difference == 0


def test_rooms_rendered_during_training_are_of_the_same_version(tmp_path):
    made = prepare("train", 5, 0, 2, SIZE, 4, edition=2)
    samples = rendered_samples(RenderConfig(tmp_path, 1, 2, SIZE, 4, seed=5, edition=2), 0)
    for sample, frame in zip(samples, render_frames(made, SIZE), strict=True):
        np.testing.assert_array_equal(sample.target, frame.target)


def test_the_command_makes_the_version_it_is_asked_for(tmp_path):
    arguments = ["synth", "--scenes", "1", "--frames", "1", "--size", "96x72", "--jobs", "1", "--seed", "6"]
    assert main([*arguments, "--edition", "2", "--out", str(tmp_path / "set")]) == 0
    made = prepare("train", 6, 0, 1, SIZE, edition=2)
    assert len(list((tmp_path / "set").rglob("00000.pkl"))) == 1
    written = np.load(next((tmp_path / "set").rglob("00000.pkl")), allow_pickle=True)
    np.testing.assert_allclose(written["cam_pose"], made.poses[0])


def test_both_editions_in_turn():
    for number, edition in ((0, 1), (1, 2)):
        both, alone = (prepare("train", 7, number, 1, SIZE, 4, edition=choice) for choice in (0, edition))
        np.testing.assert_array_equal(both.grid.labels, alone.grid.labels)
        assert both.style.quality == alone.style.quality


@pytest.mark.parametrize("text", ["edition: 3", "edition: -1", "edition: two", "dynamic: true\nedition: 2"])
def test_another_version_is_refused_by_name(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match="edition"):
        read_config(tmp_path / "c.yaml", tmp_path, {})


def test_training_takes_a_version_only_for_the_rooms_that_it_renders(tmp_path, capsys):
    assert main(["train", "local", "--edition", "2", "--out", str(tmp_path)]) == 1
    assert "--edition is given without --render" in capsys.readouterr().err
