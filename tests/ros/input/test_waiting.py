"""The waiting room supplies the newest complete image and names what the others lack. Time is simulated."""

from __future__ import annotations

import threading
import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sgrocc_core.geometry.transforms import TooLateError
from sgrocc_ros.input.waiting import CAPACITY, WaitingRoom

MS = 1_000_000


class _Report:
    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()
        self.noticed: Counter[str] = Counter()

    def drop(self, cause: str, message: str) -> None:
        self.dropped[cause] += 1

    def leave_out_depth(self, cause: str, message: str) -> None:
        self.noticed[cause] += 1


class _Poses:
    def __init__(self, until: int = 10**18) -> None:
        self.until = until

    def lookup(self, target: str, source: str, stamp: int) -> np.ndarray:
        if stamp > self.until:
            raise TooLateError("not yet")
        return np.eye(4)

    def why_missing(self, target: str, source: str, stamp: int) -> tuple[str, str]:
        return "no_pose", "never came"


class _Setup:
    def __init__(self, depth_source: str = "mono", until: int = 10**18) -> None:
        self.now, self.report, self.poses = 0.0, _Report(), _Poses(until)
        self.room = WaitingRoom(
            self.poses, self.report, depth_source=depth_source, timeout=0.2, slop=0.03, clock=lambda: self.now
        )

    def take(self):
        """Take an image without waiting; None if there is none."""
        self.room.wake()
        found = self.room.pick(self.now)
        self.room.take()
        return found


@pytest.fixture
def mono():
    setup = _Setup()
    setup.room.add_info(0, "info")
    return setup


@pytest.fixture
def fused():
    setup = _Setup("fused")
    setup.room.add_info(0, "info")
    return setup


def test_the_newest_complete_image_is_taken_and_the_older_ones_are_overtaken(mono):
    for i in range(3):
        mono.room.add_image(i * MS, "camera", i)
    assert mono.take().image.message == 2
    assert mono.report.dropped == {"overtaken": 2}
    assert mono.take() is None


def test_an_image_without_its_pose_waits_while_an_older_one_is_taken(mono):
    mono.poses.until = 5 * MS
    mono.room.add_image(4 * MS, "camera", "old")
    mono.room.add_image(9 * MS, "camera", "new")
    assert mono.take().image.message == "old"
    mono.poses.until = 10 * MS
    assert mono.take().image.message == "new"
    assert not mono.report.dropped


def test_an_image_whose_pose_never_comes_is_dropped_after_the_timeout(mono):
    mono.poses.until = 0
    mono.room.add_image(4 * MS, "camera", "lost")
    mono.now = 0.19
    assert mono.take() is None and not mono.report.dropped
    mono.now = 0.21
    assert mono.take() is None
    assert mono.report.dropped == {"no_pose": 1}


def test_without_camera_info_an_image_is_dropped_with_that_cause():
    setup = _Setup()
    setup.room.add_image(MS, "camera", "image")
    setup.now = 0.3
    assert setup.take() is None
    assert setup.report.dropped == {"no_camera_info": 1}


def test_the_camera_info_of_the_same_stamp_counts_before_the_newest(mono):
    mono.room.add_info(7 * MS, "its own")
    mono.room.add_info(8 * MS, "newest")
    mono.room.add_image(7 * MS, "camera", "a")
    assert mono.take().info == "its own"


def test_depth_of_the_same_stamp_pairs_at_once(fused):
    fused.room.add_image(100 * MS, "camera", "a")
    fused.room.add_depth(90 * MS, "near")
    assert fused.take() is None
    fused.room.add_depth(100 * MS, "same")
    assert fused.take().depth == "same"


def test_depth_of_another_stamp_pairs_with_the_nearest_once_that_is_known(fused):
    fused.room.add_image(100 * MS, "camera", "a")
    fused.room.add_depth(80 * MS, "before")
    assert fused.take() is None
    fused.room.add_depth(110 * MS, "after")
    assert fused.take().depth == "after"


