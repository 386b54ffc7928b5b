"""The plan of `launch/embodied.launch.py`: checks its arguments, finds a bag's topics and determines what is started.

No launch package is needed here.
"""

from __future__ import annotations

import difflib
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sgrocc_core.data.bags.topics import base_name
from sgrocc_core.engines.model import load_spec
from sgrocc_core.errors import ConfigError
from sgrocc_core.share import expanded, find_shared, share_roots
from sgrocc_ros import NODE
from sgrocc_ros.distributions import PROFILE_VARIABLES
from sgrocc_ros.parameters.table import BY_NAME
from sgrocc_ros.tools.bag_playing import is_installed, parameters_of, player_command, summary_of, topics_of
from sgrocc_ros.tools.parameter_file import read_parameters
from sgrocc_ros.tools.rviz import DEPTH_TOPIC, IMAGE_TOPIC, for_this_launch

PARAMETERS = ("cameras", "image_transport", "depth_source", "pose_source", "map_frame", "model", "map_path")
"""Parameters of the node that are also arguments of the launch file."""
ARGUMENTS: dict[str, tuple[str, str]] = {
    "image": (
        "",
        f"Image topic, or one for each of several cameras; not given: the bag's, without a bag {IMAGE_TOPIC}, "
        "of several cameras /CAMERA/color/image_raw.",
    ),
    "camera_info": ("", "Topic of the camera_info, or one for each camera; not given: the one beside the image."),
    "depth_topic": (
        "",
        f"Depth topic, registered to the image, or one for each camera; not given: the bag's, without a bag "
        f"{DEPTH_TOPIC}.",
    ),
    "points_topic": (
        "",
        "Topic of the points (PointCloud2) with depth_source cloud or map_points, or one for each camera; not given: "
        "the bag's with depth_source cloud, else points.",
    ),
    "corrected_poses_topic": ("", "Topic of corrected poses (nav_msgs/Path) with keep_keyframes; not given: ~/poses."),
    "pose_topic": ("", "Topic of the camera's poses with pose_source pose or odometry; not given: pose or odometry."),
    **{
        name: ("", f"{BY_NAME[name].description} ({BY_NAME[name].allowed}; not given: as in params_file)")
        for name in PARAMETERS
    },
    "use_sim_time": (
        "",
        "Whether time comes from /clock: true or false; not given: true with a bag, else as in params_file.",
    ),
    "namespace": ("", "Namespace of the node, for several cameras or robots."),
    "params_file": (
        str(find_shared("config/embodied.yaml")),
        "YAML file with parameters of the node; arguments take precedence over it.",
    ),
    "bag": ("", "Bag to play: rosbag2 or ROS 1, a folder or a file."),
    "bag_rate": ("1.0", "Speed at which the bag is played; 1.0 is that of the recording."),
    "end_with_bag": (
        "false",
        "Whether the launch ends, saving the map, when the bag has been played: true or false.",
    ),
    "rviz": ("false", "Whether RViz is started: true or false."),
    "rviz_config": (
        str(find_shared("config/embodied.rviz")),
        "Configuration of RViz; topics and fixed frame are replaced by those of this launch.",
    ),
    "fastdds_profile": (
        str(find_shared("config/fastdds.xml")),
        "Fast DDS profile for all processes of this launch; empty: none.",
    ),
}
"""Arguments of the launch file: default and description. An empty default means that the argument was not given."""


OF_CAMERA = {"image": "image", "camera_info": "camera_info", "depth_topic": "depth", "points_topic": "points"}
"""Arguments with topics of cameras, and the names that the node uses."""
DEFAULTS = {"image": IMAGE_TOPIC, "depth": DEPTH_TOPIC}
"""Topics of a camera without a bag; of several cameras with the name of each in place of /camera."""


@dataclass(frozen=True)
class Plan:
    """The processes of a launch.

    Attributes:
        executable: executable of the node.
        namespace: absolute namespace of the node.
        params_file: parameter file of the node.
        parameters: parameters that take precedence over the file.
        remappings: (name, topic) pairs of the node.
        use_sim_time: whether the node uses /clock; also set for RViz.
        environment: environment variables for all processes.
        player: command that plays the bag; empty without a bag.
        ends_with_bag: whether the launch ends with the bag.
        rviz: text of RViz's configuration; empty if RViz is not started.
        lines: messages for the user.
    """

    executable: Path
    namespace: str
    params_file: Path
    parameters: dict[str, str | bool]
    remappings: list[tuple[str, str]]
    use_sim_time: bool
    environment: dict[str, str]
    player: list[str]
    ends_with_bag: bool
    rviz: str
    lines: list[str]


