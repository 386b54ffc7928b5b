"""Points of another sensor become depth: the nearest wins, holes stay holes, and motion is taken out."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.depth.points import depth_of_points, depth_size, points_in_map
from sgrocc_core.errors import FrameError
from sgrocc_core.geometry.poses import make_pose

K = np.array([[100.0, 0, 79.5], [0, 100.0, 59.5], [0, 0, 1]])
SIZE = (160, 120)


def test_a_point_falls_into_the_pixel_by_hand():
    depth = depth_of_points(np.array([[0.5, -0.25, 2.0]]), np.eye(4), K, SIZE)
    assert depth.shape == (60, 80)  # the least: intrinsics of half the size are f = 50, c = (39.5, 29.5)
    (row,), (column,) = np.nonzero(depth)
    assert (row, column) == (round(50 * -0.125 + 29.5), round(50 * 0.25 + 39.5)) and depth[row, column] == 2.0


def test_the_nearest_point_wins_and_points_behind_or_beside_are_not_seen():
    points = np.array([[0.0, 0, 3], [0, 0, 2], [0, 0, 4], [0, 0, -1], [50, 0, 1]])
    depth = depth_of_points(points, np.eye(4), K, SIZE)
    assert np.count_nonzero(depth) == 1 and depth.max() == 2.0


def test_a_camera_elsewhere_sees_the_points_from_there():
    T_wc = make_pose(np.eye(3), np.array([0.0, 0.0, -1.0]))
    assert depth_of_points(np.array([[0.0, 0, 2]]), T_wc, K, SIZE).max() == 3.0


def test_no_point_in_view_is_told():
    with pytest.raises(FrameError, match="none of the cloud's 1 points lies in the image"):
        depth_of_points(np.array([[0.0, 0, -2]]), np.eye(4), K, SIZE)


@pytest.mark.parametrize(
    ("size", "points", "wanted"),
    [
        ((640, 480), 100, (80, 60)),
        ((640, 480), 20_000, (232, 174)),  # two pixels a point: 40,368
        ((640, 480), 10**6, (320, 240)),
        ((160, 120), 10**6, (160, 120)),
        ((1241, 376), 20_000, (1241, 376)),  # no coarser image has this aspect
    ],
)
def test_the_depth_image_is_as_coarse_as_the_points_and_has_the_aspect_of_the_image(size, points, wanted):
    assert depth_size(size, points) == wanted
    assert wanted[0] * size[1] == wanted[1] * size[0]


def test_where_the_image_cannot_be_coarser_a_point_covers_a_square():
    points = np.random.default_rng(0).uniform((-1, -0.3, 2), (1, 0.3, 2), (20_000, 3))
    wide = np.array([[700.0, 0, 620], [0, 700.0, 187.5], [0, 0, 1]])
    depth = depth_of_points(points, np.eye(4), wide, (1241, 376))
    inside = depth[90:280, 290:950]
    assert depth.shape == (376, 1241) and (inside > 0).mean() > 0.95 and depth.max() == 2.0


def test_each_point_is_brought_into_the_map_by_the_pose_of_its_time():
    """A sensor that moves along x at 1 m/s and looks at one place: its points lie there only with their own times."""
    times = np.arange(0, 100_000_000, 1_000_000)
    seen = np.stack([2.0 - times * 1e-9, np.zeros(100), np.zeros(100)], 1)

    def pose_at(stamp: int) -> np.ndarray:
        return make_pose(np.eye(3), np.array([(stamp - 10**9) * 1e-9, 0, 0]))

    points = points_in_map(seen, times, 10**9, pose_at)
    np.testing.assert_allclose(points, [[2.0, 0, 0]] * 100, atol=0.003)  # 5 ms share a pose
    smeared = points_in_map(seen, None, 10**9, pose_at)
    assert np.ptp(smeared[:, 0]) == pytest.approx(0.099)
