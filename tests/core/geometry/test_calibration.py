"""Intrinsics from camera_info: region of interest, binning, rectified images and lens distortion."""

import numpy as np
import pytest

from sgrocc_core.errors import FrameError
from sgrocc_core.geometry.calibration import is_rectified, read_calibration

K = [400.0, 0, 320, 0, 410.0, 240, 0, 0, 1]
P = [380.0, 0, 310, 0, 0, 390.0, 230, 0, 0, 0, 1, 0]


def test_the_region_of_interest_moves_the_principal_point_and_sets_the_size():
    calibration = read_calibration((640, 480), K, [], P, roi=(100, 40, 320, 200))
    assert calibration.size == (320, 200)
    assert calibration.K[0].tolist() == [400, 0, 220] and calibration.K[1].tolist() == [0, 410, 200]


def test_binning_by_two_halves_the_focal_length_about_pixel_centres():
    calibration = read_calibration((640, 480), K, [], P, binning=(2, 2))
    assert calibration.size == (320, 240)
    assert calibration.K[0, 0] == 200 and calibration.K[0, 2] == 159.75


def test_rectified_images_use_the_projection_matrix_and_no_distortion():
    calibration = read_calibration((640, 480), K, [0.2, 0, 0, 0, 0], P, rectified=True)
    assert calibration.K[0, 0] == 380 and calibration.K[1, 2] == 230 and calibration.distortion.size == 0


@pytest.mark.parametrize(
    ("setting", "topic", "expected"),
    [
        ("auto", "/camera/image_rect_color", True), ("auto", "/camera/image_raw", False),
        ("auto", "/camera/image_rect/compressed", True),
        ("yes", "/camera/image_raw", True), ("no", "/camera/image_rect", False),
        ("auto", "/direct/camera/color/image_raw", False),
    ],
)  # fmt: skip
def test_which_images_count_as_rectified(setting, topic, expected):
    assert is_rectified(setting, topic) is expected


def test_undistortion_puts_a_point_where_the_pinhole_model_has_it():
    k1 = 0.1
    calibration = read_calibration((640, 480), [400.0, 0, 319.5, 0, 400.0, 239.5, 0, 0, 1], [k1, 0, 0, 0, 0], P)
    x, y = 0.4, -0.3
    factor = 1 + k1 * (x * x + y * y)
    image = np.zeros((480, 640), np.uint8)
    u, v = round(400 * x * factor + 319.5), round(400 * y * factor + 239.5)
    image[v - 1 : v + 2, u - 1 : u + 2] = 255
    rows, columns = np.nonzero(calibration.rectify(image) > 100)
    assert columns.mean() == pytest.approx(400 * x + 319.5, abs=1.0) and rows.mean() == pytest.approx(
        400 * y + 239.5, abs=1.0
    )


@pytest.mark.parametrize("count", [8, 12, 14])
def test_the_coefficients_of_a_rational_model_follow_their_formula(count):
    k1, k2, p1, p2, k3, k4, k5, k6, s1, s2, s3, s4 = D = [
        *(0.3, -0.1, 0.004, -0.003, 0.02, 0.25, -0.08, 0.01),
        *((0.01, -0.004, 0.006, 0.002) if count > 8 else (0.0,) * 4),
    ]
    matrix = [400.0, 0, 319.5, 0, 400.0, 239.5, 0, 0, 1]
    coefficients = (D + [0.0, 0.0])[:count]
    calibration = read_calibration((640, 480), matrix, coefficients, P, model="rational_polynomial")
    x, y = 0.4, -0.3
    r2 = x * x + y * y
    radial = (1 + k1 * r2 + k2 * r2**2 + k3 * r2**3) / (1 + k4 * r2 + k5 * r2**2 + k6 * r2**3)
    seen_x = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x) + s1 * r2 + s2 * r2**2
    seen_y = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y + s3 * r2 + s4 * r2**2
    image = np.zeros((480, 640), np.uint8)
    u, v = round(400 * seen_x + 319.5), round(400 * seen_y + 239.5)
    image[v - 1 : v + 2, u - 1 : u + 2] = 255
    rows, columns = np.nonzero(calibration.rectify(image) > 100)
    assert columns.mean() == pytest.approx(400 * x + 319.5, abs=1.0)
    assert rows.mean() == pytest.approx(400 * y + 239.5, abs=1.0)


def test_an_image_of_another_size_than_camera_info_says_is_refused():
    with pytest.raises(FrameError, match="320 x 240 pixels, but camera_info describes 640 x 480") as caught:
        read_calibration((640, 480), K, [], P).rectify(np.zeros((240, 320, 3), np.uint8))
    assert caught.value.cause == "size_mismatch"


def test_an_unknown_distortion_model_is_refused_only_when_there_is_distortion():
    read_calibration((640, 480), K, [0, 0], P, model="omni")
    with pytest.raises(FrameError, match="'omni' is not known"):
        read_calibration((640, 480), K, [0.1, 0], P, model="omni")


@pytest.mark.parametrize(
    ("model", "D", "message"),
    [
        ("equidistant", [0.1], r"D has 1 coefficient\(s\) \[0.1\]; the model 'equidistant' takes 4"),
        ("fisheye", [0.1, 0.02, 0.0], r"D has 3 coefficient\(s\) .* 'fisheye' takes 4"),
        ("equidistant", [0.1, 0.02, 0.0, 0.0, 0.3], r"D has 5 coefficient\(s\) .* 'equidistant' takes 4"),
        ("plumb_bob", [0.1, 0.02, 0.0], r"D has 3 coefficient\(s\) .* 'plumb_bob' takes 4, 5, 8, 12 or 14"),
    ],
)
def test_a_number_of_coefficients_that_the_model_does_not_take_is_refused(model, D, message):
    with pytest.raises(FrameError, match=message) as caught:
        read_calibration((640, 480), K, D, P, model=model)
    assert caught.value.cause == "bad_intrinsics"


def test_a_fisheye_image_is_undone_by_its_four_coefficients_and_a_fifth_of_zero_changes_nothing():
    k1, k2 = 0.05, -0.01
    matrix = [400.0, 0, 319.5, 0, 400.0, 239.5, 0, 0, 1]
    calibration = read_calibration((640, 480), matrix, [k1, k2, 0, 0, 0], P, model="equidistant")
    x, y = 0.4, -0.3
    theta = np.arctan(np.hypot(x, y))
    factor = theta * (1 + k1 * theta**2 + k2 * theta**4) / np.hypot(x, y)
    image = np.zeros((480, 640), np.uint8)
    u, v = round(400 * x * factor + 319.5), round(400 * y * factor + 239.5)
    image[v - 1 : v + 2, u - 1 : u + 2] = 255
    rows, columns = np.nonzero(calibration.rectify(image) > 100)
    assert columns.mean() == pytest.approx(400 * x + 319.5, abs=1.0)
    assert rows.mean() == pytest.approx(400 * y + 239.5, abs=1.0)
