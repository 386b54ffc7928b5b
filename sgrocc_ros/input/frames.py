"""Makes a Frame of an image and what belongs to it: decodes, rectifies, and counts depth that is not used."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from sensor_msgs.msg import PointCloud2

from sgrocc_core.depth.points import depth_of_points, points_in_map
from sgrocc_core.errors import FrameError
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.calibration import Calibration
from sgrocc_core.geometry.upright import looks_up
from sgrocc_ros.health.camera_statistics import CameraCounts
from sgrocc_ros.input.waiting import Complete
from sgrocc_ros.messages import camera_info_key, read_camera_info, read_depth, read_image, read_points, stamp_ns


class FrameMaker:
    """Makes frames; the node's worker and `sgrocc check --live` share it.

    Args:
        statistics: counts what does not cost the image.
        depth_source: value of the parameter `depth_source`.
        depth_scale: metres per unit of 16UC1 depth.
        rectified: whether the images are rectified.
        camera: name of the camera, of several; else empty.
        pose_of: returns the (4, 4) pose of a frame in the map at a stamp (ns), for clouds of points; raises
            TransformLookupError.
    """

    def __init__(
        self,
        statistics: CameraCounts,
        depth_source: str,
        depth_scale: float,
        rectified: bool,
        camera: str = "",
        pose_of: Callable[[str, int], np.ndarray] | None = None,
    ) -> None:
        self._statistics, self._depth_source, self._camera = statistics, depth_source, camera
        self._pose_of = pose_of
        self._depth_scale, self._rectified = depth_scale, rectified
        self._calibration: tuple[tuple, Calibration] | None = None

    def make(self, complete: Complete) -> Frame:
        """The frame of an image; with `fused`, depth that cannot be used is counted and left out.

        Raises:
            FrameError: the image cannot be mapped; names the cause.
        """
        key = camera_info_key(complete.info)
        if self._calibration is None or self._calibration[0] != key:
            self._calibration = key, read_camera_info(complete.info, self._rectified)
        calibration = self._calibration[1]
        image = calibration.rectify(read_image(complete.image.message))
        frame = Frame(image, calibration.K, complete.T_wc, complete.image.stamp, camera=self._camera)
        if looks_up(frame.T_wc):
            self._warn_of_body_frame(complete.image.frame_id)
        if complete.depth is None:
            return frame
        try:
            if self._pose_of is not None and self._depth_source == "cloud":
                depth = self._depth_of_points(complete.depth, frame, self._pose_of)
            else:
                depth = calibration.rectify(read_depth(complete.depth, self._depth_scale), nearest=True)
            return dataclasses.replace(frame, depth=depth)
        except FrameError as error:
            if self._depth_source == "topic":
                raise
            self._statistics.leave_out_depth(error.cause, f"{error}; the image is mapped without depth")
            return frame

    def _depth_of_points(
        self, message: PointCloud2, frame: Frame, pose_of: Callable[[str, int], np.ndarray]
    ) -> np.ndarray:
        stamp, source = stamp_ns(message.header.stamp), message.header.frame_id
        cloud = read_points(message)
        if cloud.problem:
            self._statistics.notice("cloud_times", cloud.problem)
        points = points_in_map(cloud.points, cloud.offsets_ns, stamp, lambda at: pose_of(source, at))
        return depth_of_points(points, frame.T_wc, frame.K, (frame.image.shape[1], frame.image.shape[0]))

    def readings(self, complete: Complete) -> np.ndarray | None:
        """The depth image as decoded, (H, W) metres, before readings are left out; None if there is none."""
        if complete.depth is None or self._depth_source == "cloud":
            return None
        try:
            return read_depth(complete.depth, self._depth_scale)
        except FrameError:
            return None  # counted where the frame is made

    def _warn_of_body_frame(self, frame_id: str) -> None:
        message = (
            f"the z axis of {frame_id!r} points up in the map; "
            "poses must be of the optical frame (z forward, x right, y down)"
        )
        self._statistics.notice("not_optical_frame", message)
