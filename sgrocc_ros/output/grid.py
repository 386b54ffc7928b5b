"""`~/grid`: a horizontal slab of the map above the floor as nav_msgs/OccupancyGrid, e.g. for Nav2's static layer.

Where map_msgs is installed and every subscriber of the grid also takes `~/grid_updates`, changes are sent there: the
rectangle of all cells that have changed since the last complete grid, also of those that have changed back. An update
repeats what the ones before it said, so that one which was lost, or came before its grid was taken, does no harm.
"""

from __future__ import annotations

import array
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point, Pose, Quaternion
from nav_msgs.msg import MapMetaData, OccupancyGrid
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from sgrocc_core.errors import DataError
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.voxels.columns import GRID_UNKNOWN, Columns, SlabGrid
from sgrocc_ros.distributions import create_publisher, optional_message
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.messages import time_message
from sgrocc_ros.output.columns import Feed, Messages

LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
UPDATES_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
EMPTY_GRID = SlabGrid(np.full((1, 1), GRID_UNKNOWN, np.int8), (0, 0), 0, 0)
"""Grid of a map that has become empty; consumers expect at least one cell."""
OccupancyGridUpdate = optional_message("map_msgs", "OccupancyGridUpdate")
Rectangle = tuple[int, int, int, int]
"""Cells of a grid: first column and row, and the column and row after the last ones."""


class GridOutput:
    """The publishers of `~/grid` and `~/grid_updates`; see `FromColumns`.

    Args:
        node: owns the publishers.
        values: the parameters `map_frame`, `grid_rate` and `full_map_period`.
        statistics: counts maps that are too large for a grid.
        feed: returns the feed of columns; called on the outputs' thread.
    """

    needs_labels = False

    def __init__(
        self, node: Node, values: Mapping[str, Any] | Any, statistics: Statistics, feed: Callable[[], Feed]
    ) -> None:
        self._node, self._values, self._statistics, self._feed = node, values, statistics, feed
        self._changed = self._has_sent = self._joined = self._has_updated = False
        self._last_time = self._full_time = -np.inf
        self._layers: tuple[int, int, int] | None = None
        self._full: tuple[SlabGrid, float] | None = None  # the last complete grid, and the height of its floor
        self._given: tuple[SlabGrid, float, bool] | None = None  # what `due` returned, and whether it was complete
        self._rectangle: Rectangle | None = None  # of all cells that have changed since the last complete grid
        self._updates: Publisher | None = None

    def open(self, on_join: Callable[[], Any]) -> None:
        """Create the publishers; `on_join` is called for each new subscriber."""

        def joined() -> None:
            self._joined = True
            on_join()

        self.publisher = create_publisher(self._node, OccupancyGrid, "~/grid", LATCHED_QOS, joined)
        if OccupancyGridUpdate is not None:
            self._updates = create_publisher(self._node, OccupancyGridUpdate, "~/grid_updates", UPDATES_QOS, on_join)

    @property
    def publishers(self) -> dict[Publisher, str]:
        """The publishers, each with a description of its quality of service."""
        found = {self.publisher: "reliable, transient local"}
        return found if self._updates is None else found | {self._updates: "reliable"}

    @property
    def lacks(self) -> tuple[str, str] | None:
        """The topic that is not offered and the package of messages that it needs, if there is one."""
        return None if OccupancyGridUpdate is not None else ("~/grid_updates", "map_msgs")

    @property
    def wanted(self) -> bool:
        """Whether the grid has subscribers."""
        return self.publisher.get_subscription_count() > 0

    def apply(self, whole: bool, blocks: Columns) -> None:
        """Follow a change of the columns."""
        self._changed |= whole or bool(len(blocks.keys))

    def due(self, stamp: int) -> Messages:
        """Return the grid or its update if one is due."""
        now, feed = time.monotonic(), self._feed()
        if not feed.is_current or now - self._last_time < 1 / self._values["grid_rate"] or not self.wanted:
            return []
        floor, layers = feed.slab()
        outdated = self._has_updated and (self._joined or now - self._full_time >= self._values["full_map_period"])
        if not (self._changed or outdated) and layers == self._layers:
            return []
        self._last_time = now
        try:
            grid = feed.columns.grid(*layers)
        except DataError as error:
            self._statistics.notice("grid_too_large", f"no grid: {error}")
            return []
        self._changed, self._joined, self._layers = False, False, layers
        if grid is None and not self._has_sent:
            return []
        return self._messages(grid or EMPTY_GRID, stamp, floor, now)

    def _messages(self, grid: SlabGrid, stamp: int, floor: float, now: float) -> Messages:
        is_part = (
            self._updates is not None
            and self._updates.get_subscription_count() >= self.publisher.get_subscription_count()
            and now - self._full_time < self._values["full_map_period"]
            and self._full is not None
            and _same_extent(self._full, grid, floor)
        )
        if not is_part:
            self._given = SlabGrid(grid.values.copy(), grid.corner, grid.first, grid.last), floor, True
            return [(self.publisher, grid_message(grid, self._values["map_frame"], stamp, floor))]
        assert self._full is not None and self._updates is not None
        self._given = grid, floor, False
        self._rectangle = _joined(self._rectangle, changed_rectangle(self._full[0], grid))
        if self._rectangle is None:
            return []
        return [(self._updates, update_message(grid, self._rectangle, self._values["map_frame"], stamp))]

    def sent(self, done: bool) -> None:
        """Record whether the messages of `due` were published; if not, they become due again."""
        self._changed |= not done
        self._has_sent |= done
        if self._given is None or not done:
            return
        grid, floor, complete = self._given
        if complete:
            self._full, self._full_time, self._has_updated = (grid, floor), self._last_time, False
            self._rectangle = None
        else:
            self._has_updated = True


