"""Decoding of image messages: values, padding, byte order, and the cause of every failure."""

import struct

import cv2
import numpy as np
import pytest

from sgrocc_core.data.images import (
    decode_compressed,
    decode_compressed_depth,
    decode_depth,
    decode_image,
    encode_compressed_depth,
    encode_jpeg,
)
from sgrocc_core.errors import FrameError

RED_GREEN = np.array([[[200, 10, 30], [5, 180, 60]]], np.uint8)


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", [[200, 10, 30], [5, 180, 60]]),
        ("bgr8", [[30, 10, 200], [60, 180, 5]]),
        ("8UC3", [[30, 10, 200], [60, 180, 5]]),
        ("rgba8", [[200, 10, 30, 9], [5, 180, 60, 9]]),
        ("bgra8", [[30, 10, 200, 9], [60, 180, 5, 9]]),
    ],
)
def test_color_encodings_become_rgb(encoding, pixels):
    data = np.array(pixels, np.uint8)
    np.testing.assert_array_equal(decode_image(encoding, 2, 1, data.size, data.tobytes()), RED_GREEN)


def test_padding_at_the_end_of_rows_is_skipped():
    rows = b"".join(bytes(row.ravel()) + b"\xee\xee" for row in np.concatenate([RED_GREEN, RED_GREEN[:, ::-1]]))
    np.testing.assert_array_equal(decode_image("rgb8", 2, 2, 8, rows)[1], RED_GREEN[0, ::-1])


def test_grey_images_have_three_equal_channels_and_16_bits_keep_the_upper_8():
    assert decode_image("mono8", 1, 1, 1, b"\x7b").tolist() == [[[123, 123, 123]]]
    assert decode_image("mono16", 1, 1, 2, struct.pack(">H", 0x7B00), is_bigendian=True).tolist() == [[[123, 123, 123]]]


@pytest.mark.parametrize("encoding", ["rgb16", "bgr16", "rgba16", "bgra16"])
@pytest.mark.parametrize("is_bigendian", [False, True])
def test_of_16_bit_colours_the_upper_8_are_kept(encoding, is_bigendian):
    order = [encoding.index(channel) for channel in "rgb"]
    pixels = np.zeros((1, 2, len(encoding) - 2), ">u2" if is_bigendian else "<u2")
    pixels[..., order] = RED_GREEN.astype(np.uint16) * 256 + 77
    row = pixels.nbytes
    np.testing.assert_array_equal(decode_image(encoding, 2, 1, row, pixels.tobytes(), is_bigendian), RED_GREEN)


@pytest.mark.parametrize("encoding", ["yuv422", "uyvy", "yuv422_yuy2", "yuyv"])
def test_two_pixels_of_yuv_share_their_colour(encoding):
    y, u, v = (81, 81), 90, 240  # pure red of 8 bit video levels (BT.601)
    order = (u, y[0], v, y[1]) if encoding in ("yuv422", "uyvy") else (y[0], u, y[1], v)
    pixels = decode_image(encoding, 2, 2, 4, bytes(order * 2))
    assert np.abs(pixels.astype(int) - [254, 0, 0]).max() <= 2


@pytest.mark.parametrize(("encoding", "red"), [("rggb", (0, 0)), ("bggr", (1, 1)), ("gbrg", (1, 0)), ("grbg", (0, 1))])
def test_a_bayer_mosaic_of_red_is_red(encoding, red):
    mosaic = np.zeros((8, 8), np.uint8)
    mosaic[red[0] :: 2, red[1] :: 2] = 200
    pixels = decode_image(f"bayer_{encoding}8", 8, 8, 8, mosaic.tobytes())
    np.testing.assert_array_equal(pixels[2:6, 2:6], np.full((4, 4, 3), [200, 0, 0]))


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (("hsv8", 2, 1, 6, bytes(6)), "unknown_encoding"),
        (("rgb8", 2, 2, 6, bytes(11)), "truncated_image"),
        (("rgb8", 0, 2, 6, bytes(12)), "bad_image"),
        (("rgb8", 4, 2, 6, bytes(24)), "bad_image"),
    ],
)
def test_a_raw_image_that_cannot_be_read_names_its_cause(arguments, cause):
    with pytest.raises(FrameError) as caught:
        decode_image(*arguments)
    assert caught.value.cause == cause


