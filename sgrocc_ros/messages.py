"""Conversion between ROS messages and arrays: images, depth, camera_info, transforms and point clouds of voxels.

Images are decoded by `sgrocc_core.data.images`, as in bags; a working cv_bridge decodes all other encodings.
"""

from __future__ import annotations

import array
import io
from contextlib import redirect_stderr
from functools import cache
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.logging import get_logger
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, PointField
from std_msgs.msg import Header

from sgrocc_core.classes import color_table
from sgrocc_core.data.coded_image import coded_size
from sgrocc_core.data.images import decode_compressed, decode_compressed_depth, decode_depth, decode_image
from sgrocc_core.data.point_cloud import PointCloud, decode_points, last_offset_ns, layout_of
from sgrocc_core.errors import FrameError
from sgrocc_core.geometry.calibration import Calibration, read_calibration
from sgrocc_core.geometry.lattice import VOXEL_SIZE

POINT = np.dtype(
    {
        "names": ["x", "y", "z", "rgb", "label", "probability", "sequence"],
        "formats": ["<f4", "<f4", "<f4", "<u4", "u1", "<f4", "<u4"],
        "offsets": [0, 4, 8, 12, 16, 20, 24],
        "itemsize": 28,
    }
)
"""One voxel of a point cloud: centre (metres, map frame), colour, label, probability and sequence number."""

# By the convention of point clouds, rgb is declared as float32.
_FIELD_TYPES = {"label": PointField.UINT8, "sequence": PointField.UINT32}


@cache
def _fields_of(kind: np.dtype) -> list[PointField]:
    """Fields of a cloud of points of a structured dtype."""
    return [
        PointField(name=name, offset=kind.fields[name][1], datatype=_FIELD_TYPES.get(name, PointField.FLOAT32), count=1)  # type: ignore[index]
        for name in kind.names or ()
    ]


_PACKED_COLORS = color_table().astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)


HEADER_BYTES = 1 << 18
"""Bytes of a coded image in which its size is looked for."""
LATEST_NS = 2**31 * 1_000_000_000 - 1
"""The latest time that a message can hold, nanoseconds."""


def stamp_ns(stamp: Time) -> int:
    """Convert a time message to nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def time_message(nanoseconds: int) -> Time:
    """Convert nanoseconds to a time message; what it cannot hold becomes the earliest or the latest that it can."""
    sec, nanosec = divmod(min(max(int(nanoseconds), 0), LATEST_NS), 1_000_000_000)
    return Time(sec=sec, nanosec=nanosec)


def read_image(message: Image | CompressedImage) -> np.ndarray:
    """Decode a colour image to (H, W, 3) uint8 RGB.

    Raises:
        FrameError: `unknown_encoding`, `truncated_image` or `bad_image`.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed(message.data, message.format)
    try:
        return decode_image(
            message.encoding, message.width, message.height, message.step, message.data, bool(message.is_bigendian)
        )
    except FrameError as error:
        bridge = _cv_bridge() if error.cause == "unknown_encoding" else None
        if bridge is None:
            raise
        try:
            return bridge.imgmsg_to_cv2(message, "rgb8")
        except Exception as refusal:
            raise error from refusal


@cache
def _cv_bridge() -> Any:
    """Return a working CvBridge or None; tried once, when an image first needs it.

    The cv_bridge of apt is compiled against NumPy 1. Under NumPy 2 it fails at its import or at its first call, with
    an arbitrary exception of its Boost module.
    """
    sample = Image(height=1, width=1, encoding="bgr8", step=3, data=byte_array(np.zeros(3, np.uint8)))
    try:
        with redirect_stderr(io.StringIO()):  # NumPy prints a long warning
            from cv_bridge import CvBridge

            bridge = CvBridge()
            bridge.imgmsg_to_cv2(sample, "rgb8")
        return bridge
    except ModuleNotFoundError as missing:
        if missing.name == "cv_bridge":  # not part of the ROS wheels
            return None
        failure: Exception = missing
    except Exception as error:
        failure = error
    get_logger("sgrocc").warning(
        f"cv_bridge does not work here (NumPy {np.__version__}; {failure!r}): "
        "images are read without it, in the encodings of docs/ros.md"
    )
    return None


def read_depth(message: Image | CompressedImage, depth_scale: float) -> np.ndarray:
    """Decode a depth image to (H, W) float32, metres; missing readings stay 0, NaN or infinite.

    Raises:
        FrameError: `unknown_encoding`, `truncated_image`, `bad_image` or `bad_depth`.
    """
    if isinstance(message, CompressedImage):
        return decode_compressed_depth(message.data, message.format, depth_scale)
    return decode_depth(
        message.encoding,
        message.width,
        message.height,
        message.step,
        message.data,
        bool(message.is_bigendian),
        depth_scale,
    )


