"""`sgrocc bench`: measures run time and memory on this machine."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sgrocc_core.bench.gpu.command import add_gpu, gpu_table, measure_gpu
from sgrocc_core.bench.growth_command import add_growth, growth_table, measure_growth
from sgrocc_core.bench.networks.command import add_engines, add_roofline, add_samples
from sgrocc_core.bench.peers.command import add_peers, measure_peers, peers_table
from sgrocc_core.commands.map import add_bag_arguments, add_model_arguments, bag_options
from sgrocc_core.entry_points import offered_modules
from sgrocc_core.frame import depth_source_of_input

HELP = """Measure run time and memory on this machine.

  sgrocc bench step                  the mapper's step and its stages, frames back to back and arriving at 30 Hz
  sgrocc bench step --bag walk.mcap  the same on your own bag
  sgrocc bench step --language DIR   what the features of an image-text model cost beside it
  sgrocc bench startup               from program start to the first update
  sgrocc bench growth                time and memory while the map grows room by room
  sgrocc bench engines               the graphs in every runtime and precision
  sgrocc bench samples               frames a second and operations by samples per anchor
  sgrocc bench roofline              each stage against the machine's ceilings
  sgrocc bench peers                 other mappers on the same depth images
  sgrocc bench gpu                   all checks of a machine with a GPU
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    actions = parser.add_subparsers(dest="action", metavar="WHAT", required=True, help="what to measure")
    step = actions.add_parser(
        "step",
        help="the mapper's step and its stages",
        description="Time the mapper's step, from image to update.",
    )
    step.add_argument("--bag", default="", metavar="PATH", help="bag to use (default: a walk through a generated room)")
    step.add_argument("--frames", type=int, default=200, metavar="N", help="maximum number of frames (default 200)")
    step.add_argument(
        "--arrival-rate", type=float, default=30.0, metavar="HZ", help="image rate of the second pass (default 30)"
    )
    step.add_argument(
        "--ahead", action="store_true", help="both passes again, each image's network beside the step before it"
    )
    step.add_argument(
        "--language",
        default="",
        metavar="DIR",
        help="the first pass again, with an exported image-text model: what its features cost in time and memory",
    )
    add_bag_arguments(step)
    startup = actions.add_parser(
        "startup",
        help="from program start to the first update",
        description="Time the start of a new process, up to the first update.",
    )
    startup.add_argument("--runs", type=int, default=3, metavar="N", help="number of runs (default 3)")
    peers, roofline = add_peers(actions), add_roofline(actions)
    for subparser in (peers, roofline):
        add_bag_arguments(subparser)
    mapping = (step, startup, add_growth(actions), peers, roofline)
    for subparser in mapping:
        add_model_arguments(subparser)
    for subparser in (*mapping, add_engines(actions), add_samples(actions), add_gpu(actions)):
        subparser.add_argument("--json", default="", metavar="FILE", help="also write a report")
    for name, module in offered_modules("sgrocc.benchmarks").items():
        module.add_arguments(
            actions.add_parser(
                name,
                help=module.HELP.splitlines()[0],
                description=module.HELP,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )


def run(arguments: argparse.Namespace) -> int:
    """Measure and print; exit code 0."""
    from sgrocc_core.errors import ConfigError

    for name in ("frames", "runs", "arrival_rate"):
        if not getattr(arguments, name, 1) > 0:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(arguments, name)}; it must be above 0")
    offered = {name: module.run for name, module in offered_modules("sgrocc.benchmarks").items()}
    own = {
        "step": _step, "startup": _startup, "growth": _growth, "engines": _engines, "samples": _samples,
        "peers": _peers, "roofline": _roofline, "gpu": _gpu,
    }  # fmt: skip
    report = (offered | own)[arguments.action](arguments)
    if arguments.json:
        import json

        Path(arguments.json).write_text(json.dumps(report, indent=2) + "\n")
    return 0


def print_head(report: dict[str, Any]) -> None:
    """Print the machine, the versions and the table of stages of a benchmark's report."""
    from sgrocc_core.report import stage_table

    _print_machine(report)
    print(stage_table(report["stages"]))


def _print_machine(report: dict[str, Any]) -> None:
    machine = report["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}")
    print(", ".join(f"{name} {version}" for name, version in report["versions"].items()))


