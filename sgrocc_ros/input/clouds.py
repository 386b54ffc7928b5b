"""Clouds of points that are mapped by themselves: they wait for poses of their points, and the newest comes first."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from sgrocc_core.checks.motion import PoseGate
from sgrocc_core.checks.stamps import no_time
from sgrocc_core.depth.points import cloud_pose, points_in_map
from sgrocc_core.errors import FrameError
from sgrocc_ros.health.statistics import QUIET, Statistics
from sgrocc_ros.input.follower import Follower
from sgrocc_ros.input.poses import Poses
from sgrocc_ros.input.stamps import JUMP_NS
from sgrocc_ros.input.waiting import LONGEST_WAIT, PAUSED, why_not_placed
from sgrocc_ros.messages import last_point_ns, read_points, stamp_ns
from sgrocc_ros.parameters.values import Parameters

CAPACITY = 10
"""Clouds that wait for their poses at most."""


@dataclass(frozen=True)
class WaitingCloud:
    """A cloud that has arrived.

    Attributes:
        message: the message.
        stamp: its stamp, nanoseconds.
        last: time of its last point, nanoseconds.
        arrived: arrival on the steady clock, seconds.
    """

    message: Any
    stamp: int
    last: int
    arrived: float


class CloudRoom:
    """The clouds that wait to be mapped; one of the rooms of `Turns`.

    Args:
        node: owns the subscription of `points`.
        parameters: parameters of the node.
        poses: looks up the sensor's pose.
        statistics: told of clouds that cannot be used.
        changed: notified when a cloud has arrived.
        clock: the steady clock, seconds.

    Attributes:
        follower: the subscription.
        paused: whether clouds that arrive are dropped.
    """

    def __init__(
        self,
        node: Node,
        parameters: Parameters,
        poses: Poses,
        statistics: Statistics,
        changed: threading.Condition,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._poses, self._statistics, self._changed, self._clock = poses, statistics, changed, clock
        self._map_frame, self._timeout = parameters["map_frame"], parameters["tf_timeout"]
        self._waiting: list[WaitingCloud] = []
        self.paused = False
        self._received = self._processed = 0
        self._dropped: Counter[str] = Counter()
        self._gate = PoseGate()
        topic = [(node.resolve_topic_name("points"), PointCloud2)]
        self.follower = Follower(node, topic, self._on_points, 5, parameters["reliability"])

    @property
    def waiting(self) -> int:
        """Number of waiting clouds."""
        return len(self._waiting)

    @property
    def oldest(self) -> float:
        """Arrival of the cloud that has waited longest, on the steady clock; infinite if none waits."""
        return min((cloud.arrived for cloud in self._waiting), default=math.inf)

    def pick(self, now: float) -> WaitingCloud | None:
        """Remove and return the newest cloud whose points have poses; drop older ones and those that waited too long.

        The caller holds the condition.
        """
        found: WaitingCloud | None = None
        kept: list[WaitingCloud] = []
        for cloud in reversed(self._waiting):
            times, source = (cloud.stamp, cloud.last), cloud.message.header.frame_id
            missing = "" if found is not None else why_not_placed(self._poses, self._map_frame, source, times)
            if found is not None:
                self._drop("overtaken", "a newer cloud was complete")
            elif not missing:
                found = cloud
            elif now - cloud.arrived >= self._timeout:
                self._drop("cloud_pose", missing)
            else:
                kept.insert(0, cloud)
        self._waiting = kept
        return found

    def poses_changed(self) -> None:
        """Check the waiting clouds again, because transforms have arrived."""
        with self._changed:
            if self._waiting:
                self._changed.notify()

    def next_deadline(self, now: float, not_before: float) -> float:
        """Return the seconds until the cloud has waited too long."""
        return max(self.oldest + self._timeout, not_before) - now + 0.001 if self._waiting else LONGEST_WAIT

    def read(self, cloud: WaitingCloud) -> tuple[np.ndarray, np.ndarray]:
        """Decode a cloud that was picked.

        Returns:
            points: (N, 3) metres, map frame.
            origin: (3,) metres, place of the sensor in the map.

        Raises:
            FrameError: the cloud cannot be mapped; names the cause.
        """
        frame = cloud.message.header.frame_id
        decoded = read_points(cloud.message)
        if decoded.problem:
            self._statistics.notice("cloud_times", decoded.problem)

        def pose_at(stamp: int) -> np.ndarray:
            return self._poses.lookup(self._map_frame, frame, stamp)

        points = points_in_map(decoded.points, decoded.offsets_ns, cloud.stamp, pose_at)
        T_ws = cloud_pose(pose_at, cloud.stamp)
        self._gate.check(T_ws, cloud.stamp)
        return points, T_ws[:3, 3]

    def count_mapped(self) -> None:
        """Count a cloud that is in the map."""
        self._processed += 1

    def drop(self, error: FrameError) -> None:
        """Count a cloud that could not be mapped."""
        self._drop(error.cause, str(error))

    def drop_all(self, cause: str, message: str) -> None:
        """Drop all waiting clouds."""
        with self._changed:
            for _ in self._waiting:
                self._drop(cause, message)
            self._waiting = []

    def jump_to(self, stamp: int) -> None:
        """Drop the clouds that were received before time jumped back to `stamp` (ns); the jump itself is told once."""
        with self._changed:
            kept = [cloud for cloud in self._waiting if cloud.stamp <= stamp + JUMP_NS]
            if len(kept) < len(self._waiting):
                self._dropped["time_jump"] += len(self._waiting) - len(kept)
            self._waiting = kept

    def restart_gate(self) -> None:
        """Forget the last pose: after a jump of time, or where another map begins; called where clouds are read."""
        self._gate.restart()

    def values(self) -> dict[str, str]:
        """Return the counters, for /diagnostics."""
        counts = {"received": self._received, "processed": self._processed, "dropped": self._dropped.total()}
        counts |= {f"dropped.{cause}": count for cause, count in sorted(self._dropped.items())}
        return {f"clouds.{name}": str(count) for name, count in counts.items()}

    def _on_points(self, message: PointCloud2) -> None:
        self._received += 1
        if self.paused:
            self._drop("paused", PAUSED)
            return
        stamp = stamp_ns(message.header.stamp)
        if wrong := no_time(stamp, "a cloud's"):
            self._drop("cloud_stamp", wrong)
            return
        last = last_point_ns(message)
        with self._changed:
            if len(self._waiting) >= CAPACITY:
                self._waiting.pop(0)
                self._drop("overtaken", "more clouds wait than are kept")
            self._waiting.append(WaitingCloud(message, stamp, last, self._clock()))
            self._changed.notify()

    def _drop(self, cause: str, message: str) -> None:
        self._dropped[cause] += 1
        if cause not in QUIET:
            self._statistics.notice(cause, f"a cloud is not mapped: {message}")
