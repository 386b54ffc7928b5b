"""Nav2's static layer ends with the saved map from above when it takes `~/grid_updates`."""

from __future__ import annotations

import pytest

from tests.ros.clients import GridClient
from tests.ros.harness import running_node, set_parameters, wait_until
from tests.ros.planners.message_packages import provide
from tests.ros.planners.nav2 import StaticLayer
from tests.ros.planners.test_nav2 import PARAMETERS, TOPIC, saved_grid, shows, walk

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def with_updates(ros_context, tmp_path_factory):
    """A robot whose node has map_msgs and has mapped two frames, the folder it saves to, and the type of updates."""
    folder = tmp_path_factory.mktemp("updates")
    provide("map_msgs", folder)
    from map_msgs.msg import OccupancyGridUpdate

    with running_node(folder, PARAMETERS | {"map_path": folder / "map"}) as (_, robot):
        walk(robot, 2)
        yield robot, folder / "map", OccupancyGridUpdate


def test_a_static_layer_that_takes_updates_gets_the_changed_cells_and_ends_with_the_map(with_updates):
    robot, folder, update_type = with_updates
    layer = StaticLayer(robot.node, TOPIC, update_type)
    wait_until(lambda: layer.maps, 10, "the first grid")
    layer.update_bounds()
    assert set_parameters(robot, full_map_period=60.0).successful  # a busy machine may take seconds for a frame
    for _ in range(6):
        walk(robot, 1)
        layer.update_bounds()
    expected = saved_grid(robot, folder)
    wait_until(lambda: shows(layer, expected), 5, "the costmap of the last frame")
    assert layer.updates and layer.complaints == []
    whole = layer.maps[-1].info.width * layer.maps[-1].info.height
    assert min(update.width * update.height for update in layer.updates) < whole
    assert set_parameters(robot, full_map_period=PARAMETERS["full_map_period"]).successful
    layer.close()


def test_a_map_that_waits_while_updates_come_is_whole_within_the_period_of_full_maps(with_updates):
    """The costmap's cycle comes late: updates are written into the old map, and the new one then covers them."""
    robot, folder, update_type = with_updates
    layer = StaticLayer(robot.node, TOPIC, update_type)
    wait_until(lambda: layer.maps, 10, "the first grid")
    walk(robot, 4, distance=3.6)  # grows; no cycle of the costmap meanwhile
    walk(robot, 4)
    expected = saved_grid(robot, folder)
    layer.update_bounds()
    wait_until(lambda: shows(layer, expected), PARAMETERS["full_map_period"] + 5, "the whole costmap")
    assert layer.complaints == []
    layer.close()


def test_while_a_subscriber_takes_no_updates_every_grid_is_complete(with_updates):
    robot, folder, update_type = with_updates
    layer, plain = StaticLayer(robot.node, TOPIC, update_type), GridClient(robot.node)
    wait_until(lambda: layer.maps and plain.messages, 10, "the first grid")
    before = len(layer.updates)
    walk(robot, 3)
    expected = saved_grid(robot, folder)
    wait_until(lambda: plain.cells == expected and shows(layer, expected), 5, "both have the map")
    assert len(layer.updates) == before
    plain.close()
    assert set_parameters(robot, grid_max_height=1.2).successful
    wait_until(lambda: not shows(layer, expected), 10, "the thinner slab")
    assert set_parameters(robot, grid_max_height=1.8).successful
    layer.close()
