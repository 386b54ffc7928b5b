"""Differences between the supported ROS 2 distributions; all other modules use only what every distribution offers.

| | Humble | Jazzy | Kilted | Lyrical |
|---|---|---|---|---|
| rclpy | 3.3 | 7.1 | 9.1 | 10.0 |
| publishers get an event for a new subscriber (`matched`) | no | yes | yes | yes |
| module of the events | `qos_event` | `event_handler` | `event_handler` | `event_handler` |
| subscription callbacks get a sequence number (`MessageInfo`) | no | yes | yes | yes |
| variable that restricts DDS to this machine | `ROS_LOCALHOST_ONLY` | `ROS_AUTOMATIC_DISCOVERY_RANGE` | same | same |
| variable that names a file of Fast DDS profiles | `FASTRTPS_...` | `FASTRTPS_...` | `FASTDDS_...` | `FASTDDS_...` |

The distribution is recognised by the features of its rclpy, because ROS_DISTRO is not set where ROS comes as wheels.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile
from rclpy.subscription import Subscription

try:
    from rclpy.event_handler import PublisherEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import PublisherEventCallbacks

SINCE_JAZZY = find_spec("rclpy.event_handler") is not None
SINCE_KILTED = hasattr(rclpy, "InitContextManager")
STAY_HERE = ("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST") if SINCE_JAZZY else ("ROS_LOCALHOST_ONLY", "1")
"""Environment variable and value that restrict DDS to this machine."""
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Environment variables that name a file of Fast DDS profiles: since Fast DDS 3 (Kilted), and before."""
PROFILE_VARIABLE = PROFILE_VARIABLES[0] if SINCE_KILTED else PROFILE_VARIABLES[1]
"""The one that this distribution reads; it ignores the other one or warns about it."""
RCLError: type[Exception] = rclpy_implementation.RCLError
"""Error of rcl, raised for example when a reliable subscriber is too slow; rclpy has no public name for it."""
MATCHED_EVENTS = "matched" in inspect.signature(PublisherEventCallbacks.__init__).parameters
"""Whether publishers get an event for a new subscriber. If not, new subscribers are polled for, as under Humble."""
MESSAGE_INFO = hasattr(Subscription, "CallbackType")
"""Whether a subscription's callback can receive a message's sequence number and publisher."""
POLL_PERIOD = 0.2
"""Seconds between two polls for new subscribers, where there is no event."""


def optional_message(package: str, name: str) -> type | None:
    """Return a type of messages; None if its package is not installed."""
    try:
        return getattr(importlib.import_module(f"{package}.msg"), name)
    except ImportError:
        return None


def create_publisher(node: Node, kind: type, topic: str, qos: QoSProfile, on_join: Callable[[], Any]) -> Publisher:
    """Create a publisher that reports new subscribers.

    Args:
        node: owns the publisher.
        kind: message type.
        topic: name of the topic.
        qos: quality of service.
        on_join: called on the executor's thread when there are new subscribers, at once or within POLL_PERIOD; once for
            several that come between two looks of the executor.
    """
    if MATCHED_EVENTS:

        def matched(info: Any) -> None:
            if info.total_count_change > 0:  # the number of matches stays the same where another one left meanwhile
                on_join()

        return node.create_publisher(kind, topic, qos, event_callbacks=PublisherEventCallbacks(matched=matched))
    publisher: Publisher = node.create_publisher(kind, topic, qos)
    joined = _Joined(node, publisher)
    node.create_timer(
        POLL_PERIOD, lambda: on_join() if joined() else None, clock=Clock(clock_type=ClockType.STEADY_TIME)
    )
    return publisher


def create_subscription(
    node: Node, kind: type, topic: str, callback: Callable[[Any, Any], Any], qos: QoSProfile
) -> Subscription:
    """Create a subscription whose callback receives each message and its MessageInfo (None under Humble)."""
    if MESSAGE_INFO:
        return node.create_subscription(kind, topic, callback, qos)
    return node.create_subscription(kind, topic, lambda message: callback(message, None), qos)


class _Joined:
    """Reports whether there is a new subscriber since the last call, by the number of matches and by their ids.

    A subscriber is reported twice if it appears in the graph only after the publisher has matched it.
    """

    def __init__(self, node: Node, publisher: Publisher) -> None:
        self._node, self._publisher = node, publisher
        self._count = 0
        self._known: set[bytes] = set()

    def __call__(self) -> bool:
        before, known = self._count, self._known
        self._count = self._publisher.get_subscription_count()
        infos = self._node.get_subscriptions_info_by_topic(self._publisher.topic_name) if self._count else []
        self._known = {bytes(info.endpoint_gid) for info in infos}
        return self._count > before or not self._known <= known
