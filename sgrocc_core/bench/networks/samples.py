"""`sgrocc bench samples`: frames a second and operations for numbers of samples per anchor, beside the paper's table.

Speed does not depend on the weights, so the networks are built with random ones. On CPUs they are exported and run as
a robot runs them; with `--engine torch` and on CUDA they run in PyTorch, there in the precision that is asked for.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from sgrocc_core.errors import ConfigError
from sgrocc_core.report import configuration_of, figure, make_report

PAPER = {4: (18.5, 12.5), 8: (21.0, 10.2), 16: (25.2, 8.5), 24: (33.0, 6.8), 32: (41.5, 3.5)}
"""GFLOP of a frame and frames a second by K in the paper's table, on an A6000."""
WARM_RUNS = 3
"""Frames that are not timed."""


@dataclass(frozen=True)
class Operations:
    """Floating-point operations of a frame, a multiplication and an addition counting as two.

    Attributes:
        image: of the image network's convolutions and matrix products.
        expert: of the expert's.
        sampling: of the lifters' bilinear samples: four corners of every sample, whether or not it is in view.
    """

    image: float
    expert: float
    sampling: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.image + self.expert + self.sampling


def measure_samples(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure; see `add_samples`.

    Returns:
        the report; its figures hold, by `K_n`, frames_per_second and the operations, ours and the paper's.

    Raises:
        ConfigError: a number is not allowed, or a precision that the device does not have.
    """
    from sgrocc_core.engines.weights import read_networks

    counts = _counts(arguments.counts)
    if arguments.precision != "fp32" and arguments.device != "cuda":
        raise ConfigError(f"--precision {arguments.precision} is for --device cuda; on a CPU samples run in fp32")
    _, networks = read_networks(arguments.model)
    networks.pop("stereo", None)
    sized = {count: networks | {"expert": networks.get("expert", {}) | {"offsets": count}} for count in counts}
    opened = {count: _frame(given, arguments) for count, given in sized.items()}
    times = _in_turn({count: frame for count, (frame, _) in opened.items()}, arguments.frames)
    figures = {
        f"K_{count}": _figures(operations(given), times[count], times[counts[0]], count)
        for count, given in sized.items()
    }
    timings = {f"K_{count}": list(values) for count, values in times.items()}
    runs_on = opened[counts[0]][1]
    configuration = configuration_of(arguments, "json")
    return make_report("bench samples", configuration | {"runs_on": runs_on}, figures, timings)


def samples_table(report: dict[str, Any]) -> str:
    """Returns a line for each number of samples."""
    head = ("K", "frames/s", "ratio", "GFLOP", "image", "expert", "sampling", "paper: GFLOP", "frames/s", "ratio")
    lines = [report["configuration"]["runs_on"], "".join(f"{title:>13}" for title in head)]
    first = next(iter(report["figures"].values()))
    for name, found in report["figures"].items():
        paper = found.get("paper")
        row = [name.removeprefix("K_"), f"{found['frames_per_second']['value']:.1f}"]
        row.append(f"{found['ratio']['value']:.2f}")
        row += [f"{found[key]['value']:.2f}" for key in ("operations", "image", "expert", "sampling")]
        if paper:
            share = paper["frames_per_second"]["value"] / first.get("paper", paper)["frames_per_second"]["value"]
            row += [f"{paper['operations']['value']:.1f}", f"{paper['frames_per_second']['value']:.1f}", f"{share:.2f}"]
        lines.append("".join(f"{value:>13}" for value in row))
    return "\n".join(lines)


def operations(networks: dict[str, dict[str, Any]]) -> Operations:
    """Count the operations of a frame; convolutions, matrix products and the lifters' samples, nothing else.

    Args:
        networks: arguments of `engines.weights.build_networks`.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from sgrocc_core.engines.export import example_inputs
    from sgrocc_core.engines.weights import build_networks
    from sgrocc_core.geometry.lattice import NUM_ANCHORS

    image, expert = build_networks(networks)
    given = example_inputs(image.grid, image.channels, expert.config.channels)
    totals = []
    for network, inputs in zip((image, expert), given, strict=True):
        with torch.inference_mode(), FlopCounterMode(display=False) as counter:
            network.eval()(*inputs.values())
        totals.append(float(counter.get_total_flops()))
    c = expert.config
    samples = c.blocks * NUM_ANCHORS * (1 if c.lifter == "hard" else c.offsets)
    return Operations(totals[0], totals[1], 2.0 * 4 * samples * c.channels)


def _figures(found: Operations, times: np.ndarray, first: np.ndarray, count: int) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "frames_per_second": figure(round(1000 / float(np.median(times)), 2), "Hz"),
        "ratio": figure(round(float(np.median(first / times)), 3), "of the first's frames per second"),
        "operations": figure(round(found.total / 1e9, 3), "GFLOP"),
        "image": figure(round(found.image / 1e9, 3), "GFLOP"),
        "expert": figure(round(found.expert / 1e9, 3), "GFLOP"),
        "sampling": figure(round(found.sampling / 1e9, 3), "GFLOP"),
    }
    if count in PAPER:
        operations, rate = PAPER[count]
        figures["paper"] = {"operations": figure(operations, "GFLOP"), "frames_per_second": figure(rate, "Hz")}
    return figures


