"""`sgrocc check --live`: its options and the choice of topics; the look itself is in sgrocc_ros/health/live_look.py."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from sgrocc_core.data.bags.topics import COMPRESSED, Topic, base_name, best_color, best_depth
from sgrocc_core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from sgrocc_core.checks.stream import StreamCheck

SHORTEST, LONGEST = 1.0, 600.0
"""Seconds of a look."""
OF_RECORDINGS = {
    "axes": "",
    "level": False,
    "depth_registered": False,
    "every": 1,
    "points_topic": "",
    "cloud_slop": 0.1,
}
"""Options that the node does not have, and their value when they are not given."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `sgrocc check --live`."""
    group = parser.add_argument_group("live (the options of topics and frames below hold, too)")
    group.add_argument(
        "--live", action="store_true", help="subscribe to the running camera as the node does, instead of a recording"
    )
    group.add_argument("--seconds", type=float, default=10.0, metavar="S", help="how long (default 10)")


def is_asked(arguments: argparse.Namespace) -> bool:
    """Whether a live stream is to be checked."""
    return bool(arguments.live)


def look(arguments: argparse.Namespace) -> StreamCheck:
    """Look at the live stream.

    Raises:
        ConfigError: an option does not fit.
    """
    if arguments.input:
        raise ConfigError(f"--live checks a running camera, and {arguments.input} is a recording; give one of them")
    if not SHORTEST <= arguments.seconds <= LONGEST:
        raise ConfigError(f"--seconds is {arguments.seconds:g}; it must be {SHORTEST:g} to {LONGEST:g}")
    if arguments.depth_source == "cloud":
        raise ConfigError("--depth-source cloud cannot be looked at live; look at the images alone with mono")
    for name, none in OF_RECORDINGS.items():
        if getattr(arguments, name) != none:
            raise ConfigError(f"--{name.replace('_', '-')} is for recordings; the node has no such option")
    from sgrocc_ros.health.live_look import PARAMETERS, look_live

    given = {name: getattr(arguments, name) for name in PARAMETERS}
    parameters = {name: value for name, value in given.items() if value != ""}
    return look_live(lambda published: choose(published, arguments), parameters, arguments.tf_topic, arguments.seconds)


def choose(published: list[tuple[str, str]], arguments: argparse.Namespace) -> tuple[str, str, str, bool]:
    """Choose topics from what is published, by name and type, as a bag's are.

    Args:
        published: (topic, type) of all topics.
        arguments: options; named topics are taken as they are.

    Returns:
        topics of the image, its camera_info (empty: beside the image) and its depth, and whether the image is
        compressed.
    """
    from sgrocc_ros.tools.rviz import DEPTH_TOPIC, IMAGE_TOPIC

    topics = [Topic(name, kind, 1, _coding(name)) for name, kind in published]
    try:
        image = arguments.image_topic or best_color(topics).name
    except DataError:
        image = IMAGE_TOPIC
    kinds = {topic.name: topic.kind for topic in topics}
    plain = base_name(image)
    compressed = kinds.get(image) == COMPRESSED or (
        plain not in kinds and kinds.get(f"{plain}/compressed") == COMPRESSED
    )
    found = best_depth(topics, Topic(image, "", 1))
    depth = arguments.depth_topic or (found.name if found else DEPTH_TOPIC)
    return image, arguments.info_topic, depth, compressed


def _coding(name: str) -> str:
    """The encoding that an image topic of this name usually has."""
    return "16UC1" if "depth" in name.lower() else "rgb8"
