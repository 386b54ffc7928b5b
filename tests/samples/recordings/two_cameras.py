"""A bag of two cameras on one robot: they look in opposite directions through the ray-cast room."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.samples.recordings.room_bag import RoomBag, write_together

FRONT, REAR = "/front/image_raw", "/rear/image_raw"
ABOUT = np.diag([-1.0, 1.0, -1.0, 1.0])
"""The rear camera in the front one's frame: turned about the vertical."""


def write_two_cameras(path: Path, rear_has_poses: bool = True) -> Path:
    """Write the bag, twelve images of each camera; its path."""
    front, rear = (
        RoomBag(image_topic=topic, depth_topic=f"/{name}/depth", frame=name, depth_frame=name, turned=turned)
        for name, topic, turned in (("front", FRONT, np.eye(4)), ("rear", REAR, ABOUT))
    )
    rear.tf_kept = None if rear_has_poses else [0]
    return write_together(path, front, rear)
