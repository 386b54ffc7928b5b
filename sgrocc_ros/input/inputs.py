"""The node's subscriptions: images, camera_info, depth and transforms. Their callbacks only store messages.

Each subscription follows the reliability of its publishers: a reliable subscription receives nothing from a best-effort
publisher, and best effort loses big images that would arrive reliably.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Odometry
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from sgrocc_core.checks.stamps import no_time
from sgrocc_core.data.bags.topics import base_name, info_name
from sgrocc_ros.distributions import create_subscription
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.input.lost_messages import LostMessages
from sgrocc_ros.input.poses import Poses
from sgrocc_ros.input.stamps import StampGate
from sgrocc_ros.input.waiting import WaitingRoom
from sgrocc_ros.messages import image_size, info_size, stamp_ns
from sgrocc_ros.parameters import Parameters

LOOK_PERIOD = 0.25
"""Seconds between two checks of the ROS graph."""
PAUSED = "the node is paused; call ~/pause with data: false to go on"
CAMERA = "the camera"
"""Frame name used for the camera if the topic `pose` carries the camera's own poses, which name no frame."""
_BY_NAME = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}


class Follower:
    """A subscription that is recreated when its publishers change what they offer or another candidate is published.

    Args:
        node: owns the subscription.
        candidates: (topic, type) in order of preference; the first that is published is used.
        callback: receives the messages.
        depth: length of the queue.
        reliability: `auto`, `reliable` or `best_effort`; the parameter `qos_overrides.TOPIC.subscription.reliability`
            takes precedence.
        latched: whether messages from before the subscription are wanted.
        on_lost: called with the number of lost messages, before the callback of the message that follows them.
    """

    def __init__(
        self,
        node: Node,
        candidates: Sequence[tuple[str, type]],
        callback: Callable,
        depth: int,
        reliability: str,
        latched: bool = False,
        on_lost: Callable[[int], Any] | None = None,
    ) -> None:
        self._node, self._candidates, self._callback = node, candidates, callback
        self._on_lost, self._lost = on_lost, LostMessages()
        self._depth, self._wants_latched, self._latched = depth, latched, latched
        self._forced = {topic: self._override(topic, reliability) for topic, _ in candidates}
        self.topic, self._kind = candidates[0]
        self._policy = self._wanted(self.topic)
        self._subscription = self._subscribe()

    def look(self) -> None:
        """Check the ROS graph and recreate the subscription if necessary."""
        published = [
            (topic, kind) for topic, kind in self._candidates if self._node.get_publishers_info_by_topic(topic)
        ]
        topic, kind = published[0] if published else (self.topic, self._kind)
        policy, latched = self._wanted(topic), self._offers_latched(topic)
        if (topic, policy, latched) == (self.topic, self._policy, self._latched):
            return
        self._node.destroy_subscription(self._subscription)
        self.topic, self._kind, self._policy, self._latched = topic, kind, policy, latched
        self._subscription = self._subscribe()
        self._node.get_logger().info(f"subscribed to {self}")

    def __str__(self) -> str:
        reliability = self._policy.name.lower().replace("_", " ")
        return f"{self.topic} ({reliability}{', transient local' if self._latched else ''})"

    def _receive(self, message: Any, info: Any) -> None:
        """Pass on a message and all messages queued behind it.

        The executor takes one message per topic each time it wakes. Under load a deep queue (transforms) would fall
        behind a shallow one (images), and no image would find its pose.
        """
        self._hand_on(message, info)
        with self._subscription.handle:
            for _ in range(self._depth):
                taken = self._subscription.handle.take_message(self._kind, False)
                if taken is None:
                    return
                self._hand_on(*taken)

    def _hand_on(self, message: Any, info: Any) -> None:
        if self._on_lost and (lost := self._lost.see(info)):
            self._on_lost(lost)
        self._callback(message)

    def _override(self, topic: str, reliability: str) -> str:
        name = f"qos_overrides.{topic}.subscription.reliability"
        value = str(self._node.declare_parameter(name, reliability).value)
        return value if value in _BY_NAME else "auto"

    def _wanted(self, topic: str) -> ReliabilityPolicy:
        if self._forced[topic] in _BY_NAME:
            return _BY_NAME[self._forced[topic]]
        offered = {info.qos_profile.reliability for info in self._node.get_publishers_info_by_topic(topic)}
        return ReliabilityPolicy.BEST_EFFORT if ReliabilityPolicy.BEST_EFFORT in offered else ReliabilityPolicy.RELIABLE

    def _offers_latched(self, topic: str) -> bool:
        """Whether messages from before the subscription are wanted and every publisher of the topic keeps them.

        A transient local subscription receives nothing from a volatile publisher, such as a script that plays a bag.
        """
        infos = self._node.get_publishers_info_by_topic(topic) if self._wants_latched else ()
        return self._wants_latched and all(info.qos_profile.durability != DurabilityPolicy.VOLATILE for info in infos)

    def _subscribe(self) -> Any:
        durability = DurabilityPolicy.TRANSIENT_LOCAL if self._latched else DurabilityPolicy.VOLATILE
        qos = QoSProfile(depth=self._depth, reliability=self._policy, durability=durability)
        return create_subscription(self._node, self._kind, self.topic, self._receive, qos)


