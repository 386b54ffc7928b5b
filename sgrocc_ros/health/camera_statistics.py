"""Counters of one of several cameras: each count is also passed on to the counters of the node."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sgrocc_core.checks.counts import Counts
from sgrocc_ros.health.statistics import Statistics, shortened


class CameraCounts(Protocol):
    """Counters of one camera: `Statistics` where it is the only one, else `CameraStatistics`."""

    def receive(self) -> None:
        """Count an image that has arrived."""

    def lose(self, count: int) -> None:
        """Count images that were sent but have not arrived."""

    def drop(self, cause: str, message: str) -> None:
        """Count an image that is not mapped."""

    def notice(self, cause: str, message: str) -> None:
        """Count a problem that did not cost an image."""

    def leave_out_depth(self, cause: str, message: str) -> None:
        """Count depth that is not used."""

    def map_without_source(self) -> None:
        """Count an image that was mapped with the depth of that image alone."""

    def process(self, stages: dict[str, float]) -> None:
        """Count an image that has been mapped; stages: milliseconds by name."""


class CameraStatistics:
    """Counters of one camera; thread-safe.

    Args:
        name: name of the camera.
        total: counters of the node.
        clock: the steady clock, seconds.

    Attributes:
        received: images that have arrived.
        lost: images that were sent but have not arrived.
        processed: images that are in the map.
        heard: when the last image arrived on the steady clock, or these counters were made.
    """

    def __init__(self, name: str, total: Statistics, clock: Callable[[], float] = time.monotonic) -> None:
        self.name, self._total, self._clock = name, total, clock
        self._counts, self._lock = Counts(), threading.Lock()
        self.received = self.lost = self.processed = 0
        self.heard = clock()

    def receive(self) -> None:
        """Count an image that has arrived."""
        with self._lock:
            self.received += 1
            self.heard = self._clock()
        self._total.receive()

    def lose(self, count: int) -> None:
        """Count images that were sent but have not arrived."""
        with self._lock:
            self.lost += count
        self._total.lose(count)

    def drop(self, cause: str, message: str) -> None:
        """Count an image that is not mapped."""
        self._counts.drop(cause, shortened(message))
        self._total.drop(cause, message, self.name)

    def notice(self, cause: str, message: str) -> None:
        """Count a problem that did not cost an image."""
        self._total.notice(cause, message, self.name)

    def leave_out_depth(self, cause: str, message: str) -> None:
        """Count depth that is not used although its image may be mapped."""
        self._counts.leave_out_depth(cause, shortened(message))
        self._total.leave_out_depth(cause, message, self.name)

    def map_without_source(self) -> None:
        """Count an image that was mapped with the depth of that image alone."""
        self._counts.map_without_source()
        self._total.map_without_source()

    def process(self, stages: dict[str, float]) -> None:
        """Count an image that has been mapped. stages: milliseconds by name."""
        with self._lock:
            self.processed += 1
        self._total.process(stages)

    def figures(self) -> dict[str, Any]:
        """Return all counters, for a report file."""
        figures = self._counts.figures()
        del figures["transforms_refused"]  # transforms belong to no camera
        with self._lock:
            return {"received": self.received, "lost": self.lost, "processed": self.processed, **figures}

    def values(self) -> dict[str, str]:
        """Return all counters, for /diagnostics."""
        found: dict[str, int] = {}
        for key, figure in self.figures().items():
            if isinstance(figure, Mapping):
                found |= {key: sum(figure.values())} | {
                    f"{key}.{cause}": count for cause, count in sorted(figure.items())
                }
            else:
                found[key] = figure
        return {f"camera.{self.name}.{key}": str(value) for key, value in found.items()}
