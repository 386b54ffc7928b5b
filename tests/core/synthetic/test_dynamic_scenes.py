"""Changing scenes: labels at every frame against depth and 2D labels, the changes of every event, files and reader."""

from __future__ import annotations

import itertools
import json
import shutil

import numpy as np
import pytest

from sgrocc_core.classes import UNKNOWN, label_of
from sgrocc_core.cli import main
from sgrocc_core.data.dynamic_scenes import CHAIR_PUT, CHAIR_TAKEN, DOOR_OPENS, KINDS, PERSON_PASSES, DynamicScenes
from sgrocc_core.data.synthetic.config import read_config
from sgrocc_core.data.synthetic.write import write_scenes
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.geometry.camera import back_project
from sgrocc_core.geometry.lattice import BOX_VOXELS, VOXEL_SIZE

SIZE = (96, 72)
INDEX = 3
"""Index of a scene that is found after few attempts."""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> DynamicScenes:
    out = tmp_path_factory.mktemp("dynamic")
    config = read_config(None, out, {"dynamic": True, "scenes": 1, "first": INDEX, "size": "96x72", "jobs": 1})
    assert write_scenes(config) == 160
    return DynamicScenes(out, SIZE)


@pytest.fixture(scope="module")
def scene(data):
    return data[0]


@pytest.fixture(scope="module")
def samples(data, scene):
    return list(data.frames(scene))


def hits(scene, sample) -> np.ndarray:
    """(X, Y, Z) bool: voxels into which two pixels or more of a frame's depth fall."""
    index = np.floor((back_project(sample.depth, sample.K, sample.T_wc) - scene.origin) / VOXEL_SIZE).astype(int)
    count = np.zeros(scene.thin.shape, int)
    inside = ((index >= 0) & (index < count.shape)).all(1)
    np.add.at(count, tuple(index[inside].T), 1)
    return count >= 2


def event_of(scene, kind):
    return next(event for event in scene.events if event.kind == kind)


def test_every_kind_of_event_happens_once_and_one_after_the_other(scene):
    assert sorted(e.kind for e in scene.events) == sorted(KINDS)
    assert all(a.last < b.first for a, b in zip(scene.events, scene.events[1:]))


def test_every_place_is_seen_by_ten_frames_before_and_ten_after(scene):
    for event in scene.events:
        assert (event.seen[: event.first] >= 0.9).sum() >= 10 and len(event.looks(event.last)) >= 10


def test_labels_change_when_something_happens_and_at_no_other_time(scene):
    happening = {frame for e in scene.events for frame in range(e.first, e.last + 1)}
    changed = {t for t in range(1, scene.frames) if (scene.labels(t) != scene.labels(t - 1)).any()}
    assert changed <= happening and all(e.first in changed and e.last in changed for e in scene.events)


def test_what_an_event_empties_was_of_its_class_and_is_empty_and_the_rest_stays(scene):
    for kind, name in ((CHAIR_TAKEN, "chair"), (DOOR_OPENS, "furniture")):
        event = event_of(scene, kind)
        before, after = scene.labels(event.first - 1), scene.labels(event.last)
        gone = before[tuple(event.emptied.T)]
        assert len(gone) > 40 and (gone == label_of(name)).mean() > 0.9 and not after[tuple(event.emptied.T)].any()
        other = np.ones(before.shape, bool)
        other[tuple(event.emptied.T)] = other[tuple(event.filled.T)] = False
        matter = [(labels > 0) & (labels != UNKNOWN) for labels in (before, after)]
        np.testing.assert_array_equal(matter[0][other], matter[1][other])


def test_what_an_event_fills_was_empty_and_is_of_its_class(scene):
    for kind, name in ((CHAIR_PUT, "chair"), (DOOR_OPENS, "furniture")):
        event = event_of(scene, kind)
        filled = tuple(event.filled.T)
        assert len(event.filled) > 40 and not scene.labels(event.first - 1)[filled].any()
        assert (scene.labels(event.last)[filled] == label_of(name)).all()


def test_a_person_moves_and_leaves_nothing(scene):
    event = event_of(scene, PERSON_PASSES)
    np.testing.assert_array_equal(scene.labels(event.first - 1), scene.labels(event.last))
    place = tuple(event.emptied.T)
    bodies = [scene.labels(t)[place] == label_of("objects") for t in range(event.first, event.last)]
    centres = np.array([event.emptied[body].mean(0) * VOXEL_SIZE for body in bodies])
    steps = np.linalg.norm(np.diff(centres, axis=0), axis=1)
    assert steps.min() > 0.03 and steps.max() < 0.25 and np.linalg.norm(centres[-1] - centres[0]) > 1.0
    assert np.any(bodies, axis=0).all()


