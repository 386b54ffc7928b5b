"""20,000 mutated messages beside a good stream: the node lives, maps every good frame, and accounts for every image."""

from __future__ import annotations

import array
import math
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from tests.ros.harness import HEIGHT, WIDTH, K, Robot, resident_mb, running_node, wait_until

MESSAGES = 20_000
BURST = 100
"""Mutated frames between two good ones."""
SECOND = 1_000_000_000
NUMBERS = (math.nan, math.inf, -math.inf, 0.0, -1.0, 5e-324, 1e6, 1e30, 1e308)
NAMES = ("", "/", "кам€ра", "x" * 10_000, "a b\tc\n", "%s%n", "../../etc/passwd")
ENCODINGS = (
    "bgr8",
    "rgba8",
    "mono8",
    "mono16",
    "16UC1",
    "32FC1",
    "64FC4",
    "bayer_rggb8",
    "yuv422",
    "nv21",
    "",
    "x" * 5000,
)
SIZES = (0, 1, 7, 8, 47, 64, 2**15, 2**31, 2**32 - 1)
SHIFTS = (-100 * SECOND, -2 * SECOND, -SECOND // 2, 5 * SECOND, 11 * SECOND)


BEST_EFFORT = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)


class Mutator:
    """Makes messages of a robot that each differ from a good one."""

    def __init__(self, robot: Robot, seed: int) -> None:
        self._robot, self._chance = robot, random.Random(seed)

    def _stamp(self, stamp: int) -> Time:
        kind = self._chance.randrange(8)
        if kind == 0:
            return Time()
        if kind == 1:
            return Time(sec=-self._chance.randrange(1, 2**31), nanosec=5)
        if kind == 2:
            return Time(sec=2**31 - 1, nanosec=2**32 - 1)
        shifted = stamp + self._chance.choice(SHIFTS)
        return Time(sec=shifted // SECOND, nanosec=shifted % SECOND)

    def image(self, stamp: int) -> Any:
        """An image with a wrong size, encoding, length, frame or time."""
        message, choose = self._robot.image(stamp), self._chance.choice
        kind = choose(("encoding", "width", "height", "step", "data", "frame", "stamp", "noise"))
        if kind == "encoding":
            message.encoding = choose(ENCODINGS)
        elif kind in ("width", "height", "step"):
            setattr(message, kind, choose(SIZES))
        elif kind == "data":
            message.data = message.data[: self._chance.randrange(len(message.data))]
        elif kind == "frame":
            message.header.frame_id = choose(NAMES)
        elif kind == "stamp":
            message.header.stamp = self._stamp(stamp)
        else:
            message.data = array.array("B", self._chance.randbytes(len(message.data)))
        return message

    def depth(self, stamp: int) -> Any:
        """A depth image with wrong readings, encoding, size, length or time."""
        choose = self._chance.choice
        message = self._robot.depth(stamp, np.full((HEIGHT, WIDTH), choose((*NUMBERS, 1e-20, 0.05, 99.0)), np.float32))
        kind = choose(("readings", "encoding", "width", "height", "step", "data", "stamp"))
        if kind == "encoding":
            message.encoding = choose(ENCODINGS)
        elif kind in ("width", "height", "step"):
            setattr(message, kind, choose(SIZES))
        elif kind == "data":
            message.data = message.data[: self._chance.randrange(len(message.data))]
        elif kind == "stamp":
            message.header.stamp = self._stamp(stamp)
        return message

    def info(self, stamp: int) -> Any:
        """A camera_info with wrong numbers, coefficients, model, size or region of interest."""
        choose, k = self._chance.choice, K.copy()
        kind = choose(("k", "d", "model", "size", "roi", "p"))
        if kind == "k":
            k[choose((0, 1)), choose((0, 1, 2))] = choose((*NUMBERS, 7.0, 7900.0))
        message = self._robot.info(stamp, k=k)
        if kind == "d":
            message.d = [choose((*NUMBERS[3:], 0.1, -0.3)) for _ in range(choose((1, 2, 3, 4, 5, 8, 13, 100)))]
            message.distortion_model = choose(("plumb_bob", "equidistant", "thin_prism", "", "x" * 3000))
        elif kind == "model":
            message.distortion_model = choose(NAMES)
        elif kind == "size":
            message.width, message.height = choose(SIZES), choose(SIZES)
        elif kind == "roi":
            message.roi.x_offset, message.roi.width = choose(SIZES), choose(SIZES)
            message.binning_x = choose((0, 1, 2, 2**32 - 1))
        elif kind == "p":
            message.p = np.array([choose(NUMBERS) for _ in range(12)])
        return message

    def transform(self, stamp: int) -> Any:
        """A transform with wrong numbers, frames or time, loops, second parents, or many new frames."""
        message, choose = self._robot.transform(stamp), self._chance.choice
        first = message.transforms[0]
        kind = choose(
            ("position", "rotation", "length", "far", "stamp", "frame", "self", "loop", "parent", "many", "none")
        )
        if kind == "position":
            setattr(first.transform.translation, choose("xyz"), choose(NUMBERS))
        elif kind == "rotation":
            setattr(first.transform.rotation, choose("xyzw"), choose(NUMBERS))
        elif kind == "length":
            first.transform.rotation.w *= choose((0.0, 1.05, 2.0, 1e200))
        elif kind == "far":
            first.transform.translation.x = choose((700.0, 5e3, 9.9e4, 1e30)) * choose((-1.0, 1.0))
        elif kind == "stamp":
            first.header.stamp = self._stamp(stamp)
        elif kind == "frame":
            first.header.frame_id, first.child_frame_id = choose(("map", *NAMES)), choose(("camera", *NAMES))
        elif kind == "self":
            first.child_frame_id = first.header.frame_id
        elif kind == "loop":
            first.header.frame_id, first.child_frame_id = "camera", "map"
        elif kind == "parent":
            first.header.frame_id = choose(("odom", "base"))
        elif kind == "many":
            for _ in range(20):
                message.transforms += self._robot.transform(stamp, frame=f"f{self._chance.randrange(10**6)}").transforms
        else:
            message.transforms = []
        return message

    def send(self) -> int:
        """Send a frame of which one or two messages are mutated; return how many were."""
        stamp = self._robot.next_stamp(3_000_000)  # never ahead of the clock, however fast they are sent
        which = self._chance.sample(("image", "depth", "info", "transform"), self._chance.choice((1, 2)))
        self._robot.send(stamp, **{part: getattr(self, part)(stamp) for part in which})
        return len(which)


def threads(pid: int) -> int:
    """Number of threads of a process."""
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def settled(robot: Robot) -> dict[str, str]:
    """The diagnostics' counters once none has changed, and no image waits, in three periods one after the other.

    All counters are looked at, not only those of images, and only once the node's side has acknowledged every message:
    a message that the transport loses in a burst is sent again up to seconds later, and those behind it wait for it.
    """
    for publisher in (robot.images, robot.infos, robot.depths, robot.transforms):
        assert publisher.wait_for_all_acked(Duration(seconds=30)), publisher.topic_name
    before, calm = robot.values, 0
    while calm < 3:
        wait_until(lambda seen=before: robot.values is not seen, 10)
        now = robot.values
        calm = calm + 1 if counters(now) == counters(before) and now.get("waiting") == "0" else 0
        before = now
    return counters(before)


def counters(values: dict[str, str]) -> dict[str, str]:
    """What the diagnostics count."""
    parts = ("received", "processed", "dropped", "noticed", "depth_unused", "transforms_refused")
    return {key: value for key, value in values.items() if key.startswith(parts)}


@pytest.mark.slow
def test_twenty_thousand_mutated_messages_cost_nothing_but_themselves(ros_context, tmp_path):
    parameters = {"depth_source": "fused", "warn_period": 1.0, "reset_on_time_jump": True, "map_path": tmp_path / "map"}
    with running_node(tmp_path, parameters) as (node, robot):
        mapped: set[int] = set()

        def on_depth(message: Image) -> None:
            mapped.add(message.header.stamp.sec * SECOND + message.header.stamp.nanosec)

        robot.node.create_subscription(Image, "/embodied_occupancy/depth", on_depth, BEST_EFFORT)
        mutator, sent, memory, good = Mutator(robot, 14), 0, [], 0
        robot.map_good_frame()
        threads_before = threads(node.process.pid)
        while sent < MESSAGES:
            for _ in range(BURST):
                sent += mutator.send()
                time.sleep(0.003)
            before = settled(robot)
            stamp = robot.send()
            try:
                wait_until(lambda stamp=stamp: stamp in mapped, 20)
            except AssertionError:
                after = settled(robot)
                changed = {key: after[key] for key in after if after[key] != before.get(key)}
                raise AssertionError(
                    f"good frame {good} after {sent} messages was not mapped: {changed}; {robot.values['last_error']}"
                ) from None
            good += 1
            memory.append(resident_mb(node.process.pid))
            assert node.process.poll() is None, node.log
        settled(robot)
        assert robot.sent * 0.9 < robot.count("received") <= robot.sent  # best effort may lose a few, each counted
        assert robot.count("received") + robot.count("lost") >= robot.sent
        assert robot.count("received") == robot.count("processed") + robot.count("dropped")
        assert robot.count("dropped.internal_error") == robot.count("noticed.internal_error") == 0
        half, threads_after = len(memory) // 2, threads(node.process.pid)
        print(f"\n{sent} messages, {good} good frames; memory {memory[0]:.0f}, {memory[half]:.0f}, {memory[-1]:.0f} MB")
        print(f"threads {threads_before}, {threads_after}; {dict(sorted(robot.values.items()))}")
        assert threads_after <= threads_before + 2
        assert np.median(memory[-10:]) < np.median(memory[half : half + 10]) + 60
        assert node.stop() == 0
        assert "Traceback" not in node.log
