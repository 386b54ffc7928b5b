"""The table of the node's parameters: name, default, allowed values and description of each.

`python -m sgrocc_ros.parameter_table docs/ros.md` rewrites the table in the documentation; without a file it is printed.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgrocc_core.classes import NAMES, UNLABELLED
from sgrocc_core.engines.open import DEVICES, ENGINES, PRECISIONS
from sgrocc_core.errors import ConfigError
from sgrocc_core.frame import DEPTH_SOURCES

CLASS_NAMES = (*NAMES[1:], UNLABELLED)
"""Names that the parameter `classes` may list."""
BEGIN, END = "<!-- parameters: begin -->", "<!-- parameters: end -->"
"""Marks around the table in the documentation."""


@dataclass(frozen=True)
class Parameter:
    """One row of the table.

    Attributes:
        name, group: as in the documentation.
        default: its type is the parameter's type.
        description: one sentence, with the unit.
        choices: allowed strings, or none for any.
        minimum, maximum: inclusive range of a number, or None.
        dynamic: may change while the node runs.
        word: of a number, a text that may stand in its place, which is then the default.
        some_of: of a text, the names it may list, with commas between or as a list of texts; `all` stands for all of them.
    """

    name: str
    group: str
    default: bool | int | float | str
    description: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    dynamic: bool = False
    word: str = ""
    some_of: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What a value may be, in words."""
        if self.some_of:
            return f"all, or some of {', '.join(self.some_of)}"
        if self.choices:
            return " or ".join(self.choices)
        if isinstance(self.default, bool):
            return "true or false"
        if self.word:
            return f"{self.word} or a number from {self.minimum:g} to {self.maximum:g}"
        if isinstance(self.default, str):
            return "text"
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        if self.minimum is not None and self.maximum is not None:
            return f"{kind} from {self.minimum:g} to {self.maximum:g}"
        return f"{kind} of at least {self.minimum:g}" if self.minimum is not None else kind

    def check(self, value: Any) -> bool | int | float | str:
        """A value as the parameter's type; an int for a double is taken.

        Raises:
            ConfigError: one sentence with the name, the value and what is allowed.
        """
        if self.some_of:
            return self._check_names(value)
        if self.word and value == self.word:
            return self.word
        wanted = float if self.word else type(self.default)
        if wanted is float and type(value) is int:
            value = float(value)
        fits = type(value) is wanted and (not self.choices or value in self.choices)
        if fits and wanted in (int, float):
            low, high = (
                (-math.inf if self.minimum is None else self.minimum),
                (math.inf if self.maximum is None else self.maximum),
            )
            fits = math.isfinite(value) and low <= value <= high
        if not fits:
            raise ConfigError(f"parameter {self.name} is {value!r}; it must be {self.allowed}")
        return value

    def _check_names(self, value: Any) -> str:
        """Some of the names: each once, in their order, with commas between; `all` for all of them."""
        given = value.split(",") if isinstance(value, str) else value
        names = (
            [name.strip() if isinstance(name, str) else name for name in given]
            if isinstance(given, (list, tuple))
            else []
        )
        if names == ["all"]:
            return "all"
        if not names or any(name not in self.some_of for name in names):
            raise ConfigError(f"parameter {self.name} is {value!r}; it must be {self.allowed}")
        chosen = [name for name in self.some_of if name in names]
        return "all" if len(chosen) == len(self.some_of) else ", ".join(chosen)


