"""The jobs that wait for the outputs' thread: in order, bounded, and each kind that only tells the newest only once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

MOST_CHANGES = 100
"""Changes of the map that wait at most: those of about 50 frames. More are replaced by the whole map."""

Job = Callable[[], None]


@dataclass(frozen=True)
class _Waiting:
    job: Job
    once: str
    is_change: bool
    left_out: Job | None


class Backlog:
    """A queue of jobs; thread-safe."""

    def __init__(self) -> None:
        self._jobs: deque[_Waiting] = deque()
        self._changes = 0
        self._ready = threading.Condition(threading.RLock())

    def put(self, job: Job) -> None:
        """Add a job that must be done."""
        self._add(_Waiting(job, "", False, None))

    def put_once(self, name: str, job: Job) -> None:
        """Add a job unless one of that name waits already."""
        with self._ready:
            if any(waiting.once == name for waiting in self._jobs):
                return
            self._add(_Waiting(job, name, False, None))

    def put_change(self, job: Job, left_out: Job | None = None) -> None:
        """Add a change of the map; `left_out` is called instead if `drop_changes` removes it."""
        self._add(_Waiting(job, "", True, left_out))

    @property
    def is_full(self) -> bool:
        """Whether so many changes wait that the whole map is to be published instead."""
        return self._changes >= MOST_CHANGES

    def drop_changes(self) -> None:
        """Remove the changes that wait; what follows must publish the whole map."""
        with self._ready:
            changes = [waiting for waiting in self._jobs if waiting.is_change]
            self._jobs = deque(waiting for waiting in self._jobs if not waiting.is_change)
            self._changes = 0
        for change in changes:
            if change.left_out is not None:
                change.left_out()

    def get(self, timeout: float) -> Job | None:
        """Remove and return the oldest job; None if there is none within the timeout, seconds."""
        with self._ready:
            if not self._jobs:
                self._ready.wait(timeout)
            if not self._jobs:
                return None
            waiting = self._jobs.popleft()
            self._changes -= waiting.is_change
            return waiting.job

    def _add(self, waiting: _Waiting) -> None:
        with self._ready:
            self._jobs.append(waiting)
            self._changes += waiting.is_change
            self._ready.notify()
