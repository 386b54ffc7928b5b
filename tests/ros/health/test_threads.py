"""Threads that no exception ends, and the watch over them."""

from __future__ import annotations

import queue
from collections.abc import Callable

import pytest

from sgrocc_ros.health.statistics import Statistics, shortened
from sgrocc_ros.health.threads import LastingThread, Watch
from tests.ros.harness import wait_until


class Doer(LastingThread):
    """Does the jobs of a queue."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.statistics = Statistics(self.warnings.append, lambda: 0.0)
        super().__init__("doer", self.statistics)
        self.jobs: queue.SimpleQueue[Callable[[], object]] = queue.SimpleQueue()
        self.done = 0

    def step(self) -> bool:
        """Do the next job."""
        self.jobs.get()()
        self.done += 1
        return True

    def stop(self) -> None:
        """End after the current job."""
        self._stopping = True
        self.jobs.put(lambda: None)


@pytest.fixture
def doer():
    """A running thread."""
    thread = Doer()
    thread.start()
    yield thread
    thread.stop()
    thread.join(5)


def test_an_exception_is_counted_with_its_trace_and_the_next_step_follows(doer):
    for job in (lambda: 1 / 0, lambda: None):
        doer.jobs.put(job)
    wait_until(lambda: doer.done == 1, 5)
    assert doer.statistics.counts()[3] == {"internal_error": 1} and doer.failures == 0
    assert "doer: ZeroDivisionError" in doer.warnings[0] and "in <lambda>" in doer.warnings[0]


def test_three_exceptions_in_a_row_are_an_error_until_a_step_succeeds(doer):
    watch = Watch([doer], lambda: 10.0, lambda: (0, 0), lambda: "")
    for count in (1, 2, 3):
        doer.jobs.put(lambda: 1 / 0)
        wait_until(lambda count=count: doer.failures == count, 5)
        assert bool(watch.trouble()) == (count == 3)
    assert "'doer' failed 3 times in a row" in watch.trouble()
    doer.jobs.put(lambda: None)
    wait_until(lambda: not watch.trouble(), 5)


def test_a_thread_that_has_ended_is_an_error(doer):
    watch = Watch([doer], lambda: 10.0, lambda: (0, 0), lambda: "")
    assert not watch.trouble()
    doer.jobs.put(lambda: (_ for _ in ()).throw(SystemExit))
    doer.join(5)
    assert "'doer' has ended" in watch.trouble()


class _Mapping:
    def __init__(self) -> None:
        self.now, self.received, self.mapped = 0.0, 0, 0
        self.watch = Watch(
            [], lambda: 10.0, lambda: (self.received, self.mapped), lambda: "the disk hangs", lambda: self.now
        )

    def after(self, seconds: float, received: int = 0, mapped: int = 0) -> str:
        """The trouble after some time in which images came and were mapped."""
        self.now += seconds
        self.received += received
        self.mapped += mapped
        return self.watch.trouble()


def test_images_that_come_without_being_mapped_for_the_timeout_are_an_error_that_says_why():
    mapping = _Mapping()
    assert not mapping.after(5, received=5)
    assert mapping.after(6, received=6) == "no image was mapped in 11 s, though 11 came: the disk hangs"
    assert not mapping.after(1, mapped=1)
    assert not mapping.after(9, received=1)


def test_silence_is_no_stall():
    mapping = _Mapping()
    mapping.after(1, received=3, mapped=3)
    assert not mapping.after(100) and not mapping.after(1, received=1)


def test_texts_of_any_length_and_content_become_short_and_sendable():
    text = shortened("x" * 10**6 + "\0\udcff")
    assert len(text) < 1100 and text.encode() and "\0" not in text
    assert shortened("short") == "short"
