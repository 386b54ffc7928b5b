"""JPEG and PNG files copied without re-encoding: sizes from their headers, and faults found by reading and decoding."""

import struct

import cv2
import numpy as np
import pytest

from sgrocc_core.data.coded_image import read_coded
from sgrocc_core.data.image_header import coded_size
from sgrocc_core.errors import FrameError
from tests.samples.recordings.recording_samples import image_at, jpeg_at

PNG = cv2.imencode(".png", image_at(1))[1].tobytes()


def cause(data: bytes, size=None) -> str:
    with pytest.raises(FrameError) as found:
        read_coded(data, size)
    return found.value.cause


@pytest.mark.parametrize(("data", "kind"), [(jpeg_at(0), "jpeg"), (PNG, "png")])
def test_kind_and_size_are_read_from_the_header(data, kind):
    image = read_coded(data, (64, 48))
    assert (image.kind, image.size, image.data) == (kind, (64, 48), data)
    assert cause(data, (640, 480)) == "size_mismatch"


def test_a_progressive_jpeg_with_comments_says_its_size():
    coded = cv2.imencode(".jpg", np.zeros((40, 72, 3), np.uint8), [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    commented = coded[:2] + b"\xff\xfe" + struct.pack(">H", 7) + b"hello" + b"\xff" + coded[2:]
    assert coded_size(commented) == ("jpeg", (72, 40))


@pytest.mark.parametrize(
    "data", [b"", b"\xff\xd8", b"BM" + bytes(60), b"\xff\xd8\xff\xe0\xff\xff" + bytes(20), jpeg_at(0)[:2] + bytes(40)]
)
def test_what_is_no_image_is_bad(data):
    assert cause(data) == "bad_image"


@pytest.mark.parametrize("data", [jpeg_at(0), PNG])
def test_what_is_cut_off_is_found(data):
    assert cause(data[: len(data) // 2]) in ("truncated_image", "bad_image")


def test_a_header_that_claims_gigabytes_is_refused_before_anything_is_decoded(monkeypatch):
    monkeypatch.setattr("sgrocc_core.data.coded_image.decode_compressed", None)
    at = jpeg_at(0).index(b"\xff\xc0")
    jpeg = jpeg_at(0)[: at + 5] + struct.pack(">2H", 65535, 65535) + jpeg_at(0)[at + 9 :]
    png = PNG[:16] + struct.pack(">2I", 1 << 31, 1 << 31) + PNG[24:]
    assert cause(jpeg) == cause(png) == "bad_image"
