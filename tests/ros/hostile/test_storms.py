"""Floods and malformed bytes on the node's topics: it lives, maps what is good, and counts the rest."""

from __future__ import annotations

import math
import time

import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.serialization import serialize_message
from std_srvs.srv import Empty, Trigger

from tests.ros.harness import Robot, resident_mb, running_node

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """A node that saves its map, and a robot; at the end the node stops cleanly and without a trace."""
    folder = tmp_path_factory.mktemp("storms")
    with running_node(folder, {"depth_source": "fused", "map_path": folder / "map"}) as (node, robot):
        robot.map_good_frame()
        yield node, robot
        assert node.stop() == 0, node.log
        assert "Traceback" not in node.log


def maps_again(robot: Robot) -> None:
    """Wait until a good frame is mapped; after a flood one may be lost on its way or overtaken."""
    before = robot.count("processed")
    for _ in range(20):
        robot.send()
        time.sleep(1.0)
        if robot.count("processed") > before:
            return
    raise AssertionError(f"nothing is mapped: {robot.values}")


def malformed(good: bytes) -> dict[str, bytes]:
    """Bytes that are no message: cut, of another encapsulation, or with a string of 2 GB."""
    return {
        "one byte": b"\0",
        "header": good[:4],
        "half": good[: len(good) // 2],
        "one short": good[:-1],
        "ones": good[:4] + b"\xff" * 60,
        "encapsulation": b"\xff" * 4 + good[4:],
        "string": good[:12] + b"\xff\xff\xff\x7f" + good[16:],
    }


@pytest.mark.parametrize("topic", ["image", "info", "depth", "transform"])
def test_bytes_that_are_no_message_cost_nothing(bench, topic):
    node, robot = bench
    publishers = {"image": robot.images, "info": robot.infos, "depth": robot.depths, "transform": robot.transforms}
    good = serialize_message(getattr(robot, topic)(robot.next_stamp()))
    for data in malformed(good).values():
        publishers[topic].publish(data)
        time.sleep(0.1)
    robot.map_good_frame()
    assert node.process.poll() is None


def test_frames_that_are_ever_new_neither_fill_memory_nor_hold_anything_up(bench):
    node, robot = bench
    before = resident_mb(node.process.pid)
    for batch in range(60):
        stamp = robot.next_stamp()
        message = robot.transform(stamp)
        for number in range(200):
            each = TransformStamped(header=message.transforms[0].header, child_frame_id=f"object_{batch}_{number}")
            each.transform.rotation.w = 1.0
            message.transforms.append(each)
        robot.send(stamp, transform=message)
        time.sleep(0.05)
    maps_again(robot)
    assert resident_mb(node.process.pid) < before + 100


def test_a_flood_of_transforms_of_nan_beside_images_without_a_pose(bench):
    _, robot = bench
    bad = robot.transform(robot.next_stamp())
    bad.transforms[0].transform.translation.x = math.nan
    bad.transforms = list(bad.transforms) * 40
    refused = robot.count("transforms_refused.bad_transform")
    for _ in range(150):
        stamp = robot.next_stamp(1_000_000)
        robot.transforms.publish(bad)
        robot.send(stamp, image=robot.image(stamp, frame="nowhere"), transform=None, depth=None)
        time.sleep(0.02)
    robot.wait_for("transforms_refused.bad_transform", refused + 4000, 60)
    maps_again(robot)
    assert robot.call(Trigger, "save_map", 60).success
    assert robot.call(Empty, "reset") is not None
    robot.map_good_frame()


def test_a_hundred_resets_leave_memory_as_it_is(bench):
    node, robot = bench
    sizes = []
    for number in range(100):
        robot.call(Empty, "reset")
        if number % 10 == 0:
            robot.map_good_frame()
            sizes.append(resident_mb(node.process.pid))
    assert max(sizes[3:]) < sizes[2] + 60
