"""The node loads a map, by service and at start-up; one that cannot be loaded is refused, and the current map stays."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from sgrocc_core.errors import ConfigError
from sgrocc_core.map_files.file import MapFolder, SavedMap, load_map
from sgrocc_core.map_files.format import MapModel
from sgrocc_ros.parameters.values import Parameters
from tests.ros.clients import MarkerClient
from tests.ros.harness import HEIGHT, WIDTH, NodeProcess, Robot, saved_voxels, wait_until


def _map(robot: Robot, frames: int, distance: float) -> None:
    for _ in range(frames):
        stamp = robot.next_stamp()
        parts = {"depth": robot.depth(stamp, np.full((HEIGHT, WIDTH), distance, np.float32))}
        updates = len(robot.map.updates)
        robot.send(stamp, **parts)
        wait_until(lambda updates=updates: len(robot.map.updates) > updates, 15, "an update")


def _saved(robot: Robot, folder: Path) -> dict[str, bytes]:
    """Save the map and return every array that mapping continues from."""
    answer = robot.call(Trigger, "save_map", timeout=90)
    assert answer.success, answer.message
    return {name: array.tobytes() for name, array in load_map(folder).gaussians.items()}


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """A node started on the map of another one, a robot, the folder and the other's voxels."""
    folder = tmp_path_factory.mktemp("keeping")
    parameters = {"depth_source": "topic", "map_path": folder / "map", "full_map_period": 1}
    robots = [Robot()]
    nodes = [NodeProcess(folder, parameters)]
    try:
        robots[0].wait_for_node()
        _map(robots[0], 2, 2.0)
        assert nodes[0].stop(signal.SIGINT) == 0, nodes[0].log
        robots[0].close()
        nodes.append(NodeProcess(folder, parameters | {"load_on_start": True}))
        robots.append(Robot())
        yield nodes[1], robots[1], folder / "map", saved_voxels(folder / "map" / "map.npz")
    finally:
        robots[-1].close()
        for node in nodes:
            node.stop()


def test_a_node_goes_on_from_the_map_that_another_left(bench):
    node, robot, folder, voxels = bench
    assert len(voxels) > 100 and f"loaded {len(voxels)} occupied" in node.log
    wait_until(lambda: robot.map.voxels == voxels, 10, "the loaded map, before any frame")
    robot.wait_for_node()
    _map(robot, 1, 3.0)
    _saved(robot, folder)
    wait_until(lambda: robot.map.voxels == saved_voxels(folder / "map.npz"), 5, "the map that grew on")
    assert not list(folder.glob("previous_*"))  # it was loaded, so it is replaced


def test_load_map_brings_the_saved_map_to_every_subscriber_and_mapping_goes_on(bench):
    _, robot, folder, _ = bench
    arrays = _saved(robot, folder)
    voxels = saved_voxels(folder / "map.npz")
    markers = MarkerClient(robot.node)
    _map(robot, 2, 2.5)
    assert robot.map.voxels != voxels
    answer = robot.call(Trigger, "load_map")
    assert answer.success and str(folder) in answer.message and f"loaded {len(voxels)} occupied" in answer.message
    wait_until(lambda: robot.map.voxels == voxels, 10, "the loaded map")
    wait_until(lambda: markers.voxels == set(voxels), 10, "markers of the loaded map")
    markers.close()
    assert robot.map.gaps == 0
    assert _saved(robot, folder) == arrays


def _cut(folder: Path, name: str) -> None:
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])


def _change(folder: Path, **changed: np.ndarray) -> None:
    with np.load(folder / "map.npz") as arrays:
        kept = {key: arrays[key] for key in arrays.files}
    with (folder / "map.npz").open("wb") as file:
        np.savez(file, **kept | changed)


SPOILERS = {
    "version": (
        lambda folder: _change(folder, format_version=np.int64(1)),
        "format version 1; this program reads version 3",
    ),
    "model": (lambda folder: _change(folder, model=np.array("other")), "made by the model 'other'"),
    "classes": (lambda folder: _change(folder, classes=np.array(["empty", "rock"])), "classes are empty, rock"),
    "pickle": (lambda folder: _change(folder, labels=np.array([Path("/")], object)), "'labels' is"),
    "truncated": (lambda folder: _cut(folder, "map.npz"), "is damaged"),
    "truncated_gaussians": (lambda folder: _cut(folder, "gaussians.safetensors"), "gaussians.safetensors is damaged"),
    "no_gaussians": (lambda folder: (folder / "gaussians.safetensors").resolve().unlink(), "no gaussians.safetensors"),
    "nothing": (lambda folder: shutil.rmtree(folder), "no map at"),
}


def test_maps_that_cannot_be_loaded_are_named_and_the_running_map_stays_bit_for_bit(bench, tmp_path):
    _, robot, folder, _ = bench
    before = _saved(robot, folder)
    shutil.copytree(folder, tmp_path / "good", symlinks=True)
    for name, (spoil, words) in SPOILERS.items():
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "good", folder, symlinks=True)
        spoil(folder)
        answer = robot.call(Trigger, "load_map")
        assert not answer.success and answer.message.startswith("nothing was loaded: ") and words in answer.message, (
            name
        )
    assert _saved(robot, folder) == before


def test_a_node_does_not_start_on_a_map_that_cannot_be_loaded(ros_context, tmp_path):
    voxels, none = np.zeros((1, 3), np.int32), np.zeros((0, 3), np.int32)
    saved = SavedMap(
        voxels, np.ones(1, np.uint8), np.ones(1, np.float32), none, "odom", 77, {}, MapModel("small", 4, 32)
    )
    MapFolder(tmp_path / "map").save(saved, picture=False)
    node = NodeProcess(tmp_path, {"map_path": tmp_path / "map", "load_on_start": True}, ready=False)
    assert node.process.wait(60) == 1 and "Traceback" not in node.log
    assert (
        "cannot start: load_on_start, but the map in" in node.log
        and "frame is 'odom'; it must be the map frame 'map'" in node.log
    )
    assert load_map(tmp_path / "map").stamp_ns == 77 and not list((tmp_path / "map").glob("previous_*"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"autosave_period": 5.0}, "autosave_period is 5.0, but map_path is empty; it must name the map's folder"),
        ({"load_on_start": True}, "load_on_start is True, but map_path is empty"),
        (
            {"autosave_period": 0.01, "map_path": "/tmp/m"},
            r"autosave_period is 0.01; it must be 0 \(no autosave\) or at least 0.1",
        ),
    ],
)
def test_what_to_keep_without_a_place_for_it_is_refused(ros_context, values, words):
    node = rclpy.create_node(
        "refused", parameter_overrides=[Parameter(name, value=value) for name, value in values.items()]
    )
    try:
        with pytest.raises(ConfigError, match=words):
            Parameters(node)
    finally:
        node.destroy_node()
