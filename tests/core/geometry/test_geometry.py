"""Cameras, poses and the lattice against values computed by hand."""

import numpy as np
import pytest

from sgrocc_core.geometry import camera, lattice, poses

LEVEL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # optical frame looking along the world's x


def yaw(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def test_intrinsics_of_a_halved_image_keep_the_centre_of_the_image_in_its_centre():
    K = np.array([[500.0, 0, 319.5], [0, 510.0, 239.5], [0, 0, 1]])
    half = camera.scale_intrinsics(K, 0.5, 0.5)
    assert half[0, 0] == 250 and half[1, 1] == 255
    assert half[0, 2] == pytest.approx(159.5) and half[1, 2] == pytest.approx(119.5)


def test_letterbox_of_a_wide_image_pads_above_and_below_and_projects_to_the_same_place():
    box = camera.Letterbox((640, 360), (320, 240))
    assert box.content == (0, 30, 320, 180)
    K = np.array([[400.0, 0, 319.5], [0, 400.0, 179.5], [0, 0, 1]])
    image = np.zeros((360, 640, 3), np.uint8)
    image[99:103, 199:203] = 255  # a dot around pixel (200.5, 100.5)
    v, u = np.nonzero(box.image(image)[..., 0] > 128)
    ray = np.array([(200.5 - K[0, 2]) / K[0, 0], (100.5 - K[1, 2]) / K[1, 1], 1.0])
    inside = box.intrinsics(K)
    assert u.mean() == pytest.approx(inside[0, 0] * ray[0] + inside[0, 2], abs=0.3)
    assert v.mean() == pytest.approx(inside[1, 1] * ray[1] + inside[1, 2], abs=0.3)
    assert box.mask().sum() == 320 * 180


def test_the_camera_of_a_letterboxed_image_scales_to_its_feature_map():
    """A wide image of 640 x 360 becomes 320 x 180 under 30 rows of padding; 80 x 60 is a quarter of that."""
    K = np.array([[400.0, 0, 319.5], [0, 400.0, 179.5], [0, 0, 1]])
    made = camera.LetterboxedCamera.of(K, (640, 360), (320, 240))
    assert made.K.tolist() == [[200, 0, 159.5], [0, 200, 119.5], [0, 0, 1]]
    assert made.mask[:30].sum() == 0 and made.mask[30:210].all() and made.mask[210:].sum() == 0
    assert made.intrinsics_at((60, 80)).tolist() == [[50, 0, 39.5], [0, 50, 29.5], [0, 0, 1]]


def test_letterboxed_depth_holds_only_readings_of_the_original():
    depth = np.where(np.arange(540)[None] < 270, 1.0, 4.0).astype(np.float32).repeat(360, 0)
    small = camera.Letterbox((540, 360), (320, 240)).depth(depth)
    assert set(np.unique(small)) == {0.0, 1.0, 4.0}


def test_projection_and_back_projection_are_inverse():
    rng = np.random.default_rng(0)
    K = np.array([[300.0, 0, 160], [0, 310.0, 120], [0, 0, 1]])
    T = poses.make_pose(yaw(0.7) @ LEVEL, [1.0, -2.0, 1.5])
    depth = rng.uniform(0.5, 5, (24, 32)).astype(np.float32)
    depth[3, 4] = 0
    points = camera.back_project(depth, K, T)
    u, v, z = camera.project(points, K, T)
    rows, columns = np.nonzero(depth)
    assert len(points) == 24 * 32 - 1
    np.testing.assert_allclose(u, columns, atol=1e-4)
    np.testing.assert_allclose(v, rows, atol=1e-4)
    np.testing.assert_allclose(z, depth[rows, columns], atol=1e-5)


@pytest.mark.parametrize("angle", np.linspace(-3.1, 3.1, 9))
def test_quaternion_and_rotation_are_inverse(angle):
    R = yaw(angle) @ LEVEL @ yaw(0.3)
    np.testing.assert_allclose(poses.rotation_from_quaternion(poses.quaternion_from_rotation(R)), R, atol=1e-12)


def test_a_zero_quaternion_is_refused_with_its_value():
    with pytest.raises(ValueError, match=r"\[0.0, 0.0, 0.0, 0.0\]"):
        poses.rotation_from_quaternion(np.zeros(4))


def test_slerp_halfway_between_two_yaws_is_their_mean():
    q0, q1 = (poses.quaternion_from_rotation(yaw(a)) for a in (0.2, 1.0))
    np.testing.assert_allclose(poses.rotation_from_quaternion(poses.slerp(q0, -q1, 0.5)), yaw(0.6), atol=1e-12)


def test_gravity_aligned_rotation_does_not_depend_on_yaw():
    tilt = LEVEL @ np.array([[1, 0, 0], [0, np.cos(0.4), -np.sin(0.4)], [0, np.sin(0.4), np.cos(0.4)]])
    np.testing.assert_allclose(
        poses.gravity_aligned_rotation(yaw(1.9) @ tilt), poses.gravity_aligned_rotation(tilt), atol=1e-12
    )
    np.testing.assert_allclose(poses.gravity_aligned_rotation(LEVEL), LEVEL, atol=1e-12)


def test_a_camera_looking_straight_down_heads_where_the_top_of_its_image_points():
    down = np.array([[0.0, -1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])  # image up = world x
    np.testing.assert_allclose(poses.heading(down), [1, 0, 0], atol=1e-12)


def test_the_box_is_centred_ahead_of_the_camera_on_the_lattice():
    T = poses.make_pose(LEVEL, [0.0, 0.0, 1.5])
    corner = lattice.box_corner(T)
    np.testing.assert_array_equal(corner, [0, -15, -2])  # (2.4 - 2.4, -2.4, 1.5 - 1.8) / 0.16, rounded
    shifted = lattice.box_corner(T, origin=np.array([0.16, 0.0, 0.0]))
    np.testing.assert_array_equal(shifted, [-1, -15, -2])


def test_voxel_centres_are_half_a_voxel_inside_the_corner():
    centres = lattice.voxel_centres(np.array([1.0, 2.0, 3.0]))
    assert centres.shape == (60, 60, 36, 3)
    np.testing.assert_allclose(centres[0, 0, 0], [1.04, 2.04, 3.04])
    np.testing.assert_allclose(centres[59, 1, 35], [1.04 + 59 * 0.08, 2.12, 3.04 + 35 * 0.08])
