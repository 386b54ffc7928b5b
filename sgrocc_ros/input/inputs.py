"""The node's subscriptions: images, camera_info, depth and transforms. Their callbacks only store messages.

Each subscription follows the reliability of its publishers: a reliable subscription receives nothing from a best-effort
publisher, and best effort loses big images that would arrive reliably.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from tf2_msgs.msg import TFMessage

from sgrocc_core.checks.stamps import no_time
from sgrocc_core.data.bags.topics import base_name, info_name
from sgrocc_core.errors import ConfigError
from sgrocc_ros.health.camera_statistics import CameraCounts
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.input.clouds import CloudRoom
from sgrocc_ros.input.follower import Follower
from sgrocc_ros.input.poses import Poses
from sgrocc_ros.input.stamps import StampGate
from sgrocc_ros.input.waiting import PAUSED, WaitingRoom
from sgrocc_ros.messages import image_size, info_size, last_point_ns, stamp_ns
from sgrocc_ros.parameters.values import CameraParameters, Parameters

LOOK_PERIOD = 0.25
"""Seconds between two checks of the ROS graph."""
CAMERA = "the camera"
"""Frame name used for the camera if the topic `pose` carries the camera's own poses, which name no frame."""


def pose_frame(parameters: CameraParameters) -> str:
    """Return the frame whose pose is looked up for an image; empty means the image's own frame_id.

    Poses on the topic `pose` without a `base_frame` are poses of the camera, whatever its frame is called.
    """
    nameless = parameters["pose_source"] == "pose" and not parameters["base_frame"]
    return str(parameters["camera_frame"] or (CAMERA if nameless else ""))


def camera_topic(node: Node, camera: str, name: str) -> str:
    """Return the absolute name of a camera's topic, after remapping: CAMERA/NAME, or NAME of the only camera."""
    return str(node.resolve_topic_name(f"{camera}/{name}" if camera else name))


def image_topics(node: Node, cameras: Sequence[str]) -> dict[str, str]:
    """Return the image topic of each camera, without the suffix of its transport.

    Raises:
        ConfigError: two cameras have the same.
    """
    found: dict[str, str] = {}
    for camera in cameras:
        topic = base_name(camera_topic(node, camera, "image"))
        if other := next((name for name, taken in found.items() if taken == topic), None):
            raise ConfigError(
                f"the cameras {other} and {camera} have the same image topic {topic}; remap {camera}/image to its own"
            )
        found[camera] = topic
    return found


@dataclass(frozen=True)
class CameraPort:
    """Where the messages of one camera go.

    Attributes:
        parameters: values of the parameters that count for it; they know its name.
        room: receives images, camera_info and depth.
        counts: counts its images.
    """

    parameters: CameraParameters
    room: WaitingRoom
    counts: CameraCounts


class CameraInputs:
    """The subscriptions of one camera.

    Args:
        node: owns the subscriptions.
        port: where the messages go.
        image_topic: resolved topic of the images, without the suffix of the transport.
        on_jump: called with a stamp (ns) and a sentence when the images' stamps have jumped back.
        is_paused: returns whether images are dropped.

    Attributes:
        image: the subscription of the images.
        info: that of camera_info.
        depth: that of depth or of points; None if neither is read.
        gate: judges the images' stamps.
    """

    def __init__(
        self,
        node: Node,
        port: CameraPort,
        image_topic: str,
        on_jump: Callable[[int, str], None],
        is_paused: Callable[[], bool],
    ) -> None:
        self._node, self.port, self.image_topic = node, port, image_topic
        self._on_jump, self._is_paused = on_jump, is_paused
        self.gate = StampGate(port.counts)
        p, reliability = port.parameters, port.parameters["reliability"]
        compressed = p["image_transport"] == "compressed"
        image = (f"{image_topic}/compressed", CompressedImage) if compressed else (image_topic, Image)
        self.image = Follower(node, [image], self._on_image, 10, reliability, on_lost=port.counts.lose)
        self.info = Follower(node, [(self._info_topic(), CameraInfo)], self._on_info, 10, reliability, latched=True)
        self.depth: Follower | None = None
        if p["depth_source"] == "cloud":
            points = [(self._topic("points"), PointCloud2)]
            self.depth = Follower(node, points, self._on_points, 10, reliability)
        elif p["depth_source"] != "mono":
            candidates = self._depth_candidates(p["depth_transport"])
            self.depth = Follower(node, candidates, self._on_depth, 10, reliability)

    @property
    def followers(self) -> list[Follower]:
        """All subscriptions, that of the images first."""
        return [follower for follower in (self.image, self.info, self.depth) if follower is not None]

    def _topic(self, name: str) -> str:
        return camera_topic(self._node, self.port.parameters.camera, name)

    def _info_topic(self) -> str:
        """Topic of the camera_info: beside the image, unless `camera_info` itself is remapped."""
        camera = self.port.parameters.camera
        name = f"{camera}/camera_info" if camera else "camera_info"
        plain, resolved = self._node.resolve_topic_name(name, only_expand=True), self._topic("camera_info")
        return resolved if resolved != plain else info_name(self.image_topic)

    def _depth_candidates(self, transport: str) -> list[tuple[str, type]]:
        base = base_name(self._topic("depth"))
        raw, compressed = (base, Image), (f"{base}/compressedDepth", CompressedImage)
        return {"raw": [raw], "compressedDepth": [compressed], "auto": [raw, compressed]}[transport]

    def _on_image(self, message: Any) -> None:
        counts = self.port.counts
        counts.receive()
        if self._is_paused():
            counts.drop("paused", PAUSED)
            return
        stamp = stamp_ns(message.header.stamp)
        judgement = self.gate.admit(stamp, self._node.get_clock().now().nanoseconds)
        if judgement == "jump":
            self._on_jump(stamp, "an image's stamp jumped back")
        if judgement != "drop":
            self.port.room.add_image(stamp, message.header.frame_id, message, image_size(message))

    def _on_info(self, message: CameraInfo) -> None:
        self.port.room.add_info(stamp_ns(message.header.stamp), message, info_size(message))

    def _on_depth(self, message: Any) -> None:
        if self._is_timely(message, "a depth image's"):
            self.port.room.add_depth(stamp_ns(message.header.stamp), message)

    def _on_points(self, message: PointCloud2) -> None:
        if self._is_timely(message, "a cloud's"):
            stamp = stamp_ns(message.header.stamp)
            self.port.room.add_depth(stamp, message, (message.header.frame_id, last_point_ns(message)))

    def _is_timely(self, message: Any, whose: str) -> bool:
        wrong = no_time(stamp_ns(message.header.stamp), whose)
        if wrong:
            self.port.counts.leave_out_depth("depth_stamp", f"{wrong}; the depth is not used")
        return not wrong