def _frames(arguments: argparse.Namespace) -> list[Any]:
    """Decoded frames in memory, so that only the mapper's step is timed."""
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
    from dataclasses import replace
    from statistics import median

    from sgrocc_core.bench.step import arriving, back_to_back
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
    from sgrocc_core.mapping.warm_up import warm_up
    from sgrocc_core.report import configuration_of, figure, make_report

    frames = _frames(arguments)
    engine = open_engine(arguments.model, arguments.engine, arguments.device, arguments.threads)
    mapper = OccupancyMapper(engine, MapperConfig(depth_source=depth_source_of_input(arguments.depth_source)))
    warm_up(engine, mapper.config)
    timings = back_to_back(mapper, frames)
    live = arriving(mapper, frames, arguments.arrival_rate)
    passes = {"": live}
    if arguments.ahead:
        timings |= {f"ahead.{stage}": values for stage, values in back_to_back(mapper, frames, ahead=True).items()}
        passes["ahead."] = arriving(mapper, frames, arguments.arrival_rate, ahead=True)
    figures = {"frames": figure(len(frames), "frames"), "arrived": figure(live.arrived, "frames")}
    said = []
    if arguments.language:
        asked = OccupancyMapper(engine, replace(mapper.config, language=arguments.language))
        timings |= {f"language.{stage}": values for stage, values in back_to_back(asked, frames).items()}
        plain, more = (median(timings[name]) for name in ("whole_step", "language.whole_step"))
        sizes = [each.map.memory.nbytes / max(1, len(each.map.memory)) / 1024 for each in (mapper, asked)]
        figures |= {
            "language_times": figure(round(more / plain, 2), "times"),
            "block": figure(round(sizes[0], 1), "KiB"),
            "language.block": figure(round(sizes[1], 1), "KiB"),
        }
        said.append(
            f"with the features of {arguments.language}: {more:.0f} ms a step instead of {plain:.0f}, "
            f"{sizes[1]:.0f} KiB a block instead of {sizes[0]:.0f}"
        )
    for way, found in passes.items():
        timings |= {f"{way}at_{arguments.arrival_rate:g}_hz.{stage}": made for stage, made in found.timings.items()}
        figures |= {
            f"{way}mapped": figure(found.mapped, "frames"),
            f"{way}mapped_per_second": figure(round(found.mapped / found.seconds, 2), "Hz"),
        }
    configuration = configuration_of(arguments, "json") | {"runs_on": engine.description}
    report = make_report("bench step", configuration, figures, timings)
    print_head(report)
    print(f"{engine.description}, model {engine.spec.name}, depth {arguments.depth_source}, {len(frames)} frames")
    for way, found in passes.items():
        print(
            f"arriving at {arguments.arrival_rate:g} Hz{', images ahead' if way else ''}: "
            f"{found.mapped} of {found.arrived} mapped, {found.mapped / found.seconds:.1f} per second"
        )
    for line in said:
        print(line)
    return report


def _growth(arguments: argparse.Namespace) -> dict[str, Any]:
    report = measure_growth(arguments)
    print_head(report)
    print(growth_table(report))
    print(f"files\n  {arguments.out}/report.json\n  {arguments.out}/growth.png")
    return report


def _startup(arguments: argparse.Namespace) -> dict[str, Any]:
    from collections import defaultdict

    from sgrocc_core.bench.startup import startup
    from sgrocc_core.engines.model import load_spec
    from sgrocc_core.report import configuration_of, make_report

    load_spec(arguments.model)
    timings: dict[str, list[float]] = defaultdict(list)
    for _ in range(arguments.runs):
        for name, milliseconds in startup(
            arguments.model, arguments.engine, arguments.device, arguments.threads
        ).items():
            timings[name].append(milliseconds)
    configuration = configuration_of(arguments, "json")
    report = make_report("bench startup", configuration, {}, timings)
    print_head(report)
    return report


def _engines(arguments: argparse.Namespace) -> dict[str, Any]:
    from sgrocc_core.bench.networks.engines import engines_table, measure_engines

    return _printed(measure_engines(arguments), engines_table)


def _samples(arguments: argparse.Namespace) -> dict[str, Any]:
    from sgrocc_core.bench.networks.samples import measure_samples, samples_table

    return _printed(measure_samples(arguments), samples_table)


def _peers(arguments: argparse.Namespace) -> dict[str, Any]:
    report = _printed(measure_peers(arguments, _frames(arguments) if arguments.bag else None), peers_table)
    print(f"files\n  {arguments.out}/report.json\n  {arguments.out}/peers.png")
    return report


def _roofline(arguments: argparse.Namespace) -> dict[str, Any]:
    from sgrocc_core.bench.networks.roofline import measure_roofline, roofline_table

    return _printed(measure_roofline(arguments, _frames(arguments)), roofline_table)


def _gpu(arguments: argparse.Namespace) -> dict[str, Any]:
    report = _printed(measure_gpu(arguments), gpu_table)
    print(f"files\n  {arguments.out}/report.json")
    return report


def _printed(report: dict[str, Any], table: Callable[[dict[str, Any]], str]) -> dict[str, Any]:
    _print_machine(report)
    print(table(report))
    return report
