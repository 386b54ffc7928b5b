"""`~/distance` is the distance transform of the saved map from above, off unless asked for."""

from __future__ import annotations

import time

import numpy as np
import pytest
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Empty, Trigger

from sgrocc_ros.output.distance import CELL_POINT
from tests.ros.clients import LatchedClient
from tests.ros.harness import Robot, running_node, saved_cells, saved_voxels, set_parameters, wait_until, wall_with_hole

FLOOR = -1.0
LOW, HIGH = FLOOR + 0.15, FLOOR + 1.8


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node after three frames, the robot, and the folder the node saves to."""
    folder = tmp_path_factory.mktemp("distance")
    parameters = {"depth_source": "topic", "map_path": folder / "map", "floor_height": FLOOR, "grid_rate": 10}
    with running_node(folder, parameters) as (node, robot):
        _walk(robot, 3)
        yield node, robot, folder / "map"


def _walk(robot: Robot, frames: int) -> None:
    for n in range(frames):
        processed, stamp = robot.count("processed"), robot.next_stamp()
        robot.send(stamp, depth=robot.depth(stamp, wall_with_hole(n)))
        robot.wait_for("processed", processed + 1, 20)


class DistanceClient(LatchedClient):
    """A subscriber of the distances."""

    def __init__(self, node) -> None:
        super().__init__(node, PointCloud2, "distance", 1, lambda _: None)

    @property
    def cells(self) -> dict[tuple[int, int], float]:
        """Distance in metres by the x and y index of the cells of the newest cloud."""
        if not self.messages:
            return {}
        points = np.frombuffer(self.messages[-1].data, CELL_POINT)
        index = np.floor(np.stack([points["x"], points["y"]], 1) / 0.08 + 1e-4).astype(int)
        return {tuple(i): round(float(d), 4) for i, d in zip(index.tolist(), points["distance"])}


def _expected(robot: Robot, folder, unknown_is_occupied: bool = False) -> dict[tuple[int, int], float]:
    """Distances by search among all obstacles of the saved map."""
    assert robot.call(Trigger, "save_map").success
    known = saved_cells(folder / "map.npz", LOW, HIGH)
    obstacles = np.array([cell for cell, value in known.items() if value == 100])
    cells = np.array(list(known))
    if unknown_is_occupied:
        reach = [(x, y) for x in range(-26, 27) for y in range(-26, 27)]
        around = {(x + i, y + j) for x, y in known for i, j in reach}
        obstacles = np.array([cell for cell in around if known.get(cell, 100) == 100])
    found = {}
    for cell in cells.tolist():
        nearest = float(np.sqrt(((obstacles - cell) ** 2).sum(1).min())) * 0.08
        found[tuple(cell)] = round(min(nearest, 2.0), 4)
    return found


def _agree(found: dict, expected: dict) -> bool:
    return found.keys() == expected.keys() and all(abs(found[cell] - expected[cell]) < 1e-3 for cell in expected)


def test_nothing_is_published_until_it_is_asked_for_and_then_at_once(bench):
    _, robot, folder = bench
    client = DistanceClient(robot.node)
    time.sleep(1.0)
    assert not client.messages
    assert set_parameters(robot, publish_distance=True).successful
    wait_until(lambda: client.messages, 10, "distances")
    expected = _expected(robot, folder)
    assert _agree(client.cells, expected) and len(set(expected.values())) > 10
    message = client.messages[-1]
    assert message.header.frame_id == "map" and message.header.stamp.sec > 0
    assert [field.name for field in message.fields] == ["x", "y", "z", "distance", "label"]
    points = np.frombuffer(message.data, CELL_POINT)
    assert np.allclose(points["z"], FLOOR)
    labels = {value[0] for value in saved_voxels(folder / "map.npz").values()}
    assert set(points["label"].tolist()) - {0} <= labels and (points["label"] > 0).any()
    client.close()


def test_distances_follow_the_map_the_way_unknown_counts_and_a_reset(bench):
    _, robot, folder = bench
    assert set_parameters(robot, publish_distance=True).successful
    client = DistanceClient(robot.node)
    _walk(robot, 4)
    expected = _expected(robot, folder)
    wait_until(lambda: _agree(client.cells, expected), 5, "the distances of the last frame")
    assert set_parameters(robot, distance_unknown="occupied").successful
    expected = _expected(robot, folder, unknown_is_occupied=True)
    wait_until(lambda: _agree(client.cells, expected), 5, "unknown cells to count as occupied")
    assert set_parameters(robot, distance_unknown="free").successful
    robot.call(Empty, "reset")
    wait_until(lambda: client.messages[-1].width == 0, 5, "an empty cloud")
    _walk(robot, 1)
    assert float(robot.values["latency.distance.p95_ms"]) > 0
    client.close()


def test_a_wrong_value_is_refused_in_a_sentence(bench):
    result = set_parameters(bench[1], distance_unknown="maybe")
    assert not result.successful
    assert result.reason == "parameter distance_unknown is 'maybe'; it must be free or occupied"
    assert "must be true or false" in set_parameters(bench[1], publish_distance=1).reason
