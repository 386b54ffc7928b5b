"""`sgrocc bench peers`: our step beside OctoMap and other mappers, on the same depth images in the same run."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

HINT = "pip install -r requirements/peers.txt"
SIZE = (540, 360)
"""Width and height of the generated images, pixels."""


def add_peers(actions: Any) -> argparse.ArgumentParser:
    """Add the options of `sgrocc bench peers`, except those of the bag and of the model."""
    about = (
        "Map the same depth images with our mapper and with OctoMap (pyoctomap), Open3D and vdbfusion, frame by frame "
        f"in one process. OctoMap is required ({HINT}), the others are used where they are installed. Accuracy needs "
        "the generated room; a bag has no truth."
    )
    parser: argparse.ArgumentParser = actions.add_parser(
        "peers", help="beside OctoMap and other mappers, on the same depth images", description=about
    )
    parser.add_argument("--bag", default="", metavar="PATH", help="bag with depth (default: a generated room)")
    parser.add_argument("--frames", type=int, default=60, metavar="N", help="maximum number of frames (default 60)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="of the generated room (default 0)")
    parser.add_argument("--out", default="runs/bench_peers", metavar="DIR", help="folder of report.json and peers.png")
    return parser


def measure_peers(arguments: argparse.Namespace, bag_frames: list[Any] | None) -> dict[str, Any]:
    """Measure, and write the report and the picture.

    Args:
        arguments: of the command.
        bag_frames: frames of the bag; None: a room is generated.

    Returns:
        the report.

    Raises:
        ConfigError: OctoMap is not installed, or the bag has no depth.
    """
    from tqdm import tqdm

    from sgrocc_core.bench.peers.chart import peers_chart
    from sgrocc_core.bench.peers.compare import run_together
    from sgrocc_core.bench.peers.mappers import open_peers
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.errors import ConfigError
    from sgrocc_core.frame import depth_source_of_input
    from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
    from sgrocc_core.mapping.warm_up import warm_up
    from sgrocc_core.report import configuration_of, machine, make_report

    config = MapperConfig(depth_source=depth_source_of_input(arguments.depth_source))
    peers, missing = open_peers(config.max_distance)
    if reason := next((reason for name, reason in missing.items() if name.startswith("OctoMap")), None):
        raise ConfigError(f"bench peers needs OctoMap ({reason}); {HINT}")
    frames, truth = (bag_frames, None) if bag_frames is not None else _room(arguments.seed, arguments.frames)
    if sum(frame.depth is not None for frame in frames) < 2:
        raise ConfigError(f"{arguments.bag} has no images with depth, which the peers need; is there a depth topic?")
    engine = open_engine(arguments.model, arguments.engine, arguments.device, arguments.threads)
    warm_up(engine, config)
    origin = (0.0, 0.0, 0.0) if truth is None else tuple(float(v) for v in truth.origin)
    mapper = OccupancyMapper(engine, config, origin)  # type: ignore[arg-type]
    with tqdm(total=len(frames), desc="mapping", unit="frame", disable=None) as bar:
        found = run_together(mapper, peers, frames, truth, min(3, len(frames) // 2), bar.update)
    configuration = configuration_of(arguments, "json")
    configuration |= {"runs_on": engine.description, "missing": missing, "max_distance": config.max_distance}
    configuration["peers"] = _versions()
    report = make_report("bench peers", configuration, _figures(found), found.times)
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    about = machine()
    chart = peers_chart(
        found, f"The same depth images, {len(found.times['sgrocc'])} frames", f"{about['cpu']}, {about['cores']} cores"
    )
    chart.savefig(out / "peers.png")
    return report


def peers_table(report: dict[str, Any]) -> str:
    """Returns a line for each mapper, and what is missing."""
    figures = report["figures"]
    head = ("p50 ms", "step is times", "back end times", "F1 seen", "IoU seen", "F1 in view", "IoU in view", "map MB")
    width = max(map(len, report["stages"])) + 2
    lines = [", ".join(f"{name} {number}" for name, number in report["configuration"]["peers"].items())]
    lines += [f"{figures['points']['value']:,} points in a frame", " " * width + "".join(f"{t:>15}" for t in head)]
    for name, row in report["stages"].items():
        scores, memory = figures["scores"].get(name, {}), figures["memory"].get(name)
        ratios = [figures["ratios"].get(f"{ours} / {name}") for ours in ("sgrocc", "sgrocc, back end")]
        cells = [f"{row['p50']:.1f}", *("" if r is None else f"{r['value']:.2f}" for r in ratios)]
        for region in ("seen", "in_view"):
            for key in ("boundary_f1", "iou"):
                cells.append(f"{scores[region][key]['value']:.3f}" if scores else "")
        cells.append("" if memory is None else f"{memory['value']:.1f}")
        lines.append(f"{name:<{width}}" + "".join(f"{cell:>15}" for cell in cells))
    lines += [f"{name} is not measured: {why}" for name, why in report["configuration"]["missing"].items()]
    return "\n".join(lines)


def _figures(found: Any) -> dict[str, Any]:
    import numpy as np

    from sgrocc_core.bench.peers.compare import BACK_END, STEP
    from sgrocc_core.report import figure

    others = [name for name in found.times if name not in (STEP, BACK_END)]
    return {
        "points": figure(int(np.median(found.points)), "points"),
        "ratios": {
            f"{ours} / {name}": figure(round(found.ratio(ours, name), 3), "times")
            for ours in (STEP, BACK_END)
            for name in others
        },
        "scores": {
            name: {
                region: {key: figure(round(value, 4), "share") for key, value in scores.items()}
                for region, scores in regions.items()
            }
            for name, regions in found.scores.items()
        },
        "memory": {n: figure(round(mb, 2), "MB") for n, mb in found.memory.items() if mb is not None},
        "voxels": {name: figure(count, "voxels") for name, count in found.voxels.items()},
    }


def _versions() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("pyoctomap", "open3d", "open3d-cpu", "vdbfusion"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _room(seed: int, frames: int) -> tuple[list[Any], Any]:
    """A walk through a generated room with its exact depth, and its truth."""
    from sgrocc_core.bench.peers.compare import Truth
    from sgrocc_core.data.synthetic.generate import prepare_walk, render_walk
    from sgrocc_core.frame import Frame

    made, _ = prepare_walk(seed, frames, SIZE)
    walk = enumerate(render_walk(seed, frames, SIZE))
    views = [Frame(f.view.image, f.K, f.T_wc, 100_000_000 * i, f.view.depth) for i, f in walk]
    return views, Truth(made.grid.labels, made.grid.low, made.grid.origin)
