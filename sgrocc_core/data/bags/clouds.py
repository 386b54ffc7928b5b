"""Points of a bag as the depth of its images: the topic, and the projection by the bag's transforms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from sgrocc_core.data.bags.topics import Topic, listing
from sgrocc_core.data.bags.transforms import stamp_of
from sgrocc_core.data.point_cloud import decode_points, layout_of
from sgrocc_core.depth.points import depth_of_points, points_in_map
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.calibration import Calibration
from sgrocc_core.geometry.transforms import TransformTree

CLOUD = "sensor_msgs/msg/PointCloud2"


def points_topic(topics: Iterable[Topic], wanted: str = "") -> Topic:
    """The topic of the points: the one of that name, else the only one.

    Raises:
        DataError: there is none, or there are several and none is named.
    """
    topics = list(topics)
    found = [t for t in topics if t.kind == CLOUD and t.count and wanted in ("", t.name)]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(t.name for t in found)
        raise DataError(f"the bag has several topics of points: {names}; name one with --points-topic")
    where = f" on {wanted}" if wanted else ""
    raise DataError(f"the bag has no points{where} (PointCloud2), as depth_source cloud needs; {listing(topics)}")


def depth_of_cloud(
    message: Any, tree: TransformTree, frame: str, T_wc: np.ndarray, calibration: Calibration
) -> np.ndarray:
    """Depth of an image from the points of a message.

    Args:
        message: a PointCloud2.
        tree: all transforms.
        frame: frame of `T_wc`.
        T_wc: (4, 4) pose of the image in it, camera to frame.
        calibration: of the image.

    Raises:
        FrameError: as `decode_points`, `points_in_map` and `depth_of_points`.
    """
    stamp, source = stamp_of(message), message.header.frame_id.removeprefix("/")
    cloud = decode_points(layout_of(message), np.asarray(message.data), stamp)
    points = points_in_map(cloud.points, cloud.offsets_ns, stamp, lambda at: tree.lookup(frame, source, at))
    return depth_of_points(points, T_wc, calibration.K, calibration.size)
