"""Conversion of ROS messages to the mapper's arrays."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from sgrocc_core.data.images import encode_compressed_depth, encode_jpeg
from sgrocc_core.errors import FrameError
from sgrocc_ros.messages import (
    byte_array,
    camera_info_key,
    read_camera_info,
    read_depth,
    read_image,
    stamp_ns,
    time_message,
)

RGB = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3


def _image(pixels: np.ndarray, encoding: str, pad: int = 0) -> Image:
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, pad)))
    message = Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding, step=rows.shape[1])
    message.data = byte_array(rows)
    return message


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[:, :, ::-1]),
        ("rgba8", np.dstack([RGB, np.full((4, 6), 7, np.uint8)])),
        ("bgra8", np.dstack([RGB[:, :, ::-1], np.full((4, 6), 7, np.uint8)])),
    ],
)
@pytest.mark.parametrize("pad", [0, 5], ids=["tight", "padded"])
def test_colour_images_are_read_as_rgb(encoding, pixels, pad):
    assert (read_image(_image(pixels, encoding, pad)) == RGB).all()


def test_a_grey_image_has_three_equal_channels():
    image = read_image(_image(RGB[:, :, :1], "mono8"))
    assert image.shape == (4, 6, 3) and (image == RGB[:, :, :1]).all()


def test_a_jpeg_is_read_as_rgb():
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, :, 0] = 200
    read = read_image(CompressedImage(format="rgb8; jpeg compressed bgr8", data=encode_jpeg(picture)))
    assert abs(read.astype(int) - picture).max() < 12


def test_depth_in_millimetres_and_metres_is_read_as_metres():
    millimetres = _image(np.array([[0, 1500], [65535, 2]], np.uint16), "16UC1")
    assert read_depth(millimetres, 0.001) == pytest.approx(np.array([[0, 1.5], [65.535, 0.002]]))
    assert read_depth(_image(np.array([[1.25, np.inf]], np.float32), "32FC1"), 0.001).tolist() == [[1.25, np.inf]]


def test_compressed_depth_is_read_as_metres():
    depth = np.array([[0.0, 1.5], [2.25, 4.0]], np.float32)
    message = CompressedImage(format="16UC1; compressedDepth png", data=encode_compressed_depth(depth))
    assert read_depth(message, 0.001) == pytest.approx(depth, abs=1e-3)


def test_an_unknown_encoding_names_those_that_can_be_read():
    with pytest.raises(FrameError, match="'rgb565'.*rgb8") as error:
        read_image(_image(RGB, "rgb565"))
    assert error.value.cause == "unknown_encoding"


def _info(**fields) -> CameraInfo:
    message = CameraInfo(width=640, height=480, distortion_model="plumb_bob", d=[0.0] * 5)
    message.k = np.array([500.0, 0, 320, 0, 510, 240, 0, 0, 1])
    message.p = np.array([400.0, 0, 300, 0, 0, 410, 220, 0, 0, 0, 1, 0])
    for name, value in fields.items():
        setattr(message, name, value)
    return message


def test_k_counts_for_a_raw_image_and_p_for_a_rectified_one():
    assert read_camera_info(_info(), rectified=False).K[0].tolist() == [500.0, 0.0, 320.0]
    assert read_camera_info(_info(), rectified=True).K[0].tolist() == [400.0, 0.0, 300.0]


def test_region_of_interest_and_binning_move_and_scale_the_intrinsics():
    message = _info(binning_x=2, binning_y=2)
    message.roi.x_offset, message.roi.y_offset, message.roi.width, message.roi.height = 100, 50, 400, 300
    calibration = read_camera_info(message, rectified=False)
    assert calibration.size == (200, 150)
    assert calibration.K[0, 0] == 250.0
    assert calibration.K[0, 2] == pytest.approx((320 - 100 + 0.5) / 2 - 0.5)


def test_the_key_of_a_camera_info_ignores_its_stamp_and_sees_its_numbers():
    later, other = _info(), _info()
    later.header.stamp.sec = 9
    other.d = [0.1] * 5
    assert camera_info_key(_info()) == camera_info_key(later) != camera_info_key(other)


@pytest.mark.parametrize("nanoseconds", [0, 1, 999_999_999, 1_700_000_000_123_456_789])
def test_stamps_survive_both_ways(nanoseconds):
    assert stamp_ns(time_message(nanoseconds)) == nanoseconds
