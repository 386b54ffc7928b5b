"""Nav2's static layer makes the saved map from above of `~/grid`, and has nothing to complain about."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
from std_srvs.srv import Empty, Trigger

from sgrocc_core.voxels.columns import SlabGrid
from sgrocc_ros.output.grid import grid_message
from tests.ros.harness import Robot, running_node, saved_cells, wait_until, wall_with_hole
from tests.ros.planners.nav2 import StaticLayer, refused_map

LOW, HIGH = -1.0 + 0.15, -1.0 + 1.8
TOPIC = "/embodied_occupancy/grid"
PARAMETERS = {"depth_source": "topic", "floor_height": -1, "grid_rate": 10, "full_map_period": 3.0}


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node after two frames, the robot, and the folder the node saves to."""
    folder = tmp_path_factory.mktemp("nav2")
    with running_node(folder, PARAMETERS | {"map_path": folder / "map"}) as (node, robot):
        walk(robot, 2)
        yield node, robot, folder / "map"


def walk(robot: Robot, frames: int, distance: float = 2.0) -> None:
    """Have the node map some frames of a wall at a distance, metres."""
    for n in range(frames):
        processed, stamp = robot.count("processed"), robot.next_stamp()
        robot.send(stamp, depth=robot.depth(stamp, wall_with_hole(n, distance)))
        robot.wait_for("processed", processed + 1, 20)


def saved_grid(robot: Robot, folder) -> dict:
    """The saved map from above, 100 or 0 by cell."""
    answer = robot.call(Trigger, "save_map")
    assert answer.success, answer.message
    return saved_cells(folder / "map.npz", LOW, HIGH)


def shows(layer: StaticLayer, expected: dict) -> bool:
    """Whether the costmap has the expected cells after a cycle."""
    layer.update_bounds()
    return layer.cells == expected


def test_the_static_layer_has_the_map_from_above_late_growing_and_after_a_reset(bench):
    _, robot, folder = bench
    layer = StaticLayer(robot.node, TOPIC)
    expected = saved_grid(robot, folder)
    wait_until(lambda: shows(layer, expected), 5, "the costmap of a late static layer")
    assert {0, 100} <= set(expected.values())
    walk(robot, 3, distance=3.6)
    expected = saved_grid(robot, folder)
    wait_until(lambda: shows(layer, expected), 5, "the costmap of a larger map")
    assert len(set(layer.sizes)) > 1
    robot.call(Empty, "reset")
    wait_until(lambda: shows(layer, {}), 5, "an unknown costmap")
    walk(robot, 2)
    expected = saved_grid(robot, folder)
    wait_until(lambda: shows(layer, expected), 5, "the costmap of the new map")
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
