"""`sgrocc bench growth`: time of a step and memory while the map grows."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

KINDS, VIEWS = 4, 25
"""Number of kinds of room, and number of views of each."""


def add_growth(actions: Any) -> argparse.ArgumentParser:
    """Add the options of `sgrocc bench growth`."""
    about = (
        "Walk through a building of generated rooms; the networks run once per view, everything else in every frame."
    )
    parser: argparse.ArgumentParser = actions.add_parser(
        "growth", help="time and memory while the map grows", description=about
    )
    parser.add_argument("--frames", type=int, default=10_000, metavar="N", help="number of frames (default 10000)")
    parser.add_argument("--rooms", type=int, default=50, metavar="N", help="number of rooms, at least 2 (default 50)")
    parser.add_argument(
        "--out", default="runs/bench_growth", metavar="DIR", help="folder for report.json and growth.png"
    )
    parser.add_argument(
        "--forget-radius",
        type=float,
        default=0.0,
        metavar="M",
        help="forget parts of the map farther away than this, metres (default 0: none)",
    )
    parser.add_argument(
        "--max-memory-mb", type=float, default=0.0, metavar="MB", help="limit of the memory (default 0: none)"
    )
    return parser


def measure_growth(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure, and write the report and the chart.

    Returns:
        the report.

    Raises:
        ConfigError: the numbers of frames and rooms leave nothing to compare.
    """
    from tqdm import tqdm

    from sgrocc_core.bench.building import make_building
    from sgrocc_core.bench.growth import RepeatingEngine, early_room, figures, in_turn, learn, walk
    from sgrocc_core.bench.growth_chart import growth_chart
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.mapping.mapper import MapperConfig
    from sgrocc_core.report import configuration_of, make_report

    if arguments.rooms < 2 or arguments.frames < arguments.rooms:
        given = f"--frames is {arguments.frames} and --rooms {arguments.rooms}"
        raise ConfigError(f"{given}; there must be at least 2 rooms, and a frame in each")
    config = MapperConfig(forget_radius=arguments.forget_radius, max_memory_mb=arguments.max_memory_mb)
    frames = arguments.frames // arguments.rooms
    inner = open_engine(arguments.model, arguments.engine, arguments.device, arguments.threads)
    engine = RepeatingEngine(inner)
    building = make_building(
        arguments.rooms, min(KINDS, arguments.rooms - 1), min(VIEWS, frames), early_room(frames, arguments.rooms)
    )
    with tqdm(total=sum(map(len, building.views)), desc="running the networks", unit="view", disable=None) as bar:
        learn(engine, building, config, bar.update)
    with tqdm(total=frames * arguments.rooms, desc="walking", unit="frame", disable=None) as bar:
        growth, grown = walk(engine, building, frames, config, bar.update)
    more = frames * (early_room(frames, arguments.rooms) + 2)
    with tqdm(total=more, desc="early and late in turn", unit="frame", disable=None) as bar:
        in_turn(engine, building, growth, config, grown, bar.update)
    configuration = configuration_of(arguments, "json") | {"runs_on": engine.description}
    report = make_report("bench growth", configuration, figures(growth), growth.times)
    report |= {"rooms": _series(growth), "pairs_ms": _rounded(growth.pairs)}
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    title = f"{frames * arguments.rooms:,} frames through {arguments.rooms} rooms, model {engine.spec.name}"
    growth_chart(growth, title).savefig(out / "growth.png")
    return report


def _rounded(pairs: dict[str, list[tuple[float, float]]]) -> dict[str, list[list[float]]]:
    return {stage: [[round(value, 3) for value in pair] for pair in found] for stage, found in pairs.items()}


def _series(growth: Any) -> list[dict[str, float]]:
    """The report's entry for each room: median times, milliseconds, and sizes; see `Growth`."""
    from sgrocc_core.bench.growth import bytes_per_voxel

    return [
        {k: round(v, 1) for k, v in room.items()}
        | {f"{stage}_ms": round(growth.median(number, stage), 2) for stage in growth.times}
        | {"bytes_per_voxel": round(bytes_per_voxel(room), 1)}
        for number, room in enumerate(growth.rooms)
    ]


def growth_table(report: dict[str, Any]) -> str:
    """Returns a table with a row for about every tenth room, and the figures beside their targets."""
    from sgrocc_core.bench.growth import MOST_BYTES, MOST_TIMES

    columns = (
        ("frame", "frame"), ("slice_ms", "slice ms"), ("memory_ms", "memory ms"), ("splat_ms", "splat ms"),
        ("sum_ms", "sum ms"), ("voxels", "voxels"), ("blocks", "blocks"), ("memory_mb", "map MB"),
        ("rss_mb", "process MB"), ("bytes_per_voxel", "bytes/voxel"),
    )  # fmt: skip
    rooms, found = report["rooms"], report["figures"]
    shown = sorted({*range(0, len(rooms), max(1, len(rooms) // 10)), len(rooms) - 1})
    lines = ["".join(f"{title:>12}" for _, title in columns)]
    lines += ["".join(f"{rooms[n][key]:>12,}" for key, _ in columns) for n in shown]
    early, late = found["early"]["sum"]["value"], found["late"]["sum"]["value"]
    slow = found["slowest_frame"]
    ratio, start, end = found["late_over_early"]["sum"]["value"], found["rss_start"]["value"], found["rss_end"]["value"]
    lines += [
        f"late over early  {ratio:.2f} ({late:.1f} and {early:.1f} ms); target: at most {MOST_TIMES:.1f}",
        f"bytes per voxel  {found['bytes_per_voxel']['value']:.0f}; target: at most {MOST_BYTES:.0f}",
        f"slowest frame    {slow['time']['value']:.0f} ms, number {slow['frame']['value']}",
        f"process          {start:.0f} MB before the walk, {end:.0f} MB after",
    ]
    return "\n".join(lines)