def make_plan(values: Mapping[str, str], outer_namespace: str = "") -> Plan:
    """Determine what is started.

    Args:
        values: the given arguments by name; missing ones have their default.
        outer_namespace: namespace in which the launch file is included.

    Raises:
        SgroccError: an argument is not allowed, or a bag or file cannot be read.
    """
    given = {name: values.get(name, default) for name, (default, _) in ARGUMENTS.items()}
    namespace = _checked_name("namespace", joined(outer_namespace or "/", given["namespace"].rstrip("/")))
    node = joined(namespace, NODE)
    params_file = _file("params_file", given["params_file"])
    parameters = _given_parameters(given)
    stated = read_parameters(params_file, node) | parameters
    player: list[str] = []
    lines: list[str] = []
    remappings = _pose_topics(given, namespace)
    rate = _rate(given["bag_rate"])
    first: dict[str, str] = {}
    cameras = str(BY_NAME["cameras"].check(stated.get("cameras", "")))
    for camera, topics in _given_topics(given, cameras, namespace).items():
        own = _OwnParameters(camera, stated)
        prefix = f"/{camera}" if camera else "/camera"
        usual = {name: prefix + topic.removeprefix("/camera") for name, topic in DEFAULTS.items()}
        if camera and "image" not in topics:  # what is found by type would be the same image for every camera
            topics["image"] = usual["image"]
        if topics.get("image", "").endswith("/compressed") and "image_transport" not in own:
            parameters |= own.take({"image_transport": "compressed"})
        if given["bag"]:
            bag = expanded(given["bag"])
            found = topics_of(bag, topics, own)
            parameters = own.take(parameters_of(found, own)) | parameters
            topics |= {"image": found.image, "camera_info": found.info}
            topics |= {"points" if own.get("depth_source") == "cloud" else "depth": found.depth} if found.depth else {}
            player = player_command(bag, rate, found)
            lines += summary_of(bag, found, own, player)
        topics = usual | topics
        remappings |= {f"{camera}/{name}" if camera else name: topic for name, topic in topics.items()}
        if "points" in topics:
            remappings.setdefault("points", topics["points"])  # of map_points
        first = first or {**topics, "transport": str(own.get("image_transport", ""))}
    stated |= parameters
    rviz = ""
    if _boolean("rviz", given["rviz"]):
        if not is_installed("rviz2"):
            raise ConfigError("rviz is true, but RViz (package rviz2) is not installed here")
        image = base_name(first["image"]) + ("/compressed" if first["transport"] == "compressed" else "")
        rviz = for_this_launch(
            _file("rviz_config", given["rviz_config"]), node, image, str(stated.get("map_frame", "map"))
        )
    return Plan(
        executable=find_executable(NODE),
        namespace=namespace,
        params_file=params_file,
        parameters=parameters,
        remappings=list(remappings.items()),
        use_sim_time=bool(stated.get("use_sim_time", False)),
        environment=profile_environment(given["fastdds_profile"]),
        player=player,
        ends_with_bag=_boolean("end_with_bag", given["end_with_bag"]),
        rviz=rviz,
        lines=lines,
    )


def _given_parameters(given: Mapping[str, str]) -> dict[str, str | bool]:
    """Return the checked parameters of the node among the arguments."""
    parameters: dict[str, str | bool] = {}
    for name in PARAMETERS:
        if given[name]:
            BY_NAME[name].check(given[name])
            parameters[name] = given[name]
    if given["model"]:
        load_spec(given["model"])
    if given["use_sim_time"]:
        parameters["use_sim_time"] = _boolean("use_sim_time", given["use_sim_time"])
    return parameters


def _given_topics(given: Mapping[str, str], cameras: str, namespace: str) -> dict[str, dict[str, str]]:
    """Return the absolute names of the topics among the arguments, by camera and by the names that the node uses.

    Of several cameras (`cameras`, separated by commas) an argument lists the topic of each, in their order.
    """
    names = cameras.split(", ")
    found: dict[str, dict[str, str]] = {camera: {} for camera in names}
    for argument, name in OF_CAMERA.items():
        topics = [topic.strip() for topic in given[argument].split(",")]
        if topics == [""]:
            continue
        if len(topics) != len(names):
            told = f"one topic for each of the cameras {cameras}, separated by commas" if cameras else "one topic"
            raise ConfigError(f"{argument} is {given[argument]!r}; it must be {told}")
        for camera, topic in zip(names, topics):
            found[camera][name] = _checked_name(argument, joined(namespace, topic))
    return found


