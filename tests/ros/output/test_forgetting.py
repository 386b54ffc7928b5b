"""A camera moves away: the map behind it is forgotten within the limits, and every subscriber's map follows exactly."""

from __future__ import annotations

import time

import numpy as np
import pytest
from std_srvs.srv import Trigger

from sgrocc_core.map_files.file import load_map
from tests.ros.clients import GridClient, MarkerClient
from tests.ros.harness import HEIGHT, WIDTH, Robot, running_node, saved_cells, saved_voxels, wait_until

STEP = 3.0
"""Sideways motion between frames, metres."""
HALF_DIAGONAL = 0.5 * 1.28 * np.sqrt(3)
"""Distance from the centre of a block to its corners, metres."""


@pytest.fixture(
    scope="module",
    params=[({"forget_radius": 8.0}, 8), pytest.param(({"max_memory_mb": 64}, 14), marks=pytest.mark.slow)],
    ids=["radius", "memory"],
)
def carried(request, ros_context, tmp_path_factory):
    """A node with a limit after a walk along a wall.

    Yields the limit, how far the camera went (metres), the robot, its markers, the first voxels and the map's folder.
    """
    limit, steps = request.param
    folder = tmp_path_factory.mktemp("forgetting")
    parameters = {"depth_source": "topic", "map_path": folder / "map", "full_map_period": 1.0, "floor_height": -1}
    with running_node(folder, parameters | limit) as (_, robot):
        markers, robot.grid = MarkerClient(robot.node), GridClient(robot.node)
        first: set = set()
        for step in range(steps):
            stamp = robot.next_stamp()
            depth = robot.depth(stamp, np.full((HEIGHT, WIDTH), 4.0, np.float32))
            robot.send(stamp, depth=depth, transform=robot.transform(stamp, y=STEP * step))
            # Every frame shows something new and therefore has an update.
            wait_until(lambda seen=step: len(robot.map.updates) > seen, 15, "the frame's update")
            first = first or set(robot.map.voxels)
            time.sleep(STEP / 8)  # a camera that is faster than 10 m/s is not believed
        answer = robot.call(Trigger, "save_map")
        assert answer.success, answer.message
        yield limit, STEP * (steps - 1), robot, markers, first, folder / "map"


def test_the_map_holds_its_bound_and_what_lies_behind_is_gone(carried):
    bound, way, _, _, first, folder = carried
    kept = load_map(folder)
    if "forget_radius" in bound:
        camera = np.array([0.0, way, 0.0])
        assert (
            np.linalg.norm((kept.voxels + 0.5) * 0.08 - camera, axis=1).max() <= bound["forget_radius"] + HALF_DIAGONAL
        )
    else:
        taken = sum(array.nbytes for array in kept.gaussians.values()) / 1e6
        assert 0.9 * bound["max_memory_mb"] < taken <= bound["max_memory_mb"]
    assert len(first) > 100 and not first & set(map(tuple, kept.voxels.tolist()))
    assert (kept.voxels[:, 1] * 0.08).max() > way


def test_a_subscriber_from_the_start_has_exactly_the_map(carried):
    _, _, robot, _, _, folder = carried
    saved = saved_voxels(folder / "map.npz")
    wait_until(lambda: robot.map.voxels == saved, 20, "the last update")
    assert robot.map.gaps == 0
    freed = sum(int((points["label"] == 0).sum()) for points in robot.map.updates)
    assert freed > 100


def test_markers_from_the_start_and_of_a_late_subscriber_show_exactly_the_map(carried):
    _, _, robot, markers, _, folder = carried
    saved = set(saved_voxels(folder / "map.npz"))
    wait_until(lambda: markers.voxels == saved, 20, "the markers of the last update")
    late = MarkerClient(robot.node)
    wait_until(lambda: late.voxels == saved, 20, "the whole map")
    late.close()


def test_a_late_subscriber_gets_exactly_the_map(carried):
    *_, folder = carried
    saved = saved_voxels(folder / "map.npz")
    late = Robot()
    try:
        wait_until(lambda: late.map.voxels == saved, 20, "a snapshot")
    finally:
        late.close()


def test_the_grid_of_a_subscriber_from_the_start_and_of_a_late_one_show_exactly_the_map(carried):
    _, _, robot, _, first, folder = carried
    expected = saved_cells(folder / "map.npz", -0.85, 0.8)
    assert len(expected) > 100 and not {(x, y) for x, y, _ in first} & set(expected)
    wait_until(lambda: robot.grid.cells == expected, 20, "the grid of the last update")
    late = GridClient(robot.node)
    wait_until(lambda: late.cells == expected, 20, "the whole grid")
    late.close()
