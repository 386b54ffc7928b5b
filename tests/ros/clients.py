"""Subscribers that maintain the published map, markers and grid as the documentation describes."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from nav_msgs.msg import OccupancyGrid
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker, MarkerArray

from sgrocc_ros.messages import read_cloud


class MapClient:
    """A subscriber that maintains the map as documented: a snapshot, then the updates after it."""

    def __init__(self) -> None:
        self.voxels: dict[tuple[int, int, int], tuple[int, float]] = {}
        self.sequence: int | None = None
        self.snapshots = 0
        self.updates: list[np.ndarray] = []
        self.gaps = 0

    def on_snapshot(self, message: PointCloud2) -> None:
        """Replace the map by a snapshot, unless the snapshot is older."""
        assert len(message.data) == message.width * message.point_step == message.row_step
        points = read_cloud(message)
        self.snapshots += 1
        if not len(points):
            self.voxels = {}
        elif self.sequence is None or int(points["sequence"][0]) >= self.sequence:
            self.voxels, self.sequence = as_voxels(points), int(points["sequence"][0])

    def on_update(self, message: PointCloud2) -> None:
        """Apply an update to the map."""
        assert len(message.data) == message.width * message.point_step == message.row_step
        points = read_cloud(message).copy()
        assert np.isfinite(points["x"]).all()
        self.updates.append(points)
        sequence = int(points["sequence"][0])
        assert (points["sequence"] == sequence).all()
        if self.sequence is not None and sequence <= self.sequence:
            return
        self.gaps += self.sequence is not None and sequence != self.sequence + 1
        self.sequence = sequence
        for voxel, value in as_voxels(points).items():
            if value[0]:
                self.voxels[voxel] = value
            else:
                self.voxels.pop(voxel, None)


class LatchedClient:
    """A subscriber to one of the node's latched topics."""

    def __init__(self, node: Node, kind: type, name: str, depth: int, on_message: Callable[[Any], None]) -> None:
        qos = QoSProfile(
            depth=depth, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self.messages: list[Any] = []
        self.times: list[float] = []
        self._node, self._on_message = node, on_message
        self.subscription = node.create_subscription(kind, f"/embodied_occupancy/{name}", self._receive, qos)

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self.subscription)

    def _receive(self, message: Any) -> None:
        self.messages.append(message)
        self.times.append(time.monotonic())
        self._on_message(message)


class MarkerClient(LatchedClient):
    """A subscriber that maintains the markers as RViz does."""

    def __init__(self, node: Node) -> None:
        self.shown: dict[tuple[str, int], Marker] = {}
        super().__init__(node, MarkerArray, "markers", 50, self._on_markers)

    @property
    def voxels(self) -> set[tuple[int, int, int]]:
        """Indices of all visible cubes."""
        blocks = [m for (ns, _), m in self.shown.items() if ns == "occupancy"]
        return {
            (round(p.x / 0.08 - 0.5), round(p.y / 0.08 - 0.5), round(p.z / 0.08 - 0.5))
            for m in blocks
            for p in m.points
        }

    def _on_markers(self, message: MarkerArray) -> None:
        for marker in message.markers:
            if marker.action == Marker.DELETEALL:
                self.shown.clear()
            elif marker.action == Marker.DELETE:
                self.shown.pop((marker.ns, marker.id), None)
            else:
                self.shown[marker.ns, marker.id] = marker


class GridClient(LatchedClient):
    """A subscriber to the grid, with the quality of service of Nav2's static layer."""

    def __init__(self, node: Node) -> None:
        super().__init__(node, OccupancyGrid, "grid", 1, lambda _: None)

    @property
    def cells(self) -> dict[tuple[int, int], int]:
        """Known cells of the newest grid, by the x and y index of their voxels."""
        if not self.messages:
            return {}
        info, data = self.messages[-1].info, np.array(self.messages[-1].data, np.int8)
        x, y = round(info.origin.position.x / 0.08), round(info.origin.position.y / 0.08)
        return {(x + n % info.width, y + n // info.width): int(data[n]) for n in np.flatnonzero(data != -1).tolist()}


def as_voxels(points: np.ndarray) -> dict[tuple[int, int, int], tuple[int, float]]:
    """Return label and probability of a cloud's points by voxel index."""
    index = np.rint(np.stack([points["x"], points["y"], points["z"]], 1).astype(np.float64) / 0.08 - 0.5).astype(int)
    return {
        tuple(i): (int(label), float(p)) for i, label, p in zip(index.tolist(), points["label"], points["probability"])
    }
