"""How a bag is read, and what a pass over it would give."""

from __future__ import annotations

from dataclasses import dataclass

from sgrocc_core.checks.posture import AXES
from sgrocc_core.errors import ConfigError
from sgrocc_core.frame import INPUT_DEPTH_SOURCES


@dataclass(frozen=True)
class BagOptions:
    """How a bag is read. Topic and frame names that are empty are found automatically.

    Attributes:
        image_topic: colour images.
        info_topic: camera_info of the colour images.
        depth_topic: depth registered to the colour images.
        depth_source: one of INPUT_DEPTH_SOURCES: `mono` ignores depth, `topic` drops images without depth, `fused`
            keeps them, `cloud` takes depth from points and keeps images without.
        map_frame: frame in which poses are expressed.
        camera_frame: optical frame of the camera; the images' frame_id if empty.
        sync_slop: maximum time between an image and its depth, seconds.
        depth_scale: metres per unit of 16UC1 depth.
        rectified: `yes` if the images are rectified (P of camera_info applies), `no` if not (K and D), `auto` by name.
        every: use every n-th image.
        tf_topic: tf topic, or its namespace, if the bag has those of several robots.
        max_pose_gap: maximum time between two transforms that poses are interpolated over, seconds.
        axes: axes of the camera's frame in the poses: `opencv` (optical frame), `opengl` or `ros`.
        depth_registered: depth in another frame than the images' is registered to them all the same.
        points_topic: points, with `depth_source: cloud`.
        cloud_slop: maximum time between an image and its cloud of points, seconds.
        level: turn the world so that the measured up direction becomes the z axis of the map.

    Raises:
        ConfigError: a value is not allowed.
    """

    image_topic: str = ""
    info_topic: str = ""
    depth_topic: str = ""
    depth_source: str = "fused"
    map_frame: str = ""
    camera_frame: str = ""
    sync_slop: float = 0.03
    depth_scale: float = 0.001
    rectified: str = "auto"
    every: int = 1
    tf_topic: str = ""
    max_pose_gap: float = 0.2
    axes: str = "opencv"
    level: bool = False
    depth_registered: bool = False
    points_topic: str = ""
    cloud_slop: float = 0.1

    def __post_init__(self) -> None:
        if self.depth_source not in INPUT_DEPTH_SOURCES:
            raise ConfigError(f"depth_source is {self.depth_source!r}; allowed: {', '.join(INPUT_DEPTH_SOURCES)}")
        if self.rectified not in ("auto", "yes", "no"):
            raise ConfigError(f"rectified is {self.rectified!r}; allowed: auto, yes, no")
        if self.axes not in AXES:
            raise ConfigError(f"axes is {self.axes!r}; allowed: {', '.join(AXES)}")
        if not 0 < self.max_pose_gap <= 3600:
            raise ConfigError(f"max_pose_gap is {self.max_pose_gap}; it must lie in (0, 3600] seconds")
        if self.every < 1:
            raise ConfigError(f"every is {self.every}; it must be 1 or more")
        if not 0 <= self.cloud_slop <= 10:
            raise ConfigError(f"cloud_slop is {self.cloud_slop}; it must lie in [0, 10] seconds")
        if not 0 < self.depth_scale < 10 or not 0 <= self.sync_slop <= 10:
            raise ConfigError(
                f"depth_scale {self.depth_scale} must lie in (0, 10), sync_slop {self.sync_slop} in [0, 10]"
            )


@dataclass
class Outlook:
    """Number of frames that reading a bag would give, from time stamps alone.

    Attributes:
        images: images that are used.
        with_pose: how many of them have a pose.
        with_depth: how many of those also have a depth image.
        seconds: time from the first image to the last.
    """

    images: int = 0
    with_pose: int = 0
    with_depth: int = 0
    seconds: float = 0.0
