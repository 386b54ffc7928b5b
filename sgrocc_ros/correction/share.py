"""The share of the time that a rebuild has beside mapping: three keyframes for two frames, however busy the machine is.

A process of low priority gets nothing on cores that are never idle. So while a rebuild is behind, the mapping thread
takes no image until the next keyframe is done. Images that come meanwhile are overtaken by newer ones, so that mapping
loses frames and not time. A rebuild that has keyframes done in advance delays nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

PER_FRAME = 1.5
"""Keyframes that are done for each frame that is mapped meanwhile; above 1, so that a rebuild catches up with the
keyframes that come while it runs, even where every frame is one."""
AHEAD = 5
"""Frames that may be mapped beyond the keyframes that are done: the start of the process takes some."""
PATIENCE, PATIENT_STEPS = 2.0, 3.0
"""A hold lasts this many seconds, or this many times the last frame's, at most; as long again is mapped before the
next hold, so that a rebuild that takes longer still has half of the time."""
MOST_IN_VAIN = 20
"""Holds in a row without a keyframe done after which there are no more until one is: the process hangs."""


class RebuildShare:
    """Counts frames against keyframes.

    `before_frame` and `mapped` are called on the worker's thread, the others on the rebuilder's.

    Args:
        wake: has the worker ask again.
        clock: the steady clock, seconds.

    Attributes:
        frames: frames mapped during the newest rebuild.
        held: seconds that the worker was held in all.
    """

    def __init__(self, wake: Callable[[], object], clock: Callable[[], float] = time.monotonic) -> None:
        self._wake, self._clock, self._lock = wake, clock, threading.Lock()
        self._runs = False
        self._reset()

    def _reset(self) -> None:
        self.frames, self.held = 0, 0.0
        self._done = self._in_vain = 0
        self._since: float | None = None  # when the hold began
        self._next, self._patience = 0.0, PATIENCE  # no hold before that time

    def begin(self) -> None:
        """A rebuild begins."""
        with self._lock:
            self._reset()
            self._runs = True

    def advance(self, done: int) -> None:
        """That many keyframes are done."""
        with self._lock:
            self._done, self._in_vain, self._next = done, 0, 0.0
        self._wake()

    def end(self) -> None:
        """No rebuild runs any more."""
        with self._lock:
            self._runs = False
        self._wake()

    def mapped(self, seconds: float) -> None:
        """A frame was mapped in that time."""
        with self._lock:
            self.frames += self._runs
            self._patience = max(PATIENCE, PATIENT_STEPS * seconds)

    def before_frame(self) -> float:
        """Time on the steady clock, seconds, before which no frame is to be mapped; 0 if one may be at once."""
        with self._lock:
            now = self._clock()
            behind = self._runs and self.frames - AHEAD >= self._done / PER_FRAME and self._in_vain < MOST_IN_VAIN
            if behind and now >= self._next:
                self._since = now if self._since is None else self._since
                if now < self._since + self._patience:
                    return self._since + self._patience
                self._next, self._in_vain = now + self._patience, self._in_vain + 1
            if self._since is not None:
                self.held += min(now - self._since, self._patience)
                self._since = None
            return 0.0
