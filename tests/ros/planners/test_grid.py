"""`~/grid` is the saved map from above, for early and late subscribers, after reset, loading and new parameters."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace

import numpy as np
import pytest
from std_srvs.srv import Empty, Trigger

from sgrocc_core.gaussians.evidence import MISS
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.voxels.voxel_map import VoxelMap
from sgrocc_ros.output.columns import Feed
from sgrocc_ros.output.grid import GridOutput
from tests.ros.clients import GridClient
from tests.ros.harness import Robot, running_node, saved_cells, set_parameters, wait_until, wall_with_hole

FLOOR = -1.0
LOW, HIGH = FLOOR + 0.15, FLOOR + 1.8
"""The slab of the default heights above the floor that the node is told of."""


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node after three frames without a subscriber of its grid, the robot, and the folder the node saves to."""
    folder = tmp_path_factory.mktemp("grid")
    parameters = {"depth_source": "topic", "map_path": folder / "map", "floor_height": -1, "grid_rate": 10}
    with running_node(folder, parameters) as (node, robot):
        _walk(robot, 3)
        yield node, robot, folder / "map"


@pytest.fixture
def grid(bench):
    """A subscriber that has a grid."""
    client = GridClient(bench[1].node)
    wait_until(lambda: client.messages, 10, "a grid")
    yield client
    client.close()


def _walk(robot: Robot, frames: int) -> None:
    for n in range(frames):
        processed = robot.count("processed")
        stamp = robot.next_stamp()
        robot.send(stamp, depth=robot.depth(stamp, wall_with_hole(n)))
        robot.wait_for("processed", processed + 1, 20)


def _saved(robot: Robot, folder, low: float = LOW, high: float = HIGH) -> dict:
    answer = robot.call(Trigger, "save_map")
    assert answer.success, answer.message
    return saved_cells(folder / "map.npz", low, high)


def test_a_subscriber_who_joins_late_gets_the_saved_map_from_above_without_a_new_frame(bench):
    _, robot, folder = bench
    expected = _saved(robot, folder)
    assert 0 in expected.values() and 100 in expected.values()
    late = GridClient(robot.node)
    wait_until(lambda: late.cells == expected, 5, "the grid")
    late.close()


def test_a_grid_is_what_nav2s_static_layer_needs(bench, grid):
    _, robot, _ = bench
    message = grid.messages[-1]
    info, origin = message.info, message.info.origin
    assert message.header.frame_id == "map" and message.header.stamp.sec > 0
    assert info.resolution == pytest.approx(0.08) and info.width * info.height == len(message.data) > 0
    assert set(message.data) == {-1, 0, 100}
    for value in (origin.position.x, origin.position.y):
        assert value / 0.08 == pytest.approx(round(value / 0.08), abs=1e-6)
    assert origin.position.z == pytest.approx(FLOOR, abs=0.041)
    q = origin.orientation
    assert (q.x, q.y, q.z, q.w) == (0.0, 0.0, 0.0, 1.0)
    [publisher] = robot.node.get_publishers_info_by_topic("/embodied_occupancy/grid")
    assert (
        publisher.qos_profile.durability.name == "TRANSIENT_LOCAL"
        and publisher.qos_profile.reliability.name == "RELIABLE"
    )


def test_the_grid_follows_the_map(bench, grid):
    _, robot, folder = bench
    before = grid.cells
    _walk(robot, 4)
    expected = _saved(robot, folder)
    wait_until(lambda: grid.cells == expected, 5, "the grid of the last frame")
    assert expected != before


def test_who_comes_back_after_nobody_listened_gets_what_was_missed(bench, grid):
    _, robot, folder = bench
    grid.close()
    _walk(robot, 3)
    expected = _saved(robot, folder)
    late = GridClient(robot.node)
    wait_until(lambda: late.cells == expected, 5, "the present grid")
    late.close()


def test_the_slab_may_change_while_the_node_runs(bench, grid):
    _, robot, folder = bench
    assert set_parameters(robot, grid_min_height=0.9, grid_max_height=1.1).successful
    expected = _saved(robot, folder, FLOOR + 0.9, FLOOR + 1.1)
    wait_until(lambda: grid.cells == expected, 5, "the grid of the thin slab")
    assert set_parameters(robot, grid_min_height=0.15, grid_max_height=1.8).successful
    whole = _saved(robot, folder)
    wait_until(lambda: grid.cells == whole, 5, "the grid as before")
    assert whole != expected


