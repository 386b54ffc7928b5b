"""Writes an RGB-D sequence as a rosbag2 (MCAP or SQLite), with topics like a RealSense camera's and its pose on /tf."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from sgrocc_core.data.coded_image import CodedImage
from sgrocc_core.data.images import depth_in_millimetres, encode_compressed_depth, encode_jpeg
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.poses import quaternion_from_rotation

MAP_FRAME = "map"
CAMERA_FRAME = "camera_color_optical_frame"
IMAGE_TOPIC = "/camera/color/image_raw"
INFO_TOPIC = "/camera/color/camera_info"
DEPTH_TOPIC = "/camera/aligned_depth_to_color/image_raw"
TF_TOPIC = "/tf"
START_NS = 1_700_000_000_000_000_000
"""Stamp of the first frame of a recording without a clock, nanoseconds."""
STORAGES = {"mcap": StoragePlugin.MCAP, "db3": StoragePlugin.SQLITE3}
"""Storage plugins of rosbag2 by file extension."""


class BagWriter:
    """Context manager that writes a bag. The bag gets its final name only when it is complete.

    Args:
        path: folder of the bag; it must not exist.
        storage: one of STORAGES.

    Attributes:
        path: folder of the bag.
        frames: number of frames written so far.

    Raises:
        DataError: the path exists.
    """

    def __init__(self, path: str | Path, storage: str = "mcap") -> None:
        self.path = Path(path)
        if self.path.exists():
            raise DataError(f"{self.path} exists already; a bag is never overwritten")
        self._part = self.path.with_name(f".{self.path.name}.part{os.getpid()}")
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._writer = Writer(self._part / self.path.name, version=8, storage_plugin=STORAGES[storage])
        self._connections: dict[str, Any] = {}
        self.frames = 0

    def write(
        self,
        stamp_ns: int,
        image: np.ndarray | CodedImage,
        depth: np.ndarray | None,
        K: np.ndarray,
        T_wc: np.ndarray,
        jpeg: bool = True,
        raw_depth: bool = False,
        distortion: np.ndarray | None = None,
        fisheye: bool = False,
    ) -> None:
        """Write one frame.

        Args:
            stamp_ns: time stamp in nanoseconds; must increase from frame to frame.
            image: (H, W, 3) uint8 RGB; or a JPEG or PNG file, which is copied unchanged to .../compressed.
            depth: (H, W) metres, 0 = no reading; or None.
            K: (3, 3) intrinsics, pixels.
            T_wc: (4, 4) pose, optical camera frame to map frame, metres.
            jpeg: True writes the image as a JPEG under .../compressed, False as raw rgb8.
            raw_depth: True writes depth as raw 16UC1, False as a PNG under .../compressedDepth.
            distortion: distortion coefficients in OpenCV's order; None if the image has no distortion.
            fisheye: whether `distortion` belongs to the equidistant model.
        """
        header = self._header(stamp_ns, CAMERA_FRAME)
        self._add(TF_TOPIC, stamp_ns, self._transform(stamp_ns, T_wc))
        size = image.size if isinstance(image, CodedImage) else (image.shape[1], image.shape[0])
        self._add(INFO_TOPIC, stamp_ns, self._camera_info(header, K, size, distortion, fisheye))
        if isinstance(image, np.ndarray) and not jpeg:
            self._add(IMAGE_TOPIC, stamp_ns, self._raw(header, "rgb8", image))
        else:
            coded = image if isinstance(image, CodedImage) else CodedImage(encode_jpeg(image), "jpeg", size)
            self._add(
                f"{IMAGE_TOPIC}/compressed",
                stamp_ns,
                self._compressed(header, f"rgb8; {coded.kind} compressed bgr8", coded.data),
            )
        if depth is not None and raw_depth:
            self._add(DEPTH_TOPIC, stamp_ns, self._raw(header, "16UC1", depth_in_millimetres(depth)))
        elif depth is not None:
            coded_depth = self._compressed(header, "16UC1; compressedDepth png", encode_compressed_depth(depth))
            self._add(f"{DEPTH_TOPIC}/compressedDepth", stamp_ns, coded_depth)
        self.frames += 1

    def close(self) -> None:
        """Finish the bag and rename it to its final name; if that fails, remove the partial files."""
        try:
            self._writer.close()
            os.rename(self._part / self.path.name, self.path)
        except BaseException:
            self._abandon()
            raise
        self._part.rmdir()

    def __enter__(self) -> BagWriter:
        try:  # not in __init__: a program that ends before `with` would leave the partial files behind
            self._writer.open()
        except BaseException:
            self._abandon()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._abandon()

    def _abandon(self) -> None:
        with suppress(Exception):
            self._writer.abort()
        shutil.rmtree(self._part, ignore_errors=True)

    def _new(self, kind: str) -> Any:
        return self._store.types[kind]

    def _add(self, topic: str, stamp_ns: int, message: Any) -> None:
        kind = message.__msgtype__
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, kind, typestore=self._store)
        self._writer.write(self._connections[topic], stamp_ns, self._store.serialize_cdr(message, kind))

    def _header(self, stamp_ns: int, frame_id: str) -> Any:
        time = self._new("builtin_interfaces/msg/Time")(*divmod(int(stamp_ns), 1_000_000_000))
        return self._new("std_msgs/msg/Header")(time, frame_id)

    def _raw(self, header: Any, encoding: str, image: np.ndarray) -> Any:
        data = np.ascontiguousarray(image).view(np.uint8).reshape(-1)
        height, width = image.shape[:2]
        return self._new("sensor_msgs/msg/Image")(header, height, width, encoding, 0, data.size // height, data)

    def _compressed(self, header: Any, format: str, data: bytes) -> Any:
        return self._new("sensor_msgs/msg/CompressedImage")(header, format, np.frombuffer(data, np.uint8))

    def _camera_info(
        self, header: Any, K: np.ndarray, size: tuple[int, int], distortion: np.ndarray | None, fisheye: bool
    ) -> Any:
        K = np.asarray(K, np.float64)
        P = np.concatenate([K, np.zeros((3, 1))], 1)
        D = np.zeros(5) if distortion is None or not len(distortion) else np.asarray(distortion, np.float64)
        model = "equidistant" if fisheye else "plumb_bob" if len(D) <= 5 else "rational_polynomial"
        roi = self._new("sensor_msgs/msg/RegionOfInterest")(0, 0, 0, 0, False)
        return self._new("sensor_msgs/msg/CameraInfo")(
            header, size[1], size[0], model, D, K.reshape(-1), np.eye(3).reshape(-1), P.reshape(-1), 0, 0, roi
        )

    def _transform(self, stamp_ns: int, T_wc: np.ndarray) -> Any:
        x, y, z, w = (float(v) for v in quaternion_from_rotation(T_wc[:3, :3]))
        transform = self._new("geometry_msgs/msg/Transform")(
            self._new("geometry_msgs/msg/Vector3")(*(float(v) for v in T_wc[:3, 3])),
            self._new("geometry_msgs/msg/Quaternion")(x, y, z, w),
        )
        stamped = self._new("geometry_msgs/msg/TransformStamped")(
            self._header(stamp_ns, MAP_FRAME), CAMERA_FRAME, transform
        )
        return self._new("tf2_msgs/msg/TFMessage")([stamped])
