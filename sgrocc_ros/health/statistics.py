"""Counters of the node: images received, lost, mapped and dropped by cause, notices, latencies; limits its warnings."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from typing import Any

import numpy as np

from sgrocc_core.checks.counts import Counts
from sgrocc_ros.health.advice import advised

LATENCY_FRAMES = 500
"""Number of frames over which the percentiles are computed."""
QUIET = ("overtaken", "paused")
"""Causes that belong to normal operation: counted without a warning."""


LONGEST_TEXT, LONGEST_LOG = 1000, 5000
"""Characters of a text in /diagnostics and of a warning; names of frames in messages may be of any length."""


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text of at most that many characters, without those that a message cannot hold."""
    text = text.replace("\0", "?").encode(errors="replace").decode()
    return text if len(text) <= longest else f"{text[: longest // 2]} ... {text[-longest // 2 :]}"


def of_camera(camera: str, message: str) -> str:
    """Return a message that names the camera, if it has a name."""
    return f"camera {camera}: {message}" if camera else message


class Statistics:
    """Thread-safe counters.

    Args:
        warn: prints a warning.
        period: returns the minimum time between two warnings with the same cause, seconds; called each time.
        clock: the steady clock, seconds.
    """

    def __init__(
        self, warn: Callable[[str], Any], period: Callable[[], float], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._warn, self._period, self._clock = warn, period, clock
        self._lock = threading.Lock()
        self._warned: dict[str, float] = {}
        self._latencies: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=LATENCY_FRAMES))
        self.received = 0
        self.lost = 0
        self.processed = 0
        self.counts_of_input = Counts()
        self.noticed: Counter[str] = Counter()
        self.last_error = self.last_cause = ""

    def receive(self) -> None:
        """Count an image that has arrived."""
        with self._lock:
            self.received += 1

    def lose(self, count: int) -> None:
        """Count images that were sent but have not arrived."""
        with self._lock:
            self.lost += count

    def drop(self, cause: str, message: str, camera: str = "") -> None:
        """Count an image, of a camera with a name, that is not mapped, and warn."""
        message = shortened(of_camera(camera, message), LONGEST_LOG)
        count = self.counts_of_input.drop(cause, message)
        if cause not in QUIET:
            self._warn_at_most_once_a_period(
                cause, f"{cause} {camera}", f"image dropped ({cause}, {count} so far): {message}", message
            )

    def notice(self, cause: str, message: str, camera: str = "") -> None:
        """Count a problem, of a camera with a name, that did not cost an image, and warn."""
        with self._lock:
            self.noticed[cause] += 1
            count = self.noticed[cause]
        message = shortened(of_camera(camera, message), LONGEST_LOG)
        self._warn_at_most_once_a_period(
            cause, f"notice {cause} {camera}", f"{cause} ({count} so far): {message}", message
        )

    def leave_out_depth(self, cause: str, message: str, camera: str = "") -> None:
        """Count depth, of a camera with a name, that is not used although its image may be mapped, and warn."""
        self.counts_of_input.leave_out_depth(cause, shortened(of_camera(camera, message), LONGEST_LOG))
        self.notice(cause, message, camera)

    def map_without_source(self) -> None:
        """Count an image that was mapped with the depth of that image alone."""
        self.counts_of_input.map_without_source()

    def refuse_transform(self, cause: str, message: str, stamp_ns: int) -> None:
        """Count a transform, of a stamp in nanoseconds, that is not used, and warn."""
        self.counts_of_input.refuse_transform(cause, shortened(message, LONGEST_LOG), stamp_ns)
        self.notice(cause, f"{message}; it is dropped")

    @property
    def dropped(self) -> Counter[str]:
        """Images that are not mapped, by cause."""
        return self.counts_of_input.dropped

    def process(self, stages: dict[str, float]) -> None:
        """Count an image that has been mapped. stages: milliseconds by name."""
        with self._lock:
            self.processed += 1
            for stage, milliseconds in stages.items():
                self._latencies[stage].append(milliseconds)

    def time(self, stage: str, milliseconds: float) -> None:
        """Record the milliseconds of a stage that `process` does not cover."""
        with self._lock:
            self._latencies[stage].append(milliseconds)

    def counts(self) -> tuple[int, int, Counter[str], Counter[str]]:
        """Return a consistent copy: received, processed, dropped by cause, noticed by cause."""
        with self._lock:
            dropped = Counter(self.counts_of_input.figures()["dropped"])
            return self.received, self.processed, dropped, self.noticed.copy()

    def latencies(self) -> dict[str, tuple[float, float]]:
        """Return the median and the 95th percentile of each stage over the last frames, milliseconds."""
        with self._lock:
            stages = {stage: np.array(values) for stage, values in self._latencies.items()}
        return {stage: (float(np.percentile(v, 50)), float(np.percentile(v, 95))) for stage, v in stages.items()}

    def summary(self) -> dict[str, Any]:
        """Return all counters, for a report file."""
        latencies = {
            stage: {"p50_ms": round(p50, 2), "p95_ms": round(p95, 2)} for stage, (p50, p95) in self.latencies().items()
        }
        received, processed, dropped, noticed = self.counts()
        frames = {"received": received, "lost": self.lost, "processed": processed, "dropped": dict(dropped)}
        rest = {name: value for name, value in self.counts_of_input.figures().items() if name != "dropped"}
        return {"frames": frames, **rest, "noticed": dict(noticed), "latency": latencies}

    def _warn_at_most_once_a_period(self, cause: str, key: str, text: str, message: str) -> None:
        now = self._clock()
        with self._lock:
            self.last_error, self.last_cause = message, cause
            if now - self._warned.get(key, -np.inf) < self._period():
                return
            self._warned[key] = now
        self._warn(advised(cause, text))
