"""Type and size of a JPEG or PNG file from its header, before any decoder runs.

A small file can claim a size whose decoding takes gigabytes, so that the claim is checked first.
"""

from __future__ import annotations

import struct

from sgrocc_core.errors import FrameError

MIN_SIDE, MAX_SIDE = 8, 8192
"""Smallest and largest side of an image that is accepted, pixels."""
MAX_PIXELS = 1 << 25
"""Largest number of pixels of an image that is accepted: 33.5 million, 100 MB as RGB (round guess above any robot's
camera)."""
_PNG = b"\x89PNG\r\n\x1a\n"
_BARE_MARKERS = (0x01, *range(0xD0, 0xD9))
_FRAME_MARKERS = tuple(marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))


def coded_size(data: bytes, min_side: int = MIN_SIDE) -> tuple[str, tuple[int, int]]:
    """Type (`jpeg`, `png`) and (width, height) in pixels from the header of a file.

    Args:
        data: the file, or its first megabyte.
        min_side: smallest side that is accepted, pixels.

    Raises:
        FrameError: `bad_image`: neither type, or a size that is not allowed.
    """
    if data[:2] == b"\xff\xd8":
        kind, size = "jpeg", _jpeg_size(data)
    elif data[:8] == _PNG and data[12:16] == b"IHDR" and len(data) >= 24:
        width, height = struct.unpack_from(">2I", data, 16)
        kind, size = "png", (width, height)
    else:
        raise FrameError(
            "bad_image",
            f"{len(data)} bytes that begin with {data[:4].hex(' ') or 'nothing'} are not a JPEG or PNG image",
        )
    if size is None:
        raise FrameError("bad_image", f"a JPEG of {len(data)} bytes without a size in its header: it is damaged")
    if not all(min_side <= side <= MAX_SIDE for side in size):
        raise FrameError(
            "bad_image",
            f"{kind.upper()} of {size[0]} x {size[1]} pixels; sides of {min_side} to {MAX_SIDE} are allowed",
        )
    if size[0] * size[1] > MAX_PIXELS:
        raise FrameError(
            "bad_image",
            f"{kind.upper()} of {size[0]} x {size[1]} pixels; at most {MAX_PIXELS / 1e6:.1f} million pixels are "
            "allowed",
        )
    return kind, size


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Size in the frame header of a JPEG, found by walking from marker to marker; None if there is none."""
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:  # padding
            at += 1
        elif marker in _BARE_MARKERS:
            at += 2
        elif marker in _FRAME_MARKERS:
            height, width = struct.unpack_from(">2H", data, at + 5)
            return width, height
        else:
            at += 2 + max(2, struct.unpack_from(">H", data, at + 2)[0])
    return None
