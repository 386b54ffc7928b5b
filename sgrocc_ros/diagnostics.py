"""/diagnostics once a second on the steady clock: what came in, what was mapped, what was dropped and why, how long it takes."""

from __future__ import annotations

from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from sgrocc_core.report import memory_mb
from sgrocc_ros.statistics import QUIET, Statistics

PERIOD = 1.0
"""Seconds between two messages."""


class Diagnostics:
    """Publishes the statistics.

    Args:
        node: publishes, and owns the timer.
        statistics: what is counted.
        facts: called each time for what else is worth knowing (engine, map size), as text by name.
        hardware_id: what the frames are mapped with.
    """

    def __init__(self, node: Node, statistics: Statistics, facts: Callable[[], dict[str, str]], hardware_id: str) -> None:
        self._node, self._statistics, self._facts, self._hardware_id = node, statistics, facts, hardware_id
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._before = (0, 0, 0)
        self._timer = node.create_timer(PERIOD, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def status(self) -> DiagnosticStatus:
        """The present state; its level judges what happened since the last call."""
        error = self._statistics.last_error
        received, processed, dropped, noticed = self._statistics.counts()
        loud = sum(count for cause, count in dropped.items() if cause not in QUIET) + sum(noticed.values())
        now = (received, processed, loud)
        came, mapped, bad = (after - before for after, before in zip(now, self._before))
        self._before = now
        if received == 0:
            level, text = DiagnosticStatus.WARN, "no image has arrived"
        elif bad and not mapped:
            level, text = DiagnosticStatus.ERROR, f"images arrive but none is mapped: {error}"
        elif bad:
            level, text = DiagnosticStatus.WARN, f"mapping, with trouble: {error}"
        else:
            level, text = DiagnosticStatus.OK, "mapping" if came or mapped else "waiting for images"
        values = {"received": str(received), "processed": str(processed), "dropped": str(dropped.total())}
        values |= {f"dropped.{cause}": str(count) for cause, count in sorted(dropped.items())}
        values |= {f"noticed.{cause}": str(count) for cause, count in sorted(noticed.items())}
        for stage, (p50, p95) in self._statistics.latencies().items():
            values[f"latency.{stage}.p50_ms"], values[f"latency.{stage}.p95_ms"] = f"{p50:.1f}", f"{p95:.1f}"
        values |= self._facts() | {"memory_mb": f"{memory_mb():.0f}", "last_error": error}
        name = f"{self._node.get_fully_qualified_name().lstrip('/')}: mapping"
        pairs = [KeyValue(key=key, value=value) for key, value in values.items()]
        return DiagnosticStatus(level=level, name=name, message=text, hardware_id=self._hardware_id, values=pairs)

    def _tick(self) -> None:
        message = DiagnosticArray(status=[self.status()])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
