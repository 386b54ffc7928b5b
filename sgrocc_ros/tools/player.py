"""The executable `bag_player`: plays a rosbag2 or ROS 1 bag into ROS topics on machines without `ros2 bag`.

rosbag2 messages are published as the recorded bytes; ROS 1 messages are converted to ROS 2 messages.
"""

from __future__ import annotations

import argparse
import array
import importlib
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosbags.highlevel import AnyReader
from rosgraph_msgs.msg import Clock
from tqdm import tqdm

from sgrocc_core.data.bags.file import open_reader
from sgrocc_core.errors import DataError, SgroccError
from sgrocc_ros.distributions import RCLError
from sgrocc_ros.messages import byte_array, time_message

RENAMED = {"tf/msg/tfMessage": "tf2_msgs/msg/TFMessage"}
"""ROS 1 message types that have a different name in ROS 2."""
QUEUE = 200
"""Length of each publisher's queue, messages."""
CLOCK_PERIOD = 0.01
"""Seconds between two messages on /clock."""
LONGEST_ACK = 10.0
"""Seconds that the subscribers of a topic have at the end to acknowledge its messages."""


def message_class(kind: str) -> type | None:
    """Return the class of a message type such as `sensor_msgs/msg/Image`; None if its package is not installed."""
    package, _, name = kind.partition("/msg/")
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except (ImportError, AttributeError):
        return None


def rebuilt(message: Any, kind: type) -> Any:
    """Convert a message of rosbags to a ROS 2 class; fields match by name, ignoring case, and others keep defaults."""
    out = kind()
    found = {name.lower(): getattr(message, name) for name in dir(message) if not name.startswith("__")}
    for name, field_type in out.get_fields_and_field_types().items():
        value = found.get(name)
        if value is None:
            continue
        setattr(out, name, _rebuilt_field(value, getattr(out, name), field_type))
    return out


def _rebuilt_field(value: Any, default: Any, field_type: str) -> Any:
    if isinstance(value, np.ndarray):
        if value.dtype == np.uint8 and isinstance(default, array.array):
            return byte_array(value)
        return (
            value.astype(default.dtype)
            if isinstance(default, np.ndarray)
            else array.array(default.typecode, value.tolist())
        )
    if isinstance(value, list):
        inner = message_class(field_type.partition("<")[2].rstrip(">").replace("/", "/msg/"))
        return [rebuilt(item, inner) for item in value] if inner else list(value)
    if hasattr(default, "get_fields_and_field_types"):
        return rebuilt(value, type(default))
    return type(default)(value)


class BagPlayer:
    """A bag and the publishers of its topics.

    Args:
        node: owns the publishers.
        reader: an open bag.
        topics: topics to play; empty means all.
        clock: whether /clock is published.

    Raises:
        DataError: the bag does not have one of the topics, or nothing in it can be played.
    """

    def __init__(self, node: Node, reader: AnyReader, topics: Sequence[str] = (), clock: bool = False) -> None:
        self._node, self._reader = node, reader
        missing = sorted(set(topics) - set(reader.topics))
        if missing:
            raise DataError(f"the bag has no topic {missing[0]}; it has {', '.join(sorted(reader.topics))}")
        self._publishers: dict[str, Publisher] = {}
        self._kinds: dict[str, type] = {}
        for connection in reader.connections:
            topic = connection.topic
            if topic in self._publishers or (topics and topic not in topics) or topic == "/clock":
                continue
            kind = message_class(RENAMED.get(connection.msgtype, connection.msgtype))
            if kind is None:
                node.get_logger().warning(
                    f"{topic} is not played: the message type {connection.msgtype} is not installed"
                )
                continue
            self._kinds[topic] = kind
            self._publishers[topic] = node.create_publisher(kind, topic, self._qos(connection))
        if not self._publishers:
            raise DataError(
                f"nothing in the bag can be played; it has {', '.join(sorted(reader.topics)) or 'no topics'}"
            )
        self._clock = node.create_publisher(Clock, "/clock", 10) if clock else None

    def wait_for_subscribers(self, topics: Sequence[str], timeout: float) -> None:
        """Wait until each topic has a subscriber.

        Raises:
            DataError: a topic is not played, or has no subscriber after `timeout` seconds.
        """
        end = time.monotonic() + timeout
        for topic in topics:
            if topic not in self._publishers:
                raise DataError(
                    f"nobody can wait for {topic}: it is not played; played are {', '.join(sorted(self._publishers))}"
                )
            while self._publishers[topic].get_subscription_count() == 0:
                if time.monotonic() > end:
                    raise DataError(f"nobody has subscribed to {topic} in {timeout:g} s")
                time.sleep(0.02)

    def play(self, rate: float = 1.0, duration: float = float("inf"), progress: bool = False) -> int:
        """Publish the messages at the intervals of the recording.

        Args:
            rate: speed; 2 plays twice as fast.
            duration: length of the part of the bag that is played, seconds.
            progress: whether to show a progress bar.

        Returns:
            The number of messages published.
        """
        connections = [c for c in self._reader.connections if c.topic in self._publishers]
        first, started, count = None, time.monotonic(), 0
        bar = tqdm(total=sum(c.msgcount for c in connections), unit="msg", desc="bag", disable=not progress)
        for connection, stamp, raw in self._reader.messages(connections):
            first = stamp if first is None else first
            if stamp - first > duration * 1e9:
                break
            self._wait_until(started + (stamp - first) / 1e9 / rate, stamp, rate)
            self._publish(connection, raw)
            count += 1
            bar.update()
        bar.close()
        for publisher in self._publishers.values():
            end = time.monotonic() + LONGEST_ACK
            while publisher.get_subscription_count() and time.monotonic() < end:
                if publisher.wait_for_all_acked(Duration(seconds=0.2)):  # a signal is noticed between two calls
                    break
        return count

    def _wait_until(self, moment: float, stamp: int, rate: float) -> None:
        """Sleep until a message is due; /clock advances meanwhile but never past it."""
        while True:
            left = moment - time.monotonic()
            if self._clock is not None:
                self._clock.publish(Clock(clock=time_message(stamp - max(0, int(left * rate * 1e9)))))
            if left <= 0:
                return
            time.sleep(min(left, CLOCK_PERIOD) if self._clock is not None else left)

    def _publish(self, connection: Any, raw: bytes) -> None:
        publisher = self._publishers[connection.topic]
        if self._reader.is2:
            message: Any = bytes(raw)
        else:
            message = rebuilt(self._reader.deserialize(raw, connection.msgtype), self._kinds[connection.topic])
        for _ in range(100):
            try:
                publisher.publish(message)
                return
            except RCLError:  # a reliable subscriber is behind; wait for it
                time.sleep(0.02)
        self._node.get_logger().error(
            f"a message on {connection.topic} could not be published: its subscriber has stopped reading"
        )

    def _qos(self, connection: Any) -> QoSProfile:
        offered = getattr(connection.ext, "offered_qos_profiles", None) or []
        latched = bool(getattr(connection.ext, "latching", 0)) or connection.topic.endswith("tf_static")
        latched = latched or any(int(getattr(profile.durability, "value", 0)) == 1 for profile in offered)
        durability = DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE
        return QoSProfile(depth=QUEUE, reliability=ReliabilityPolicy.RELIABLE, durability=durability)


