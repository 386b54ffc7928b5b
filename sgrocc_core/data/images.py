"""Converts image messages to arrays and back: raw encodings, JPEG, PNG and compressed_depth_image_transport.

The functions take plain fields, so that bags and the ROS node decode images in the same way.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from sgrocc_core.data.image_header import MAX_PIXELS, MAX_SIDE, coded_size
from sgrocc_core.data.rvl import decode_rvl
from sgrocc_core.errors import FrameError

_LAYOUTS: dict[str, tuple[str, int, int | None]] = {
    # encoding: (dtype without byte order, channels, OpenCV's conversion to RGB or None)
    "rgb8": ("u1", 3, None), "8uc3": ("u1", 3, cv2.COLOR_BGR2RGB), "bgr8": ("u1", 3, cv2.COLOR_BGR2RGB),
    "rgba8": ("u1", 4, cv2.COLOR_RGBA2RGB),
    "bgra8": ("u1", 4, cv2.COLOR_BGRA2RGB), "8uc4": ("u1", 4, cv2.COLOR_BGRA2RGB),
    "mono8": ("u1", 1, cv2.COLOR_GRAY2RGB), "8uc1": ("u1", 1, cv2.COLOR_GRAY2RGB),
    "mono16": ("u2", 1, cv2.COLOR_GRAY2RGB),
    "rgb16": ("u2", 3, None), "bgr16": ("u2", 3, cv2.COLOR_BGR2RGB),
    "rgba16": ("u2", 4, cv2.COLOR_RGBA2RGB), "bgra16": ("u2", 4, cv2.COLOR_BGRA2RGB),
    "yuv422": ("u1", 2, cv2.COLOR_YUV2RGB_UYVY), "uyvy": ("u1", 2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": ("u1", 2, cv2.COLOR_YUV2RGB_YUYV), "yuyv": ("u1", 2, cv2.COLOR_YUV2RGB_YUYV),
    "bayer_rggb8": ("u1", 1, cv2.COLOR_BayerRGGB2RGB), "bayer_bggr8": ("u1", 1, cv2.COLOR_BayerBGGR2RGB),
    "bayer_gbrg8": ("u1", 1, cv2.COLOR_BayerGBRG2RGB), "bayer_grbg8": ("u1", 1, cv2.COLOR_BayerGRBG2RGB),
}  # fmt: skip
_DEPTHS: dict[str, tuple[str, bool]] = {"16uc1": ("u2", True), "mono16": ("u2", True), "32fc1": ("f4", False)}
COLOR_ENCODINGS: tuple[str, ...] = tuple(_LAYOUTS)
"""Raw colour encodings that can be decoded, in lower case."""
DEPTH_ENCODINGS: tuple[str, ...] = ("16UC1", "32FC1")
HEADER_BYTES = 1 << 20
"""Bytes at the start of a coded image in which its size must stand; thumbnails and profiles may lie before it."""
_DEPTH_HEADER = struct.Struct("<iff")


def decode_image(
    encoding: str, width: int, height: int, step: int, data: Any, is_bigendian: bool = False
) -> np.ndarray:
    """Decode a raw sensor_msgs/Image to RGB.

    Args:
        encoding: as in sensor_msgs/image_encodings.
        width: pixels.
        height: pixels.
        step: bytes per row; 0 means rows without padding.
        data: bytes, array or buffer of at least step * height bytes.
        is_bigendian: byte order of 16 bit encodings.

    Returns:
        (height, width, 3) uint8, RGB.

    Raises:
        FrameError: `unknown_encoding`, `bad_image` (size) or `truncated_image`.
    """
    layout = _LAYOUTS.get(encoding.lower())
    if layout is None:
        raise FrameError(
            "unknown_encoding",
            f"encoding {encoding!r} is not a colour encoding; supported: {', '.join(COLOR_ENCODINGS)}",
        )
    kind, channels, conversion = layout
    pixels = _rows(kind, channels, width, height, step, data, is_bigendian, "image")
    if kind == "u2":
        pixels = (pixels >> 8).astype(np.uint8)
    if conversion is None:
        return np.ascontiguousarray(pixels)
    if channels == 1:
        pixels = pixels[:, :, 0]
    try:
        return cv2.cvtColor(np.ascontiguousarray(pixels), conversion)
    except cv2.error as error:
        raise FrameError("bad_image", f"an image of {width} x {height} pixels cannot be {encoding!r}") from error


def decode_depth(
    encoding: str, width: int, height: int, step: int, data: Any, is_bigendian: bool = False, depth_scale: float = 0.001
) -> np.ndarray:
    """Decode a raw depth image to metres.

    Args:
        encoding: 16UC1 (units of `depth_scale` metres) or 32FC1 (metres).
        width: pixels.
        height: pixels.
        step: bytes per row; 0 means rows without padding.
        data: bytes, array or buffer of at least step * height bytes.
        is_bigendian: byte order of the values.
        depth_scale: metres per unit of 16UC1.

    Returns:
        (height, width) float32 metres. Missing readings stay 0, NaN or infinite.

    Raises:
        FrameError: `unknown_encoding`, `bad_image` (size) or `truncated_image`.
    """
    found = _DEPTHS.get(encoding.lower())
    if found is None:
        raise FrameError(
            "unknown_encoding",
            f"encoding {encoding!r} is not a depth encoding; supported: {', '.join(DEPTH_ENCODINGS)}",
        )
    kind, is_integer = found
    depth = _rows(kind, 1, width, height, step, data, is_bigendian, "depth")[:, :, 0].astype(np.float32)
    return depth * np.float32(depth_scale) if is_integer else depth


def decode_compressed(data: Any, format: str = "", eighth: bool = False) -> np.ndarray:
    """Decode the data of a sensor_msgs/CompressedImage (JPEG or PNG) to (H, W, 3) uint8 RGB.

    An orientation in the file's metadata is ignored: intrinsics, depth and poses are those of the pixels as they are
    stored.

    Args:
        data: bytes, array or buffer of the file.
        format: format field of the message, for error messages.
        eighth: decode at an eighth of the size; this halves the time for a JPEG and detects the same errors.

    Raises:
        FrameError: `bad_image` if it is not a JPEG or PNG or claims a size that is not allowed, `truncated_image` if it
            is
            cut off.
    """
    raw = _buffer(data)
    if raw.size > 4 and raw[0] == 0xFF and raw[1] == 0xD8 and b"\xff\xd9" not in raw[-64:].tobytes():
        raise FrameError("truncated_image", f"a JPEG of {raw.size} bytes without its end marker: it is cut off")
    coded_size(raw[:HEADER_BYTES].tobytes())
    flags = (cv2.IMREAD_REDUCED_COLOR_8 if eighth else cv2.IMREAD_COLOR) | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        image = cv2.imdecode(raw, flags)
    except cv2.error:
        image = None
    if image is None:
        raise FrameError("bad_image", f"{raw.size} bytes of format {format!r} are not a JPEG or PNG image")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def decode_compressed_depth(data: Any, format: str = "", depth_scale: float = 0.001) -> np.ndarray:
    """Decode a compressedDepth image (12-byte header, then PNG or RVL) to (H, W) float32 metres, 0 = no reading.

    The codec of a 16UC1 image stores the pixels themselves. A 32FC1 image stores inverse depth v = A / z + B with A and
    B in the header.

    Args:
        data: bytes, array or buffer of the message's data.
        format: format field of the message.
        depth_scale: metres per unit of 16UC1.

    Raises:
        FrameError: `bad_depth` if the data is damaged or claims a size that is not allowed.
    """
    raw = _buffer(data)
    if "rvl" in format.lower():
        stored, has_header = _decode_rvl_image(raw), True
    else:
        stored, has_header = _decode_png_depth(raw, format)
    if "32fc1" not in format.lower() or not has_header:
        return stored.astype(np.float32) * np.float32(depth_scale)
    _, a, b = _DEPTH_HEADER.unpack_from(raw[: _DEPTH_HEADER.size].tobytes())
    values = stored.astype(np.float32) - np.float32(b)
    valid = (stored > 0) & (values > 0)
    depth = np.zeros(stored.shape, np.float32)
    depth[valid] = np.float32(a) / values[valid]
    return depth


def _decode_png_depth(raw: np.ndarray, format: str) -> tuple[np.ndarray, bool]:
    """(H, W) uint16 of a compressedDepth PNG, and whether the 12-byte header lies before it."""
    png = raw[_DEPTH_HEADER.size :]
    has_header = png[:4].tobytes() == b"\x89PNG"
    if not has_header:
        png = raw
    stored = None
    if png.size:
        try:
            coded_size(png[:HEADER_BYTES].tobytes(), min_side=1)
            stored = cv2.imdecode(png, cv2.IMREAD_UNCHANGED)
        except (cv2.error, FrameError):
            stored = None
    if stored is None or stored.ndim != 2 or stored.dtype != np.uint16:
        raise FrameError(
            "bad_depth",
            f"{raw.size} bytes of format {format!r} are not a 12-byte header and a 16 bit PNG of a size allowed",
        )
    return stored, has_header


def _decode_rvl_image(raw: np.ndarray) -> np.ndarray:
    """(H, W) uint16 of a compressedDepth RVL message: 12-byte header, width and height as int32, then the stream."""
    start = _DEPTH_HEADER.size + 8
    if raw.size < start:
        raise FrameError("bad_depth", f"{raw.size} bytes are too few for an RVL depth image")
    width, height = struct.unpack_from("<ii", raw[_DEPTH_HEADER.size : start].tobytes())
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        allowed = f"sides of 1 to {MAX_SIDE} and {MAX_PIXELS / 1e6:.1f} million pixels are allowed"
        raise FrameError("bad_depth", f"an RVL depth image of {width} x {height} pixels; {allowed}")
    return decode_rvl(raw[start:], width, height)


def encode_jpeg(image: np.ndarray, quality: int = 92, whole_colour: bool = False) -> bytes:
    """Encode an image as JPEG.

    Args:
        image: (H, W, 3) uint8 RGB.
        quality: 0 to 100.
        whole_colour: keep the colour of every pixel (4:4:4) instead of one for each 2 x 2 pixels (4:2:0).

    Raises:
        FrameError: `bad_image`, it cannot be encoded.
    """
    sampling = cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444 if whole_colour else cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, sampling]
    ok, coded = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not ok:
        raise FrameError("bad_image", f"an image of {image.shape} {image.dtype} cannot be written as JPEG")
    return coded.tobytes()


def encode_compressed_depth(depth: np.ndarray) -> bytes:
    """Encode (H, W) metres as `16UC1; compressedDepth png`: millimetres, 0 = no reading or beyond 65 m."""
    _, coded = cv2.imencode(".png", depth_in_millimetres(depth), [cv2.IMWRITE_PNG_COMPRESSION, 3])
    return _DEPTH_HEADER.pack(0, 0.0, 0.0) + coded.tobytes()


def depth_in_millimetres(depth: np.ndarray) -> np.ndarray:
    """Convert (H, W) metres to (H, W) uint16 millimetres, 0 = no reading or beyond 65 m."""
    millimetres = np.nan_to_num(depth, nan=0.0, posinf=0.0, neginf=0.0) * 1000.0
    return np.where((millimetres < 0) | (millimetres > 65535), 0, np.rint(millimetres)).astype(np.uint16)


def _buffer(data: Any) -> np.ndarray:
    return np.ascontiguousarray(data).view(np.uint8) if isinstance(data, np.ndarray) else np.frombuffer(data, np.uint8)


def _rows(
    kind: str, channels: int, width: int, height: int, step: int, data: Any, is_bigendian: bool, what: str
) -> np.ndarray:
    """(height, width, channels) array of raw image data whose rows may be padded."""
    if not (0 < width <= 1 << 15 and 0 < height <= 1 << 15):
        raise FrameError("bad_image", f"{what} of {width} x {height} pixels; sides of 1 to {1 << 15} are allowed")
    dtype = np.dtype(kind).newbyteorder(">" if is_bigendian else "<")
    row = width * channels * dtype.itemsize
    step = step or row
    if step < row:
        raise FrameError(
            "bad_image", f"{what} with rows of {step} bytes, which is less than {width} pixels need ({row})"
        )
    raw = _buffer(data)
    if raw.size < step * (height - 1) + row:
        raise FrameError(
            "truncated_image", f"{what} of {width} x {height} pixels is cut off: {raw.size} of {step * height} bytes"
        )
    strided = np.lib.stride_tricks.as_strided(raw, (height, row), (step, 1), writeable=False)
    return np.ascontiguousarray(strided).view(dtype).reshape(height, width, channels)