def _same_extent(full: tuple[SlabGrid, float], grid: SlabGrid, floor: float) -> bool:
    before, height = full
    same_floor = round(height / VOXEL_SIZE) == round(floor / VOXEL_SIZE)
    return same_floor and before.corner == grid.corner and before.values.shape == grid.values.shape


def grid_message(grid: SlabGrid, frame_id: str, stamp: int, floor: float) -> OccupancyGrid:
    """Convert a grid to a message at the height of the floor.

    Args:
        grid: the grid.
        frame_id: frame of the map.
        stamp: time stamp, nanoseconds.
        floor: height of the floor, metres; rounded to the nearest boundary between voxels.
    """
    time_stamp: Time = time_message(stamp)
    height, width = grid.values.shape
    x, y = (index * VOXEL_SIZE for index in grid.corner)
    origin = Pose(
        position=Point(x=x, y=y, z=round(floor / VOXEL_SIZE) * VOXEL_SIZE),
        orientation=Quaternion(x=0.0, y=0.0, z=0.0, w=1.0),
    )
    return OccupancyGrid(
        header=Header(stamp=time_stamp, frame_id=frame_id),
        info=MapMetaData(map_load_time=time_stamp, resolution=VOXEL_SIZE, width=width, height=height, origin=origin),
        data=_cells(grid.values),
    )


def changed_rectangle(full: SlabGrid, grid: SlabGrid) -> Rectangle | None:
    """The smallest rectangle of all cells that differ between two grids of the same extent; None if none does."""
    different = full.values != grid.values
    rows, columns = np.flatnonzero(different.any(1)), np.flatnonzero(different.any(0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def _joined(one: Rectangle | None, other: Rectangle | None) -> Rectangle | None:
    if one is None or other is None:
        return one or other
    return min(one[0], other[0]), min(one[1], other[1]), max(one[2], other[2]), max(one[3], other[3])


def update_message(grid: SlabGrid, rectangle: Rectangle, frame_id: str, stamp: int) -> Any:
    """A rectangle of a grid as map_msgs/OccupancyGridUpdate.

    Args:
        grid: the grid.
        rectangle: the cells to send.
        frame_id: frame of the map.
        stamp: time stamp, nanoseconds.
    """
    x, y, end_x, end_y = rectangle
    assert OccupancyGridUpdate is not None
    return OccupancyGridUpdate(
        header=Header(stamp=time_message(stamp), frame_id=frame_id),
        x=x, y=y, width=end_x - x, height=end_y - y, data=_cells(grid.values[y:end_y, x:end_x]),
    )  # fmt: skip


def _cells(values: np.ndarray) -> array.array:
    cells = array.array("b")
    cells.frombytes(np.ascontiguousarray(values).tobytes())
    return cells
