"""Registration of depth to another camera, with a wall of known depth in both; and worlds rotated to z up."""

import numpy as np
import pytest

from sgrocc_core.commands._parts import recordings
from sgrocc_core.depth.registration import Registration, plan_registration
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.geometry.upright import WORLDS, guess_world, turn_world
from tests.samples.recordings.recording_samples import in_world, pose_at, wall_at

COLOR_K = np.array([[1170.0, 0, 647.5], [0, 1170.0, 483.5], [0, 0, 1]])
DEPTH_K = np.array([[577.0, 0, 319.5], [0, 579.0, 239.5], [0, 0, 1]])


def test_scannets_depth_gets_the_images_aspect_at_about_its_own_resolution():
    plan = plan_registration((1296, 968), COLOR_K, (640, 480), DEPTH_K, np.eye(4))
    assert plan.target_size == (648, 484)
    np.testing.assert_allclose(plan.target_K, [[585, 0, 323.5], [0, 585, 241.5], [0, 0, 1]])


def test_depth_that_lies_on_the_image_already_is_left_alone():
    K = np.array([[500.0, 0, 319.5], [0, 500.0, 239.5], [0, 0, 1]])
    half = np.array([[250.0, 0, 159.5], [0, 250.0, 119.5], [0, 0, 1]])
    assert plan_registration((640, 480), K, (320, 240), half, np.eye(4)) is None
    assert plan_registration((640, 480), K, (320, 240), half + [[8, 0, 0], [0, 0, 0], [0, 0, 0]], np.eye(4)) is not None
    assert plan_registration((640, 480), K, (320, 240), half, make_pose(np.eye(3), np.array([0.02, 0, 0]))) is not None


@pytest.mark.parametrize("colors", [((1297, 967), (1297, 967)), ((640, 480), (300, 225)), ((160, 120), (160, 120))])
def test_the_size_keeps_the_aspect_and_never_exceeds_the_image(colors):
    color, expected = colors
    K = np.array([[float(color[0]), 0, color[0] / 2], [0, float(color[0]), color[1] / 2], [0, 0, 1]])
    assert (
        plan_registration(
            color, K, (320, 240), np.array([[300.0, 0, 150], [0, 300, 120], [0, 0, 1]]), np.eye(4)
        ).target_size
        == expected
    )


def test_the_wall_is_where_the_other_camera_would_see_it():
    plan = plan_registration((1296, 968), COLOR_K, (640, 480), DEPTH_K, np.eye(4))
    registered = plan(wall_at(0, (640, 480), DEPTH_K))
    x = (np.arange(648) - 323.5) / 585
    seen = np.abs(x * 577) < 319
    np.testing.assert_allclose(
        registered[10:-10, seen], np.tile(2 / (1 + 0.3 * x[seen]), (464, 1)), atol=0.5 / 577 * 0.8
    )
    assert registered.dtype == np.float32


def test_one_camera_gives_every_pixel_back_as_it_was():
    depth = np.random.default_rng(1).uniform(0.5, 5, (24, 32)).astype(np.float32)
    depth[3, 4], depth[5, 6], depth[7, 8] = 0, np.nan, np.inf
    K = np.array([[30.0, 0, 15.3], [0, 31.0, 11.2], [0, 0, 1]])
    out = Registration((32, 24), K, (32, 24), K, np.eye(4))(depth)
    np.testing.assert_array_equal(out, np.where(np.isfinite(depth), depth, 0))


def test_a_camera_aside_sees_the_wall_shifted_and_at_its_own_depth():
    K = np.array([[400.0, 0, 159.5], [0, 400.0, 119.5], [0, 0, 1]])
    T_ts = make_pose(np.eye(3), np.array([0.1, 0, -0.05]))
    registered = Registration((320, 240), K, (320, 240), K, T_ts)(wall_at(0, (320, 240), K))
    x = (np.arange(320) - 159.5) / 400
    expected = (2 - 0.05 + 0.3 * 0.1) / (1 + 0.3 * x)  # the plane z + 0.3 x = 2 in the moved frame
    both = registered[120] > 0
    assert both[30:].mean() > 0.95 and not both[:10].any()
    np.testing.assert_allclose(registered[120][both], expected[both], atol=0.005)


def test_of_two_surfaces_on_one_pixel_the_nearer_stays():
    K = np.array([[100.0, 0, 9.5], [0, 100.0, 9.5], [0, 0, 1]])
    depth = np.full((20, 20), 4.0)
    depth[:, 8:12] = 1.0
    shifted = Registration((20, 20), K, (20, 20), K, make_pose(np.eye(3), np.array([-0.05, 0, 0])))(depth)
    assert (shifted[:, 3:7] == 1).all()  # 5 pixels to the left; the wall moves by one or two
    assert (shifted[:, 9] == 0).any() or (shifted[:, 10] == 0).any()  # no reading for what the near object hid


@pytest.mark.parametrize("world", ["z-up", "y-up", "y-down"])
def test_the_cameras_posture_tells_which_axis_is_up(world):
    poses = np.array([in_world(world, pose_at(i)) for i in range(5)])
    assert guess_world(poses) == world
    np.testing.assert_allclose(turn_world(world, poses), [pose_at(i) for i in range(5)], atol=1e-12)


def test_a_camera_that_looks_down_tells_nothing_and_every_world_is_a_rotation():
    down = make_pose(np.array([[1, 0, 0], [0, -1, 0], [0, 0, -1.0]]) @ _tilted(40), np.zeros(3))
    assert guess_world(np.array([down])) is None
    assert guess_world(np.full((2, 4, 4), np.nan)) is None
    for name, turn in WORLDS.items():
        axis = np.eye(3)["xyz".index(name[0])] * (1 if name.endswith("up") else -1)
        np.testing.assert_array_equal(turn @ axis, [0, 0, 1])
        assert np.linalg.det(turn) == 1


def _tilted(degrees: float) -> np.ndarray:
    a = np.deg2rad(degrees)
    return np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])


def test_the_command_offers_every_world():
    assert set(recordings._WORLDS) == set(WORLDS)
