"""Bags of the ray-cast room, with one fault at a time."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from sgrocc_core.data.rvl import encode_rvl
from sgrocc_core.geometry.poses import quaternion_from_rotation
from tests.samples.rooms.box_room import SIZE, K, look, walk

MOUNT = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
"""Pose of the optical frame in the body of the camera, which looks along the body's x axis."""
START, STEP = 1_700_000_000 * 10**9, 10**8


@dataclass
class RoomBag:
    """What is written; the defaults are a bag without a fault. Ten images a second along `walk`.

    `turned` is the camera's pose in that of the walk. `faults` names what is wrong with single moments:
    `zero_stamp`, `no_depth`, `empty_depth`, `nan_transform`, `loop` (a second transform that puts the map below the
    camera) or `encoding`. With `mount`, a quaternion, /tf holds the camera's body and /tf_static the optical frame
    in it; `rounded` leaves quaternions one decimal. `depth_coding` is an encoding, or `rvl` for compressed depth.
    """

    prefix: str = ""
    tf_topic: str = "/tf"
    image_topic: str = "/camera/color/image_raw"
    depth_topic: str = "/camera/aligned_depth_to_color/image_raw"
    frame: str = "camera_optical"
    depth_frame: str = "camera_optical"
    depth_K: np.ndarray | None = None
    depth_pose: np.ndarray | None = None
    depth_info: bool = True
    depth_coding: str = "16UC1"
    depth_factor: float = 1.0
    told_K: np.ndarray | None = None
    distortion: tuple[float, ...] = (0.0,) * 5
    quaternion: tuple[float, ...] | None = None
    mount: tuple[float, ...] | None = None
    rounded: bool = False
    world: np.ndarray = field(default_factory=lambda: np.eye(4))
    axes: np.ndarray = field(default_factory=lambda: np.eye(4))
    turned: np.ndarray = field(default_factory=lambda: np.eye(4))
    tf_kept: list[int] | None = None
    zero_stamps: bool = False
    far_pose: int | None = None
    second_info: tuple[np.ndarray, tuple[int, int]] | None = None
    extra_tf: list[tuple[str, list[np.ndarray]]] = field(default_factory=list)
    faults: dict[int, str] = field(default_factory=dict)

    def write(self, path: Path) -> Path:
        """Write the bag; its path."""
        return write_together(path, self)

    def _begin(self, writer: Writer, store: Any, connections: dict[str, Any]) -> None:
        self._writer, self._store, self._connections = writer, store, connections

    def _write_moment(self, number: int, T_wc: np.ndarray) -> None:
        at, T_wc = START + number * STEP, T_wc @ self.turned
        told = T_wc
        if number == self.far_pose:
            told = T_wc.copy()
            told[0, 3] += 5000.0
        fault = self.faults.get(number, "")
        if fault == "nan_transform":
            told = np.full((4, 4), np.nan)
            told[:3, :3] = T_wc[:3, :3]
        if fault == "loop":
            self._put(self.tf_topic, at, self._transform(at, self.frame, "map", np.eye(4)))
        stamp = 0 if self.zero_stamps or fault == "zero_stamp" else at
        if self.mount is not None and number == 0:
            self._put("/tf_static", at, self._transform(at, "camera_link", self.frame, np.eye(4), self.mount))
        if self.tf_kept is None or number in self.tf_kept:
            self._put(self.tf_topic, at, self._pose(at, self.world @ told @ self.axes))
            if self.depth_frame != self.frame and self.depth_pose is not None:
                self._put(self.tf_topic, at, self._transform(at, self.frame, self.depth_frame, self.depth_pose))
        for topic, poses in self.extra_tf:
            self._put(topic, at, self._transform(at, "map", self.frame, poses[number]))
        image, depth = look(T_wc)
        if self.depth_K is not None or self.depth_pose is not None:
            seen_from = T_wc if self.depth_pose is None else T_wc @ self.depth_pose
            depth = look(seen_from, K if self.depth_K is None else self.depth_K)[1]
        told_K = K if self.told_K is None else self.told_K
        info = self._info(stamp, self.frame, told_K, SIZE, self.distortion)
        self._put(_beside(self.prefix + self.image_topic), at, info)
        if self.second_info is not None:
            self._put(_beside(self.image_topic), at, self._info(stamp, self.frame, *self.second_info, self.distortion))
        if self.depth_frame != self.frame and self.depth_info:
            own = K if self.depth_K is None else self.depth_K
            self._put(_beside(self.depth_topic), at, self._info(stamp, self.depth_frame, own, SIZE, (0.0,) * 5))
        encoding = "jpeg2000" if fault == "encoding" else "rgb8"
        self._put(self.prefix + self.image_topic, at, self._image(stamp, self.frame, encoding, image))
        if fault == "no_depth":
            return
        if fault == "empty_depth":
            depth = np.zeros_like(depth)
        if self.depth_coding == "32FC1":
            coded = (depth * self.depth_factor).astype(np.float32)
        else:
            coded = np.rint(depth * 1000).astype(np.uint16)
        if self.depth_coding == "rvl":
            data = struct.pack("<iffii", 0, 0.0, 0.0, *SIZE) + encode_rvl(coded).tobytes()
            self._put(self.prefix + self.depth_topic + "/compressedDepth", at, self._compressed(stamp, data))
            return
        self._put(self.prefix + self.depth_topic, at, self._image(stamp, self.depth_frame, self.depth_coding, coded))

    def _pose(self, at: int, T: np.ndarray) -> Any:
        if self.mount is not None:
            return self._transform(at, "map", "camera_link", T @ np.linalg.inv(MOUNT))
        quaternion = self.quaternion
        if self.rounded:
            quaternion = tuple(np.round(quaternion_from_rotation(T[:3, :3]), 1))
        return self._transform(at, "map", self.frame, T, quaternion)

    def _put(self, topic: str, at: int, message: Any) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, message.__msgtype__, typestore=self._store)
        self._writer.write(self._connections[topic], at, self._store.serialize_cdr(message, message.__msgtype__))

    def _new(self, kind: str, **fields: Any) -> Any:
        return self._store.types[kind](**fields)

    def _header(self, stamp: int, frame: str) -> Any:
        time = self._new("builtin_interfaces/msg/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)
        return self._new("std_msgs/msg/Header", stamp=time, frame_id=frame)

    def _transform(
        self, stamp: int, parent: str, child: str, T: np.ndarray, quaternion: tuple[float, ...] | None = None
    ) -> Any:
        q = quaternion_from_rotation(T[:3, :3]) if quaternion is None else quaternion
        transform = self._new(
            "geometry_msgs/msg/Transform",
            translation=self._new("geometry_msgs/msg/Vector3", **dict(zip("xyz", map(float, T[:3, 3])))),
            rotation=self._new("geometry_msgs/msg/Quaternion", **dict(zip("xyzw", map(float, q)))),
        )
        kind = "geometry_msgs/msg/TransformStamped"
        one = self._new(kind, header=self._header(stamp, parent), child_frame_id=child, transform=transform)
        return self._new("tf2_msgs/msg/TFMessage", transforms=[one])

    def _info(
        self, stamp: int, frame: str, intrinsics: np.ndarray, size: tuple[int, int], distortion: tuple[float, ...]
    ) -> Any:
        roi = self._new("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
        return self._new(
            "sensor_msgs/msg/CameraInfo",
            header=self._header(stamp, frame),
            width=size[0],
            height=size[1],
            distortion_model="plumb_bob",
            d=np.array(distortion),
            k=np.array(intrinsics, float).ravel(),
            r=np.eye(3).ravel(),
            p=np.hstack([intrinsics, np.zeros((3, 1))]).ravel(),
            binning_x=0,
            binning_y=0,
            roi=roi,
        )

    def _compressed(self, stamp: int, data: bytes) -> Any:
        return self._new(
            "sensor_msgs/msg/CompressedImage",
            header=self._header(stamp, self.depth_frame),
            format="16UC1; compressedDepth rvl",
            data=np.frombuffer(data, np.uint8),
        )

    def _image(self, stamp: int, frame: str, encoding: str, pixels: np.ndarray) -> Any:
        data = np.ascontiguousarray(pixels).view(np.uint8).reshape(-1)
        return self._new(
            "sensor_msgs/msg/Image",
            header=self._header(stamp, frame),
            height=pixels.shape[0],
            width=pixels.shape[1],
            encoding=encoding,
            is_bigendian=0,
            step=len(data) // pixels.shape[0],
            data=data,
        )


def write_together(path: Path, *bags: RoomBag) -> Path:
    """Write what several cameras recorded as one bag; its path."""
    store, connections = get_typestore(Stores.ROS2_HUMBLE), {}
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        for bag in bags:
            bag._begin(writer, store, connections)
        for number, T_wc in enumerate(walk()):
            for bag in bags:
                bag._write_moment(number, T_wc)
    return path


def _beside(image_topic: str) -> str:
    return image_topic.rpartition("/")[0] + "/camera_info"
