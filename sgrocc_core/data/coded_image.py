"""JPEG and PNG files that are copied without re-encoding.

Their type and size are read from the header before any decoder runs: a false size in the header could make a decoder
allocate gigabytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from sgrocc_core.data.images import decode_compressed
from sgrocc_core.errors import FrameError

MIN_SIDE, MAX_SIDE = 8, 8192
"""Smallest and largest side of an image that is accepted, pixels."""
_PNG = b"\x89PNG\r\n\x1a\n"
_BARE_MARKERS = (0x01, *range(0xD0, 0xD9))
_FRAME_MARKERS = tuple(marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC))


@dataclass(frozen=True)
class CodedImage:
    """A colour image as an encoded file.

    Attributes:
        data: the whole file.
        kind: `jpeg` or `png`.
        size: (width, height), pixels.
    """

    data: bytes
    kind: str
    size: tuple[int, int]


def read_coded(data: bytes, size: tuple[int, int] | None = None) -> CodedImage:
    """Check the type and size of a JPEG or PNG file, and that it can be decoded to its end.

    Args:
        data: the whole file.
        size: required (width, height), pixels; None accepts any allowed size.

    Raises:
        FrameError: `bad_image`, `size_mismatch` or `truncated_image`.
    """
    kind, claimed = coded_size(data)
    if size is not None and claimed != size:
        raise FrameError(
            "size_mismatch",
            f"{kind.upper()} image of {claimed[0]} x {claimed[1]} pixels; it must be {size[0]} x {size[1]}",
        )
    decode_compressed(data, kind, eighth=True)
    return CodedImage(data, kind, claimed)


def coded_size(data: bytes) -> tuple[str, tuple[int, int]]:
    """Type (`jpeg`, `png`) and (width, height) in pixels from the header of a file.

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
    if not all(MIN_SIDE <= side <= MAX_SIDE for side in size):
        raise FrameError(
            "bad_image",
            f"{kind.upper()} of {size[0]} x {size[1]} pixels; sides of {MIN_SIDE} to {MAX_SIDE} are allowed",
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
