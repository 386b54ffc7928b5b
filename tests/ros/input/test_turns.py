"""Several cameras are taken in turn. Time is simulated."""

from __future__ import annotations

import threading
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from sgrocc_core.geometry.transforms import TooLateError
from sgrocc_ros.input.turns import Turns
from sgrocc_ros.input.waiting import WaitingRoom

MS = 1_000_000


class _Report:
    def __init__(self) -> None:
        self.dropped: Counter[str] = Counter()

    def drop(self, cause: str, message: str) -> None:
        self.dropped[cause] += 1

    def leave_out_depth(self, cause: str, message: str) -> None:
        raise AssertionError("no depth is read")


class _Poses:
    """Poses of all frames but those called `nowhere`."""

    def lookup(self, target: str, source: str, stamp: int) -> np.ndarray:
        if source == "nowhere":
            raise TooLateError("not yet")
        return np.eye(4)

    def why_missing(self, target: str, source: str, stamp: int) -> tuple[str, str]:
        return "no_pose", "never came"


class _Cameras:
    """Cameras with a period and a phase, milliseconds, and a worker that takes `work` for each image (of a camera)."""

    def __init__(self, work: int | dict[str, int], **cameras: tuple[int, int, str]) -> None:
        self.now, self.cameras = 0, cameras
        self._work = work if isinstance(work, dict) else dict.fromkeys(cameras, work)
        changed = threading.Condition()
        self.reports = {name: _Report() for name in cameras}
        self.rooms = {
            name: WaitingRoom(_Poses(), self.reports[name], clock=lambda: self.now / 1e3, camera=name, changed=changed)
            for name in cameras
        }
        for room in self.rooms.values():
            room.add_info(0, "info")
        self.turns = Turns(list(self.rooms.values()), changed, lambda: self.now / 1e3)

    def run(self, seconds: int) -> list[str]:
        """Names of the cameras in the order in which they are mapped."""
        taken, free_at = [], 0
        for self.now in range(1000 * seconds):
            for name, (period, phase, frame) in self.cameras.items():
                if self.now % period == phase:
                    self.rooms[name].add_image(self.now * MS, frame, "image")
            if self.now >= free_at and (found := self.turns.pick(self.now / 1e3)) is not None:
                taken.append(found.camera)
                free_at = self.now + self._work[found.camera]
        return taken


@pytest.mark.parametrize("phase", [0, 10, 100, 190])
def test_two_cameras_of_one_rate_are_mapped_alike_at_any_phase(phase):
    taken = _Cameras(200, front=(200, 0, "f"), left=(200, phase, "l")).run(20)
    shares = Counter(taken)
    assert len(taken) > 90 and abs(shares["front"] - shares["left"]) <= 2
    assert all(a != b for a, b in pairwise(taken[2:]))


@pytest.mark.parametrize(("front", "rear"), [(105, 100), (105, 120), (90, 115), (150, 110)])
def test_a_camera_whose_image_comes_a_little_earlier_each_time_gets_no_more(front, rear):
    taken = _Cameras({"front": front, "rear": rear}, front=(200, 0, "f"), rear=(200, 5, "r")).run(20)
    shares = Counter(taken)
    assert abs(shares["front"] - shares["rear"]) <= 2, shares


def test_a_slow_camera_beside_a_fast_one_loses_no_image():
    cameras = _Cameras(150, fast=(33, 0, "f"), slow=(500, 5, "s"))
    assert Counter(cameras.run(20))["slow"] == 40
    assert not cameras.reports["slow"].dropped and cameras.reports["fast"].dropped["overtaken"] > 400


def test_a_camera_without_poses_does_not_hold_up_the_other():
    cameras = _Cameras(200, lost=(200, 0, "nowhere"), left=(200, 100, "l"))
    assert Counter(cameras.run(10)) == {"left": 50}
    assert cameras.reports["lost"].dropped["no_pose"] >= 48 and not cameras.reports["left"].dropped


def test_take_waits_for_an_image_of_any_camera_and_wake_ends_the_wait():
    changed = threading.Condition()
    rooms = [WaitingRoom(_Poses(), _Report(), camera=name, changed=changed) for name in ("front", "left")]
    turns, found = Turns(rooms, changed), []
    thread = threading.Thread(target=lambda: found.extend([turns.take(), turns.take()]))
    thread.start()
    rooms[1].add_info(0, "info")
    rooms[1].add_image(MS, "l", "image")
    while not found and turns.waiting:
        pass
    turns.wake()
    thread.join(10)
    assert not thread.is_alive() and found[0].camera == "left" and found[1] is None
