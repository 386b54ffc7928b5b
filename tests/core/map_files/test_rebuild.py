"""A map with drift, built again with corrected poses, is the map without drift."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import numpy as np
import pytest

from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.camera import back_project
from sgrocc_core.geometry.correction import CorrectionField, moved
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.map_files.file import load_map
from sgrocc_core.map_files.keyframes import KeyframeStore
from sgrocc_core.map_files.rebuild import RebuildJob, rebuild, run
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from tests.samples.engines import small_engine
from tests.samples.rooms.box_room import K, look, pose

COUNT = 36


def loop():
    """True poses of a walk around the room and back to its start, looking outwards."""
    angles = np.linspace(0, 2 * np.pi, COUNT)
    return [pose(2 + 0.7 * np.cos(a), 2.5 + 0.9 * np.sin(a), a) for a in angles]


def drifted(poses):
    """The poses that an odometry says: it turns by 0.35 degrees too much and drifts by 1 cm a frame."""
    out = []
    for k, T in enumerate(poses):
        a = np.deg2rad(0.35) * k
        R = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
        out.append(make_pose(R, np.array([0.01 * k, 0, 0])) @ T)
    return out


def frames_of(told):
    """What the camera sees from its true poses, with the poses that are told."""
    from sgrocc_core.frame import Frame

    seen = [look(T) for T in loop()]
    return [Frame(image, K, T, 10**18 + k * 2 * 10**8, depth) for k, ((image, depth), T) in enumerate(zip(seen, told))]


def surfaces():
    """Voxels of the room's surfaces that the camera saw, by the true depth and poses."""
    points = np.concatenate([back_project(np.where(look(T)[1] < 4.5, look(T)[1], 0), K, T) for T in loop()])
    voxels, counts = np.unique(np.floor(points / 0.08).astype(int), axis=0, return_counts=True)
    return {tuple(voxel) for voxel in voxels[counts > 20].tolist()}


def f1(mapper, truth):
    """F1 of the voxels that are surely occupied, each within a voxel of the truth and the other way round."""
    voxels, _, probability = mapper.map.occupied()
    found = {tuple(voxel) for voxel in voxels[probability > 0.8].tolist()}
    near = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3).tolist()

    def share(these, those):
        return np.mean([any((x + a, y + b, z + c) in those for a, b, c in near) for x, y, z in these])

    precision, recall = share(found, truth), share(truth, found)
    return 2 * precision * recall / (precision + recall)


@pytest.fixture(scope="module")
def engine():
    return small_engine()


def mapped(engine, frames):
    mapper = OccupancyMapper(engine, MapperConfig(depth_source="topic"))
    for frame in frames:
        mapper.step(frame)
    return mapper


def test_the_field_of_a_loop_closure_takes_the_drift_out():
    """Every fifth pose is corrected; those between follow within 1 cm."""
    told, true = drifted(loop()), loop()
    stamps, anchors = [k * 2 * 10**8 for k in range(COUNT)], range(0, COUNT, 5)
    field = CorrectionField(
        [stamps[k] for k in anchors], np.array([told[k] for k in anchors]), np.array([true[k] for k in anchors])
    )
    after = np.array([field.apply(stamp, T) for stamp, T in zip(stamps, told)])
    assert np.linalg.norm(after[:, :3, 3] - np.array(true)[:, :3, 3], axis=1).max() < 0.01
    assert moved(np.array(told), after).mean() > 0.8


@pytest.mark.slow
def test_after_the_rebuild_the_map_is_that_of_the_walk_without_drift(engine, tmp_path):
    truth, told = surfaces(), drifted(loop())
    without, before = mapped(engine, frames_of(loop())), mapped(engine, frames_of(told))
    store = KeyframeStore(tmp_path, 100)
    for frame in frames_of(told):
        store.add(frame)
    after = OccupancyMapper(engine, MapperConfig(depth_source="topic"))
    progress = []
    result = rebuild(after, store, dict(enumerate(loop(), 1)), lambda *numbers: progress.append(numbers))
    assert result.mapped == list(range(1, COUNT + 1)) and not result.left_out and progress[-1] == (COUNT, COUNT)
    scores = {name: f1(mapper, truth) for name, mapper in (("without", without), ("before", before), ("after", after))}
    print(scores)
    assert abs(scores["after"] - scores["without"]) < 0.01, scores
    assert scores["before"] < scores["without"] - 0.1, scores


def test_keyframes_that_come_meanwhile_are_mapped_and_damaged_ones_left_out(engine, tmp_path):
    frames = frames_of(loop())[:9]
    store = KeyframeStore(tmp_path, 100)
    for frame in frames[:4]:
        store.add(frame)
    (tmp_path / "00000002.jpg").write_bytes(b"")

    def add_more(done: int, total: int) -> None:
        if done == 3:
            for frame in frames[4:]:
                KeyframeStore(tmp_path, 100).add(frame)

    result = rebuild(OccupancyMapper(engine, MapperConfig(depth_source="topic")), store, {}, add_more)
    assert result.mapped == [1, 3, 4, 5, 6, 7, 8, 9] and result.left_out == [2]
    assert result.stamp_ns == frames[-1].stamp_ns


def test_the_map_is_built_again_in_the_precision_of_the_job(tmp_path):
    job = RebuildJob(str(tmp_path), str(tmp_path), "small", "onnxruntime", "cpu", "map", {}, precision="bf16")
    job.write(tmp_path / "job.json")
    with pytest.raises(ConfigError, match="precision bf16 needs the openvino engine"):
        run(RebuildJob.read(tmp_path / "job.json"), lambda done, total: None)


@pytest.mark.slow
def test_a_killed_rebuild_loses_nothing_and_the_next_one_is_whole(engine, tmp_path):
    folder, out = tmp_path / "keyframes", tmp_path / "out"
    store = KeyframeStore(folder, 100)
    for frame in frames_of(loop()):
        store.add(frame)
    config = asdict(replace(MapperConfig(), depth_source="topic"))
    job = RebuildJob(str(folder), str(out), "small", "onnxruntime", "cpu", "map", config)
    job.write(tmp_path / "job.json")
    command = [sys.executable, "-m", "sgrocc_core.map_files.rebuild", str(tmp_path / "job.json")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while int(process.stdout.readline().split()[0]) < 5:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert KeyframeStore(folder).keyframes == store.keyframes and not (out / "map.npz").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == f"{COUNT} {COUNT}"
    assert json.loads((out / "report.json").read_text())["mapped"] == list(range(1, COUNT + 1))
    assert len(load_map(out).voxels) > 1000
