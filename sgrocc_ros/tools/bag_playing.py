"""The bag of a launch: what it holds for the node, and the command that plays it once the node is there.

`python -m sgrocc_ros.tools.bag_playing TOPIC -- COMMAND ...` waits for a subscriber of the topic and then becomes the
command, because `ros2 bag play` would start before the node has subscribed.
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

from sgrocc_core.data.bag_topics import COMPRESSED, base_name
from sgrocc_core.data.bags import BagOptions, BagReader
from sgrocc_core.errors import DataError, SgroccError
from sgrocc_ros.tools.processes import START_TIMEOUT

STORAGE_PLUGINS = {
    "mcap": ("rosbag2_storage_mcap",),
    "sqlite3": ("rosbag2_storage_sqlite3", "rosbag2_storage_default_plugins"),
}


@dataclass(frozen=True)
class BagTopics:
    """What a bag has for the node.

    Attributes:
        image, info, depth: topics without their transports' suffixes; depth is empty if there is none. images: how many.
        transport: of the image, raw or compressed. depth_transport: raw, compressedDepth, or empty.
        map_frame: empty if the bag has no poses of the camera. topics: all names, as recorded.
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
    """What a bag has for the node.

    Args:
        topics: absolute names under `image`, `camera_info`, `depth`, where they were given.
        stated: the node's parameters that were given, as arguments or in the parameter file.

    Raises:
        DataError: the bag cannot be read, or lacks a topic; says what it has.
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
    options = BagOptions(image, topics.get("camera_info", ""), topics.get("depth", ""), source)
    try:
        with BagReader(bag, options, needs_pose=False) as reader:
            image_topic, depth = reader.selection.image, reader.selection.depth
            return BagTopics(
                base_name(image_topic.name), reader.selection.info.name, base_name(depth.name) if depth else "", image_topic.count,
                "compressed" if image_topic.kind == COMPRESSED else "raw",
                "" if depth is None else "compressedDepth" if depth.kind == COMPRESSED else "raw",
                reader.map_frame, [topic.name for topic in reader.topics],
            )  # fmt: skip
    except DataError as error:
        raise DataError(str(error).replace("with --info-topic", "as camera_info")) from error


def parameters_of(found: BagTopics, stated: Mapping[str, Any]) -> dict[str, str | bool]:
    """The node's parameters that a bag decides, where nothing else does; time is the bag's whatever the parameter file says."""
    parameters: dict[str, str | bool] = {"image_transport": found.transport}
    if stated.get("pose_source", "tf") == "tf":
        parameters["map_frame"] = found.map_frame
    if found.depth:
        parameters |= {"depth_source": "fused", "depth_transport": found.depth_transport}
    decided: dict[str, str | bool] = {name: value for name, value in parameters.items() if value and name not in stated}
    return decided | {"use_sim_time": True}


def summary_of(bag: Path, found: BagTopics, stated: Mapping[str, Any], player: Sequence[str]) -> list[str]:
    depth = f"depth on {found.depth}" if found.depth else "no depth is read"
    source, frame = stated.get("depth_source", "mono"), stated.get("map_frame", "map")
    tool = "ros2 bag play" if "--" in player else "bag_player"
    lines = [f"{bag}: {found.images} images on {found.image} ({found.transport}), {depth}"]
    lines.append(f"depth_source is {source}, map_frame {frame}; played by {tool} as soon as the node is there")
    if not found.map_frame and stated.get("pose_source", "tf") == "tf":
        lines.append(f"{bag} has no poses of the camera on /tf: they must come from elsewhere")
    return lines


def player_command(bag: Path, rate: float, found: BagTopics) -> list[str]:
    """The command that plays a bag with /clock once the node listens: `ros2 bag play` where it is installed and can, else `bag_player`."""
    # The node is known by camera_info: to the image RViz listens, too.
    if not can_ros2_bag_play(bag):
        command = [sys.executable, "-m", "sgrocc_ros.tools.player", str(bag), "--clock", "--rate", f"{rate:g}"]
        return [*command, "--wait-for", found.info, "--wait-timeout", f"{START_TIMEOUT:g}"]
    # The bag goes first: --clock and --topics would take it for theirs.
    command = ["ros2", "bag", "play", str(bag), "--rate", f"{rate:g}", "--clock", "100", "--disable-keyboard-controls"]
    if "/clock" in found.topics:
        command += ["--topics", *(topic for topic in found.topics if topic != "/clock")]
    return [sys.executable, "-m", "sgrocc_ros.tools.bag_playing", found.info, "--", *command]


def can_ros2_bag_play(bag: Path) -> bool:
    """Whether `ros2 bag play` is installed here with what it needs to read this bag."""
    storage = {".mcap": "mcap", ".db3": "sqlite3"}.get(bag.suffix, "")
    metadata = bag / "metadata.yaml"
    if metadata.exists():
        storage = str(yaml.safe_load(metadata.read_text())["rosbag2_bagfile_information"].get("storage_identifier", ""))
    plugins = STORAGE_PLUGINS.get(storage, ())
    if not shutil.which("ros2") or importlib.util.find_spec("ros2bag") is None:
        return False
    return any(is_installed(plugin) for plugin in plugins)


def is_installed(package: str) -> bool:
    """Whether ROS knows a package of this name."""
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    return any((Path(p) / "share/ament_index/resource_index/packages" / package).exists() for p in prefixes if p)


def wait_for_subscriber(topic: str, timeout: float) -> None:
    """Wait until somebody subscribes to a topic.

    Raises:
        DataError: nobody has in `timeout` seconds.
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
    """Wait, and become the command; an exit code where it does not come to that: 1 after an error, 130 when interrupted."""
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
