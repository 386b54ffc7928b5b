"""The bag of a launch: its topics for the node, and the command that plays it.

`python -m sgrocc_ros.tools.bag_playing TOPIC -- COMMAND ...` waits for a subscriber of the topic and then executes the
command in its place, because `ros2 bag play` would start before the node has subscribed.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sgrocc_core.data.bags import BagOptions, BagReader
from sgrocc_core.data.bags.topics import COMPRESSED, Topic, base_name
from sgrocc_core.errors import DataError, SgroccError
from sgrocc_ros.tools.processes import START_TIMEOUT

STORAGE_PLUGINS = {
    "mcap": ("rosbag2_storage_mcap",),
    "sqlite3": ("rosbag2_storage_sqlite3", "rosbag2_storage_default_plugins"),
}


@dataclass(frozen=True)
class BagTopics:
    """Topics of a bag that the node needs.

    Attributes:
        image: image topic, without the suffix of its transport.
        info: camera_info topic.
        depth: depth topic, without the suffix of its transport, or that of the points with `depth_source: cloud`; empty
            if there is none.
        images: number of images.
        transport: transport of the images, `raw` or `compressed`.
        depth_transport: transport of depth, `raw` or `compressedDepth`; empty without depth.
        map_frame: frame above the camera; empty if the bag has no poses of the camera.
        topics: names of all topics, as recorded.
    """

    image: str
    info: str
    depth: str
    images: int
    transport: str
    depth_transport: str
    map_frame: str
    topics: list[str]


def topics_of(bag: Path, topics: Mapping[str, str], stated: Mapping[str, Any]) -> BagTopics:
    """Find the topics of a bag that the node needs.

    Args:
        bag: path of the bag.
        topics: absolute names of the given topics, by `image`, `camera_info`, `depth` and `points`.
        stated: parameters of the node that were given as arguments or in the parameter file.

    Raises:
        DataError: the bag cannot be read, or lacks a topic; the message names the topics it has.
    """
    transport = stated.get("image_transport", "")
    suffix = "/compressed" if transport == "compressed" else ""
    image = topics.get("image", "")
    found = _look_into(bag, base_name(image) + suffix if image and transport else image, topics, stated)
    if transport and found.transport != transport:
        found = _look_into(bag, found.image + suffix, topics, stated)
    if transport and found.transport != transport:
        raise DataError(f"image_transport is {transport}, but {bag} has {found.image} as {found.transport} only")
    return found


def _look_into(bag: Path, image: str, topics: Mapping[str, str], stated: Mapping[str, Any]) -> BagTopics:
    source = str(stated.get("depth_source", "fused"))
    depth, points = topics.get("depth", ""), topics.get("points", "")
    options = BagOptions(image, topics.get("camera_info", ""), depth, source, points_topic=points)
    try:
        with BagReader(bag, options, needs_pose=False) as reader:
            image_topic, depth_topic = reader.selection.image, reader.selection.depth
            return BagTopics(
                image=base_name(image_topic.name),
                info=reader.selection.info.name,
                depth=base_name(depth_topic.name) if depth_topic else "",
                images=image_topic.count,
                transport="compressed" if image_topic.kind == COMPRESSED else "raw",
                depth_transport=_depth_transport(depth_topic),
                map_frame=reader.map_frame,
                topics=[topic.name for topic in reader.topics],
            )
    except DataError as error:
        raise DataError(str(error).replace("with --info-topic", "as camera_info")) from error


def _depth_transport(topic: Topic | None) -> str:
    if topic is None:
        return ""
    return "compressedDepth" if topic.kind == COMPRESSED else "raw"


def parameters_of(found: BagTopics, stated: Mapping[str, Any]) -> dict[str, str | bool]:
    """Return the parameters that follow from the bag and were not given; `use_sim_time` is always true with a bag."""
    parameters: dict[str, str | bool] = {"image_transport": found.transport}
    if stated.get("pose_source", "tf") == "tf":
        parameters["map_frame"] = found.map_frame
    if found.depth and stated.get("depth_source") != "cloud":
        parameters |= {"depth_source": "fused", "depth_transport": found.depth_transport}
    decided: dict[str, str | bool] = {name: value for name, value in parameters.items() if value and name not in stated}
    return decided | {"use_sim_time": True}


def summary_of(bag: Path, found: BagTopics, stated: Mapping[str, Any], player: Sequence[str]) -> list[str]:
    """Return the lines that tell the user what was found in the bag and how it is played."""
    depth = f"depth on {found.depth}" if found.depth else "no depth is read"
    source, frame = stated.get("depth_source", "mono"), stated.get("map_frame", "map")
    tool = "ros2 bag play" if "--" in player else "bag_player"
    lines = [f"{bag}: {found.images} images on {found.image} ({found.transport}), {depth}"]
    lines.append(f"depth_source is {source}, map_frame {frame}; played by {tool} as soon as the node is there")
    if not found.map_frame and stated.get("pose_source", "tf") == "tf":
        lines.append(f"{bag} has no poses of the camera on /tf: they must come from elsewhere")
    return lines


def player_command(bag: Path, rate: float, found: BagTopics) -> list[str]:
    """Return the command that plays a bag with /clock once the node has subscribed.

    It is `ros2 bag play` if that is installed and can read the bag, else `bag_player`.
    """
    # A subscriber of camera_info is the node; RViz subscribes to the image, too.
    if not can_ros2_bag_play(bag):
        command = [sys.executable, "-m", "sgrocc_ros.tools.player", str(bag), "--clock", "--rate", f"{rate:g}"]
        return [*command, "--wait-for", found.info, "--wait-timeout", f"{START_TIMEOUT:g}"]
    # The bag comes first, because --clock and --topics would take it as their value.
    command = ["ros2", "bag", "play", str(bag), "--rate", f"{rate:g}", "--clock", "100", "--disable-keyboard-controls"]
    if "/clock" in found.topics:
        command += ["--topics", *(topic for topic in found.topics if topic != "/clock")]
    return [sys.executable, "-m", "sgrocc_ros.tools.bag_playing", found.info, "--", *command]


def can_ros2_bag_play(bag: Path) -> bool:
    """Whether `ros2 bag play` is installed with the storage plugin of this bag."""
    storage = {".mcap": "mcap", ".db3": "sqlite3"}.get(bag.suffix, "")
    metadata = bag / "metadata.yaml"
    if metadata.exists():
        storage = str(yaml.safe_load(metadata.read_text())["rosbag2_bagfile_information"].get("storage_identifier", ""))
    plugins = STORAGE_PLUGINS.get(storage, ())
    if not shutil.which("ros2") or importlib.util.find_spec("ros2bag") is None:
        return False
    return any(is_installed(plugin) for plugin in plugins)


def is_installed(package: str) -> bool:
    """Whether a ROS package of this name is installed."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return any((Path(p) / "share/ament_index/resource_index/packages" / package).exists() for p in prefixes if p)


def wait_for_subscriber(topic: str, timeout: float) -> None:
    """Wait until a topic has a subscriber.

    Raises:
        DataError: it has none after `timeout` seconds.
    """
    import rclpy
    from rclpy.context import Context

    context = Context()
    rclpy.init(args=[], context=context)
    try:
        node = rclpy.create_node("sgrocc_waiting", context=context)
        end = time.monotonic() + timeout
        while node.count_subscribers(topic) == 0:
            if time.monotonic() > end:
                raise DataError(f"nobody has subscribed to {topic} in {timeout:g} s")
            time.sleep(0.05)
        node.destroy_node()
    finally:
        rclpy.try_shutdown(context=context)


def main() -> int:
    """Wait for the subscriber, then execute the command; exit code 1 after an error, 130 when interrupted."""
    topic, command = sys.argv[1], sys.argv[3:]
    try:
        wait_for_subscriber(topic, START_TIMEOUT)
        sys.stdout.flush()
        os.execvp(command[0], command)
    except (SgroccError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