def test_depth_in_millimetres_and_in_metres_of_either_byte_order():
    assert decode_depth("16UC1", 2, 1, 4, struct.pack("<HH", 1500, 0)) == pytest.approx(np.array([[1.5, 0.0]]))
    assert decode_depth("16UC1", 1, 1, 2, struct.pack(">H", 1500), is_bigendian=True) == pytest.approx(1.5)
    assert decode_depth("16UC1", 1, 1, 2, struct.pack("<H", 5000), depth_scale=0.0002).tolist() == [
        [pytest.approx(1.0)]
    ]
    depth = decode_depth("32FC1", 2, 1, 8, struct.pack("<ff", 2.25, float("nan")))
    assert depth[0, 0] == 2.25 and np.isnan(depth[0, 1])


def test_compressed_depth_survives_to_half_a_millimetre():
    depth = np.random.default_rng(1).uniform(0.3, 9.0, (24, 32))
    depth[0, :3] = (0.0, np.nan, np.inf)
    read = decode_compressed_depth(encode_compressed_depth(depth), "16UC1; compressedDepth png")
    assert read[0, :3].tolist() == [0, 0, 0]
    np.testing.assert_allclose(read.ravel()[3:], depth.ravel()[3:], atol=0.00051)


def test_compressed_float_depth_is_inverse_depth():
    a, b = 900.0, 10.0
    stored = np.array([[0, 310, 460]], np.uint16)  # z = a / (v - b): none, 3 m, 2 m
    data = struct.pack("<iff", 0, a, b) + cv2.imencode(".png", stored)[1].tobytes()
    np.testing.assert_allclose(decode_compressed_depth(data, "32FC1; compressedDepth png"), [[0, 3, 2]], rtol=1e-6)


def test_jpeg_colors_keep_their_order():
    image = np.full((32, 32, 3), (200, 40, 90), np.uint8)
    np.testing.assert_allclose(decode_compressed(encode_jpeg(image), "jpeg"), image, atol=6)


def with_orientation(jpeg, orientation):
    """The same JPEG with an EXIF segment that asks viewers to turn it."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + struct.pack("<HHI", orientation, 0, 0)
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_an_orientation_in_the_file_does_not_turn_the_pixels(orientation):
    image = np.zeros((16, 32, 3), np.uint8)
    image[:8] = 200
    plain = encode_jpeg(image)
    assert (decode_compressed(with_orientation(plain, orientation)) == decode_compressed(plain)).all()


@pytest.mark.parametrize("side", [9000, 8000])
def test_a_small_file_that_claims_a_giant_image_is_refused_before_it_is_decoded(side):
    png = bytearray(cv2.imencode(".png", np.zeros((8, 8, 3), np.uint8))[1].tobytes())
    struct.pack_into(">2I", png, 16, side, side)
    with pytest.raises(FrameError, match=f"PNG of {side} x {side} pixels"):
        decode_compressed(bytes(png))


@pytest.mark.parametrize(("data", "cause"), [(b"", "bad_image"), (b"not an image at all", "bad_image")])
def test_compressed_rubbish_is_a_bad_image(data, cause):
    with pytest.raises(FrameError) as caught:
        decode_compressed(data, "jpeg")
    assert caught.value.cause == cause


def test_a_jpeg_that_is_cut_off_is_truncated_not_grey():
    noise = np.random.default_rng(2).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    with pytest.raises(FrameError) as caught:
        decode_compressed(encode_jpeg(noise)[:2000])
    assert caught.value.cause == "truncated_image"


@pytest.mark.parametrize(
    ("data", "format", "cause"),
    [
        (b"\0" * 40, "16UC1; compressedDepth png", "bad_depth"),
        (b"\0" * 40, "16UC1; compressedDepth rvl", "bad_depth"),
    ],
)
def test_compressed_depth_that_cannot_be_read_names_its_cause(data, format, cause):
    with pytest.raises(FrameError) as caught:
        decode_compressed_depth(data, format)
    assert caught.value.cause == cause


def test_jpeg_of_whole_colour_keeps_the_colour_of_single_pixels() -> None:
    image = np.zeros((16, 16, 3), np.uint8)
    image[:, ::2] = (200, 40, 40)
    image[:, 1::2] = (40, 40, 200)
    whole, halved = (decode_compressed(encode_jpeg(image, 95, kept), "jpeg").astype(int) for kept in (True, False))
    assert np.abs(whole - image).max() < 12
    assert np.abs(halved - image).max() > 60
