"""JPEG and PNG files that are copied without re-encoding.

Their type and size are read from the header before any decoder runs: a false size in the header could make a decoder
allocate gigabytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from sgrocc_core.data.image_header import coded_size
from sgrocc_core.data.images import decode_compressed
from sgrocc_core.errors import FrameError


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
