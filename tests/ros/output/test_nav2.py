"""Nav2's static layer makes the saved map from above of `~/grid` and its updates, and has nothing to complain about."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from std_srvs.srv import Empty, Trigger

from sgrocc_core.voxels.columns import SlabGrid
from sgrocc_ros.output.grid import grid_message
from tests.ros.clients import GridClient
from tests.ros.harness import Robot, running_node, saved_cells, set_parameters, wait_until, wall_with_hole
from tests.ros.message_packages import provide
from tests.ros.nav2 import StaticLayer, refused_map

LOW, HIGH = -1.0 + 0.15, -1.0 + 1.8
TOPIC = "/embodied_occupancy/grid"
PARAMETERS = {"depth_source": "topic", "floor_height": -1, "grid_rate": 10, "full_map_period": 3.0}


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node after two frames, the robot, and the folder the node saves to."""
    folder = tmp_path_factory.mktemp("nav2")
    with running_node(folder, PARAMETERS | {"map_path": folder / "map"}) as (node, robot):
        _walk(robot, 2)
        yield node, robot, folder / "map"


def _walk(robot: Robot, frames: int, distance: float = 2.0) -> None:
    for n in range(frames):
        processed, stamp = robot.count("processed"), robot.next_stamp()
        robot.send(stamp, depth=robot.depth(stamp, wall_with_hole(n, distance)))
        robot.wait_for("processed", processed + 1, 20)


def _saved(robot: Robot, folder) -> dict:
    answer = robot.call(Trigger, "save_map")
    assert answer.success, answer.message
    return saved_cells(folder / "map.npz", LOW, HIGH)


def _shows(layer: StaticLayer, expected: dict) -> bool:
    layer.update_bounds()
    return layer.cells == expected


def test_the_static_layer_has_the_map_from_above_late_growing_and_after_a_reset(bench):
    _, robot, folder = bench
    layer = StaticLayer(robot.node, TOPIC)
    expected = _saved(robot, folder)
    wait_until(lambda: _shows(layer, expected), 5, "the costmap of a late static layer")
    assert {0, 100} <= set(expected.values())
    _walk(robot, 3, distance=3.6)
    expected = _saved(robot, folder)
    wait_until(lambda: _shows(layer, expected), 5, "the costmap of a larger map")
    assert len(set(layer.sizes)) > 1
    robot.call(Empty, "reset")
    wait_until(lambda: _shows(layer, {}), 5, "an unknown costmap")
    _walk(robot, 2)
    expected = _saved(robot, folder)
    wait_until(lambda: _shows(layer, expected), 5, "the costmap of the new map")
    assert layer.complaints == []
    layer.close()


def test_a_grid_anywhere_within_400_m_is_aligned_for_nav2():
    rng = np.random.default_rng(0)
    for corner in [(0, 0), (-16, 16), *(16 * rng.integers(-300, 300, (200, 2))).tolist()]:
        message = grid_message(SlabGrid(np.zeros((16, 16), np.int8), tuple(corner), 0, 1), "map", 1, 0.0)
        layer = StaticLayer.__new__(StaticLayer)
        layer.complaints, layer.sizes, layer.maps, layer.costs = [], [], [], None
        layer.incoming_map(message)
        assert layer.complaints == [] and refused_map(message) == ""
        assert layer.cells == {(corner[0] + x, corner[1] + y): 0 for x in range(16) for y in range(16)}


def test_without_map_msgs_the_node_says_so_once_and_goes_on(bench):
    for package, topic in (("map_msgs", "~/grid_updates"), ("octomap_msgs", "~/octomap")):
        told = bench[0].log.count(f"{topic} needs {package}, which is not installed")
        assert told == (find_spec(package) is None)


@pytest.fixture(scope="module")
def with_updates(ros_context, tmp_path_factory):
    """As `bench`, with map_msgs, a robot that has mapped two frames, and the type of updates."""
    folder = tmp_path_factory.mktemp("updates")
    provide("map_msgs", folder)
    from map_msgs.msg import OccupancyGridUpdate

    with running_node(folder, PARAMETERS | {"map_path": folder / "map"}) as (_, robot):
        _walk(robot, 2)
        yield robot, folder / "map", OccupancyGridUpdate


@pytest.mark.slow
def test_a_static_layer_that_takes_updates_gets_the_changed_cells_and_ends_with_the_map(with_updates):
    robot, folder, update_type = with_updates
    layer = StaticLayer(robot.node, TOPIC, update_type)
    wait_until(lambda: layer.maps, 10, "the first grid")
    layer.update_bounds()
    _walk(robot, 6)
    expected = _saved(robot, folder)
    wait_until(lambda: _shows(layer, expected), 5, "the costmap of the last frame")
    assert layer.updates and layer.complaints == []
    whole = layer.maps[-1].info.width * layer.maps[-1].info.height
    assert min(update.width * update.height for update in layer.updates) < whole
    layer.close()


@pytest.mark.slow
def test_a_map_that_waits_while_updates_come_is_whole_within_the_period_of_full_maps(with_updates):
    """The costmap's cycle comes late: updates are written into the old map, and the new one then covers them."""
    robot, folder, update_type = with_updates
    layer = StaticLayer(robot.node, TOPIC, update_type)
    wait_until(lambda: layer.maps, 10, "the first grid")
    _walk(robot, 4, distance=3.6)  # grows; no cycle of the costmap meanwhile
    _walk(robot, 4)
    expected = _saved(robot, folder)
    layer.update_bounds()
    wait_until(lambda: _shows(layer, expected), PARAMETERS["full_map_period"] + 5, "the whole costmap")
    assert layer.complaints == []
    layer.close()


@pytest.mark.slow
def test_while_a_subscriber_takes_no_updates_every_grid_is_complete(with_updates):
    robot, folder, update_type = with_updates
    layer, plain = StaticLayer(robot.node, TOPIC, update_type), GridClient(robot.node)
    wait_until(lambda: layer.maps and plain.messages, 10, "the first grid")
    before = len(layer.updates)
    _walk(robot, 3)
    expected = _saved(robot, folder)
    wait_until(lambda: plain.cells == expected and _shows(layer, expected), 5, "both have the map")
    assert len(layer.updates) == before
    plain.close()
    assert set_parameters(robot, grid_max_height=1.2).successful
    wait_until(lambda: layer.cells != expected and (layer.update_bounds() or True), 10, "the thinner slab")
    assert set_parameters(robot, grid_max_height=1.8).successful
    layer.close()
