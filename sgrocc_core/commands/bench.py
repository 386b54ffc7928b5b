"""`sgrocc bench`: how long things take on this machine."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from sgrocc_core.bench.growth_command import add_growth, growth_table, measure_growth
from sgrocc_core.commands.map import add_bag_arguments, add_model_arguments, bag_options

HELP = """Measure how long things take on this machine.

  sgrocc bench step                  a whole step and its stages, frames one after the other and arriving at 30 Hz
  sgrocc bench step --bag walk.mcap  the same on a bag of your own
  sgrocc bench startup               from nothing to the first update
  sgrocc bench growth                time and memory while the map grows, room after room
  sgrocc bench ros --bag walk.mcap   the ROS 2 node between a player and a subscriber, each a process of its own
"""

ROS_HELP = """Play a bag into the real node and listen to all of its topics, from the first image to the last.

Told are: images that were lost without being counted; the time from the publication of an image to the arrival of its update; whether every
whole map is what the updates before it gave; the node's share of a core without images; memory, threads and errors over the replay.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `sgrocc bench`."""
    actions = parser.add_subparsers(dest="action", metavar="WHAT", required=True, help="what to measure")
    step = actions.add_parser("step", help="a whole step and its stages", description="Times the mapper's step: image in to update out.")
    step.add_argument("--bag", default="", metavar="PATH", help="frames of this bag (default: a walk through a generated room)")
    step.add_argument("--frames", type=int, default=200, metavar="N", help="how many frames at most (default 200)")
    step.add_argument("--arrival-rate", type=float, default=30.0, metavar="HZ", help="images a second of the second pass (default 30)")
    add_bag_arguments(step)
    startup = actions.add_parser("startup", help="from nothing to the first update", description="Times the start, in a new process.")
    startup.add_argument("--runs", type=int, default=3, metavar="N", help="how often (default 3)")
    ros = actions.add_parser("ros", help="the ROS 2 node over DDS", description=ROS_HELP, formatter_class=argparse.RawTextHelpFormatter)
    ros.add_argument("--bag", required=True, metavar="PATH", help="what is played")
    ros.add_argument("--rate", type=float, default=1.0, metavar="R", help="speed of the player (default 1)")
    ros.add_argument("--images", type=int, default=0, metavar="N", help="play the bag until at least so many (default: once)")
    ros.add_argument("--idle", type=float, default=20.0, metavar="S", help="seconds without images, before the bag is played (default 20)")
    ros.add_argument("--reset", action="store_true", help="with reset_on_time_jump: every time round the map begins anew")
    ros.add_argument("--model", default="small", metavar="NAME", help="a name under models/, or a model's folder (default small)")
    ros.add_argument("--out", default="runs/bench_ros", metavar="DIR", help="logs of the processes (default runs/bench_ros)")
    ros.add_argument("--json", default="", metavar="FILE", help="also write a report")
    add_bag_arguments(ros)
    for subparser in (step, startup, add_growth(actions)):
        add_model_arguments(subparser)
        subparser.add_argument("--json", default="", metavar="FILE", help="also write a report")


def run(arguments: argparse.Namespace) -> int:
    """Measure; exit code 0."""
    from sgrocc_core.errors import ConfigError

    if getattr(arguments, "images", 0) < 0:
        raise ConfigError(f"--images is {arguments.images}; it must be 0 (the bag once) or more")
    for name in ("frames", "runs", "arrival_rate", "rate", "idle"):
        if not getattr(arguments, name, 1) > 0:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(arguments, name)}; it must be above 0")
    report = {"step": _step, "startup": _startup, "growth": _growth, "ros": _ros}[arguments.action](arguments)
    if arguments.json:
        import json

        Path(arguments.json).write_text(json.dumps(report, indent=2) + "\n")
    return 0


def _head(report: dict[str, Any]) -> None:
    from sgrocc_core.report import stage_table

    machine = report["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}")
    print(", ".join(f"{name} {version}" for name, version in report["versions"].items()))
    print(stage_table(report["stages"]))


def _frames(arguments: argparse.Namespace) -> list[Any]:
    """Decoded frames in memory, so that only the step is timed."""
    from itertools import islice

    if arguments.bag:
        from sgrocc_core.data.bags import BagReader

        with BagReader(arguments.bag, bag_options(arguments)) as reader:
            return list(islice(reader, arguments.frames))
    from sgrocc_core.data.synthetic.generate import render_walk
    from sgrocc_core.frame import Frame

    with_depth = arguments.depth_source != "mono"
    walk = enumerate(render_walk(0, arguments.frames, (640, 480)))
    return [Frame(f.view.image, f.K, f.T_wc, 33_333_333 * i, f.view.depth if with_depth else None) for i, f in walk]


def _step(arguments: argparse.Namespace) -> dict[str, Any]:
    from sgrocc_core.bench.step import arriving, back_to_back
    from sgrocc_core.engines.engine import open_engine
    from sgrocc_core.mapper import MapperConfig, OccupancyMapper
    from sgrocc_core.report import figure, make_report
    from sgrocc_core.warm_up import warm_up

    frames = _frames(arguments)
    engine = open_engine(arguments.model, arguments.engine, arguments.device, arguments.threads)
    mapper = OccupancyMapper(engine, MapperConfig(depth_source=arguments.depth_source))
    warm_up(engine, mapper.config)
    timings = back_to_back(mapper, frames)
    live = arriving(mapper, frames, arguments.arrival_rate)
    timings |= {f"at_{arguments.arrival_rate:g}_hz.{stage}": values for stage, values in live.timings.items()}
    figures = {
        "frames": figure(len(frames), "frames"), "arrived": figure(live.arrived, "frames"), "mapped": figure(live.mapped, "frames"),
        "mapped_per_second": figure(round(live.mapped / live.seconds, 2), "Hz"),
    }  # fmt: skip
    configuration = {k: v for k, v in sorted(vars(arguments).items()) if k not in ("command", "json")} | {"runs_on": engine.description}
    report = make_report("bench step", configuration, figures, timings)
    _head(report)
    print(f"{engine.description}, model {engine.spec.name}, depth {arguments.depth_source}, {len(frames)} frames")
    print(f"arriving at {arguments.arrival_rate:g} Hz: {live.mapped} of {live.arrived} mapped, {live.mapped / live.seconds:.1f} a second")
    return report


def _growth(arguments: argparse.Namespace) -> dict[str, Any]:
    report = measure_growth(arguments)
    _head(report)
    print(growth_table(report))
    print(f"files\n  {arguments.out}/report.json\n  {arguments.out}/growth.png")
    return report


def _ros(arguments: argparse.Namespace) -> dict[str, Any]:
    from sgrocc_ros.bench import bench_ros

    report = bench_ros(arguments)
    _head(report)
    for name, value in report["figures"].items():
        print(f"  {name:<22}  {' '.join(str(part) for part in value.values()) if isinstance(value, dict) and 'unit' in value else value}")
    return report


def _startup(arguments: argparse.Namespace) -> dict[str, Any]:
    from collections import defaultdict

    from sgrocc_core.bench.startup import startup
    from sgrocc_core.engines.engine import load_spec
    from sgrocc_core.report import make_report

    load_spec(arguments.model)
    timings: dict[str, list[float]] = defaultdict(list)
    for _ in range(arguments.runs):
        for name, milliseconds in startup(arguments.model, arguments.engine, arguments.device, arguments.threads).items():
            timings[name].append(milliseconds)
    configuration = {k: v for k, v in sorted(vars(arguments).items()) if k not in ("command", "json")}
    report = make_report("bench startup", configuration, {}, timings)
    _head(report)
    return report
