"""A bag of two cameras on one robot: they look in opposite directions through the ray-cast room."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from tests.samples.box_room import walk
from tests.samples.room_bag import RoomBag

FRONT, REAR = "/front/image_raw", "/rear/image_raw"
ABOUT = np.diag([-1.0, 1.0, -1.0, 1.0])
"""The rear camera in the front one's frame: turned about the vertical."""


def write_two_cameras(path: Path, rear_has_poses: bool = True) -> Path:
    """Write the bag, twelve images of each camera; its path."""
    store, connections = get_typestore(Stores.ROS2_HUMBLE), {}
    with Writer(path, version=8, storage_plugin=StoragePlugin.MCAP) as writer:
        cameras = {}
        for name in ("front", "rear"):
            bag = RoomBag(
                image_topic=f"/{name}/image_raw",
                depth_topic=f"/{name}/depth",
                frame=name,
                depth_frame=name,
                tf_kept=None if name == "front" or rear_has_poses else [0],
            )
            bag._store, bag._connections, bag._writer = store, connections, writer
            cameras[name] = bag
        for number, T_wc in enumerate(walk()):
            cameras["front"]._write_moment(number, T_wc)
            cameras["rear"]._write_moment(number, T_wc @ ABOUT)
    return path
