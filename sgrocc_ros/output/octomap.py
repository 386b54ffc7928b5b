"""`~/octomap`: the whole map as octomap_msgs/Octomap, binary, e.g. for MoveIt; only where octomap_msgs is installed."""

from __future__ import annotations

import array
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from std_msgs.msg import Header

from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.map_files.octree import FARTHEST, Octree
from sgrocc_core.voxels.columns import Columns, voxels_of
from sgrocc_ros.distributions import create_publisher, optional_message
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.messages import time_message
from sgrocc_ros.output.columns import Feed, Messages
from sgrocc_ros.output.grid import LATCHED_QOS

Octomap = optional_message("octomap_msgs", "Octomap")


class OctomapOutput:
    """The publisher of `~/octomap`; see `FromColumns`. Without octomap_msgs it has none and is never wanted.

    Args:
        node: owns the publisher.
        values: the parameters `map_frame` and `full_map_period`.
        statistics: counts blocks that the tree cannot hold, and keeps the time that it takes.
        feed: returns the feed of columns; called on the outputs' thread.
    """

    needs_labels = False

    def __init__(
        self, node: Node, values: Mapping[str, Any] | Any, statistics: Statistics, feed: Callable[[], Feed]
    ) -> None:
        self._node, self._values, self._statistics, self._feed = node, values, statistics, feed
        self._publisher: Publisher | None = None
        self._tree = Octree()
        self._waiting: dict[tuple[int, int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._last_time = -np.inf
        self._changed = self._has_sent = False

    def open(self, on_join: Callable[[], Any]) -> None:
        """Create the publisher; `on_join` is called for each new subscriber."""
        if Octomap is not None:
            self._publisher = create_publisher(self._node, Octomap, "~/octomap", LATCHED_QOS, on_join)

    @property
    def publishers(self) -> dict[Publisher, str]:
        """The publisher, with a description of its quality of service."""
        return {} if self._publisher is None else {self._publisher: "reliable, transient local"}

    @property
    def lacks(self) -> tuple[str, str] | None:
        """The topic that is not offered and the package of messages that it needs, if there is one."""
        return None if Octomap is not None else ("~/octomap", "octomap_msgs")

    @property
    def wanted(self) -> bool:
        """Whether the octree has subscribers."""
        return self._publisher is not None and self._publisher.get_subscription_count() > 0

    def apply(self, whole: bool, blocks: Columns) -> None:
        """Keep the blocks that changed until the octree is due."""
        if whole:
            self._tree, self._waiting = Octree(), {}
        self._changed |= whole or bool(len(blocks.keys))
        for n, key in enumerate(map(tuple, blocks.keys.tolist())):
            self._waiting[key] = blocks.occupied[n], blocks.free[n]

    def due(self, stamp: int) -> Messages:
        """Return the octree if it is due."""
        now = time.monotonic()
        if not self._changed or not self.wanted or now - self._last_time < self._values["full_map_period"]:
            return []
        self._last_time = now
        waiting, self._waiting = self._waiting, {}
        if waiting:
            occupied, free = (voxels_of(np.stack(bits)) for bits in zip(*waiting.values()))
            if far := self._tree.set(np.array(list(waiting)), occupied, free):
                reach = FARTHEST * 16 * VOXEL_SIZE
                text = f"{far} blocks lie more than {reach:.0f} m from the origin, which an octree cannot hold"
                self._statistics.notice("octomap_too_far", f"{text}; they are left out")
        data, nodes = self._tree.encode()
        self._changed = False
        if not nodes and not self._has_sent:
            return []
        assert Octomap is not None and self._publisher is not None
        message = Octomap(
            header=Header(stamp=time_message(stamp), frame_id=self._values["map_frame"]),
            binary=True, id="OcTree", resolution=VOXEL_SIZE, data=array.array("b", data),
        )  # fmt: skip
        self._statistics.time("octomap", 1e3 * (time.monotonic() - now))
        return [(self._publisher, message)]

    def sent(self, done: bool) -> None:
        """Record whether the message of `due` was published; if not, it becomes due again."""
        self._changed |= not done
        self._has_sent |= done
