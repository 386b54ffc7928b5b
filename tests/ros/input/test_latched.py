"""What a publisher latched before the node came is heard, beside publishers that latch nothing."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Int32

from sgrocc_ros.input.follower import Follower
from tests.ros.harness import NodeProcess, Robot

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
VOLATILE = QoSProfile(depth=1)
BEST_EFFORT = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture
def look_until(ros_node):
    """Let a follower look and its messages in until a condition holds."""
    executor = SingleThreadedExecutor()
    executor.add_node(ros_node)

    def wait(follower: Follower, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + 10
        while not condition() and time.monotonic() < end:
            follower.look()
            executor.spin_once(timeout_sec=0.02)
        assert condition(), str(follower)

    yield wait
    executor.shutdown()


@pytest.mark.parametrize("second", [VOLATILE, BEST_EFFORT])
def test_what_was_latched_before_is_heard_beside_a_publisher_that_latches_nothing(ros_node, look_until, second):
    got: set[int] = set()
    first = ros_node.create_publisher(Int32, "once", LATCHED)
    first.publish(Int32(data=1))
    beside = ros_node.create_publisher(Int32, "once", second)
    follower = Follower(ros_node, [("once", Int32)], lambda message: got.add(message.data), 10, "auto", latched=True)
    look_until(follower, lambda: got == {1} and beside.get_subscription_count() > 0)
    beside.publish(Int32(data=2))
    look_until(follower, lambda: got == {1, 2})
    first.publish(Int32(data=3))
    look_until(follower, lambda: got == {1, 2, 3})
    assert "volatile and transient local" in str(follower)


def test_a_latched_publisher_that_comes_later_and_its_end_lose_nothing(ros_node, look_until):
    got: set[int] = set()
    follower = Follower(ros_node, [("later", Int32)], lambda message: got.add(message.data), 10, "auto", latched=True)
    first = ros_node.create_publisher(Int32, "later", LATCHED)
    first.publish(Int32(data=1))
    look_until(follower, lambda: got == {1} and str(follower) == "later (reliable, transient local)")
    second = ros_node.create_publisher(Int32, "later", VOLATILE)
    look_until(follower, lambda: second.get_subscription_count() > 0)
    ros_node.destroy_publisher(first)
    second.publish(Int32(data=2))
    look_until(follower, lambda: got == {1, 2} and str(follower) == "later (reliable)")


def test_a_camera_info_that_was_latched_before_the_node_started_maps_every_image(ros_context, tmp_path):
    robot = Robot()
    robot.node.destroy_publisher(robot.infos)
    robot.infos = robot.node.create_publisher(CameraInfo, "camera_info", LATCHED)
    robot.infos.publish(robot.info(robot.next_stamp()))
    node = NodeProcess(tmp_path, {"depth_source": "topic"})
    try:
        robot.wait_for_node()
        for _ in range(2):
            robot.send_until(lambda robot: robot.send(info=None), "processed", robot.count("processed") + 1)
        assert robot.count("dropped.no_camera_info") == 0
    finally:
        robot.close()
        node.stop()
