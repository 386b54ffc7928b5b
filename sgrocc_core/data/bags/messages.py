"""Fields and pixels of the messages of a bag, in the names of ROS 1 and ROS 2 alike."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np

from sgrocc_core.data.image_header import coded_size
from sgrocc_core.data.images import HEADER_BYTES, decode_compressed, decode_compressed_depth, decode_depth, decode_image
from sgrocc_core.errors import FrameError


def info_fields(message: Any) -> dict[str, Any]:
    """Fields of a camera_info message. ROS 2 names the matrices in lower case, ROS 1 in upper case."""
    K, D, P = (
        getattr(message, name) if hasattr(message, name) else getattr(message, name.upper()) for name in ("k", "d", "p")
    )
    roi = message.roi
    return {
        "size": (int(message.width), int(message.height)), "K": list(K), "D": list(D), "P": list(P),
        "model": message.distortion_model,
        "roi": (int(roi.x_offset), int(roi.y_offset), int(roi.width), int(roi.height)),
        "binning": (int(message.binning_x), int(message.binning_y)),
    }  # fmt: skip


def image_size(message: Any) -> tuple[int, int] | None:
    """(width, height) in pixels of an image message, without decoding it; None if its header does not say."""
    if not hasattr(message, "format"):
        return int(message.width), int(message.height)
    try:
        return coded_size(np.asarray(message.data[:HEADER_BYTES], np.uint8).tobytes())[1]
    except FrameError:
        return None


def decode_color_message(message: Any) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a colour image message; FrameError as in `decode_image` and `decode_compressed`."""
    if hasattr(message, "format"):
        return decode_compressed(message.data, message.format)
    m = message
    return decode_image(m.encoding, m.width, m.height, m.step, m.data, bool(m.is_bigendian))


def decode_depth_message(message: Any, depth_scale: float) -> np.ndarray:
    """(H, W) float32 metres of a depth message; FrameError as in `decode_depth` and `decode_compressed_depth`."""
    if hasattr(message, "format"):
        return decode_compressed_depth(message.data, message.format, depth_scale)
    m = message
    return decode_depth(m.encoding, m.width, m.height, m.step, m.data, bool(m.is_bigendian), depth_scale)


def nearest(messages: OrderedDict[int, Any], stamp: int, slop: int) -> Any:
    """The message whose stamp is nearest, if within `slop` nanoseconds; else None."""
    best = min(messages, key=lambda s: abs(s - stamp), default=None)
    return messages[best] if best is not None and abs(best - stamp) <= slop else None
