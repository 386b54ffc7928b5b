"""Corrections of the past: between two anchors a pose moves with both, outside rigidly with the nearest one."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.geometry.correction import CorrectionField, PosesOverTime, moved
from sgrocc_core.geometry.poses import make_pose

S = 10**9


def at(x: float, yaw: float = 0.0, y: float = 0.0) -> np.ndarray:
    c, s = np.cos(yaw), np.sin(yaw)
    return make_pose(np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]), np.array([x, y, 0.0]))


def test_between_two_anchors_the_correction_is_interpolated():
    """A drift of 1 cm a second along y: none at the first anchor, 10 cm at the second, ten seconds later."""
    field = CorrectionField([0, 10 * S], np.array([at(0), at(10, y=0.1)]), np.array([at(0), at(10)]))
    np.testing.assert_allclose(field.apply(5 * S, at(5, y=0.05)), at(5), atol=1e-12)
    np.testing.assert_allclose(field.apply(10 * S, at(10, y=0.1)), at(10), atol=1e-12)


def test_after_the_last_anchor_a_pose_moves_rigidly_with_it():
    """The last anchor is turned by a right angle about itself: what lies 1 m ahead of it then lies 1 m to its left."""
    field = CorrectionField([S], np.array([at(2)]), np.array([at(2, np.pi / 2)]))
    for stamp in (0, 3 * S):
        np.testing.assert_allclose(field.apply(stamp, at(3)), at(2, np.pi / 2, y=1.0), atol=1e-12)


def test_without_anchors_nothing_moves_and_of_two_at_one_time_the_last_counts():
    empty = CorrectionField([], np.zeros((0, 4, 4)), np.zeros((0, 4, 4)))
    np.testing.assert_array_equal(empty.apply(3, at(2)), at(2))
    twice = CorrectionField([5, 5], np.array([at(0), at(0)]), np.array([at(1), at(2)]))
    assert len(twice) == 1 and twice.apply(5, at(0))[0, 3] == 2.0


def test_a_pose_is_interpolated_between_near_ones_only():
    path = PosesOverTime([2 * S, S, 3 * S, 9 * S, 20 * S], np.array([at(0.4), at(0.2), at(3), at(3.005), at(3.1)]))
    np.testing.assert_allclose(path.at(S + S // 2), at(0.3), atol=1e-12)
    np.testing.assert_array_equal(path.at(9 * S), at(3.005))
    assert path.at(2 * S + 1) is None  # 2.6 m apart
    np.testing.assert_allclose(path.at(6 * S), at(3.0025), atol=1e-12)  # it stood
    assert path.at(15 * S) is None  # when it began to move is not known
    assert path.at(S - 1) is None and path.at(20 * S + 1) is None


@pytest.mark.parametrize(
    ("after", "wanted"), [(at(0.019), False), (at(0.021), True), (at(0, 0.008), False), (at(0, 0.009), True)]
)
def test_two_centimetres_or_half_a_degree_are_a_move(after, wanted):
    assert moved(at(0)[None], after[None]).tolist() == [wanted]
