"""Snapshots, updates and markers agree with the saved map, also for late subscribers."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from std_srvs.srv import Empty, Trigger
from visualization_msgs.msg import Marker

from sgrocc_core.map_files.file import load_map
from tests.ros.clients import MarkerClient, as_voxels
from tests.ros.harness import (
    HEIGHT,
    WIDTH,
    Robot,
    running_node,
    saved_voxels,
    set_parameters,
    wait_until,
    wall_with_hole,
)


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node, a robot subscribed from the start, and the folder the node saves to."""
    folder = tmp_path_factory.mktemp("outputs")
    parameters = {
        "depth_source": "topic",
        "map_path": folder / "map",
        "full_map_period": 1,
        "max_distance": 6,
        "reset_on_time_jump": True,
    }
    parameters |= {"forget_radius": 12.0}
    with running_node(folder, parameters) as (node, robot):
        _walk(robot, 3)
        yield node, robot, folder / "map"


def _walk(robot: Robot, frames: int, distance: float = 2.0) -> None:
    """Map frames one by one of a wall with a moving hole, so that voxels appear and disappear."""
    for i in range(frames):
        updates, processed = len(robot.map.updates), robot.count("processed")
        stamp = robot.next_stamp()
        robot.send(stamp, depth=robot.depth(stamp, wall_with_hole(i, distance)))

        def mapped(updates: int = updates, processed: int = processed) -> bool:
            # A frame that changes nothing has no update; then the diagnostics report it up to a second later.
            return len(robot.map.updates) > updates or robot.count("processed") > processed

        wait_until(mapped, 15, "the frame to be mapped")


def _save(robot: Robot):
    robot.wait_until_settled()  # an update is sent before its frame is counted, and a frame may change nothing
    answer = robot.call(Trigger, "save_map")
    assert answer.success, answer.message
    return answer


def test_the_first_snapshot_and_all_updates_give_exactly_the_saved_map(bench):
    _, robot, folder = bench
    client = robot.map
    only_updates: dict = {}
    _walk(robot, 4)
    _save(robot)
    saved = saved_voxels(folder / "map.npz")
    wait_until(lambda: client.voxels == saved, 5, "the last update")
    for points in client.updates:
        for voxel, value in as_voxels(points).items():
            only_updates.pop(voxel, None)
            if value[0]:
                only_updates[voxel] = value
    assert len(saved) > 100
    assert only_updates == saved
    assert client.gaps == 0


def test_updates_free_voxels_that_were_seen_through(bench):
    _, robot, _ = bench
    _walk(robot, 6, distance=3.5)
    freed = sum(int((points["label"] == 0).sum()) for points in robot.map.updates)
    assert freed > 0


def test_update_sequences_rise_by_one(bench):
    _, robot, _ = bench
    sequences = [int(points["sequence"][0]) for points in robot.map.updates]
    assert sequences == list(range(sequences[0], sequences[0] + len(sequences)))


def test_a_subscriber_who_joins_late_gets_the_whole_map_at_once(bench):
    _, robot, folder = bench
    late = Robot()
    try:
        start = time.monotonic()
        wait_until(lambda: late.map.voxels, 5, "a snapshot")
        assert time.monotonic() - start < 2.5
        _save(robot)
        saved = saved_voxels(folder / "map.npz")
        wait_until(lambda: late.map.voxels == saved, 5, "the saved map")
    finally:
        late.close()


def test_markers_of_an_early_and_a_late_subscriber_show_the_saved_map(bench):
    _, robot, folder = bench
    early = MarkerClient(robot.node)
    wait_until(lambda: early.voxels, 5, "markers")
    _walk(robot, 4)
    late = MarkerClient(robot.node)
    wait_until(
        lambda: any(m.action == Marker.DELETEALL for message in late.messages for m in message.markers),
        5,
        "the whole map",
    )
    _save(robot)
    saved = set(saved_voxels(folder / "map.npz"))
    wait_until(lambda: early.voxels == saved, 5, "the early subscriber to show the map")
    wait_until(lambda: late.voxels == saved, 5, "the late subscriber to show the map")
    names = {marker.text for (ns, _), marker in late.shown.items() if ns == "legend"}
    assert {"floor", "wall", "objects", "unlabelled"} <= names
    early.close()
    late.close()


def test_a_marker_keeps_its_id_while_its_block_changes(bench):
    _, robot, _ = bench
    client = MarkerClient(robot.node)
    wait_until(lambda: client.voxels, 5, "markers")
    blocks: dict[int, set] = {}
    _walk(robot, 3)
    for message in client.messages:
        for marker in message.markers:
            if marker.ns == "occupancy" and marker.action == Marker.ADD:
                corners = {tuple(np.floor(np.array([p.x, p.y, p.z]) / 1.28).astype(int)) for p in marker.points}
                blocks.setdefault(marker.id, set()).update(corners)
    client.close()
    assert len(blocks) > 1
    assert all(len(corners) == 1 for corners in blocks.values())


