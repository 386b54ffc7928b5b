"""The first frames of a live stream: a wrong unit, lens or depth camera is a finding, a good stream has none."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.frame import Frame
from sgrocc_core.geometry.poses import make_pose
from sgrocc_ros.health.first_look import APART, FirstLook

FORWARD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


class Looked:
    """A first look with a clock of its own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.look = FirstLook("map", lambda: self.now)

    def at(self, frames: int, focal: float = 140.0, metres: float = 2.0) -> None:
        """Look at frames of a textured wall."""
        rows, columns = np.indices((120, 160))
        for i in range(frames):
            self.now += 1.01 * APART
            assert self.look.is_due
            image = np.stack([rows + i, columns, rows ^ columns], -1).astype(np.uint8)
            depth = np.full((120, 160), metres, np.float32)
            K = np.array([[focal, 0, 79.5], [0, focal, 59.5], [0, 0, 1]])
            frame = Frame(image, K, make_pose(FORWARD, np.array([0.1 * i, 0, 1.2])), i * 10**9 + 1, depth)
            self.look.see(frame, "camera", depth)


def test_a_good_stream_has_no_findings_and_is_looked_at_twice_a_second_for_forty_frames():
    looked = Looked()
    looked.at(1)
    looked.now += 0.9 * APART
    assert not looked.look.is_due
    looked.at(39)
    looked.now += 100.0
    assert not looked.look.is_due and not list(looked.look.findings)


@pytest.mark.parametrize(
    ("wrong", "word"), [({"focal": 1400.0}, "field"), ({"metres": 0.002}, "depth")], ids=["lens", "unit"]
)
def test_what_contradicts_itself_is_found_after_five_frames(wrong, word):
    looked = Looked()
    looked.at(4, **wrong)
    assert not list(looked.look.findings)
    looked.at(1, **wrong)
    assert any(word in str(found) for found in looked.look.findings)


@pytest.mark.parametrize(
    ("T", "found"),
    [
        (None, False),
        (np.eye(4), False),
        (make_pose(np.eye(3), np.array([0.015, 0.0, 0.0])), True),
        (make_pose(FORWARD, np.zeros(3)), True),
    ],
    ids=["unknown", "another_name", "beside", "turned"],
)
def test_depth_of_another_camera_is_told_by_the_transform_between_the_frames(T, found):
    look = FirstLook("map")
    look.see_depth_frame("colour", "depth", lambda: T)
    assert ("depth_frame" in look.findings) == found


def test_depth_in_a_frame_that_no_transform_connects_is_a_warning_until_one_does():
    look, T = FirstLook("map"), None
    for _ in range(2):
        look.see_depth_frame("colour", "depth", lambda: T)
    assert len(look.findings) == 0
    look.see_depth_frame("colour", "depth", lambda: T)
    (found,) = look.findings
    assert found.level == "warning" and "'depth'" in found.message and "'colour'" in found.message
    T = np.eye(4)
    look.see_depth_frame("colour", "depth", lambda: T)
    assert len(look.findings) == 0
