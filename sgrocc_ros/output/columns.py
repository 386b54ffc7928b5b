"""The columns of the map on their way from the worker's thread to the outputs made from them: grid, distances, octree.

The worker's thread owns the map. While any of these outputs has subscribers, it summarises the changed blocks after
each frame; the outputs' thread keeps the summaries. After a time without subscribers the whole map is summarised.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from rclpy.publisher import Publisher

from sgrocc_core.voxels.columns import ColumnMap, Columns, slab_layers, step_layers
from sgrocc_core.voxels.voxel_map import VoxelMap

Changes = tuple[bool, Columns, frozenset[int]]
"""Whether the columns are those of the whole map, the columns, and the numbers of the outputs that want them."""
Messages = list[tuple[Publisher, Any]]


class FromColumns(Protocol):
    """An output that is made from the columns."""

    needs_labels: bool

    @property
    def lacks(self) -> tuple[str, str] | None:
        """The topic that it cannot offer and the package of messages that is missing for it, if there is one."""

    @property
    def wanted(self) -> bool:
        """Whether it has subscribers and is switched on; read on both threads."""

    @property
    def publishers(self) -> dict[Publisher, str]:
        """Its publishers, each with a description of its quality of service."""

    def open(self, on_join: Callable[[], Any]) -> None:
        """Create the publishers; `on_join` is called for each new subscriber."""

    def apply(self, whole: bool, blocks: Columns) -> None:
        """Follow a change of the columns, while it is wanted; on the outputs' thread."""

    def due(self, stamp: int) -> Messages:
        """Messages that are due, stamped with the newest frame in the map, nanoseconds; on the outputs' thread."""

    def sent(self, done: bool) -> None:
        """Record whether the messages of `due` were published; if not, they become due again."""


class Feed:
    """Passes the columns on.

    `changes` and `replaced` are called on the worker's thread, all others on the outputs' thread.

    Args:
        values: the parameters `grid_min_height`, `grid_max_height`, `floor_height` and `floor_step`.
        voxel_map: returns the mapper's voxel map; called on the worker's thread only.
        users: the outputs.

    Attributes:
        users: the outputs.
        columns: the columns of the map.
        is_current: whether they are those of the last update.
    """

    def __init__(
        self, values: Mapping[str, Any] | Any, voxel_map: Callable[[], VoxelMap], users: list[FromColumns]
    ) -> None:
        self._values, self._voxel_map, self.users = values, voxel_map, users
        self._follows: frozenset[int] = frozenset()  # of the worker's thread: users that have received all changes
        self._with_labels = False
        self.columns = ColumnMap()
        self.is_current = False

    @property
    def missed(self) -> bool:
        """Whether an output that is wanted lacks changes; read on the worker's thread."""
        return any(user.wanted and n not in self._follows for n, user in enumerate(self.users))

    def changes(self) -> Changes | None:
        """Return the blocks that the last update changed; all after missed changes; None if nobody wants them."""
        wanted = frozenset(n for n, user in enumerate(self.users) if user.wanted)
        if not wanted:
            self._follows = frozenset()
            return None
        labels = any(self.users[n].needs_labels for n in wanted)
        whole = not wanted <= self._follows or (labels and not self._with_labels)
        self._follows = frozenset()  # in case the next line raises
        voxel_map = self._voxel_map()
        blocks = voxel_map.columns(voxel_map.blocks() if whole else voxel_map.judged, labels)
        self._follows, self._with_labels = wanted, labels
        return whole, blocks, wanted

    def replaced(self) -> Changes | None:
        """Return all blocks of a voxel map that has replaced the previous one; None if nobody wants them."""
        self._follows = frozenset()
        return self.changes()

    def apply(self, changes: Changes | None) -> None:
        """Apply the result of `changes`. After None the columns are out of date until a whole map arrives."""
        if changes is None:
            if self.is_current:
                self.columns.clear()
            self.is_current = False
            return
        whole, blocks, wanted = changes
        if whole:
            self.columns.clear()
        self.columns.apply(blocks)
        self.is_current = True
        for n in wanted:
            self.users[n].apply(whole, blocks)

    def slab(self) -> tuple[float, tuple[int, int, int]]:
        """Return the height of the floor, metres, first and last voxel layer of the slab, and the step in layers."""
        values = self._values
        is_level = values["floor_height"] != "auto"
        floor = float(values["floor_height"]) if is_level else self.columns.floor_height()
        step = 0 if is_level else step_layers(values["floor_step"])
        return floor, (*slab_layers(floor, values["grid_min_height"], values["grid_max_height"]), step)