def test_a_slab_without_height_is_refused_in_a_sentence(bench):
    result = set_parameters(bench[1], grid_min_height=1.0, grid_max_height=0.5)
    expected = "parameter grid_max_height is 0.5; it must be at least 0.08 above grid_min_height, which is 1.0"
    assert not result.successful and result.reason == expected
    assert "from 0.01 to 100" in set_parameters(bench[1], grid_rate=0.0).reason


def test_no_more_grids_are_sent_than_the_rate_allows(bench, grid):
    _, robot, _ = bench
    assert set_parameters(robot, grid_rate=0.5).successful
    _walk(robot, 1)
    sent = len(grid.times)
    start = time.monotonic()
    _walk(robot, 4)
    assert len(grid.times) - sent <= 1 + (time.monotonic() - start) * 0.5
    assert set_parameters(robot, grid_rate=10.0).successful


def test_a_loaded_map_takes_the_grids_place(bench, grid):
    _, robot, folder = bench
    expected = _saved(robot, folder)
    robot.call(Empty, "reset")
    wait_until(lambda: grid.cells == {}, 5, "an empty grid")
    assert list(grid.messages[-1].data) == [-1] and grid.messages[-1].info.width == grid.messages[-1].info.height == 1
    answer = robot.call(Trigger, "load_map")
    assert answer.success, answer.message
    wait_until(lambda: grid.cells == expected, 5, "the grid of the loaded map")


def test_after_a_reset_mapping_and_the_grid_go_on(bench, grid):
    _, robot, folder = bench
    robot.call(Empty, "reset")
    wait_until(lambda: grid.cells == {}, 5, "an empty grid")
    _walk(robot, 3)
    expected = _saved(robot, folder)
    assert expected
    wait_until(lambda: grid.cells == expected, 5, "the grid of the new map")
    assert json.loads((folder / "report.json").read_text())["noticed"] == {}


@pytest.fixture
def output():
    """The grid of a small map, with a publisher whose number of subscribers is set by the test."""
    memory = GaussianMemory(4, 8)
    voxel_map = VoxelMap(memory)
    calls = []
    voxel_map.columns = lambda keys, labels: calls.append(len(keys)) or VoxelMap.columns(voxel_map, keys, labels)
    values = {
        "map_frame": "odom",
        "grid_rate": 100.0,
        "grid_min_height": 0.0,
        "grid_max_height": 0.5,
        "floor_height": "auto",
        "floor_step": 0.24,
        "full_map_period": 5.0,
    }
    made = GridOutput(None, values, None, lambda: feed)
    feed = Feed(values, lambda: voxel_map, [made])
    count = SimpleNamespace(value=0)
    made.publisher = SimpleNamespace(get_subscription_count=lambda: count.value)

    def due(stamp):
        """The grid that is due, or None."""
        messages = [message for _, message in made.due(stamp)]
        return messages[0] if messages else None

    return SimpleNamespace(feed=feed, due=due, sent=made.sent), voxel_map, values, count, calls


def _see(voxel_map, key):
    free = np.zeros((1, 16, 16, 16), np.float32)
    free[0, 3, 5, 2] = -MISS
    voxel_map.memory.add_evidence(np.array([key]), free)
    voxel_map.update()


def test_nothing_is_computed_without_a_subscriber(output):
    made, voxel_map, _, count, calls = output
    for n in range(3):
        _see(voxel_map, (n, 0, 0))
        made.feed.apply(made.feed.changes())
        assert made.due(5) is None
    assert calls == []
    count.value = 1
    _see(voxel_map, (3, 0, 0))
    made.feed.apply(made.feed.changes())
    assert calls == [4]  # the whole map, once
    _see(voxel_map, (1, 0, 0))
    made.feed.apply(made.feed.changes())
    assert calls == [4, 1]  # then what changed
    message = made.due(5_000_000_007)
    assert message.header.frame_id == "odom" and message.header.stamp.nanosec == 7
    assert [n for n, value in enumerate(message.data) if value == 0] == [5 * 64 + 3 + 16 * n for n in range(4)]
    count.value = 0
    made.feed.apply(made.feed.changes())
    count.value = 1
    assert made.due(6) is None  # out of date until the whole map comes


def test_a_grid_that_did_not_go_out_is_sent_again_and_one_that_did_is_not(output):
    made, voxel_map, values, count, _ = output
    count.value = 1
    _see(voxel_map, (0, 0, 0))
    made.feed.apply(made.feed.changes())
    assert made.due(5) is not None
    made.sent(False)
    assert made.due(5) is None  # not due yet
    time.sleep(0.02)
    assert made.due(5) is not None
    made.sent(True)
    time.sleep(0.02)
    assert made.due(5) is None
    values["grid_max_height"] = 1.0
    assert made.due(5) is not None