def test_depth_shows_each_change_in_the_frame_in_which_the_truth_has_it(scene, samples):
    for event in scene.events:
        if event.kind == PERSON_PASSES:
            during = np.any(
                [hits(scene, samples[t])[tuple(event.filled.T)] for t in range(event.first, event.last)], axis=0
            )
            after = np.any([hits(scene, samples[t])[tuple(event.filled.T)] for t in event.looks(event.last)], axis=0)
            assert during.sum() > 200 and after.mean() < 0.01
            continue
        before = np.any([hits(scene, samples[t]) for t in np.flatnonzero(event.seen[: event.first] >= 0.9)], axis=0)
        after = np.any([hits(scene, samples[t]) for t in event.looks(event.last)], axis=0)
        for there, not_there, place in ((before, after, event.emptied), (after, before, event.filled)):
            if len(place):
                assert there[tuple(place.T)].mean() > 0.15 and not_there[tuple(place.T)].mean() < 0.02


def test_every_frames_depth_falls_into_matter_of_its_moment(scene, samples):
    for t in range(0, scene.frames, 9):
        labels, hit = scene.labels(t), hits(scene, samples[t])
        assert ((labels[hit] > 0) & (labels[hit] != UNKNOWN)).mean() > 0.99


def test_the_frames_targets_are_the_labels_of_their_moment(scene, samples):
    for event in scene.events:
        for t in (event.first - 1, event.first, event.last):
            low = np.rint((samples[t].voxel_origin - scene.origin) / VOXEL_SIZE).astype(int)
            index = np.moveaxis(np.indices(BOX_VOXELS), 0, -1) + low
            inside = ((index >= 0) & (index < scene.thin.shape)).all(-1)
            np.testing.assert_array_equal(samples[t].target[inside], scene.labels(t)[tuple(index[inside].T)])


def test_thin_voxels_are_of_chairs_and_tables_and_few(scene):
    lasting = np.array([scene.labels(t) for t in (0, scene.frames - 1)])
    of_thin = lasting[:, scene.thin].max(0)
    assert 10 < scene.thin.sum() < 0.02 * scene.thin.size
    assert np.isin(of_thin, [label_of("chair"), label_of("table")]).mean() > 0.8  # a leg's foot may count as floor


def test_the_camera_moves_smoothly(samples):
    positions = np.array([s.T_wc[:3, 3] for s in samples])
    turns = [np.arccos(np.clip(a.T_wc[:3, 2] @ b.T_wc[:3, 2], -1, 1)) for a, b in itertools.pairwise(samples)]
    assert np.linalg.norm(np.diff(positions, axis=0), axis=1).max() < 0.1 and max(turns) < 0.35


@pytest.mark.slow
def test_the_shipped_model_follows_a_scene_from_the_command_line(data, tmp_path, capsys):
    out = tmp_path / "dynamic.json"
    assert (
        main(
            [
                "eval",
                "dynamic",
                "--data",
                str(data.root),
                "--model",
                "small",
                "--depth-source",
                "topic",
                "--json",
                str(out),
            ]
        )
        == 0
    )
    report = json.loads(out.read_text())
    assert report["scenes"] == 1 and report["settings"]["depth_source"] == "topic"
    assert {e["kind"] for e in report["per_event"]} == set(KINDS) and all(e["looks"] >= 10 for e in report["per_event"])
    assert report["pooled"]["wrongly_removed"]["stayed"] > 1000 and report["pooled"]["gone"]["judged"] >= 2
    assert f"report: {out}" in capsys.readouterr().out


def test_a_folder_without_such_scenes_says_how_to_make_some(tmp_path):
    with pytest.raises(DataError, match="sgrocc synth --dynamic"):
        DynamicScenes(tmp_path)


def spoilt(data, tmp_path, **changes) -> DynamicScenes:
    """A copy of the scene's truth with arrays replaced."""
    (tmp_path / "changes").mkdir()
    path = next((data.root / "changes").iterdir())
    with np.load(path) as stored:
        np.savez(tmp_path / "changes" / path.name, **({key: stored[key] for key in stored.files} | changes))
    return DynamicScenes(tmp_path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": np.array(9)}, "format 9; this version reads 1"),
        ({"seen": np.zeros((2, 3))}, "seen is of shape"),
        ({"kinds": np.array(["flood"] * 4)}, "'flood'.*must be one of chair_taken"),
        ({"emptied_0": np.array([[0, 0, 9999]])}, "outside the grid"),
        ({"labels": np.full((4, 4, 4), 77)}, "labels are 0 to 11"),
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_refused_with_its_name(data, tmp_path, changes, words):
    with pytest.raises(DataError, match=words) as caught:
        spoilt(data, tmp_path, **changes)[0]
    assert data.names[0] in str(caught.value)


def test_a_file_that_is_cut_off_is_refused_with_what_to_do(data, tmp_path):
    shutil.copytree(data.root / "changes", tmp_path / "changes")
    path = next((tmp_path / "changes").iterdir())
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="delete the scene's file"):
        DynamicScenes(tmp_path)[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dynamic": True, "frames": 40}, "frames is 40; with dynamic it must be at least 100"),
        ({"dynamic": True, "embodied": True}, "dynamic and embodied are both true"),
        ({"dynamic": True, "namespace": "train"}, "namespace is 'train' and dynamic is True"),
    ],
)
def test_options_that_do_not_go_together_are_refused(tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        read_config(None, tmp_path, options)
