"""Publishes /diagnostics once a second (steady clock): images received, mapped and dropped by cause, and latencies."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from sgrocc_core.checks.findings import Findings
from sgrocc_core.report import memory_mb
from sgrocc_ros.health.advice import advised
from sgrocc_ros.health.camera_statistics import CameraStatistics
from sgrocc_ros.health.silence import CAMERA_SILENT, Silence
from sgrocc_ros.health.statistics import QUIET, Statistics, shortened
from sgrocc_ros.health.threads import Watch, described
from sgrocc_ros.input.inputs import Inputs

PERIOD = 1.0
"""Seconds between two messages."""
JUDGED_SECONDS = 5.0
"""Length of the period that determines the level, seconds."""
BIG_IMAGES = "images of 0.5 MB and more that are best effort need config/fastdds.xml on both sides (docs/ros.md)"


class Diagnostics:
    """Publishes the statistics.

    Args:
        node: owns the publisher and the timer.
        statistics: the counters.
        facts: returns further values, such as engine and map size, as text by name; called for each message.
        hardware_id: model and engine.
        inputs: subscriptions of the node.
        watch: looks after the threads and the progress.
        findings: returns what the look at the first frames has found.
        cameras: counters of each of several cameras, by its name.
        clock: the steady clock, seconds.
    """

    def __init__(
        self,
        node: Node,
        statistics: Statistics,
        facts: Callable[[], dict[str, str]],
        hardware_id: str,
        inputs: Inputs,
        watch: Watch,
        findings: Callable[[], Findings] = Findings,
        cameras: Mapping[str, CameraStatistics] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node, self._statistics, self._facts, self._hardware_id = node, statistics, facts, hardware_id
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._inputs, self._watch, self._clock = inputs, watch, clock
        self._findings = findings
        self._silence = Silence(cameras or {}, self._no_image_of, JUDGED_SECONDS, clock)
        self._newest = (0, clock())
        self._looks = deque([(clock(), np.zeros(4, int))])
        self._timer = node.create_timer(PERIOD, self._tick, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def status(self) -> DiagnosticStatus:
        """Return the current status; its level depends on the last JUDGED_SECONDS."""
        silent = "" if self._inputs.paused else self._silence.look()
        received, processed, dropped, noticed = self._statistics.counts()
        lost = self._statistics.lost
        loud = sum(n for c, n in dropped.items() if c not in QUIET)
        loud += sum(n for c, n in noticed.items() if c != CAMERA_SILENT)  # which has a rule of its own, above
        level, text = self._judge(np.array([received, processed, loud, lost]))
        if level == DiagnosticStatus.OK and silent:
            level, text = DiagnosticStatus.WARN, f"{text}, but {silent}"
        if level == DiagnosticStatus.OK and not self._inputs.paused:
            doubts = [found for found in self._findings() if found.level != "note"]
            if doubts:
                level, text = DiagnosticStatus.WARN, f"{text}, but of the first frames: {doubts[0]}"
        if self._inputs.paused:
            self._watch.restart()
        if trouble := self._watch.trouble():
            level, text = DiagnosticStatus.ERROR, trouble
        values = {
            "received": str(received),
            "lost": str(lost),
            "processed": str(processed),
            "dropped": str(dropped.total()),
        }
        values |= {f"dropped.{cause}": str(count) for cause, count in sorted(dropped.items())}
        figures = self._statistics.counts_of_input.figures()
        for group in ("depth_unused", "transforms_refused"):
            values |= {f"{group}.{cause}": str(count) for cause, count in sorted(figures[group].items())}
        values["without_source"] = str(figures["without_source"])
        values |= {f"noticed.{cause}": str(count) for cause, count in sorted(noticed.items())}
        for stage, (p50, p95) in self._statistics.latencies().items():
            values[f"latency.{stage}.p50_ms"], values[f"latency.{stage}.p95_ms"] = f"{p50:.1f}", f"{p95:.1f}"
        values |= self._facts() | {"memory_mb": f"{memory_mb():.0f}", "last_error": self._statistics.last_error}
        name = f"{self._node.get_fully_qualified_name().lstrip('/')}: mapping"
        pairs = [KeyValue(key=key, value=shortened(value)) for key, value in values.items()]
        return DiagnosticStatus(
            level=level, name=name, message=shortened(text), hardware_id=self._hardware_id, values=pairs
        )

    def _judge(self, counts: np.ndarray) -> tuple[bytes, str]:
        """Return level and message, from the changes within JUDGED_SECONDS; the rules are in docs/ros.md.

        Args:
            counts: (4,) totals since the start: received, processed, dropped or noticed with a warning, lost.
        """
        now = self._clock()
        if counts[0] > self._newest[0]:
            self._newest = (int(counts[0]), now)
        while len(self._looks) > 1 and self._looks[1][0] <= now - JUDGED_SECONDS:
            self._looks.popleft()
        since, before = self._looks[0]
        self._looks.append((now, counts))
        came, mapped, bad, lost = counts - before
        trouble = advised(self._statistics.last_cause, self._statistics.last_error)
        if self._inputs.paused:
            return DiagnosticStatus.OK, "paused: images are dropped and the map stays as it is"
        if not came and now - self._newest[1] >= JUDGED_SECONDS:
            return DiagnosticStatus.WARN, self._no_image(now - self._newest[1])
        if bad and not mapped:
            return DiagnosticStatus.ERROR, f"no image was mapped in {now - since:.0f} s, though {came} came: {trouble}"
        if bad:
            return DiagnosticStatus.WARN, f"mapping, with trouble: {trouble}"
        if lost > came:
            return DiagnosticStatus.WARN, self._many_lost(lost, lost + came)
        return DiagnosticStatus.OK, "mapping" if mapped else "waiting for images"

    def _no_image_of(self, camera: str, seconds: float) -> str:
        return self._no_image(seconds, self._inputs.cameras[camera].image.topic)

    def _no_image(self, seconds: float, topic: str = "") -> str:
        topic = topic or self._inputs.followers[0].topic
        count = self._node.count_publishers(topic)
        advice = (
            "check the camera's driver"
            if count
            else "check the topic's name (remap image), image_transport and ROS_DOMAIN_ID"
        )
        if count:
            advice += f"; {BIG_IMAGES}"
        return (
            f"no image on {topic} in {seconds:.0f} s, which has {count} publisher{'s' if count != 1 else ''}; {advice}"
        )

    def _many_lost(self, lost: int, sent: int) -> str:
        topic = self._inputs.followers[0].topic
        return f"{lost} of {sent} images on {topic} were lost on their way in {JUDGED_SECONDS:.0f} s; {BIG_IMAGES}"

    def _tick(self) -> None:
        try:
            self._send()
        except Exception as error:  # a status that cannot be made must not end the node
            self._statistics.notice("internal_error", described("diagnostics", error))

    def _send(self) -> None:
        message = DiagnosticArray(status=[self.status()])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