def _counts(text: str) -> list[int]:
    try:
        counts = [int(part) for part in text.split(",")]
    except ValueError:
        counts = []
    if not counts or not all(1 <= count <= 64 for count in counts):
        raise ConfigError(f"--counts is {text!r}; it must be whole numbers from 1 to 64, separated by commas")
    return counts


def _in_turn(calls: dict[int, Callable[[], object]], frames: int) -> dict[int, np.ndarray]:
    """Milliseconds of each; in every frame all run once, since a busy machine slows all of them."""
    times = {count: np.zeros(frames) for count in calls}
    for k in range(-WARM_RUNS, frames):
        for count, call in calls.items():
            started = perf_counter()
            call()
            if k >= 0:
                times[count][k] = 1000 * (perf_counter() - started)
    return times


def _frame(networks: dict[str, dict[str, Any]], arguments: argparse.Namespace) -> tuple[Callable[[], object], str]:
    """What runs a frame through both networks, and a description of where it runs."""
    import torch

    from sgrocc_core.engines.weights import build_networks

    torch.manual_seed(0)
    image, expert = build_networks(networks)
    if arguments.device == "cuda" or arguments.engine == "torch":
        return _in_torch(image, expert, arguments)
    from sgrocc_core.engines.example import example_history, example_views
    from sgrocc_core.engines.export import export_model
    from sgrocc_core.engines.open import open_engine
    from sgrocc_core.geometry.poses import gravity_aligned_rotation

    with tempfile.TemporaryDirectory() as folder:
        export_model(image, expert, networks, "samples", Path(folder))
        engine = open_engine(folder, arguments.engine, arguments.device, arguments.threads)
        view, _ = example_views(engine.spec)
        gravity, history = gravity_aligned_rotation(view.T_bc[:3, :3]), example_history(engine.spec)

    def frame() -> object:
        seen = engine.image(view.image, view.mask, view.K, gravity)
        return engine.expert(seen.features, view.depth, view.spread, seen.thickness, view.K, view.T_bc, history)

    return frame, engine.description


def _in_torch(image: Any, expert: Any, arguments: argparse.Namespace) -> tuple[Callable[[], object], str]:
    import torch

    from sgrocc_core.engines.export import example_inputs

    device = torch.device(arguments.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError("--device cuda: PyTorch finds no CUDA device; use --device cpu")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    kind = {"fp32": None, "fp16": torch.float16, "bf16": torch.bfloat16}[arguments.precision]
    image, expert = image.eval().to(device), expert.eval().to(device)
    seen_by_image, seen_by_expert = (
        [value.to(device) for value in given.values()]
        for given in example_inputs(image.grid, image.channels, expert.config.channels)
    )

    def frame() -> object:
        with torch.inference_mode(), torch.autocast(device.type, kind or torch.bfloat16, enabled=kind is not None):
            seen = image(*seen_by_image)
            found = expert(seen["features"].float(), *seen_by_expert[1:])
        if device.type == "cuda":
            torch.cuda.synchronize()
        return found

    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    return frame, f"PyTorch {torch.__version__}, {where}, {arguments.precision}"
