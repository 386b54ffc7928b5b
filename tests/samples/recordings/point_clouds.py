"""Clouds of points as drivers write them, and a bag of the ray-cast room whose depth is a LiDAR's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sgrocc_core.data.point_cloud import PointLayout
from sgrocc_core.geometry.camera import back_project
from sgrocc_core.geometry.poses import make_pose, quaternion_from_rotation, rotation_from_quaternion, slerp
from tests.samples.recordings.room_bag import START, STEP, RoomBag
from tests.samples.rooms.box_room import K, look, walk

DATATYPES = {"u4": 6, "f4": 7, "f8": 8, "u8": 6}


def packed(points: np.ndarray, step: int = 32, **times: np.ndarray) -> tuple[PointLayout, bytes]:
    """Points (N, 3) as float32 in points of `step` bytes, with a field of times behind them; layout and bytes."""
    names, kinds, offsets = ["x", "y", "z"], ["<f4"] * 3, [0, 4, 8]
    for name, values in times.items():
        names.append(name)
        kinds.append(values.dtype.str)
        offsets.append(16)
    rows = np.zeros(len(points), np.dtype({"names": names, "formats": kinds, "offsets": offsets, "itemsize": step}))
    for axis, values in zip("xyz", points.T):
        rows[axis] = values
    for name, values in times.items():
        rows[name] = values
    fields = [(name, at, DATATYPES[kind.lstrip("<|")]) for name, at, kind in zip(names, offsets, kinds)]
    return PointLayout(fields, step, step * len(points), len(points), 1), rows.tobytes()


def surfaces(T_wc: np.ndarray) -> np.ndarray:
    """(N, 3) metres in the world: what a sensor with the field of view of the room's camera hits."""
    return back_project(look(T_wc)[1], K, T_wc)


@dataclass
class LidarBag(RoomBag):
    """A bag of the room with a LiDAR in place of the depth camera.

    The LiDAR is 20 cm above the camera. Its clouds are stamped 50 ms before the images; half of the points are of that
    moment, half 50 ms later, when the camera has moved on.
    """

    points_topic: str = "/points"
    has_times: bool = True

    def _write_moment(self, number: int, T_wc: np.ndarray) -> None:
        poses, at = walk(), START + number * STEP
        before = START + number * STEP - STEP // 2
        self._put("/tf", before, self._transform(before, "map", self.frame, halfway(poses[max(number - 1, 0)], T_wc)))
        self.faults = {**self.faults, number: "no_depth"}
        super()._write_moment(number, T_wc)
        mount = np.eye(4)
        mount[1, 3] = -0.2
        self._put("/tf_static", at, self._transform(at, self.frame, "lidar", mount))
        first, second = halfway(poses[max(number - 1, 0)], T_wc) @ mount, T_wc @ mount
        parts = [(surfaces(T) - T[:3, 3]) @ T[:3, :3] for T in (first, second)]
        offsets = np.repeat(np.array([0, STEP // 2], np.uint32), [len(part) for part in parts])
        layout, data = packed(np.concatenate(parts), t=offsets if self.has_times else 0 * offsets)
        self._put(self.points_topic, at, self._cloud(before, layout, data))

    def _cloud(self, stamp: int, layout: PointLayout, data: bytes) -> Any:
        fields = [
            self._new("sensor_msgs/msg/PointField", name=name, offset=offset, datatype=kind, count=1)
            for name, offset, kind in layout.fields
        ]
        return self._new(
            "sensor_msgs/msg/PointCloud2",
            header=self._header(stamp, "lidar"),
            height=1,
            width=layout.width,
            fields=fields,
            is_bigendian=False,
            point_step=layout.point_step,
            row_step=layout.row_step,
            data=np.frombuffer(data, np.uint8),
            is_dense=True,
        )


def halfway(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The pose in the middle of two, as transforms are interpolated."""
    q = slerp(quaternion_from_rotation(a[:3, :3]), quaternion_from_rotation(b[:3, :3]), 0.5)
    return make_pose(rotation_from_quaternion(q), (a[:3, 3] + b[:3, 3]) / 2)
