"""What differs between the living ROS 2 distributions, in one place; the rest of the package calls what all of them have.

| | Humble | Jazzy | Kilted | Lyrical |
|---|---|---|---|---|
| rclpy | 3.3 | 7.1 | 9.1 | 10.0 |
| a publisher is told of a new subscriber (event `matched`) | no | yes | yes | yes |
| the module of the events | `qos_event` | `event_handler` | `event_handler` | `event_handler` |
| a subscription's callback is told a message's number (`MessageInfo`) | no | yes | yes | yes |
| what keeps DDS on this machine | `ROS_LOCALHOST_ONLY` | `ROS_AUTOMATIC_DISCOVERY_RANGE` | the same | the same |
| what names a file of Fast DDS profiles | `FASTRTPS_DEFAULT_PROFILES_FILE` | the same | `FASTDDS_DEFAULT_PROFILES_FILE` | the same |

A distribution is known by what its rclpy has, not by the variable ROS_DISTRO, which wheels do not set.
"""

from __future__ import annotations

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
"""The environment variable, and its value, that keeps DDS on this machine."""
PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""Environment variables that name a file of Fast DDS profiles: since Fast DDS 3 (Kilted), and before."""
PROFILE_VARIABLE = PROFILE_VARIABLES[0] if SINCE_KILTED else PROFILE_VARIABLES[1]
"""The one that this distribution reads; it ignores the other one or warns about it."""
RCLError: type[Exception] = rclpy_implementation.RCLError
"""What rcl raises, for example when a reliable subscriber is too slow. rclpy gives it no public name."""
MATCHED_EVENTS = "matched" in inspect.signature(PublisherEventCallbacks.__init__).parameters
"""Whether publishers are told of new subscribers; where not they are looked for. False makes any distribution do as Humble does."""
MESSAGE_INFO = hasattr(Subscription, "CallbackType")
"""Whether a callback can be told a message's number and publisher."""
POLL_PERIOD = 0.2
"""Seconds between two looks for new subscribers, where they are not told."""


def create_publisher(node: Node, kind: type, topic: str, qos: QoSProfile, on_join: Callable[[], Any]) -> Publisher:
    """A publisher that says when somebody has subscribed.

    Args:
        on_join: called on the executor's thread, at once or within POLL_PERIOD.
    """
    if MATCHED_EVENTS:

        def matched(info: Any) -> None:
            if info.current_count_change > 0:
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
    """A subscription whose callback gets the message and what rclpy says about it, None where that is nothing."""
    if MESSAGE_INFO:
        return node.create_subscription(kind, topic, callback, qos)
    return node.create_subscription(kind, topic, lambda message: callback(message, None), qos)


class _Joined:
    """Whether somebody has subscribed since the last call: more are matched, or as many, and one is new in the graph.

    A newcomer whom the graph shows later than the publisher has matched them is told twice.
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
        return self._count > before or (self._count == before and not self._known <= known)
