"""`~/pause`, `~/clear_view`, `~/reset` have taken effect when they answer, and every subscriber is informed."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from rclpy.qos import QoSProfile
from std_srvs.srv import Empty, SetBool, Trigger

from tests.ros.clients import GridClient, MarkerClient
from tests.ros.harness import Robot, running_node, save_voxels, wait_until, wall_with_hole


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node after three frames, the robot, and the folder the node saves to."""
    folder = tmp_path_factory.mktemp("services")
    parameters = {"depth_source": "topic", "map_path": folder / "map", "floor_height": -1, "grid_rate": 10}
    with running_node(folder, parameters) as (node, robot):
        robot.markers, robot.grid = MarkerClient(robot.node), GridClient(robot.node)
        _walk(robot, 3)
        yield node, robot, folder / "map"


def _walk(robot: Robot, frames: int) -> None:
    for n in range(frames):
        robot.send_until(partial(_send_wall, number=n), "processed", robot.count("processed") + 1)


def _send_wall(robot: Robot, number: int) -> None:
    stamp = robot.next_stamp()
    robot.send(stamp, depth=robot.depth(stamp, wall_with_hole(number)))


def test_paused_the_map_stays_as_it_is_and_images_are_counted(bench):
    _, robot, folder = bench
    before = save_voxels(robot, folder)
    answer = robot.call(SetBool, "pause", data=True)
    assert answer.success and answer.message.startswith("paused")
    processed, dropped = robot.count("processed"), robot.count("dropped.paused")
    for _ in range(5):
        robot.send()
    robot.wait_for("dropped.paused", dropped + 5)
    assert robot.count("processed") == processed and robot.values["paused"] == "true"
    wait_until(lambda: robot.status.startswith("paused"), 5)
    assert robot.level == b"\x00"
    assert save_voxels(robot, folder) == before
    assert robot.call(SetBool, "pause", data=True).message.endswith("as before")
    assert robot.call(SetBool, "pause", data=False).message == "images are mapped"
    _walk(robot, 1)
    assert robot.count("processed") == processed + 1 and robot.values["paused"] == "false"


def test_the_answer_to_pause_comes_after_the_frame_in_work(bench):
    _, robot, folder = bench
    for _ in range(4):
        robot.send()
    robot.call(SetBool, "pause", data=True)
    first, second = save_voxels(robot, folder), save_voxels(robot, folder)
    robot.call(SetBool, "pause", data=False)
    assert first == second


def test_clear_view_forgets_what_the_camera_sees_everywhere(bench):
    _, robot, folder = bench
    _walk(robot, 2)
    before = save_voxels(robot, folder)
    answer = robot.call(Trigger, "clear_view")
    assert answer.success and "occupied voxels" in answer.message
    after = save_voxels(robot, folder)
    gone = set(before) - set(after)
    assert len(gone) > 0.5 * len(before)
    assert {(2.0 - 0.08 < (v[0] + 0.5) * 0.08 < 3.2) for v in gone} >= {True}
    wait_until(lambda: robot.map.voxels == after, 5, "the update")
    wait_until(lambda: robot.markers.voxels == set(after), 5, "the markers")
    _walk(robot, 2)
    assert len(save_voxels(robot, folder)) > 0.8 * len(before)  # it returns once it is seen again


def test_clear_view_and_reset_of_a_map_without_a_frame(bench):
    _, robot, folder = bench
    _walk(robot, 1)
    robot.call(Empty, "reset")
    refused = robot.call(Trigger, "clear_view")
    assert not refused.success and "no frame has been mapped" in refused.message
    wait_until(lambda: robot.map.voxels == {} and robot.markers.voxels == set(), 5, "nothing is left")
    _walk(robot, 2)
    assert np.array(list(save_voxels(robot, folder))).shape[0] > 100


@pytest.mark.slow
def test_three_hundred_calls_at_once_are_all_answered_and_the_saves_by_a_few(bench):
    node, robot, folder = bench
    _walk(robot, 2)
    saves = node.log.count("saved ")
    kinds = {"save_map": Trigger, "clear_view": Trigger, "pause": SetBool}
    clients = {
        name: robot.node.create_client(kind, f"/embodied_occupancy/{name}", qos_profile=QoSProfile(depth=300))
        for name, kind in kinds.items()
    }
    assert all(client.wait_for_service(timeout_sec=10) for client in clients.values())
    calls = [(name, clients[name].call_async(kinds[name].Request())) for _ in range(100) for name in kinds]
    wait_until(lambda: all(call.done() for _, call in calls), 60, "300 answers")
    assert all(call.result().success for name, call in calls if name in ("save_map", "pause"))
    assert 1 <= node.log.count("saved ") - saves < 20
    for client in clients.values():
        robot.node.destroy_client(client)
    _walk(robot, 2)
    assert len(save_voxels(robot, folder)) > 100