def test_the_saved_folder_holds_a_map_that_loads_and_a_report(bench):
    _, robot, folder = bench
    answer = _save(robot)
    assert str(folder) in answer.message and "map.npz" in answer.message
    loaded = load_map(folder)
    assert loaded.frame_id == "map" and len(loaded.gaussians) > 0
    report = json.loads((folder / "report.json").read_text())
    assert report["frames"]["processed"] >= 10
    assert report["latency"]["total"]["p50_ms"] > 0


def test_an_int_for_a_double_is_taken(bench):
    assert "cannot start" not in bench[0].log  # full_map_period and max_distance were given as whole numbers


def test_a_dynamic_parameter_changes_the_running_map(bench):
    _, robot, folder = bench
    _save(robot)
    before = saved_voxels(folder / "map.npz")
    assert set_parameters(robot, occupancy_threshold=0.7).successful
    _walk(robot, 1)
    _save(robot)
    after = saved_voxels(folder / "map.npz")
    assert 0 < len(after) < len(before)
    assert min(p for _, p in after.values()) >= 11 / 16  # 0.7, rounded to a sixteenth
    wait_until(lambda: robot.map.voxels == after, 5, "the subscriber to know")
    assert set_parameters(robot, occupancy_threshold=0.5).successful


def test_a_wrong_value_is_refused_in_a_sentence(bench):
    result = set_parameters(bench[1], occupancy_threshold=1.5)
    assert not result.successful and "0.99" in result.reason
    result = set_parameters(bench[1], max_rate="fast")
    assert result.reason == "parameter max_rate is 'fast'; it must be a number from 0 to 1000"


def test_values_that_do_not_fit_each_other_are_refused(bench):
    result = set_parameters(bench[1], max_distance=11.0)
    assert not result.successful and result.reason.startswith(
        "forget_radius is 12.0; it must be 0 (none) or at least 13.3"
    )


def test_a_read_only_parameter_stays(bench):
    result = set_parameters(bench[1], model="other")
    assert not result.successful and "read-only" in result.reason


def test_diagnostics_name_the_engine_the_latencies_and_the_map(bench):
    values = bench[1].values
    assert any(name in values["engine"] for name in ("OpenVINO", "ONNX Runtime"))
    for stage in ("wait", "decode", "image", "expert", "memory", "splat", "publish", "arrival_to_update"):
        assert float(values[f"latency.{stage}.p95_ms"]) >= float(values[f"latency.{stage}.p50_ms"]) >= 0
    assert float(values["memory_mb"]) > 50
    assert int(values["map.voxels"]) > 0


def test_reset_empties_the_map_for_every_subscriber_and_mapping_goes_on(bench):
    _, robot, folder = bench
    markers = MarkerClient(robot.node)
    wait_until(lambda: markers.voxels, 5, "markers")
    robot.call(Empty, "reset")
    wait_until(lambda: not robot.map.voxels, 5, "an empty map")
    wait_until(lambda: not markers.voxels, 5, "no markers")
    _walk(robot, 5)
    _save(robot)
    saved = saved_voxels(folder / "map.npz")
    assert saved
    wait_until(lambda: robot.map.voxels == saved, 5, "the new map")
    wait_until(lambda: markers.voxels == set(robot.map.voxels), 5, "markers of the new map")
    markers.close()


def test_a_jump_of_time_empties_the_map_where_that_is_wanted(bench):
    _, robot, _ = bench
    _walk(robot, 4)
    assert robot.map.voxels
    snapshots = robot.map.snapshots
    past = robot.next_stamp() - 60_000_000_000
    robot.send(past)  # one image alone is not believed
    _walk(robot, 1)
    assert robot.map.voxels
    for i in range(3):
        robot.send(past + i * 33_000_000)
    wait_until(lambda: not robot.map.voxels and robot.map.snapshots > snapshots, 10, "an empty map")
    _walk(robot, 4)
    assert robot.map.voxels


def test_depth_missing_drops_an_image_where_depth_is_the_only_source(bench):
    _, robot, _ = bench
    stamp = robot.next_stamp()
    robot.send(stamp, depth=None)
    _walk(robot, 1)
    robot.wait_for("dropped.no_depth", 1)


def test_depth_that_is_all_nan_drops_an_image_where_depth_is_the_only_source(bench):
    _, robot, _ = bench
    stamp = robot.next_stamp()
    robot.send(stamp, depth=robot.depth(stamp, np.full((HEIGHT, WIDTH), np.nan, np.float32)))
    robot.wait_for("dropped.depth_without_readings", 1)
    _walk(robot, 1)