def read_points(message: PointCloud2) -> PointCloud:
    """Decode the points of a cloud.

    Raises:
        FrameError: `bad_cloud` or `cloud_without_points`.
    """
    return decode_points(layout_of(message), message.data, stamp_ns(message.header.stamp))


def last_point_ns(message: PointCloud2) -> int:
    """Return the time of a cloud's last point, nanoseconds."""
    stamp = stamp_ns(message.header.stamp)
    return stamp + last_offset_ns(layout_of(message), message.data, stamp)


def read_camera_info(message: CameraInfo, rectified: bool) -> Calibration:
    """Read the calibration from a camera_info.

    Raises:
        FrameError: `bad_intrinsics`, with the wrong value.
    """
    roi = message.roi
    return read_calibration(
        (message.width, message.height),
        message.k,
        np.asarray(message.d, np.float64),
        message.p,
        message.distortion_model,
        (roi.x_offset, roi.y_offset, roi.width, roi.height),
        (message.binning_x, message.binning_y),
        rectified,
    )


def image_size(message: Image | CompressedImage) -> tuple[int, int] | None:
    """Return the size of an image, (width, height) pixels; None if a coded image does not say."""
    if isinstance(message, CompressedImage):
        try:
            return coded_size(bytes(message.data[:HEADER_BYTES]))[1]
        except FrameError:
            return None
    return message.width, message.height


def info_size(message: CameraInfo) -> tuple[int, int]:
    """Return the size of the images that a camera_info describes, (width, height) pixels, after binning."""
    roi = message.roi
    size = (roi.width, roi.height) if roi.width and roi.height else (message.width, message.height)
    return size[0] // max(message.binning_x, 1), size[1] // max(message.binning_y, 1)


def camera_info_key(message: CameraInfo) -> tuple:
    """Key of a camera_info without its stamp: equal keys mean the same calibration."""
    roi = message.roi
    size = (
        message.width,
        message.height,
        message.binning_x,
        message.binning_y,
        roi.x_offset,
        roi.y_offset,
        roi.width,
        roi.height,
    )
    return (
        size,
        message.distortion_model,
        message.k.tobytes(),
        bytes(np.asarray(message.d, np.float64)),
        message.p.tobytes(),
    )


def byte_array(data: np.ndarray) -> array.array:
    """Bytes of an array as `array.array`, the only type that rclpy copies into a message without Python objects."""
    out = array.array("B")
    if data.nbytes:
        out.frombytes(np.ascontiguousarray(data).data.cast("B"))
    return out


def voxel_points(voxels: np.ndarray, labels: np.ndarray, probability: np.ndarray) -> np.ndarray:
    """Convert voxels to points of a cloud, with sequence number 0.

    Args:
        voxels: (N, 3) int, voxel indices.
        labels: (N,) uint8.
        probability: (N,) float, probability of occupancy.

    Returns:
        (N,) of dtype POINT.
    """
    points = np.zeros(len(voxels), POINT)
    centres = (voxels + 0.5) * VOXEL_SIZE
    points["x"], points["y"], points["z"] = centres[:, 0], centres[:, 1], centres[:, 2]
    points["rgb"] = _PACKED_COLORS[labels]
    points["label"], points["probability"] = labels, probability
    return points


def cloud_message(points: np.ndarray, frame_id: str, stamp: int) -> PointCloud2:
    """Make a PointCloud2 from points.

    Args:
        points: (N,) of dtype POINT or alike.
        frame_id: frame of the map.
        stamp: time stamp, nanoseconds.
    """
    return PointCloud2(
        header=Header(stamp=time_message(stamp), frame_id=frame_id),
        height=1,
        width=len(points),
        fields=_fields_of(points.dtype),
        is_bigendian=False,
        point_step=points.dtype.itemsize,
        row_step=points.dtype.itemsize * len(points),
        data=byte_array(points.view(np.uint8) if len(points) else np.zeros(0, np.uint8)),
        is_dense=True,
    )


def read_cloud(message: PointCloud2) -> np.ndarray:
    """Points, (N,) of dtype POINT, of a PointCloud2 made by `cloud_message`."""
    return np.frombuffer(message.data, POINT)


def transform_values(message: Any) -> tuple[str, str, int, np.ndarray, np.ndarray]:
    """Parent, child, stamp (ns), translation (3,) (m) and quaternion (4,) (x, y, z, w) of a TransformStamped."""
    t, q = message.transform.translation, message.transform.rotation
    parent, child = message.header.frame_id, message.child_frame_id
    return parent, child, stamp_ns(message.header.stamp), np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w])
