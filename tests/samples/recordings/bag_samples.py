"""Small bags of every kind, written by `rosbags` for the tests: a camera that moves along x, seen by a tf chain of
three frames."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

WIDTH, HEIGHT = 64, 48
K = [60.0, 0, 31.5, 0, 60.0, 23.5, 0, 0, 1]
SECOND = 1_000_000_000
START = 1_700_000_000 * SECOND
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  # of a camera that looks along x, z up


@dataclass
class Recipe:
    """What is written; the defaults make a good bag."""

    frames: int = 6
    kind: str = "mcap"  # mcap, db3 or bag
    image_topic: str = "/camera/color/image_raw"
    encoding: str = "rgb8"
    depth_topic: str = "/camera/aligned_depth_to_color/image_raw"
    depth_encoding: str = "16UC1"
    depth_frame: str = "camera_optical"
    depth_delay: int = 0
    write_info: bool = True
    write_image: bool = True
    camera_frame: str = "camera_optical"
    tf_stamps: list[int] | None = None
    cut: int = 0  # bytes missing at the end of each image
    info_size: tuple[int, int] = (WIDTH, HEIGHT)
    extra: dict[str, str] = field(default_factory=dict)  # other image topics: name to encoding


def image_at(i: int) -> np.ndarray:
    """The i-th colour image, RGB."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, :, 0], image[:, :, 1], image[:, :, 2] = 200, 10 + i, np.arange(WIDTH)
    return image


class _Out:
    """Hides which of the two bag formats is written."""

    def __init__(self, path: Path, kind: str) -> None:
        self.ros1 = kind == "bag"
        self.store = get_typestore(Stores.ROS1_NOETIC if self.ros1 else Stores.ROS2_HUMBLE)
        if self.ros1:
            self.store.register(
                get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage")
            )
        plugin = StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3
        self.writer: Any = Writer1(path) if self.ros1 else Writer2(path, version=8, storage_plugin=plugin)
        self.connections: dict[str, Any] = {}
        self.sequence = 0

    def message(self, kind: str, **values: Any) -> Any:
        return self.store.types[kind](**values)

    def header(self, stamp: int, frame_id: str) -> Any:
        time = self.message("builtin_interfaces/msg/Time", sec=stamp // SECOND, nanosec=stamp % SECOND)
        extra = {"seq": 0} if self.ros1 else {}
        return self.message("std_msgs/msg/Header", stamp=time, frame_id=frame_id, **extra)

    def write(self, topic: str, stamp: int, message: Any) -> None:
        kind = message.__msgtype__
        if topic not in self.connections:
            self.connections[topic] = self.writer.add_connection(topic, kind, typestore=self.store)
        serialise = self.store.serialize_ros1 if self.ros1 else self.store.serialize_cdr
        self.writer.write(self.connections[topic], stamp, serialise(message, kind))

    def transform(self, stamp: int, parent: str, child: str, t: tuple, q: tuple) -> Any:
        translation = self.message("geometry_msgs/msg/Vector3", x=float(t[0]), y=float(t[1]), z=float(t[2]))
        rotation = self.message("geometry_msgs/msg/Quaternion", x=q[0], y=q[1], z=q[2], w=q[3])
        transform = self.message("geometry_msgs/msg/Transform", translation=translation, rotation=rotation)
        header = self.header(stamp, parent)
        stamped = self.message(
            "geometry_msgs/msg/TransformStamped", header=header, child_frame_id=child, transform=transform
        )
        return self.message("tf2_msgs/msg/TFMessage", transforms=[stamped])

    def image(self, stamp: int, frame_id: str, encoding: str, array: np.ndarray, cut: int = 0) -> Any:
        data = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        return self.message(
            "sensor_msgs/msg/Image", header=self.header(stamp, frame_id), height=array.shape[0], width=array.shape[1],
            encoding=encoding, is_bigendian=0, step=data.size // array.shape[0], data=data[: data.size - cut],
        )  # fmt: skip

    def info(self, stamp: int, frame_id: str, size: tuple[int, int]) -> Any:
        roi = self.message(
            "sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False
        )
        matrices = {"d": np.zeros(5), "k": np.array(K, float), "r": np.eye(3).ravel(), "p": np.zeros(12)}
        if self.ros1:
            matrices = {name.upper(): values for name, values in matrices.items()}
        return self.message(
            "sensor_msgs/msg/CameraInfo", header=self.header(stamp, frame_id), height=size[1], width=size[0],
            distortion_model="plumb_bob", binning_x=0, binning_y=0, roi=roi, **matrices,
        )  # fmt: skip


def write_bag(path: Path, recipe: Recipe | None = None) -> Path:
    """Write a bag: the camera is at x = 1, 2, 3, ... at whole seconds, 1.5 m up, looking along x; a wall lies 2 + 0.1 i
    metres ahead."""
    r = recipe or Recipe()
    out = _Out(path, r.kind)
    with out.writer:
        out.write("/tf_static", START, out.transform(START, "base", "camera_optical", (0, 0, 1.5), OPTICAL))
        stamps = r.tf_stamps if r.tf_stamps is not None else list(range(r.frames + 1))
        for second in stamps:
            at = START + second * SECOND
            out.write("/tf", at, out.transform(at, "map", "base", (1.0 + second, 0, 0), (0.0, 0.0, 0.0, 1.0)))
        for i in range(r.frames):
            stamp = START + i * SECOND
            if r.write_info:
                info_topic = r.image_topic.rpartition("/")[0] + "/camera_info"
                out.write(info_topic, stamp, out.info(stamp, r.camera_frame, r.info_size))
            if r.write_image:
                image = image_at(i) if r.encoding != "bgr8" else image_at(i)[:, :, ::-1]
                out.write(r.image_topic, stamp, out.image(stamp, r.camera_frame, r.encoding, image, r.cut))
            for topic, encoding in r.extra.items():
                depth = encoding in ("16UC1", "32FC1", "mono8")
                array = np.full((HEIGHT, WIDTH), 900, np.uint16) if depth else image_at(i)
                array = array.astype(np.uint8) if encoding == "mono8" else array
                out.write(topic, stamp, out.image(stamp, "other_camera", encoding, array))
            if r.depth_topic:
                metres = 2 + 0.1 * i
                depth_image = np.full((HEIGHT, WIDTH), metres, np.float32)
                if r.depth_encoding == "16UC1":
                    depth_image = np.rint(depth_image * 1000).astype(np.uint16)
                late = stamp + r.depth_delay
                out.write(r.depth_topic, late, out.image(late, r.depth_frame, r.depth_encoding, depth_image))
    return path
