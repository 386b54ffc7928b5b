"""A subscription that follows its publishers: their reliability, and which of several topics they publish."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy

from sgrocc_ros.distributions import create_subscription
from sgrocc_ros.input.lost_messages import LostMessages

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
        declared = self._node.has_parameter(name)  # by another camera with the same topic
        parameter = self._node.get_parameter(name) if declared else self._node.declare_parameter(name, reliability)
        value = str(parameter.value)
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
