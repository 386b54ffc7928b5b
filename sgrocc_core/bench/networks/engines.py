"""`sgrocc bench engines`: the graphs in every runtime and precision of this machine, beside ONNX Runtime in fp32.

The variants run in turn, frame by frame, on a made-up frame (`engines.example`). A busy machine slows all of them: the
pair-by-pair ratio says more than the milliseconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from sgrocc_core.engines import trial
from sgrocc_core.engines.choice import PRECISIONS_OF, one_line
from sgrocc_core.engines.engine import Engine
from sgrocc_core.engines.example import example_history, example_views
from sgrocc_core.engines.model import load_spec
from sgrocc_core.engines.open import ENGINES, open_engine
from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.poses import gravity_aligned_rotation
from sgrocc_core.report import configuration_of, figure, make_report

WARM_RUNS = 2
"""Runs of each graph that are not timed."""
MEASURE = "onnxruntime"
"""The engine that the others are compared with, in fp32."""


def measure_engines(arguments: argparse.Namespace) -> dict[str, Any]:
    """Open the variants, compare their values and time them.

    Returns:
        the report; its figures hold, by variant, `runs_on` or `not_used`, and by graph the largest `error` and the
        `ratio` to the first.

    Raises:
        ConfigError: a variant is unknown.
        ModelError: the model is damaged, or a variant that was asked for cannot run.
    """
    asked = [name for name in arguments.engines.split(",") if name]
    for name in asked:
        _checked(name)
    spec = load_spec(arguments.model)
    opened: dict[str, Engine] = {}
    figures: dict[str, Any] = {}
    for name in asked or _all(arguments.device):
        try:
            opened[name] = _open(spec.folder, name, arguments)
            figures[name] = {"runs_on": opened[name].description}
        except Exception as error:  # whatever an installed but broken package raises
            if asked:
                raise
            figures[name] = {"not_used": one_line(error)}
    if not opened:
        raise ConfigError("no engine runs the model: " + "; ".join(f"{n}: {f['not_used']}" for n, f in figures.items()))
    expected = trial.reference(spec, arguments.threads)
    times = compare(opened, arguments.frames)
    measure = next(iter(opened))
    for name, engine in opened.items():
        found = trial.run_trial(engine, expected)
        for graph, by_engine in times.items():
            figures[name][graph] = {
                "error": figure(largest_difference(found, expected, graph), "of the output's largest value"),
                "ratio": figure(round(float(np.median(by_engine[name] / by_engine[measure])), 3), "times"),
            }
    timings = {f"{graph} {name}": values for graph, row in times.items() for name, values in row.items()}
    configuration = configuration_of(arguments, "json")
    return make_report("bench engines", configuration, figures, timings)


def engines_table(report: dict[str, Any]) -> str:
    """Returns one line for each graph and variant, and the reasons of the variants that do not run here."""
    figures, stages = report["figures"], report["stages"]
    used = {name: found for name, found in figures.items() if "runs_on" in found}
    lines = [f"{name}: {found['runs_on']}" for name, found in used.items()]
    lines += [f"{name}: not used: {found['not_used']}" for name, found in figures.items() if "not_used" in found]
    width = max(map(len, used)) + 2
    lines.append(f"{'graph':<14}{'engine':<{width}}{'p50 ms':>9}{'p95 ms':>9}{'ratio':>8}{'error':>10}")
    for key, row in stages.items():
        graph, name = key.split(" ")
        found = used[name][graph]
        ratio, error = found["ratio"]["value"], found["error"]["value"]
        lines.append(f"{graph:<14}{name:<{width}}{row['p50']:>9.1f}{row['p95']:>9.1f}{ratio:>8.2f}{error:>10.1e}")
    return "\n".join(lines)


def compare(engines: Mapping[str, Engine], frames: int) -> dict[str, dict[str, np.ndarray]]:
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


def largest_difference(found: trial.Results, expected: trial.Results, graph: str) -> float:
    """Largest difference of any value of a graph's outputs, as a share of that output's largest value.

    Args:
        found: results of a trial.
        expected: those to compare with.
        graph: e.g. `expert.onnx`.
    """
    shares = [
        float(np.abs(value - expected[name]).max()) / max(float(np.abs(expected[name]).max()), 1e-12)
        for name, value in found.items()
        if name.startswith(f"{graph}:")
    ]
    return max(shares)


def _calls(engine: Engine) -> dict[str, Callable[[], Any]]:
    first, second = example_views(engine.spec)
    gravity, history = gravity_aligned_rotation(first.T_bc[:3, :3]), example_history(engine.spec)
    seen = engine.image(first.image, first.mask, first.K, gravity)
    calls: dict[str, Callable[[], Any]] = {
        "image.onnx": lambda: engine.image(first.image, first.mask, first.K, gravity),
        "expert.onnx": lambda: engine.expert(
            seen.features, first.depth, first.spread, seen.thickness, first.K, first.T_bc, history
        ),
    }
    if engine.spec.has_stereo:
        other = engine.image(second.image, second.mask, second.K, gravity_aligned_rotation(second.T_bc[:3, :3]))
        assert other.matching is not None
        sources = trial.example_sources(other.matching, first, second, engine.spec)
        calls["stereo.onnx"] = lambda: engine.stereo(seen, sources)
        if other.matching_fine is not None:
            finer = replace(sources, fine=other.matching_fine[None])
            calls["cascade.onnx"] = lambda: engine.stereo(seen, finer)
    return calls


def _all(device: str) -> list[str]:
    """Every runtime and precision, ONNX Runtime first; only those that say they run on the device are tried."""
    on = {"cpu": ("onnxruntime", "openvino", "torch"), "cuda": ("onnxruntime", "tensorrt", "tensorrt_rtx", "torch")}
    names = []
    for engine in on[device]:
        for precision in PRECISIONS_OF.get(engine, ("fp32",)):
            names.append(engine if precision == "fp32" else f"{engine}:{precision}")
    return names


def _checked(name: str) -> tuple[str, str]:
    engine, _, precision = name.partition(":")
    allowed = {e: PRECISIONS_OF.get(e, ("fp32",)) for e in ENGINES[1:]}
    if engine not in allowed or (precision or "fp32") not in allowed[engine]:
        some = ", ".join(e if p == "fp32" else f"{e}:{p}" for e, kinds in allowed.items() for p in kinds)
        raise ConfigError(f"--engines has {name!r}; it must be some of {some}")
    return engine, precision or "fp32"


def _open(folder: Any, name: str, arguments: argparse.Namespace) -> Engine:
    engine, precision = _checked(name)
    return open_engine(folder, engine, arguments.device, arguments.threads, precision)
