"""Time of each graph in several runtimes, run in turn frame by frame, and their differences from ONNX Runtime.

`python -m sgrocc_core.bench.engines --engines onnxruntime,openvino`; the frame is made up (`engines.example`). A busy
machine slows all runtimes: the pair-by-pair ratio says more than the milliseconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sgrocc_core.engines import trial
from sgrocc_core.engines.engine import Engine
from sgrocc_core.engines.example import example_history, example_views
from sgrocc_core.engines.open import ENGINES, open_engine
from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.poses import gravity_aligned_rotation
from sgrocc_core.report import machine

WARM_RUNS = 2
"""Runs of each graph that are not timed."""


def compare(engines: dict[str, Engine], frames: int) -> dict[str, dict[str, np.ndarray]]:
    """Time the graphs; in each frame every engine runs once, and the next frame begins with the next engine.

    Args:
        engines: engines of one model, by name.
        frames: number of timed frames.

    Returns:
        (frames,) milliseconds by graph and engine.
    """
    names = list(engines)
    calls = {name: _calls(engine) for name, engine in engines.items()}
    times = {graph: {name: np.zeros(frames) for name in names} for graph in calls[names[0]]}
    for k in range(-WARM_RUNS, frames):
        for turn in range(len(names)):
            name = names[(k + turn) % len(names)]
            for graph, call in calls[name].items():
                started = time.perf_counter()
                call()
                if k >= 0:
                    times[graph][name][k] = 1000 * (time.perf_counter() - started)
    return times


def _calls(engine: Engine) -> dict[str, Callable[[], Any]]:
    view, _ = example_views(engine.spec)
    gravity, history = gravity_aligned_rotation(view.T_bc[:3, :3]), example_history(engine.spec)
    seen = engine.image(view.image, view.mask, view.K, gravity)
    return {
        "image.onnx": lambda: engine.image(view.image, view.mask, view.K, gravity),
        "expert.onnx": lambda: engine.expert(
            seen.features, view.depth, view.spread, seen.thickness, view.K, view.T_bc, history
        ),
    }


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="small", metavar="NAME", help="name or folder (default small)")
    parser.add_argument("--engines", default="onnxruntime,openvino", metavar="A,B", help="the first is the measure")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"), help="device (default cpu)")
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads (default 0: all cores)")
    parser.add_argument("--frames", type=int, default=30, metavar="N", help="timed frames (default 30)")
    arguments = parser.parse_args(argv)
    names = arguments.engines.split(",")
    if arguments.frames < 1 or not set(names) <= set(ENGINES[1:]):
        raise ConfigError(f"--frames must be at least 1 and --engines some of {', '.join(ENGINES[1:])}")
    engines = {name: open_engine(arguments.model, name, arguments.device, arguments.threads) for name in names}
    about = machine()
    print(f"{about['cpu']}, {about['cores']} cores, {arguments.frames} frames in turn")
    expected = trial.reference(engines[names[0]].spec, arguments.threads)
    for name, engine in engines.items():
        found = trial.run_trial(engine, expected)
        worst = max(found, key=lambda key: _difference(found[key], expected[key]))
        print(f"{name}: {engine.description}; {worst} differs by {_difference(found[worst], expected[worst]):.1e}")
    print(f"{'graph':<14}{'engine':<14}{'p50 ms':>9}{'p95 ms':>9}   ratio to {names[0]}, p50 of pairs")
    for graph, by_engine in compare(engines, arguments.frames).items():
        for name, values in by_engine.items():
            p50, p95 = np.percentile(values, (50, 95))
            ratio = np.median(values / by_engine[names[0]])
            print(f"{graph:<14}{name:<14}{p50:>9.1f}{p95:>9.1f}   {ratio:.2f}")


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / max(float(np.abs(expected).max()), 1e-12))


if __name__ == "__main__":
    main()