def test_depth_beyond_the_slop_does_not_pair(fused):
    fused.room.add_image(100 * MS, "camera", "a")
    fused.room.add_depth(69 * MS, "too old")
    fused.now = 0.3
    assert fused.take().depth is None
    assert fused.report.noticed == {"no_depth": 1}


def test_an_image_is_used_alone_as_soon_as_later_depth_has_come(fused):
    fused.room.add_image(100 * MS, "camera", "a")
    fused.room.add_depth(140 * MS, "of the next image")
    assert fused.take().depth is None
    assert fused.report.noticed == {"no_depth": 1}


def test_where_depth_is_the_only_source_an_image_without_it_is_dropped():
    setup = _Setup("topic")
    setup.room.add_info(0, "info")
    setup.room.add_image(100 * MS, "camera", "a")
    setup.room.add_depth(140 * MS, "of the next image")
    assert setup.take() is None
    assert setup.report.dropped == {"no_depth": 1}


def test_more_images_than_are_kept_push_the_oldest_out(mono):
    mono.poses.until = 0
    for i in range(CAPACITY + 5):
        mono.room.add_image((i + 1) * MS, "camera", i)
    assert mono.room.waiting == CAPACITY
    assert mono.report.dropped == {"overtaken": 5}


def test_a_jump_of_time_clears_what_waits_but_keeps_the_camera_info(mono):
    mono.poses.until = 0
    mono.room.add_image(10**10, "camera", "of the other time")
    mono.room.jump_to(MS)
    assert mono.report.dropped == {"time_jump": 1}
    mono.poses.until = 10**18
    mono.room.add_image(MS, "camera", "new")
    assert mono.take().info == "info"


def test_take_waits_for_a_pose_and_returns_when_it_comes():
    report, poses = _Report(), _Poses(until=0)
    room = WaitingRoom(poses, report, timeout=5.0)
    room.add_info(0, "info")
    room.add_image(MS, "camera", "image")

    def later() -> None:
        time.sleep(0.1)
        poses.until = MS
        room.poses_changed()

    start = time.monotonic()
    threading.Thread(target=later).start()
    assert room.take().image.message == "image"
    assert 0.05 < time.monotonic() - start < 2.0


def test_take_keeps_to_a_rate():
    room = WaitingRoom(_Poses(), _Report())
    room.add_info(0, "info")
    room.add_image(MS, "camera", "image")
    start = time.monotonic()
    room.take(not_before=start + 0.15)
    assert time.monotonic() - start >= 0.15


def test_wake_returns_from_take_without_an_image():
    room = WaitingRoom(_Poses(), _Report())
    threading.Timer(0.05, room.wake).start()
    assert room.take() is None


def test_time_without_images_is_not_counted_as_work(mono):
    asked: list[float] = []
    mono.room._cadence.patience = lambda age, work: asked.append(work) or 0.0
    mono.room.add_image(MS, "camera", "first")
    assert mono.room.take().image.message == "first"
    mono.now = 0.05  # the frame took 50 ms; a command then wakes the worker, which waits for 5 s
    mono.room.wake()
    assert mono.room.take() is None
    mono.now = 5.0
    mono.room.add_image(2 * MS, "camera", "second")
    assert mono.room.take().image.message == "second"
    assert asked == [0.0, 0.05]


@given(
    events=st.lists(st.tuples(st.sampled_from(["image", "depth", "pose", "wait"]), st.integers(1, 40)), max_size=60),
    source=st.sampled_from(["mono", "topic", "fused"]),
)
def test_every_image_is_taken_dropped_or_waiting_whatever_the_order(events, source):
    setup = _Setup(source, until=0)
    setup.room.add_info(0, "info")
    sent = taken = 0
    for kind, value in events:
        if kind == "image":
            setup.room.add_image(value * 10 * MS, "camera", sent)
            sent += 1
        elif kind == "depth":
            setup.room.add_depth(value * 10 * MS, "depth")
        elif kind == "pose":
            setup.poses.until = max(setup.poses.until, value * 10 * MS)
        else:
            setup.now += value / 100
        taken += setup.take() is not None
    assert sent == taken + setup.report.dropped.total() + setup.room.waiting
