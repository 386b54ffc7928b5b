"""`~/objects`: the things of the map as boxes; off by default.

vision_msgs/Detection3DArray where vision_msgs is installed, otherwise a MarkerArray of boxes and their names.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from geometry_msgs.msg import Point, Vector3
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from sgrocc_core.classes import COLORS
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.voxels.object_ids import ObjectIds
from sgrocc_core.voxels.objects import FoundObject, objects_of
from sgrocc_ros.distributions import optional_message
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.messages import time_message
from sgrocc_ros.output.markers import delete_all
from sgrocc_ros.output.published import PublishedMap

Detection3DArray = optional_message("vision_msgs", "Detection3DArray")
Detection3D: Any = optional_message("vision_msgs", "Detection3D")
ObjectHypothesisWithPose: Any = optional_message("vision_msgs", "ObjectHypothesisWithPose")
OBJECTS_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


class ObjectsOutput:
    """The publisher of `~/objects`. Nothing is computed without `publish_objects` and a subscriber.

    Args:
        node: owns the publisher.
        values: the parameters `map_frame`, `full_map_period` and `publish_objects`.
        statistics: keeps the time that it takes.
    """

    def __init__(self, node: Node, values: Mapping[str, Any] | Any, statistics: Statistics) -> None:
        self._values, self._statistics, self._ids = values, statistics, ObjectIds()
        self._publisher = node.create_publisher(Detection3DArray or MarkerArray, "~/objects", OBJECTS_QOS)
        self._sequence, self._last_time, self._heard_by = -1, -np.inf, 0

    @property
    def publishers(self) -> dict[Publisher, str]:
        """The publisher, with a description of its quality of service."""
        return {self._publisher: "reliable; off unless publish_objects"}

    @property
    def wanted(self) -> bool:
        """Whether things are to be published and have a subscriber."""
        return bool(self._values["publish_objects"]) and self._publisher.get_subscription_count() > 0

    def due(self, published: PublishedMap) -> list[tuple[Publisher, Any]]:
        """The message, if the map has changed and `full_map_period` has passed; on the outputs' thread."""
        now = time.monotonic()
        if not self.wanted:
            self._heard_by = 0
            return []
        before, self._heard_by = self._heard_by, self._publisher.get_subscription_count()
        if self._heard_by > before:  # a new subscriber is served at once
            self._sequence, self._last_time = -1, -np.inf
        if published.sequence == self._sequence or now - self._last_time < self._values["full_map_period"]:
            return []
        self._sequence, self._last_time = published.sequence, now
        points = published.points()
        voxels = np.stack([np.floor(points[axis] / VOXEL_SIZE) for axis in ("x", "y", "z")], 1).astype(np.int32)
        nowhere = np.zeros((0, 3), np.int32)
        things = objects_of(voxels, points["label"], points["probability"], nowhere)
        header = Header(stamp=time_message(published.stamp), frame_id=self._values["map_frame"])
        make = markers if Detection3DArray is None else detections
        message = make(things, self._ids.assign(things), header)
        self._statistics.time("objects", 1e3 * (time.monotonic() - now))
        return [(self._publisher, message)]


def detections(things: list[FoundObject], numbers: list[int], header: Header) -> Any:
    """The things as vision_msgs/Detection3DArray; `id` is the number."""
    message = Detection3DArray(header=header)  # type: ignore[misc]
    for thing, number in zip(things, numbers):
        found, guess = Detection3D(header=header, id=str(number)), ObjectHypothesisWithPose()
        guess.hypothesis.class_id, guess.hypothesis.score = thing.name, thing.probability
        x, y, z = (float(v) for v in thing.centre)
        guess.pose.pose.position = Point(x=x, y=y, z=z)
        found.bbox.center.position = Point(x=x, y=y, z=z)
        found.bbox.size = _vector(thing)
        found.results.append(guess)
        message.detections.append(found)
    return message


def markers(things: list[FoundObject], numbers: list[int], header: Header) -> MarkerArray:
    """The things as boxes and texts `class number`, after a marker that removes those before."""
    message = MarkerArray(markers=[delete_all(header.frame_id, _nanoseconds(header))])
    for thing, number in zip(things, numbers):
        red, green, blue = (float(c) / 255 for c in COLORS[thing.label])
        for kind, namespace in ((Marker.CUBE, "boxes"), (Marker.TEXT_VIEW_FACING, "names")):
            marker = Marker(header=header, ns=namespace, id=number, type=kind, action=Marker.ADD)
            x, y, z = (float(v) for v in thing.centre)
            marker.pose.position = Point(x=x, y=y, z=z)
            marker.pose.orientation.w = 1.0
            marker.scale, marker.color = _vector(thing), ColorRGBA(r=red, g=green, b=blue, a=0.4)
            if kind == Marker.TEXT_VIEW_FACING:
                marker.pose.position.z = z + float(thing.extent[2]) / 2 + 0.1
                marker.scale, marker.color.a = Vector3(x=0.0, y=0.0, z=0.2), 1.0
                marker.text = f"{thing.name} {number}"
            message.markers.append(marker)
    return message


def _vector(thing: FoundObject) -> Vector3:
    x, y, z = (float(v) for v in thing.extent)
    return Vector3(x=x, y=y, z=z)


def _nanoseconds(header: Header) -> int:
    return int(header.stamp.sec) * 10**9 + int(header.stamp.nanosec)