TABLE: tuple[Parameter, ...] = (
    Parameter(
        "map_frame",
        "frames",
        "map",
        "Frame of the map; with a SLAM system that corrects map -> odom use its odom frame.",
    ),
    Parameter("camera_frame", "frames", "", "Optical frame of the camera; empty: the frame_id of the images."),
    Parameter(
        "base_frame",
        "frames",
        "",
        "What poses of `pose_source` pose or odometry are of; empty: odometry's child_frame_id, or for pose the camera's optical frame.",
    ),
    Parameter(
        "pose_source",
        "frames",
        "tf",
        "Where poses come from: `/tf`, or the topic `pose` or `odometry`, with mounts from `/tf_static`.",
        ("tf", "pose", "odometry"),
    ),
    Parameter(
        "tf_timeout",
        "frames",
        0.2,
        "How long an image waits for its pose and depth, seconds.",
        minimum=0.0,
        maximum=10.0,
    ),
    Parameter(
        "image_transport",
        "input",
        "raw",
        "Whether `image` or `<image>/compressed` is subscribed to.",
        ("raw", "compressed"),
    ),
    Parameter(
        "depth_source",
        "input",
        "mono",
        "Where depth comes from: network, depth topic, or both.",
        DEPTH_SOURCES,
    ),
    Parameter(
        "depth_transport",
        "input",
        "auto",
        "Whether `depth` or `<depth>/compressedDepth` is subscribed to; auto: whichever is published.",
        ("auto", "raw", "compressedDepth"),
    ),
    Parameter(
        "motion_depth",
        "input",
        True,
        "Whether the camera's motion corrects the network's depth (images without a sensor's).",
        dynamic=True,
    ),
    Parameter("depth_scale", "input", 0.001, "Metres a unit of 16UC1 depth.", minimum=1e-6, maximum=1.0),
    Parameter(
        "sync_slop",
        "input",
        0.03,
        "Largest difference of the stamps of an image and its depth, seconds.",
        minimum=0.0,
        maximum=1.0,
    ),
    Parameter(
        "rectified",
        "input",
        "auto",
        "Whether P or K and D count; auto: P if the topic says `rect`.",
        ("auto", "yes", "no"),
    ),
    Parameter(
        "reliability",
        "input",
        "auto",
        "Of the subscriptions; auto follows the publishers.",
        ("auto", "reliable", "best_effort"),
    ),
    Parameter(
        "max_rate",
        "input",
        0.0,
        "Most frames mapped a second; 0: every frame it can.",
        minimum=0.0,
        maximum=1000.0,
        dynamic=True,
    ),
    Parameter(
        "reset_on_time_jump", "input", False, "Whether the map is cleared when time jumps back by more than 1 s."
    ),
    Parameter("model", "model", "small", "Name of a folder under share/sgrocc_ros/models, or a path."),
    Parameter("engine", "model", "auto", "What runs the model.", ENGINES),
    Parameter("device", "model", "auto", "Device of the engine.", DEVICES),
    Parameter("threads", "model", 0, "Threads of the engine; 0: its own choice.", minimum=0, maximum=256),
    Parameter("precision", "model", "fp32", "Precision of the engine.", PRECISIONS),
    Parameter(
        "occupancy_threshold",
        "map",
        0.5,
        "A voxel is occupied from this probability on.",
        minimum=0.01,
        maximum=0.99,
        dynamic=True,
    ),
    Parameter(
        "box_below", "map", 1.8, "How far the local box begins under the camera, metres.", minimum=0.0, maximum=2.88
    ),
    Parameter(
        "max_distance", "map", 4.8, "Farthest depth that is used, metres.", minimum=0.5, maximum=20.0, dynamic=True
    ),
    Parameter(
        "max_memory_mb",
        "map",
        0.0,
        "Bound of the map's memory, MB: the farthest is forgotten first; 0: none, else 64 or more.",
        minimum=0.0,
        maximum=1e6,
    ),
    Parameter(
        "forget_radius",
        "map",
        0.0,
        "What is farther from the camera is forgotten, metres; 0: never, else `max_distance` + 2.3 or more.",
        minimum=0.0,
        maximum=1e6,
    ),
    Parameter(
        "map_path", "map", "", "Folder of the saved map; empty: nothing is saved or loaded, not at a clean stop either."
    ),
    Parameter(
        "load_on_start",
        "map",
        False,
        "Whether to go on from the map in `map_path`; one that cannot be loaded stops the start.",
    ),
    Parameter(
        "autosave_period",
        "map",
        0.0,
        "Seconds between saves of a map that changed, without its picture; 0: none, else 0.1 or more.",
        minimum=0.0,
        maximum=86400.0,
    ),
    Parameter(
        "full_map_period",
        "output",
        5.0,
        "Seconds between whole maps on `~/occupancy`.",
        minimum=0.1,
        maximum=3600.0,
        dynamic=True,
    ),
    Parameter(
        "publish_gaussians", "output", False, "Whether `~/gaussians` carries the Gaussians in view.", dynamic=True
    ),
    Parameter(
        "classes",
        "output",
        "all",
        "Classes on `~/occupancy`, `~/occupancy_update` and `~/markers`; `~/grid` and saved maps have all.",
        dynamic=True,
        some_of=CLASS_NAMES,
    ),
    Parameter(
        "grid_rate", "output", 2.0, "Most grids a second on `~/grid`.", minimum=0.01, maximum=100.0, dynamic=True
    ),
    Parameter(
        "grid_min_height",
        "output",
        0.15,
        "Where the slab that `~/grid` shows begins above the floor, metres.",
        minimum=-100.0,
        maximum=100.0,
        dynamic=True,
    ),
    Parameter(
        "grid_max_height",
        "output",
        1.8,
        "Where it ends, metres; at least 0.08 more, a voxel.",
        minimum=-100.0,
        maximum=100.0,
        dynamic=True,
    ),
    Parameter(
        "floor_height",
        "output",
        "auto",
        "Height of the floor in the map, metres; auto: where most floor voxels are, 0 before any are.",
        minimum=-10000.0,
        maximum=10000.0,
        word="auto",
    ),
    Parameter(
        "warn_period",
        "output",
        10.0,
        "A cause is warned about at most once in so many seconds.",
        minimum=0.1,
        maximum=3600.0,
        dynamic=True,
    ),
)
BY_NAME = {parameter.name: parameter for parameter in TABLE}


def documentation() -> str:
    """The table in Markdown, between its two markers."""
    lines = [BEGIN, "| group | parameter | default | allowed | what it is |", "|---|---|---|---|---|"]
    for row in TABLE:
        default = str(row.default).lower() if isinstance(row.default, bool) else str(row.default) or "(empty)"
        mark = " *" if row.dynamic else ""
        lines.append(f"| {row.group} | `{row.name}`{mark} | {default} | {row.allowed} | {row.description} |")
    return "\n".join([*lines, END])


def rewritten(text: str) -> str:
    """A document with the table between its markers made anew.

    Raises:
        ConfigError: the markers are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"the document has no section between {BEGIN} and {END}")
    return before + documentation() + after


def main() -> None:
    """Print the table, or rewrite it in the file that is named."""
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        path.write_text(rewritten(path.read_text()))
    else:
        print(documentation())


if __name__ == "__main__":
    main()
