"""A subscription takes all queued messages when it wakes, so that transforms never fall behind images."""

from __future__ import annotations

import time

from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Int32

from sgrocc_ros.input.follower import Follower


def test_one_turn_of_the_executor_empties_the_queue(ros_node):
    got: list[int] = []
    follower = Follower(ros_node, [("numbers", Int32)], lambda message: got.append(message.data), 100, "auto")
    publisher = ros_node.create_publisher(Int32, "numbers", 100)
    executor = SingleThreadedExecutor()
    executor.add_node(ros_node)
    while publisher.get_subscription_count() == 0:
        time.sleep(0.01)
    for i in range(60):
        publisher.publish(Int32(data=i))
    assert publisher.wait_for_all_acked()
    time.sleep(0.1)
    end = time.monotonic() + 5
    while not got and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.5)
    executor.shutdown()
    assert got == list(range(60))
    assert str(follower) == "numbers (reliable)"


def test_what_did_not_arrive_is_counted_by_its_gap(ros_node):
    got: list[int] = []
    lost: list[int] = []
    follower = Follower(
        ros_node, [("few", Int32)], lambda message: got.append(message.data), 3, "auto", on_lost=lost.append
    )
    publishers = [ros_node.create_publisher(Int32, "few", 20) for _ in range(2)]
    executor = SingleThreadedExecutor()
    executor.add_node(ros_node)
    while any(publisher.get_subscription_count() == 0 for publisher in publishers):
        time.sleep(0.01)

    def burst(publisher, first: int, count: int) -> None:
        for i in range(first, first + count):
            publisher.publish(Int32(data=i))
        assert publisher.wait_for_all_acked()
        time.sleep(0.1)
        end = time.monotonic() + 5
        while got[-1:] != [first + count - 1] and time.monotonic() < end:
            executor.spin_once(timeout_sec=0.5)

    burst(publishers[0], 0, 1)
    burst(publishers[0], 1, 8)  # a queue of 3: the first five are overwritten
    burst(publishers[1], 100, 1)
    burst(publishers[1], 101, 3)
    burst(publishers[0], 9, 2)
    executor.shutdown()
    assert got == [0, 6, 7, 8, 100, 101, 102, 103, 9, 10]
    assert lost == [5]
    assert follower.topic == "few"


def test_a_follower_takes_the_name_that_is_published(ros_node):
    got: list[int] = []
    follower = Follower(
        ros_node, [("first", Int32), ("second", Int32)], lambda message: got.append(message.data), 10, "auto"
    )
    assert follower.topic == "first"
    publisher = ros_node.create_publisher(Int32, "second", 10)
    end = time.monotonic() + 5
    while follower.topic != "second" and time.monotonic() < end:
        follower.look()
        time.sleep(0.01)
    assert follower.topic == "second"
    assert publisher.topic_name == "/second"
