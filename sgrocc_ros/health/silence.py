"""Notices when one of several cameras falls silent while the others go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from sgrocc_ros.health.camera_statistics import CameraStatistics

CAMERA_SILENT = "camera_silent"
"""Cause under which a silence is noticed."""


class Silence:
    """Looks after the arrival of images of several cameras.

    Args:
        cameras: counters of each, by its name.
        reason: returns the sentence about a camera's topic, from the camera's name and the seconds of its silence.
        after: seconds without an image that are a silence.
        clock: the steady clock, seconds.
    """

    def __init__(
        self,
        cameras: Mapping[str, CameraStatistics],
        reason: Callable[[str, float], str],
        after: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cameras, self._reason, self._after, self._clock = cameras, reason, after, clock
        self._told: set[str] = set()

    def look(self) -> str:
        """Return what is silent while another camera is heard, or an empty text; each silence is noticed once."""
        now = self._clock()
        silent = [name for name, counts in self._cameras.items() if now - counts.heard >= self._after]
        if len(silent) == len(self._cameras):
            return ""  # no image at all is told of the node
        self._told &= set(silent)
        sentences = []
        for name in silent:
            counts = self._cameras[name]
            said = self._reason(name, now - counts.heard)
            sentences.append(f"camera {name}: {said}")
            if name not in self._told:
                self._told.add(name)
                counts.notice(CAMERA_SILENT, said)
        return "; ".join(sentences)
