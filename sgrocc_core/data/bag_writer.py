"""Writes an RGB-D walk as a rosbag2 (MCAP) with the topics of a RealSense-like camera and its pose on /tf."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from sgrocc_core.data.images import encode_compressed_depth, encode_jpeg
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.poses import quaternion_from_rotation

MAP_FRAME = "map"
CAMERA_FRAME = "camera_color_optical_frame"
IMAGE_TOPIC = "/camera/color/image_raw"
INFO_TOPIC = "/camera/color/camera_info"
DEPTH_TOPIC = "/camera/aligned_depth_to_color/image_raw/compressedDepth"
TF_TOPIC = "/tf"


class BagWriter:
    """A bag being written; it appears under its name only when it is closed, whole.

    Args:
        path: the bag's folder, which must not exist.

    Raises:
        DataError: the path is taken.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if self.path.exists():
            raise DataError(f"{self.path} exists already; a bag is never overwritten")
        self._part = self.path.with_name(f".{self.path.name}.part{os.getpid()}")
        self._store = get_typestore(Stores.ROS2_JAZZY)
        self._writer = Writer(self._part / self.path.name, version=8, storage_plugin=StoragePlugin.MCAP)
        self._writer.open()
        self._connections: dict[str, Any] = {}
        self.frames = 0

    def write(
        self, stamp_ns: int, image: np.ndarray, depth: np.ndarray | None, K: np.ndarray, T_wc: np.ndarray, jpeg: bool = True
    ) -> None:
        """Add one frame.

        Args:
            stamp_ns: nanoseconds; ascending.
            image: (H, W, 3) uint8 RGB. depth: (H, W) metres, 0 = no reading, or None.
            K: (3, 3) pixels. T_wc: (4, 4) camera (optical) to map, metres.
            jpeg: as a JPEG under .../compressed; False writes raw rgb8.
        """
        header = self._header(stamp_ns, CAMERA_FRAME)
        self._add(TF_TOPIC, stamp_ns, self._transform(stamp_ns, T_wc))
        self._add(INFO_TOPIC, stamp_ns, self._camera_info(header, K, image.shape[1], image.shape[0]))
        if jpeg:
            coded = self._new("sensor_msgs/msg/CompressedImage")(header, "rgb8; jpeg compressed bgr8", _bytes(encode_jpeg(image)))
            self._add(f"{IMAGE_TOPIC}/compressed", stamp_ns, coded)
        else:
            height, width = image.shape[:2]
            raw = self._new("sensor_msgs/msg/Image")(header, height, width, "rgb8", 0, 3 * width, np.ascontiguousarray(image).reshape(-1))
            self._add(IMAGE_TOPIC, stamp_ns, raw)
        if depth is not None:
            coded = self._new("sensor_msgs/msg/CompressedImage")(
                header, "16UC1; compressedDepth png", _bytes(encode_compressed_depth(depth))
            )
            self._add(DEPTH_TOPIC, stamp_ns, coded)
        self.frames += 1

    def close(self) -> None:
        """Finish the bag and give it its name."""
        self._writer.close()
        os.rename(self._part / self.path.name, self.path)
        self._part.rmdir()

    def __enter__(self) -> BagWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self._writer.close()
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

    def _camera_info(self, header: Any, K: np.ndarray, width: int, height: int) -> Any:
        K = np.asarray(K, np.float64)
        P = np.concatenate([K, np.zeros((3, 1))], 1)
        roi = self._new("sensor_msgs/msg/RegionOfInterest")(0, 0, 0, 0, False)
        return self._new("sensor_msgs/msg/CameraInfo")(
            header, height, width, "plumb_bob", np.zeros(5), K.reshape(-1), np.eye(3).reshape(-1), P.reshape(-1), 0, 0, roi
        )

    def _transform(self, stamp_ns: int, T_wc: np.ndarray) -> Any:
        x, y, z, w = (float(v) for v in quaternion_from_rotation(T_wc[:3, :3]))
        transform = self._new("geometry_msgs/msg/Transform")(
            self._new("geometry_msgs/msg/Vector3")(*(float(v) for v in T_wc[:3, 3])), self._new("geometry_msgs/msg/Quaternion")(x, y, z, w)
        )
        stamped = self._new("geometry_msgs/msg/TransformStamped")(self._header(stamp_ns, MAP_FRAME), CAMERA_FRAME, transform)
        return self._new("tf2_msgs/msg/TFMessage")([stamped])


def _bytes(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)