class Inputs:
    """All subscriptions of the node.

    Args:
        node: owns the subscriptions.
        parameters: parameters of the node.
        ports: where the messages of each camera go, by the name of the camera.
        poses: receives transforms and poses.
        statistics: told of jumps of time.
        on_time_jump: called after time has jumped back and old poses and waiting images have been cleared.

    Attributes:
        cameras: the subscriptions of each camera, by its name.
        moving: the subscription of the moving poses.
        static: that of /tf_static.
        paused: whether images are dropped.
        clouds: clouds that are mapped by themselves; None without.
        others: further subscriptions that follow their publishers.

    Raises:
        ConfigError: two cameras have the same image topic.
    """

    def __init__(
        self,
        node: Node,
        parameters: Parameters,
        ports: Mapping[str, CameraPort],
        poses: Poses,
        statistics: Statistics,
        on_time_jump: Callable[[], None],
    ) -> None:
        self._node, self._poses, self._statistics = node, poses, statistics
        self._on_time_jump = on_time_jump
        self.paused = False
        self.clouds: CloudRoom | None = None
        self.others: list[Follower] = []
        self.cameras = {
            name: CameraInputs(node, ports[name], topic, self._jump, lambda: self.paused)
            for name, topic in image_topics(node, list(ports)).items()
        }
        self.moving = self._follow_poses(parameters)
        self.static = Follower(
            node, [("/tf_static", TFMessage)], self._on_static_transforms, 100, parameters["reliability"], True
        )
        self._timer = node.create_timer(LOOK_PERIOD, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def followers(self) -> list[Follower]:
        """All subscriptions, those of the cameras first."""
        of_cameras = [follower for camera in self.cameras.values() for follower in camera.followers]
        of_clouds = [self.clouds.follower] if self.clouds is not None else []
        return [*of_cameras, *of_clouds, self.moving, self.static, *self.others]

    @property
    def _rooms(self) -> list[WaitingRoom | CloudRoom]:
        """Where what has arrived waits to be mapped."""
        of_cameras = [camera.port.room for camera in self.cameras.values()]
        return [*of_cameras, *([self.clouds] if self.clouds is not None else [])]

    def clock_jumped_back(self) -> None:
        """React to a backward jump of the node's clock (/clock)."""
        self._jump(self._node.get_clock().now().nanoseconds, "the clock jumped back")

    def pause(self, paused: bool) -> None:
        """Drop all images and clouds, waiting ones included, from now on, or accept them again."""
        self.paused = paused
        if self.clouds is not None:
            self.clouds.paused = paused
        if paused:
            for room in self._rooms:
                room.drop_all("paused", PAUSED)

    def _follow_poses(self, parameters: Parameters) -> Follower:
        """Subscribe to the moving poses: /tf or a pose topic, never both, since they could contradict each other."""
        source, base, reliability = (parameters[name] for name in ("pose_source", "base_frame", "reliability"))
        only = next(iter(self.cameras.values())).port.parameters  # several cameras have a base_frame

        def on_pose(message: PoseStamped) -> None:
            self._poses.add_pose(message, base or pose_frame(only))
            self._poses_changed()

        def on_odometry(message: Odometry) -> None:
            self._poses.add_odometry(message, base)
            self._poses_changed()

        kinds = {"pose": (PoseStamped, on_pose), "odometry": (Odometry, on_odometry)}
        if source in kinds:
            kind, callback = kinds[source]
            return Follower(self._node, [(self._node.resolve_topic_name(source), kind)], callback, 100, reliability)
        return Follower(self._node, [("/tf", TFMessage)], self._on_transforms, 100, reliability)

    def _look(self) -> None:
        for follower in self.followers:
            follower.look()

    def _jump(self, stamp: int, what: str) -> None:
        """Forget the other time; one camera's jump is that of all, whose images of the new time come in now."""
        self._statistics.notice(
            "time_jump", f"{what}, to {stamp / 1e9:.3f} s; transforms of the other time are forgotten"
        )
        for camera in self.cameras.values():
            if camera.gate.newest != stamp:
                camera.gate.restart()
        self._poses.jump_to(stamp)
        for room in self._rooms:
            room.jump_to(stamp)
        self._on_time_jump()

    def _poses_changed(self) -> None:
        for room in self._rooms:
            room.poses_changed()

    def _on_transforms(self, message: TFMessage) -> None:
        self._poses.add(message)
        self._poses_changed()

    def _on_static_transforms(self, message: TFMessage) -> None:
        self._poses.add(message, static=True)
        self._poses_changed()
