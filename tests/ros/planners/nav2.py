"""What Nav2's static layer does with a map and its updates, by the behaviour of nav2_costmap_2d (August 2026).

A map is taken at once if it is the first, else kept until the costmap's next cycle; an update is written into the
costmap as it is then. Messages that Nav2 would refuse, ignore or warn about are collected as sentences.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

NO_INFORMATION, LETHAL_OBSTACLE, FREE_SPACE = 255, 254, 0
EPSILON = 1e-5
LARGEST = 2**15 - 1
MAP_QOS = QoSProfile(depth=3, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
UPDATES_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class StaticLayer:
    """A static layer of a costmap that does not roll, with `track_unknown_space` and the default thresholds.

    Args:
        node: owns the subscriptions.
        topic: the map's; updates come on `TOPIC_updates`.
        update_type: map_msgs/OccupancyGridUpdate for `subscribe_to_updates`, else None.
    """

    def __init__(self, node: Node, topic: str, update_type: type | None = None) -> None:
        self.complaints: list[str] = []
        self.maps: list[OccupancyGrid] = []
        self.updates: list[Any] = []
        self.sizes: list[tuple[int, int]] = []
        self.costs: np.ndarray | None = None
        self._buffer: OccupancyGrid | None = None
        self._node = node
        self._subscriptions = [node.create_subscription(OccupancyGrid, topic, self.incoming_map, MAP_QOS)]
        if update_type is not None:
            self._subscriptions.append(
                node.create_subscription(update_type, f"{topic}_updates", self.incoming_update, UPDATES_QOS)
            )

    def close(self) -> None:
        """Unsubscribe."""
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)

    def incoming_map(self, message: OccupancyGrid) -> None:
        """The callback of the map."""
        if reason := refused_map(message):
            self.complaints.append(f"malformed map: {reason}")
            return
        self.maps.append(message)
        if self.costs is None:
            self._process(message)
        else:
            self._buffer = message

    def incoming_update(self, message: Any) -> None:
        """The callback of updates."""
        if reason := refused_update(message):
            self.complaints.append(f"malformed update: {reason}")
            return
        self.updates.append(message)
        if self.costs is None:
            return
        height, width = self.costs.shape
        if message.y + message.height > height or message.x + message.width > width:
            # Nav2 ignores it with a warning; harmless if the new map waits in the buffer.
            if self._buffer is None:
                self.complaints.append("update exceeds the bounds of the map")
            return
        if message.header.frame_id != self._frame:
            self.complaints.append("update of another frame")
            return
        cells = interpreted(np.array(message.data, np.int8)).reshape(message.height, message.width)
        self.costs[message.y : message.y + message.height, message.x : message.x + message.width] = cells

    def update_bounds(self) -> None:
        """A cycle of the costmap: takes the map that waits."""
        if self._buffer is not None:
            self._process(self._buffer)
            self._buffer = None

    @property
    def cells(self) -> dict[tuple[int, int], int]:
        """Known cells, 100 or 0, by the x and y index of their voxels, as the grid's test clients have them."""
        if self.costs is None:
            return {}
        x, y = (round(value / 0.08) for value in self._origin)
        known = np.argwhere(self.costs != NO_INFORMATION)
        return {(x + c, y + r): 100 if self.costs[r, c] == LETHAL_OBSTACLE else 0 for r, c in known.tolist()}

    def _process(self, message: OccupancyGrid) -> None:
        info, resolution = message.info, float(np.float32(message.info.resolution))  # a float32 on the wire
        for value in (info.origin.position.x, info.origin.position.y):
            if abs(math.fmod(value, resolution)) > EPSILON:
                self.complaints.append(f"origin {value} is not aligned with the resolution {resolution}")
        self.sizes.append((info.width, info.height))
        self.costs = interpreted(np.array(message.data, np.int8)).reshape(info.height, info.width)
        self._frame, self._origin = message.header.frame_id, (info.origin.position.x, info.origin.position.y)


def interpreted(values: np.ndarray) -> np.ndarray:
    """Costs of cells, as a trinary costmap with lethal_cost_threshold 100 and unknown_cost_value 255 has them."""
    values = values.view(np.uint8)
    costs = np.where(values >= 100, LETHAL_OBSTACLE, FREE_SPACE)
    return np.where(values == 255, NO_INFORMATION, costs).astype(np.uint8)


def refused_map(message: OccupancyGrid) -> str:
    """Why Nav2's validateMsg refuses a map, or an empty text."""
    info, q = message.info, message.info.origin.orientation
    numbers = (info.origin.position.x, info.origin.position.y, info.origin.position.z, info.resolution, q.x, q.y, q.z)
    norm = q.x**2 + q.y**2 + q.z**2 + q.w**2
    checks = {
        "the frame is empty": not message.header.frame_id,
        "the nanoseconds are too many": message.header.stamp.nanosec >= 10**9,
        "a number is not finite": not all(map(math.isfinite, numbers)),
        "the quaternion is not of length 1": abs(norm - 1) >= 1e-4,
        "the resolution is too small": info.resolution < 1e-6,
        "the size is 0": info.width == 0 or info.height == 0,
        "the size is too large": info.width > LARGEST or info.height > LARGEST,
        "the data has another size": len(message.data) != info.width * info.height,
    }
    return ", ".join(reason for reason, holds in checks.items() if holds)


def refused_update(message: Any) -> str:
    """Why Nav2's validateMsg refuses an update, or an empty text."""
    checks = {
        "the frame is empty": not message.header.frame_id,
        "the data has another size": len(message.data) != message.width * message.height,
        "the corner is negative": message.x < 0 or message.y < 0,
        "the size is too large": max(message.x, message.y, message.width, message.height) > LARGEST,
    }
    return ", ".join(reason for reason, holds in checks.items() if holds)
