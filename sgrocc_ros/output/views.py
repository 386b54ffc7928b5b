"""Topics for viewing and debugging: `~/depth`, the depth used for the last frame, and `~/gaussians`, those in view."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from sgrocc_core.gaussians.last_view import GaussiansInView
from sgrocc_core.mapping.mapper import MapUpdate
from sgrocc_ros.messages import byte_array, time_message
from sgrocc_ros.output.markers import marker_maker, spheres
from sgrocc_ros.output.objects import ObjectsOutput

DEPTH_QOS = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
GAUSSIANS_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE)


class Views:
    """The two publishers and their messages.

    Args:
        node: owns the publishers.
        gaussians_wanted: returns whether the Gaussians are to be published; called each time.
        objects: the publisher of `~/objects`, which is asked between frames.
    """

    def __init__(self, node: Node, gaussians_wanted: Callable[[], bool], objects: ObjectsOutput) -> None:
        self._wanted, self.objects = gaussians_wanted, objects
        self._depth = node.create_publisher(Image, "~/depth", DEPTH_QOS)
        self._gaussians = node.create_publisher(MarkerArray, "~/gaussians", GAUSSIANS_QOS)
        self._drawn = False

    @property
    def publishers(self) -> dict[Publisher, str]:
        """The publishers, each with a description of its quality of service."""
        own = {self._depth: "best effort", self._gaussians: "reliable; off unless publish_gaussians"}
        return own | self.objects.publishers

    @property
    def wants_gaussians(self) -> bool:
        """Whether Gaussians are to be published and have a subscriber."""
        return self._wanted() and self._gaussians.get_subscription_count() > 0

    def messages(
        self, update: MapUpdate, camera: str, frame_id: str, gaussians: GaussiansInView | None
    ) -> list[tuple[Publisher, Any]]:
        """Return the publishers and messages for a frame.

        Args:
            update: result of the frame.
            camera: frame of the image.
            frame_id: frame of the map.
            gaussians: the Gaussians in view; None removes those published before, once.
        """
        found: list[tuple[Publisher, Any]] = []
        if self._depth.get_subscription_count():
            found.append((self._depth, depth_message(update.depth, camera, update.stamp_ns)))
        if gaussians is not None or self._drawn:
            found.append((self._gaussians, marker_maker()(spheres(gaussians), frame_id, update.stamp_ns, ())))
        self._drawn = gaussians is not None
        return found


def depth_message(depth: np.ndarray, frame_id: str, stamp: int) -> Image:
    """Convert depth, (H, W) float32, metres, 0 = none, to a 32FC1 image. stamp: nanoseconds."""
    height, width = depth.shape
    message = Image(
        header=Header(stamp=time_message(stamp), frame_id=frame_id), height=height, width=width, encoding="32FC1"
    )
    message.is_bigendian, message.step, message.data = 0, 4 * width, byte_array(depth.astype("<f4", copy=False))
    return message