def pose_frame(parameters: Parameters) -> str:
    """Return the frame whose pose is looked up for an image; empty means the image's own frame_id.

    Poses on the topic `pose` without a `base_frame` are poses of the camera, whatever its frame is called.
    """
    nameless = parameters["pose_source"] == "pose" and not parameters["base_frame"]
    return str(parameters["camera_frame"] or (CAMERA if nameless else ""))


class Inputs:
    """All subscriptions of the node.

    Args:
        node: owns the subscriptions.
        parameters: parameters of the node.
        room: receives images, camera_info and depth.
        poses: receives transforms and poses.
        statistics: counts received, lost and dropped images.
        on_time_jump: called after time has jumped back and old poses and waiting images have been cleared.
    """

    def __init__(
        self,
        node: Node,
        parameters: Parameters,
        room: WaitingRoom,
        poses: Poses,
        statistics: Statistics,
        on_time_jump: Callable[[], None],
    ) -> None:
        self._node, self._room, self._poses, self._statistics = node, room, poses, statistics
        self._on_time_jump = on_time_jump
        self._gate = StampGate(statistics)
        self.image_topic = base_name(node.resolve_topic_name("image"))
        reliability = parameters["reliability"]

        def follow(
            candidates: Sequence[tuple[str, type]], callback: Callable, depth: int, latched: bool = False, **more: Any
        ) -> Follower:
            return Follower(node, candidates, callback, depth, reliability, latched, **more)

        compressed = parameters["image_transport"] == "compressed"
        image = (f"{self.image_topic}/compressed", CompressedImage) if compressed else (self.image_topic, Image)
        self.followers = [
            follow([image], self._on_image, 10, on_lost=statistics.lose),
            follow([(self._info_topic(), CameraInfo)], self._on_info, 10),
            self._follow_poses(parameters, follow),
            follow([("/tf_static", TFMessage)], self._on_static_transforms, 100, True),
        ]
        if parameters["depth_source"] != "mono":
            self.followers.append(follow(self._depth_candidates(parameters["depth_transport"]), self._on_depth, 10))
        self.paused = False
        self._timer = node.create_timer(LOOK_PERIOD, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def clock_jumped_back(self) -> None:
        """React to a backward jump of the node's clock (/clock)."""
        self._gate.restart()
        self._jump(self._node.get_clock().now().nanoseconds, "the clock jumped back")

    def pause(self, paused: bool) -> None:
        """Drop all images, waiting ones included, from now on, or accept images again."""
        self.paused = paused
        if paused:
            self._room.drop_all("paused", PAUSED)

    def _info_topic(self) -> str:
        """Topic of the camera_info: beside the image, unless `camera_info` itself is remapped."""
        plain = self._node.resolve_topic_name("camera_info", only_expand=True)
        resolved = self._node.resolve_topic_name("camera_info")
        return resolved if resolved != plain else info_name(self.image_topic)

    def _follow_poses(self, parameters: Parameters, follow: Callable[..., Follower]) -> Follower:
        """Subscribe to the moving poses: /tf or a pose topic, never both, since they could contradict each other."""
        source, base = parameters["pose_source"], parameters["base_frame"]

        def on_pose(message: PoseStamped) -> None:
            self._poses.add_pose(message, base or pose_frame(parameters))
            self._room.poses_changed()

        def on_odometry(message: Odometry) -> None:
            self._poses.add_odometry(message, base)
            self._room.poses_changed()

        if source == "pose":
            return follow([(self._node.resolve_topic_name("pose"), PoseStamped)], on_pose, 100)
        if source == "odometry":
            return follow([(self._node.resolve_topic_name("odometry"), Odometry)], on_odometry, 100)
        return follow([("/tf", TFMessage)], self._on_transforms, 100)

    def _depth_candidates(self, transport: str) -> list[tuple[str, type]]:
        base = base_name(self._node.resolve_topic_name("depth"))
        raw, compressed = (base, Image), (f"{base}/compressedDepth", CompressedImage)
        return {"raw": [raw], "compressedDepth": [compressed], "auto": [raw, compressed]}[transport]

    def _look(self) -> None:
        for follower in self.followers:
            follower.look()

    def _on_image(self, message: Any) -> None:
        self._statistics.receive()
        if self.paused:
            self._statistics.drop("paused", PAUSED)
            return
        stamp = stamp_ns(message.header.stamp)
        judgement = self._gate.admit(stamp, self._node.get_clock().now().nanoseconds)
        if judgement == "jump":
            self._jump(stamp, "an image's stamp jumped back")
        if judgement != "drop":
            self._room.add_image(stamp, message.header.frame_id, message, image_size(message))

    def _jump(self, stamp: int, what: str) -> None:
        self._statistics.notice(
            "time_jump", f"{what}, to {stamp / 1e9:.3f} s; transforms of the other time are forgotten"
        )
        self._poses.jump_to(stamp)
        self._room.jump_to(stamp)
        self._on_time_jump()

    def _on_info(self, message: CameraInfo) -> None:
        self._room.add_info(stamp_ns(message.header.stamp), message, info_size(message))

    def _on_depth(self, message: Any) -> None:
        if wrong := no_time(stamp_ns(message.header.stamp), "a depth image's"):
            self._statistics.leave_out_depth("depth_stamp", f"{wrong}; the depth is not used")
            return
        self._room.add_depth(stamp_ns(message.header.stamp), message)

    def _on_transforms(self, message: TFMessage) -> None:
        self._poses.add(message)
        self._room.poses_changed()

    def _on_static_transforms(self, message: TFMessage) -> None:
        self._poses.add(message, static=True)
        self._room.poses_changed()
