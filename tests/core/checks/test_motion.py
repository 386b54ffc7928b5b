"""A pose that the camera cannot have reached is dropped; a camera that stays elsewhere is believed."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.checks.motion import PoseGate
from sgrocc_core.errors import FrameError

SECOND = 1_000_000_000


def judged(gate: PoseGate, *frames: tuple[float, float]) -> list[bool]:
    """Whether each frame, (seconds, x in metres), may be mapped."""
    answers = []
    for seconds, x in frames:
        T = np.eye(4)
        T[0, 3] = x
        try:
            gate.check(T, int(seconds * SECOND))
            answers.append(True)
        except FrameError as error:
            assert error.cause == "pose_jump"
            answers.append(False)
    return answers


def test_one_far_pose_is_dropped_and_the_next_good_one_mapped():
    assert judged(PoseGate(), (0, 0), (0.1, 0.1), (0.2, 500), (0.3, 0.3)) == [True, True, False, True]


def test_a_walk_and_a_correction_of_a_metre_are_believed():
    assert judged(PoseGate(), (0, 0), (0.5, 1.0), (0.6, 2.9), (1.6, 13.8)) == [True] * 4


def test_a_camera_that_stays_elsewhere_is_believed_at_the_third_image():
    frames = [(0, 0), (0.1, 50), (0.2, 50.1), (0.3, 50.2), (0.4, 50.2)]
    assert judged(PoseGate(), *frames) == [True, False, False, True, True]


def test_far_poses_that_do_not_agree_with_each_other_are_never_believed():
    frames = [(0.1 * i, 100.0 * (i % 3) + 200) for i in range(1, 30)]
    assert judged(PoseGate(), (0, 0), *frames) == [True] + [False] * 29


def test_a_good_image_between_two_far_ones_starts_the_count_anew():
    frames = [(0.1 * i, 50.0 if i % 3 else 0.0) for i in range(12)]
    assert judged(PoseGate(), *frames) == [i % 3 == 0 for i in range(12)]


@pytest.mark.parametrize(("metres", "believed"), [(600.0, True), (602.0, False)], ids=["within", "beyond"])
def test_an_hour_without_images_allows_the_motion_of_a_minute(metres, believed):
    assert judged(PoseGate(), (0, 0), (3600, metres)) == [True, believed]


def test_after_a_restart_any_place_is_believed():
    gate = PoseGate()
    judged(gate, (0, 0))
    gate.restart()
    assert judged(gate, (0.1, 9000)) == [True]
