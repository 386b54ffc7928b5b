"""`~/grid`: a horizontal slab of the map above the floor as nav_msgs/OccupancyGrid, e.g. for Nav2's static layer.

The worker's thread owns the map. While there are subscribers, it summarises the changed blocks after each frame; the
outputs' thread keeps the summaries and makes the grid. After a time without subscribers the whole map is summarised.
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
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header

from sgrocc_core.errors import DataError
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.voxels.columns import GRID_UNKNOWN, ColumnMap, Columns, SlabGrid, slab_layers
from sgrocc_core.voxels.voxel_map import VoxelMap
from sgrocc_ros.distributions import create_publisher
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.messages import time_message

LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
EMPTY_GRID = SlabGrid(np.full((1, 1), GRID_UNKNOWN, np.int8), (0, 0), 0, 0)
"""Grid of a map that has become empty; consumers expect at least one cell."""
Changes = tuple[bool, Columns]
"""Whether the columns are those of the whole map, and the columns."""


class GridOutput:
    """The publisher of `~/grid` and the columns that the grid is made from.

    `changes` and `replaced` are called on the worker's thread, `apply`, `due` and `sent` on the outputs' thread.

    Args:
        node: owns the publisher.
        values: the parameters `map_frame`, `grid_rate`, `grid_min_height`, `grid_max_height` and `floor_height`.
        statistics: counts maps that are too large for a grid.
        voxel_map: returns the mapper's voxel map; called on the worker's thread only.
    """

    def __init__(
        self, node: Node, values: Mapping[str, Any] | Any, statistics: Statistics, voxel_map: Callable[[], VoxelMap]
    ) -> None:
        self._node, self._values, self._statistics, self._voxel_map = node, values, statistics, voxel_map
        self._follows = False  # of the worker's thread: whether all changes so far were passed on
        self._columns = ColumnMap()
        self._is_current = self._changed = self._has_sent = False
        self._layers: tuple[int, int] | None = None
        self._last_time = -np.inf

    def open(self, on_join: Callable[[], Any]) -> None:
        """Create the publisher; `on_join` is called for each new subscriber."""
        self.publisher = create_publisher(self._node, OccupancyGrid, "~/grid", LATCHED_QOS, on_join)

    @property
    def follows(self) -> bool:
        """Whether the outputs' thread has received all changes; read on the worker's thread."""
        return self._follows

    def changes(self) -> Changes | None:
        """Return the blocks that the last update changed; all blocks after missed changes; None without subscribers."""
        if not self.publisher.get_subscription_count():
            self._follows = False
            return None
        voxel_map, whole = self._voxel_map(), not self._follows
        self._follows = False  # in case the next line raises
        blocks = voxel_map.columns(voxel_map.blocks() if whole else voxel_map.judged)
        self._follows = True
        return whole, blocks

    def replaced(self) -> Changes | None:
        """Return all blocks of a voxel map that has replaced the previous one; None without subscribers."""
        self._follows = False
        return self.changes()

    def apply(self, changes: Changes | None) -> None:
        """Apply the result of `changes`. After None the columns are out of date until a whole map arrives."""
        if changes is None:
            if self._is_current:
                self._columns.clear()
            self._is_current = False
            return
        whole, blocks = changes
        if whole:
            self._columns.clear()
        self._columns.apply(blocks)
        self._is_current = True
        self._changed |= whole or bool(len(blocks.keys))

    def due(self, stamp: int) -> OccupancyGrid | None:
        """Return the grid message if one is due, else None. stamp: newest frame in the map, nanoseconds."""
        now = time.monotonic()
        if (
            not self._is_current
            or now - self._last_time < 1 / self._values["grid_rate"]
            or not self.publisher.get_subscription_count()
        ):
            return None
        floor, layers = self._slab()
        if not self._changed and layers == self._layers:
            return None
        self._last_time = now
        try:
            grid = self._columns.grid(*layers)
        except DataError as error:
            self._statistics.notice("grid_too_large", f"no grid: {error}")
            return None
        self._changed, self._layers = False, layers
        if grid is None and not self._has_sent:
            return None
        return grid_message(grid or EMPTY_GRID, self._values["map_frame"], stamp, floor)

    def sent(self, done: bool) -> None:
        """Record whether the message of `due` was published; if not, it becomes due again."""
        self._changed |= not done
        self._has_sent |= done

    def _slab(self) -> tuple[float, tuple[int, int]]:
        """Return the height of the floor, metres, and the first and last voxel layer of the slab."""
        values = self._values
        floor = self._columns.floor_height() if values["floor_height"] == "auto" else float(values["floor_height"])
        return floor, slab_layers(floor, values["grid_min_height"], values["grid_max_height"])


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
    cells = array.array("b")
    cells.frombytes(grid.values.tobytes())
    return OccupancyGrid(
        header=Header(stamp=time_stamp, frame_id=frame_id),
        info=MapMetaData(map_load_time=time_stamp, resolution=VOXEL_SIZE, width=width, height=height, origin=origin),
        data=cells,
    )
