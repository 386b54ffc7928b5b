"""A thread that no exception ends, and the watch over all threads and over the progress of mapping."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable, Sequence

from sgrocc_ros.health.statistics import Statistics

ALARM = 3
"""Exceptions in a row from which a thread counts as failing."""
PAUSE = 0.05
"""Seconds that a thread rests after an exception, for each one in a row; at most twenty times as long."""


class LastingThread(threading.Thread):
    """Repeats a step until it is stopped; an exception is counted with its trace, and the next step follows.

    Args:
        name: name of the thread, in messages.
        statistics: counts the exceptions.

    Attributes:
        failures: number of steps in a row that raised.
    """

    def __init__(self, name: str, statistics: Statistics) -> None:
        super().__init__(name=name, daemon=True)
        self._statistics = statistics
        self._stopping = False
        self.failures = 0

    def step(self) -> bool:
        """Do the next piece of work; return whether there was any."""
        raise NotImplementedError

    def failed(self, error: Exception) -> None:
        """Count an exception of `step`."""
        self._statistics.notice("internal_error", described(self.name, error))

    def run(self) -> None:
        """Repeat the step until `_stopping` is set."""
        while not self._stopping:
            try:
                if self.step():
                    self.failures = 0
            except Exception as error:
                self.failures += 1
                self._count(error)
                time.sleep(PAUSE * min(self.failures, 20))

    def _count(self, error: Exception) -> None:
        try:
            self.failed(error)
        except Exception:  # not even the counting may end the thread
            traceback.print_exc()


def described(where: str, error: Exception) -> str:
    """Return an exception in words, with its trace."""
    return f"{where}: {error!r}\n{''.join(traceback.format_exception(error))}"


class Watch:
    """Says what is wrong with the threads and with the progress of mapping.

    Args:
        threads: the threads that must live as long as the node.
        stall_timeout: returns the time with images and without a mapped one after which mapping counts as stalled,
            seconds.
        counts: returns the images received and mapped so far.
        why: returns what holds up mapping, for the message.
        clock: the steady clock, seconds.
    """

    def __init__(
        self,
        threads: Sequence[LastingThread],
        stall_timeout: Callable[[], float],
        counts: Callable[[], tuple[int, int]],
        why: Callable[[], str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._threads, self._stall, self._counts = list(threads), stall_timeout, counts
        self._why, self._clock = why, clock
        self.restart()

    def add(self, *threads: LastingThread) -> None:
        """Look after more threads."""
        self._threads += threads

    def restart(self) -> None:
        """Begin a new period, as where mapping is paused."""
        self._before, self._since = self._counts(), self._clock()

    def trouble(self) -> str:
        """Return what is wrong, as the message of an ERROR, or an empty text."""
        for thread in self._threads:
            if not thread.is_alive():
                return f"the thread {thread.name!r} has ended; restart the node, and report what the log says"
        for thread in self._threads:
            if thread.failures >= ALARM:
                return f"the thread {thread.name!r} failed {thread.failures} times in a row; report the log's traces"
        now, (received, mapped) = self._clock(), self._counts()
        if mapped != self._before[1] or received == self._before[0]:
            self._before, self._since = (received, mapped), now
        if now - self._since < self._stall():
            return ""
        return (
            f"no image was mapped in {now - self._since:.0f} s, though {received - self._before[0]} came: {self._why()}"
        )
