"""The table of the node's parameters: name, default, allowed values and description of each.

`python -m sgrocc_ros.parameter_table docs/ros.md` rewrites the table in the documentation; without a file it prints it.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sgrocc_core.classes import NAMES, UNLABELLED
from sgrocc_core.engines.open import DEVICES, ENGINES, PRECISIONS
from sgrocc_core.errors import ConfigError
from sgrocc_core.frame import INPUT_DEPTH_SOURCES, MOTION_DEPTHS
from sgrocc_ros.parameter import Parameter

CLASS_NAMES = (*NAMES[1:], UNLABELLED)
"""Names that the parameter `classes` may list."""
BEGIN, END = "<!-- parameters: begin -->", "<!-- parameters: end -->"
"""Marks around the table in the documentation."""


TABLE: tuple[Parameter, ...] = (
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
    Parameter("model", "model", "small", "Name of a folder under share/sgrocc_ros/models, or a path."),
    Parameter("engine", "model", "auto", "Runtime; auto: the fastest that agrees with ONNX Runtime.", ENGINES),
    Parameter("device", "model", "auto", "Device; with cuda nothing runs on the CPU instead.", DEVICES),
    Parameter("threads", "model", 0, "Number of threads of the runtime; 0: its own choice.", minimum=0, maximum=256),
    Parameter("precision", "model", "fp32", "Precision; fp16 needs TensorRT, bf16 OpenVINO.", PRECISIONS),
    Parameter("language", "model", "", "Folder of an image-text model for questions in any words; empty: none."),
    Parameter(
        "occupancy_threshold",
        "map",
        0.5,
        "Minimum probability at which a voxel is occupied.",
        minimum=0.01,
        maximum=0.99,
        dynamic=True,
    ),
    Parameter(
        "box_below",
        "map",
        1.8,
        "Distance from the camera down to the bottom of the local box, metres.",
        minimum=0.0,
        maximum=2.88,
    ),
    Parameter(
        "max_distance", "map", 4.8, "Maximum depth that is used, metres.", minimum=0.5, maximum=20.0, dynamic=True
    ),
    Parameter(
        "max_memory_mb",
        "map",
        0.0,
        "Limit of the map's memory, MB; the farthest parts are forgotten first. 0: no limit, else 64 or more.",
        minimum=0.0,
        maximum=1e6,
    ),
    Parameter(
        "forget_radius",
        "map",
        0.0,
        "Distance from the camera beyond which the map is forgotten, metres; 0: never, else from `max_distance` + 2.3.",
        minimum=0.0,
        maximum=1e6,
    ),
    Parameter(
        "map_path",
        "map",
        "",
        "Folder of the saved map; empty: the map is neither saved nor loaded, not even at shutdown.",
    ),
    Parameter(
        "load_on_start",
        "map",
        False,
        "Whether to continue the map in `map_path`; the node does not start if it cannot be loaded.",
    ),
    Parameter(
        "save_ply",
        "map",
        False,
        "Whether a saved map contains its surface as map.ply, for other programs; automatic saves leave it out.",
    ),
    Parameter(
        "autosave_period",
        "map",
        0.0,
        "Seconds between automatic saves of a changed map, without its picture and surface; 0: none, else 0.1 or more.",
        minimum=0.0,
        maximum=86400.0,
    ),
    Parameter(
        "keep_keyframes",
        "map",
        0.0,
        "Size of the keyframes that are kept in `map_path`, MB, so that the map can be built again when its past is "
        "corrected; 0: none.",
        minimum=0.0,
        maximum=1e6,
    ),
    Parameter(
        "rebuild_share",
        "map",
        0.1,
        "Share of the keyframes that must move by 2 cm or 0.5 degrees in `~/poses` for the map to be built again.",
        minimum=0.001,
        maximum=1.0,
        dynamic=True,
    ),
    Parameter(
        "full_map_period",
        "output",
        5.0,
        "Seconds between complete maps on `~/occupancy` and `~/octomap`, and between complete grids among updates.",
        minimum=0.1,
        maximum=3600.0,
        dynamic=True,
    ),
    Parameter(
        "publish_gaussians",
        "output",
        False,
        "Whether the Gaussians in view are published on `~/gaussians`.",
        dynamic=True,
    ),
    Parameter(
        "classes",
        "output",
        "all",
        "Classes on `~/occupancy`, `~/occupancy_update` and `~/markers`; `~/grid` and saved maps contain all.",
        dynamic=True,
        some_of=CLASS_NAMES,
    ),
    Parameter(
        "grid_rate",
        "output",
        2.0,
        "Maximum number of grids per second on `~/grid`.",
        minimum=0.01,
        maximum=100.0,
        dynamic=True,
    ),
    Parameter(
        "grid_min_height",
        "output",
        0.15,
        "Height above the floor at which the slab shown by `~/grid` begins, metres.",
        minimum=-100.0,
        maximum=100.0,
        dynamic=True,
    ),
    Parameter(
        "grid_max_height",
        "output",
        1.8,
        "Height above the floor at which that slab ends, metres; at least `grid_min_height` + 0.08 (one voxel).",
        minimum=-100.0,
        maximum=100.0,
        dynamic=True,
    ),
    Parameter(
        "floor_height",
        "output",
        "auto",
        "Height of the floor in the map, metres, which is then level; auto: the layer with the most floor voxels, "
        "0 while it has few, and from there up and down stairs and ramps.",
        minimum=-10000.0,
        maximum=10000.0,
        word="auto",
    ),
    Parameter(
        "floor_step",
        "output",
        0.24,
        "Largest step, metres, over which the floor of `~/grid` goes on, as on stairs; 0: the floor is level.",
        minimum=0.0,
        maximum=1.0,
        dynamic=True,
    ),
    Parameter(
        "publish_objects",
        "output",
        False,
        "Whether the things of the map are published on `~/objects`, every `full_map_period` if it has changed.",
        dynamic=True,
    ),
    Parameter(
        "publish_distance",
        "output",
        False,
        "Whether distances from the cells of the grid to the nearest occupied cell are published on `~/distance`.",
        dynamic=True,
    ),
    Parameter(
        "distance_unknown",
        "output",
        "free",
        "Whether unknown cells count as free or as occupied for `~/distance`.",
        ("free", "occupied"),
        dynamic=True,
    ),
    Parameter(
        "warn_period",
        "output",
        10.0,
        "Minimum time between two warnings with the same cause, seconds.",
        minimum=0.1,
        maximum=3600.0,
        dynamic=True,
    ),
)
BY_NAME = {parameter.name: parameter for parameter in TABLE}


def documentation() -> str:
    """Return the table in Markdown, with the marks around it."""
    lines = [BEGIN, "| group | parameter | default | allowed | meaning |", "|---|---|---|---|---|"]
    for row in TABLE:
        default = str(row.default).lower() if isinstance(row.default, bool) else str(row.default) or "(empty)"
        mark = " *" * row.dynamic + " †" * row.per_camera
        lines.append(f"| {row.group} | `{row.name}`{mark} | {default} | {row.allowed} | {row.description} |")
    return "\n".join([*lines, END])


def rewritten(text: str) -> str:
    """Return the document with a new table between its marks.

    Raises:
        ConfigError: the marks are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"the document has no section between {BEGIN} and {END}")
    return before + documentation() + after


def main() -> None:
    """Print the table, or rewrite it in the given file."""
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        path.write_text(rewritten(path.read_text()))
    else:
        print(documentation())


if __name__ == "__main__":
    main()
