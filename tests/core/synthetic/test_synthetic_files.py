"""Generated sets on disk: both layouts, both loaders, resuming, lists, configurations, bags."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.data.bags import BagReader
from sgrocc_core.data.embodied_scannet import EmbodiedScanNet
from sgrocc_core.data.occ_scannet import OccScanNet
from sgrocc_core.data.synthetic.bag import write_walk
from sgrocc_core.data.synthetic.config import read_config
from sgrocc_core.data.synthetic.generate import classes_in, prepare, render_frames
from sgrocc_core.data.synthetic.write import SynthConfig, write_scenes
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.geometry.lattice import VOXEL_SIZE

SIZE = (96, 72)
REPO = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> SynthConfig:
    chosen = SynthConfig(tmp_path_factory.mktemp("rooms"), scenes=2, frames=3, seed=5, size=SIZE, jobs=1, embodied=True)
    assert write_scenes(chosen) == 6
    return chosen


def test_the_loader_reads_what_was_generated(config):
    data = OccScanNet(config.out, "train", SIZE)
    made = prepare("train", 5, 1, 3, SIZE)
    for k, frame in enumerate(render_frames(made, SIZE)):
        sample = data[3 + k]
        assert (sample.scene, sample.frame) == ("train0005_00001", f"{k:05d}")
        np.testing.assert_array_equal(sample.target, frame.target)
        np.testing.assert_array_equal(sample.labels_2d, frame.view.labels)
        np.testing.assert_allclose(sample.depth, frame.view.depth, atol=6e-4)  # stored in millimetres
        np.testing.assert_allclose(sample.T_wc, frame.T_wc)
        np.testing.assert_allclose(sample.K, frame.K)
        assert np.abs(sample.image.astype(int) - frame.view.image).mean() < 12  # JPEG


def test_targets_are_stored_y_first(config):
    stored = pickle.loads((config.out / "occscannet/gathered_data/train0005_00000/00001.pkl").read_bytes())[
        "target_1_4"
    ]
    np.testing.assert_array_equal(stored.transpose(1, 0, 2), OccScanNet(config.out, "train", SIZE)[1].target)


def test_a_scene_that_is_there_is_not_made_again(config):
    files = sorted(config.out.rglob("*.jpg"))
    before = [f.stat().st_mtime_ns for f in files]
    assert write_scenes(config) == 6
    assert [f.stat().st_mtime_ns for f in files] == before


def test_a_half_written_scene_is_made_again(config, tmp_path):
    partial = SynthConfig(tmp_path, scenes=1, frames=2, seed=5, size=SIZE, jobs=1)
    left = tmp_path / "occscannet/gathered_data/.train0005_00000.part"
    left.mkdir(parents=True)
    (left / "00009.pkl").write_bytes(b"half")
    assert write_scenes(partial) == 2
    assert len(OccScanNet(tmp_path, "train", SIZE)) == 2


def test_local_targets_agree_with_the_whole_scene(config):
    data = EmbodiedScanNet(config.out, "train", SIZE)
    assert len(data) == 2
    for scene in (data[0], data[1]):
        union = np.zeros(scene.labels.shape, bool)
        for sample, mask in data.frames(scene):
            first = np.rint((sample.voxel_origin - scene.origin) / VOXEL_SIZE).astype(int)
            index = np.argwhere(mask) - first
            assert len(index) and (index >= 0).all() and (index < sample.target.shape).all()
            np.testing.assert_array_equal(sample.target[tuple(index.T)], scene.labels[mask])
            union |= mask
        np.testing.assert_array_equal(union, scene.mask)
        assert (scene.labels[union] != UNKNOWN).any()


def test_the_held_out_set_is_as_large_and_rich_as_promised():
    chosen = read_config(REPO / "config/synth/heldout.yaml", "unused", {})
    assert chosen.scenes >= 20 and chosen.min_classes >= 8 and chosen.namespace == "heldout" and chosen.split == "test"
    made = prepare(chosen.namespace, chosen.seed, 0, 2, SIZE, chosen.min_classes)
    assert len(classes_in(made.grid)) >= 8


def test_test_rooms_come_from_their_own_seeds():
    assert read_config(None, "x", {"split": "test"}).namespace == "test"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rooms: 3", "unknown key 'rooms'"), ("scenes: 0", "scenes is 0; it must be from 1"),
        ("scenes: many", "it must be a whole number"),
        ("size: big", "WIDTHxHEIGHT"), ("namespace: other", "one of train, test"), ("size: 8x8", "from 64"),
        ("scenes: [", "is not YAML"), ("- scenes", "must be a mapping"),
    ],
)  # fmt: skip
def test_a_wrong_configuration_names_the_value_and_what_is_allowed(tmp_path, text, words):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        read_config(tmp_path / "c.yaml", tmp_path, {})


def test_a_configuration_that_is_not_there_is_an_error():
    with pytest.raises(ConfigError, match=r"none\.yaml"):
        read_config("none.yaml", "x", {})


def test_a_walk_becomes_a_bag(tmp_path):
    write_walk(tmp_path / "walk", seed=0, frames=3, size=SIZE, rate=10.0)
    with BagReader(tmp_path / "walk") as reader:
        frames = list(reader)
    assert [f.stamp_ns - frames[0].stamp_ns for f in frames] == [0, 100_000_000, 200_000_000]
    assert frames[0].image.shape == (72, 96, 3) and frames[0].depth is not None and (frames[0].depth > 0).mean() > 0.99
    with pytest.raises(DataError, match="exists"):
        write_walk(tmp_path / "walk", frames=1, size=SIZE)
