"""`~/distance`: for each known cell of the grid, the distance to the nearest occupied one and its class."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import PointCloud2

from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.voxels.columns import Columns
from sgrocc_core.voxels.distances.slab import SlabDistances
from sgrocc_ros.distributions import create_publisher
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.messages import cloud_message
from sgrocc_ros.output.columns import Feed, Messages
from sgrocc_ros.output.grid import LATCHED_QOS

CELL_POINT = np.dtype(
    {
        "names": ["x", "y", "z", "distance", "label"],
        "formats": ["<f4", "<f4", "<f4", "<f4", "u1"],
        "offsets": [0, 4, 8, 12, 16],
        "itemsize": 20,
    }
)
"""A cell: its centre at the height of the floor, distance (metres), and class of the nearest occupied cell."""


class DistanceOutput:
    """The publisher of `~/distance`; see `FromColumns`.

    Args:
        node: owns the publisher.
        values: the parameters `map_frame`, `grid_rate`, `publish_distance` and `distance_unknown`.
        statistics: keeps the time that it takes.
        feed: returns the feed of columns; called on the outputs' thread.
    """

    needs_labels = True

    def __init__(
        self, node: Node, values: Mapping[str, Any] | Any, statistics: Statistics, feed: Callable[[], Feed]
    ) -> None:
        self._node, self._values, self._statistics, self._feed = node, values, statistics, feed
        self._distances = SlabDistances(False)
        self._revision = 0
        self._last_time = -np.inf
        self._changed = self._has_sent = self._has_labels = False
        self._layers: tuple[int, int, int] | None = None

    def open(self, on_join: Callable[[], Any]) -> None:
        """Create the publisher; `on_join` is called for each new subscriber."""
        self.publisher = create_publisher(self._node, PointCloud2, "~/distance", LATCHED_QOS, on_join)

    @property
    def publishers(self) -> dict[Publisher, str]:
        """The publisher, with a description of its quality of service."""
        return {self.publisher: "reliable, transient local; off unless publish_distance"}

    @property
    def lacks(self) -> tuple[str, str] | None:
        """The topic that is not offered and the package of messages that it needs, if there is one."""
        return None

    @property
    def wanted(self) -> bool:
        """Whether distances are to be published and have a subscriber."""
        return self._values["publish_distance"] and self.publisher.get_subscription_count() > 0

    def apply(self, whole: bool, blocks: Columns) -> None:
        """Follow a change of the columns."""
        self._has_labels = blocks.labels is not None
        self._changed |= whole or bool(len(blocks.keys))

    def due(self, stamp: int) -> Messages:
        """Return the cloud if one is due."""
        now, feed = time.monotonic(), self._feed()
        if not self.wanted:
            self._has_labels = False
        if not (feed.is_current and self._has_labels) or now - self._last_time < 1 / self._values["grid_rate"]:
            return []
        floor, layers = feed.slab()
        unknown = self._values["distance_unknown"] == "occupied"
        if not self._changed and layers == self._layers and unknown == self._distances.unknown_is_occupied:
            return []
        self._last_time = now
        feed.columns.update(*layers)
        if unknown != self._distances.unknown_is_occupied:
            self._distances, self._revision = SlabDistances(unknown), 0
        self._distances.update(feed.columns, feed.columns.changed_since(self._revision))
        self._revision, self._layers, self._changed = feed.columns.revision, layers, False
        cells = self._distances.cells()
        if not len(cells) and not self._has_sent:
            return []
        points = np.zeros(len(cells), CELL_POINT)
        for name in ("x", "y"):
            points[name] = (cells[name] + 0.5) * VOXEL_SIZE
        points["z"], points["distance"], points["label"] = floor, cells["distance"], cells["label"]
        message = cloud_message(points, self._values["map_frame"], stamp)
        self._statistics.time("distance", 1e3 * (time.monotonic() - now))
        return [(self.publisher, message)]

    def sent(self, done: bool) -> None:
        """Record whether the message of `due` was published; if not, it becomes due again."""
        self._changed |= not done
        self._has_sent |= done