def build_parser() -> argparse.ArgumentParser:
    """Build the command line of `bag_player`."""
    parser = argparse.ArgumentParser(
        prog="bag_player",
        description="Plays a rosbag2 (.mcap, .db3, folder) or ROS 1 bag into ROS 2 topics.",
        epilog="Topics are renamed with --remap or as for any node: --ros-args -r /camera/image:=/image",
    )
    parser.add_argument("bag", type=Path, help="bag to play, a folder or a file")
    parser.add_argument("--rate", type=float, default=1.0, help="speed; 2 is twice as fast (default: 1)")
    parser.add_argument("--topics", nargs="+", default=[], metavar="TOPIC", help="play only these (default: all)")
    parser.add_argument("--remap", nargs="+", default=[], metavar="OLD:=NEW", help="rename topics")
    parser.add_argument("--clock", action="store_true", help="publish /clock, for nodes with use_sim_time")
    parser.add_argument(
        "--wait-for", nargs="+", default=[], metavar="TOPIC", help="start once each of these topics has a subscriber"
    )
    parser.add_argument(
        "--wait-timeout",
        type=float,
        default=60.0,
        metavar="S",
        help="maximum time to wait for subscribers, seconds (default: 60)",
    )
    parser.add_argument(
        "--start-delay", type=float, default=0.5, metavar="S", help="pause before the start, seconds (default: 0.5)"
    )
    parser.add_argument(
        "--loop",
        type=int,
        default=1,
        metavar="N",
        help="number of repetitions, with the recorded stamps; 0: until interrupted (default: 1)",
    )
    parser.add_argument(
        "--duration", type=float, default=float("inf"), metavar="S", help="play only the first S seconds of the bag"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Play a bag.

    Returns:
        Exit code: 0, 1 after an error, 130 when interrupted, 143 after SIGTERM.
    """
    argv = list(sys.argv[1:] if arguments is None else arguments)
    ros = argv.index("--ros-args") if "--ros-args" in argv else len(argv)
    options = build_parser().parse_args(argv[:ros])
    if not options.rate > 0:
        print(f"error: --rate is {options.rate:g}; it must be above 0", file=sys.stderr)
        return 1
    if options.loop < 0:
        print(f"error: --loop is {options.loop}; it must be 0 (until interrupted) or more", file=sys.stderr)
        return 1
    remaps = [part for rule in options.remap for part in ("-r", rule)]
    try:
        reader = open_reader(options.bag)
        # The signal handlers of rclpy would shut its context down under the player, which then fails to publish.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        ros_arguments = ["bag_player", "--ros-args", *remaps, *argv[ros + 1 :]]
        rclpy.init(args=ros_arguments, signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node("bag_player")
        player = BagPlayer(node, reader, options.topics, options.clock)
        player.wait_for_subscribers(options.wait_for, options.wait_timeout)
        time.sleep(options.start_delay)
        count, times = 0, 0
        while times < options.loop or not options.loop:
            count, times = count + player.play(options.rate, options.duration, progress=sys.stderr.isatty()), times + 1
        print(f"played {count} messages of {options.bag}")
        return 0
    except SgroccError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        rclpy.try_shutdown()


if __name__ == "__main__":
    sys.exit(main())
