"""RVL depth: a stream made by hand, round trips, and streams that are damaged."""

import struct

import numpy as np
import pytest

from sgrocc_core.data.images import decode_compressed_depth
from sgrocc_core.data.rvl import decode_rvl, encode_rvl
from sgrocc_core.errors import FrameError


def test_a_stream_made_by_hand_is_read():
    # Nibbles: 1 zero, 2 readings, +5 as 10 = 0b010 with one more, then 1, -2 as 3: 1, 2, (10 & 7 | 8), 1, 3, padding.
    word = int("12A13000", 16)
    assert decode_rvl(np.frombuffer(struct.pack("<I", word), np.uint8), 3, 1).tolist() == [[0, 5, 3]]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_encoded_is_decoded_again(seed):
    rng = np.random.default_rng(seed)
    depth = rng.integers(0, 65536, (13, 17)).astype(np.uint16)
    depth[rng.random(depth.shape) < 0.4] = 0
    assert (decode_rvl(encode_rvl(depth), 17, 13) == depth).all()


def test_a_message_of_compressed_depth_gives_metres():
    millimetres = np.arange(8 * 9, dtype=np.uint16).reshape(8, 9) * 20
    data = struct.pack("<iffii", 0, 0.0, 0.0, 9, 8) + encode_rvl(millimetres).tobytes()
    assert decode_compressed_depth(data, "16UC1; compressedDepth rvl") == pytest.approx(millimetres * 0.001)


@pytest.mark.parametrize("keep", [0, 4, 12])
def test_a_stream_that_ends_early_is_refused(keep):
    stream = encode_rvl(np.arange(64, dtype=np.uint16).reshape(8, 8) + 1)[:keep]
    with pytest.raises(FrameError, match="does not give 8 x 8 pixels"):
        decode_rvl(stream, 8, 8)


def test_a_claimed_size_that_is_not_allowed_is_refused_before_anything_is_made():
    with pytest.raises(FrameError, match=r"100000 x 100000 pixels; sides of 1 to 8192"):
        decode_compressed_depth(
            struct.pack("<iffii", 0, 0.0, 0.0, 100000, 100000) + b"\0" * 8, "16UC1; compressedDepth rvl"
        )
