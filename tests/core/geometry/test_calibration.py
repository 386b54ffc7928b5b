"""camera_info to intrinsics: region of interest, binning, rectified images and lenses."""

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
        ("auto", "/camera/image_rect_color", True), ("auto", "/camera/image_raw", False), ("auto", "/camera/image_rect/compressed", True),
        ("yes", "/camera/image_raw", True), ("no", "/camera/image_rect", False), ("auto", "/direct/camera/color/image_raw", False),
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


def test_an_image_of_another_size_than_camera_info_says_is_refused():
    with pytest.raises(FrameError, match="320 x 240 pixels, but camera_info describes 640 x 480") as caught:
        read_calibration((640, 480), K, [], P).rectify(np.zeros((240, 320, 3), np.uint8))
    assert caught.value.cause == "size_mismatch"


def test_an_unknown_distortion_model_is_refused_only_when_there_is_distortion():
    read_calibration((640, 480), K, [0, 0], P, model="omni")
    with pytest.raises(FrameError, match="'omni' is not known"):
        read_calibration((640, 480), K, [0.1, 0], P, model="omni")
