"""Parameters of what comes in: frames, poses, images, depth and point clouds."""

from __future__ import annotations

from sgrocc_core.frame import INPUT_DEPTH_SOURCES, MOTION_DEPTHS
from sgrocc_ros.parameters.parameter import Parameter

INPUT: tuple[Parameter, ...] = (
    Parameter(
        "map_frame",
        "frames",
        "map",
        "Frame of the map. With a SLAM system that corrects map -> odom, use its odom frame.",
    ),
    Parameter(
        "camera_frame", "frames", "", "Optical frame of the camera; empty: the frame_id of the images.", per_camera=True
    ),
    Parameter(
        "base_frame",
        "frames",
        "",
        "Frame whose pose the topic `pose` or `odometry` carries; empty: the camera's optical frame for `pose`, "
        "child_frame_id for `odometry`.",
    ),
    Parameter(
        "pose_source",
        "frames",
        "tf",
        "Source of poses: `/tf`, or the topic `pose` or `odometry` together with `/tf_static`.",
        ("tf", "pose", "odometry"),
    ),
    Parameter(
        "tf_timeout",
        "frames",
        0.2,
        "Maximum time that an image waits for its pose and depth, seconds.",
        minimum=0.0,
        maximum=10.0,
    ),
    Parameter(
        "max_pose_gap",
        "frames",
        0.2,
        "Maximum time between two transforms that a pose is interpolated over, seconds; 0: any. "
        "A frame that has not moved in between has a pose all the same.",
        minimum=0.0,
        maximum=60.0,
    ),
    Parameter(
        "cameras",
        "input",
        "",
        "Names of several cameras that map into one map; each has its topics and its parameters under its name. Empty: "
        "one camera without a name.",
        lists_names=True,
    ),
    Parameter(
        "image_transport",
        "input",
        "raw",
        "Whether `image` or `<image>/compressed` is subscribed to.",
        ("raw", "compressed"),
        per_camera=True,
    ),
    Parameter(
        "depth_source",
        "input",
        "mono",
        "Source of depth: the network (mono), the depth topic (topic), both (fused), or the network and projected "
        "points of a LiDAR or another camera (cloud).",
        INPUT_DEPTH_SOURCES,
        per_camera=True,
    ),
    Parameter(
        "depth_transport",
        "input",
        "auto",
        "Whether `depth` or `<depth>/compressedDepth` is subscribed to; auto: whichever is published.",
        ("auto", "raw", "compressedDepth"),
        per_camera=True,
    ),
    Parameter(
        "motion_depth",
        "input",
        "stereo",
        "How the camera's motion corrects the depth of images without sensor depth: not at all, by triangulated points "
        "or by comparison with earlier images (a model without a stereo network uses tracks).",
        MOTION_DEPTHS,
        dynamic=True,
    ),
    Parameter(
        "depth_scale", "input", 0.001, "Metres per unit of 16UC1 depth.", minimum=1e-6, maximum=1.0, per_camera=True
    ),
    Parameter(
        "sync_slop",
        "input",
        0.03,
        "Maximum difference between the time stamps of an image and its depth, seconds.",
        minimum=0.0,
        maximum=1.0,
        per_camera=True,
    ),
    Parameter(
        "cloud_slop",
        "input",
        0.1,
        "Maximum difference between the time stamps of an image and its cloud of points, seconds; motion in between is "
        "taken out.",
        minimum=0.0,
        maximum=1.0,
        per_camera=True,
    ),
    Parameter(
        "map_points",
        "input",
        False,
        "Whether the clouds on `points` are also mapped by themselves, as evidence all around, without class where no "
        "camera looks.",
    ),
    Parameter(
        "rectified",
        "input",
        "auto",
        "Whether images are rectified: yes uses P of camera_info, no uses K and D; auto: yes if the topic has `rect`.",
        ("auto", "yes", "no"),
        per_camera=True,
    ),
    Parameter(
        "reliability",
        "input",
        "auto",
        "Reliability of the subscriptions; auto: that of the publishers.",
        ("auto", "reliable", "best_effort"),
    ),
    Parameter(
        "max_rate",
        "input",
        0.0,
        "Maximum number of frames mapped per second; 0: no limit, else 0.01 or more.",
        minimum=0.0,
        maximum=1000.0,
        dynamic=True,
    ),
    Parameter(
        "reset_on_time_jump",
        "input",
        False,
        "Whether a new map begins when time jumps back by more than 1 s, as three consecutive images must confirm; "
        "with `map_path` the old map is kept there as `jump_N`.",
    ),
    Parameter(
        "stall_timeout",
        "input",
        10.0,
        "Time in which images come and none is mapped after which diagnostics report an ERROR, seconds.",
        minimum=1.0,
        maximum=3600.0,
        dynamic=True,
    ),
)
