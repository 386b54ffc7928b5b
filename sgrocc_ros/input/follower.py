"""A subscription that follows its publishers: their quality of service, and which of several topics they publish."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription

from sgrocc_ros.distributions import create_subscription
from sgrocc_ros.input.lost_messages import LostMessages

_BY_NAME = {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}


class Follower:
    """A subscription that is recreated when its publishers change what they offer or another candidate is published.

    A volatile subscription hears every publisher, but nothing from before it; a transient local one hears what
    transient local publishers have kept, but no volatile publisher at all, such as a script that plays a bag. Where
    messages from before are wanted the first is therefore joined by the second once a transient local publisher is
    known, and gives way to it if there is no other; while both exist they receive a copy each.

    Args:
        node: owns the subscription.
        candidates: (topic, type) in order of preference; the first that is published is used.
        callback: receives the messages; with `latched` it may receive one twice.
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
        self._depth, self._wants_latched = depth, latched
        self._forced = {topic: self._override(topic, reliability) for topic, _ in candidates}
        self.topic, self._kind = candidates[0]
        self._subscriptions: dict[DurabilityPolicy, tuple[ReliabilityPolicy, Subscription]] = {}
        self._subscribe(self._wanted(self.topic))

    def look(self) -> None:
        """Check the ROS graph and recreate the subscription if necessary."""
        published = [
            (topic, kind) for topic, kind in self._candidates if self._node.get_publishers_info_by_topic(topic)
        ]
        topic, kind = published[0] if published else (self.topic, self._kind)
        wanted = self._wanted(topic)
        if topic == self.topic and wanted == {how: policy for how, (policy, _) in self._subscriptions.items()}:
            return
        if topic != self.topic:
            self._unsubscribe(list(self._subscriptions))
            self.topic, self._kind = topic, kind
        self._subscribe(wanted)
        self._node.get_logger().info(f"subscribed to {self}")

    def __str__(self) -> str:
        policies = {policy.name.lower().replace("_", " "): None for policy, _ in self._subscriptions.values()}
        latched = DurabilityPolicy.TRANSIENT_LOCAL in self._subscriptions
        both = "volatile and " if len(self._subscriptions) > 1 else ""
        return f"{self.topic} ({' and '.join(policies)}{f', {both}transient local' if latched else ''})"

    def _receiver(self, kind: type, durability: DurabilityPolicy) -> Callable[[Any, Any], None]:
        """Return the callback of a subscription, which also passes on all messages queued behind the one it gets.

        The executor takes one message per topic each time it wakes. Under load a deep queue (transforms) would fall
        behind a shallow one (images), and no image would find its pose.
        """

        def receive(message: Any, info: Any) -> None:
            self._hand_on(message, info)
            if durability not in self._subscriptions:
                return
            subscription = self._subscriptions[durability][1]
            with subscription.handle:
                for _ in range(self._depth):
                    taken = subscription.handle.take_message(kind, False)
                    if taken is None:
                        return
                    self._hand_on(*taken)

        return receive

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

    def _wanted(self, topic: str) -> dict[DurabilityPolicy, ReliabilityPolicy]:
        """Return the reliability of each subscription that the publishers of a topic call for, by its durability."""
        offers = [info.qos_profile for info in self._node.get_publishers_info_by_topic(topic)]
        latched = [offer for offer in offers if offer.durability != DurabilityPolicy.VOLATILE]
        volatile = [offer for offer in offers if offer.durability != DurabilityPolicy.TRANSIENT_LOCAL]
        wanted = {}  # an offer that is not known is neither, and counts as both
        if not self._wants_latched or volatile or not offers:
            wanted[DurabilityPolicy.VOLATILE] = self._reliability(topic, offers)
        if self._wants_latched and latched:
            wanted[DurabilityPolicy.TRANSIENT_LOCAL] = self._reliability(topic, latched)
        return wanted

    def _reliability(self, topic: str, offers: Iterable[QoSProfile]) -> ReliabilityPolicy:
        if self._forced[topic] in _BY_NAME:
            return _BY_NAME[self._forced[topic]]
        offered = {offer.reliability for offer in offers}
        return ReliabilityPolicy.BEST_EFFORT if ReliabilityPolicy.BEST_EFFORT in offered else ReliabilityPolicy.RELIABLE

    def _subscribe(self, wanted: dict[DurabilityPolicy, ReliabilityPolicy]) -> None:
        """Make the subscriptions those that are wanted; one that stays as it is keeps its queue."""
        changed = [how for how, (policy, _) in self._subscriptions.items() if wanted.get(how) != policy]
        self._unsubscribe(changed)
        for durability, policy in wanted.items():
            if durability not in self._subscriptions:
                qos = QoSProfile(depth=self._depth, reliability=policy, durability=durability)
                receive = self._receiver(self._kind, durability)
                subscription = create_subscription(self._node, self._kind, self.topic, receive, qos)
                self._subscriptions[durability] = policy, subscription

    def _unsubscribe(self, durabilities: Iterable[DurabilityPolicy]) -> None:
        for durability in durabilities:
            self._node.destroy_subscription(self._subscriptions.pop(durability)[1])