def _pose_topics(given: Mapping[str, str], namespace: str) -> dict[str, str]:
    """Return the absolute names of the poses' topics, if they are given, by the names that the node uses."""
    topics = dict.fromkeys(("pose", "odometry"), given["pose_topic"]) | {"~/poses": given["corrected_poses_topic"]}
    return {name: _checked_name(name, joined(namespace, topic)) for name, topic in topics.items() if topic}


class _OwnParameters(dict[str, Any]):
    """The stated parameters that count for one camera; what it takes goes into the stated ones, too."""

    def __init__(self, camera: str, stated: dict[str, Any]) -> None:
        prefix = f"{camera}."
        own = {key.removeprefix(prefix): value for key, value in stated.items() if camera and key.startswith(prefix)}
        super().__init__(stated | own)
        self._camera, self._stated = camera, stated

    def take(self, parameters: Mapping[str, str | bool]) -> dict[str, str | bool]:
        """Add parameters; return them as the node names them."""
        self.update(parameters)
        named = {
            f"{self._camera}.{name}" if self._camera and name in BY_NAME and BY_NAME[name].per_camera else name: value
            for name, value in parameters.items()
        }
        self._stated |= named
        return named


def find_executable(name: str) -> Path:
    """Find an executable of this package, which colcon installs into lib/sgrocc_ros and pip into bin.

    Raises:
        ConfigError: it is not installed.
    """
    prefixes = [root.parents[1] for root in share_roots()[1:]]
    places = [prefix / folder for prefix in prefixes for folder in ("lib/sgrocc_ros", "bin")]
    found = next((place / name for place in places if os.access(place / name, os.X_OK)), None) or shutil.which(name)
    if not found:
        raise ConfigError(f"the executable {name} is not installed: build the package with colcon, or pip install it")
    return Path(found)


def profile_environment(profile: str | Path) -> dict[str, str]:
    """Return the environment variables, old and new, that select a Fast DDS profile.

    The result is empty if the profile is empty or the user has set either variable.

    Raises:
        ConfigError: there is no such file.
    """
    if not str(profile) or any(name in os.environ for name in PROFILE_VARIABLES):
        return {}
    return dict.fromkeys(PROFILE_VARIABLES, str(_file("fastdds_profile", str(profile)).resolve()))


def refuse_unknown(argv: Sequence[str]) -> None:
    """Refuse `name:=value` for unknown arguments, which ros2 launch itself would ignore.

    Raises:
        ConfigError: the argument is unknown; the message suggests a similar one or lists all.
    """
    for name in (argument.partition(":=")[0] for argument in argv if ":=" in argument):
        if name not in ARGUMENTS:
            near = [known for known in ARGUMENTS if name.startswith(known)] or difflib.get_close_matches(
                name, ARGUMENTS, 1, 0.5
            )
            hint = f"is {near[0]} meant?" if near else f"there are {', '.join(ARGUMENTS)}"
            raise ConfigError(f"there is no argument {name}; {hint}")


def joined(namespace: str, name: str) -> str:
    """Return a name in a namespace as an absolute name; absolute names are unchanged."""
    return name if name.startswith("/") else "/" + "/".join(part for part in (namespace.strip("/"), name) if part)


def _checked_name(what: str, name: str) -> str:
    if not re.fullmatch(r"/|(/[A-Za-z_][A-Za-z0-9_]*)+", name):
        raise ConfigError(f"{what} is {name!r}; it must be parts of letters, digits and _ with / between them")
    return name


def _boolean(name: str, text: str) -> bool:
    values = {"true": True, "1": True, "false": False, "0": False}
    if text.lower() not in values:
        raise ConfigError(f"{name} is {text!r}; it must be true or false")
    return values[text.lower()]


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise ConfigError(f"bag_rate is {text!r}; it must be a number above 0")
    return rate


def _file(name: str, text: str) -> Path:
    path = expanded(text)
    if not path.is_file():
        raise ConfigError(f"{name} is {text!r}; there is no such file")
    return path
