"""`sgrocc bench ros`: its options and its output; the measurement itself is in bench.py."""

from __future__ import annotations

import argparse
from typing import Any

HELP = """Measure the ROS 2 node between a player and a subscriber, each a separate process connected by DDS.

  sgrocc bench ros --bag walk.mcap

The report has: images lost without being counted; the time from the publication of an image to the arrival of its
update; whether each complete map equals the sum of the updates before it; the node's share of a core without images;
memory, threads and logged errors during the replay.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `sgrocc bench ros`."""
    from sgrocc_core.commands.map import add_bag_arguments

    parser.add_argument("--bag", required=True, metavar="PATH", help="bag to play")
    parser.add_argument("--rate", type=float, default=1.0, metavar="R", help="speed of the player (default 1)")
    parser.add_argument(
        "--images",
        type=int,
        default=0,
        metavar="N",
        help="repeat the bag until at least N images were played (default: once)",
    )
    parser.add_argument(
        "--idle",
        type=float,
        default=20.0,
        metavar="S",
        help="seconds of idling that are measured before the bag is played (default 20)",
    )
    parser.add_argument(
        "--reset", action="store_true", help="set reset_on_time_jump: each round starts with an empty map"
    )
    parser.add_argument(
        "--model", default="small", metavar="NAME", help="name of a folder under models/, or a path (default small)"
    )
    parser.add_argument(
        "--out",
        default="runs/bench_ros",
        metavar="DIR",
        help="folder for the logs of the processes (default runs/bench_ros)",
    )
    parser.add_argument("--json", default="", metavar="FILE", help="also write a report")
    add_bag_arguments(parser)


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Play the bag into the node, print the figures and return the report."""
    from sgrocc_core.commands.bench import print_head
    from sgrocc_core.errors import ConfigError
    from sgrocc_ros.tools.bench import bench_ros

    if arguments.images < 0:
        raise ConfigError(f"--images is {arguments.images}; it must be 0 (the bag once) or more")
    for name in ("rate", "idle"):
        if not getattr(arguments, name) > 0:
            raise ConfigError(f"--{name} is {getattr(arguments, name)}; it must be above 0")
    report = bench_ros(arguments)
    print_head(report)
    for name, value in report["figures"].items():
        has_unit = isinstance(value, dict) and "unit" in value
        print(f"  {name:<22}  {' '.join(map(str, value.values())) if has_unit else value}")
    return report
