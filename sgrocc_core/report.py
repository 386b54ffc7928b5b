"""report.json: the command, versions, machine and configuration of a run, its figures and its stage times."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import resource
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sgrocc_core import __version__
from sgrocc_core.classes import NAMES, UNKNOWN

FORMAT_VERSION = 1
PACKAGES = ("numpy", "opencv-python-headless", "numba", "onnxruntime", "openvino", "safetensors", "rosbags", "rclpy")


def versions() -> dict[str, str]:
    """Versions of this program, of Python and of the installed PACKAGES."""
    found = {"sgrocc": __version__, "python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def configuration_of(arguments: argparse.Namespace, *without: str) -> dict[str, Any]:
    """The options of a command by name, sorted, but for `command` and those left out."""
    return {name: value for name, value in sorted(vars(arguments).items()) if name not in ("command", *without)}


def machine() -> dict[str, Any]:
    """CPU model, number of cores available to this process, memory in GiB and operating system."""
    return {
        "cpu": _cpu_model(), "cores": len(os.sched_getaffinity(0)), "memory_gib": round(machine_bytes() / 2**30, 1),
        "system": f"{platform.system()} {platform.machine()}",
    }  # fmt: skip


def machine_bytes() -> int:
    """Physical memory of this machine, bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def memory_mb() -> float:
    """Resident memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or "unknown"


def summarise(timings: Mapping[str, Iterable[float]]) -> dict[str, dict[str, Any]]:
    """Median (p50) and 95th percentile (p95) of the time of each stage.

    Args:
        timings: Milliseconds of every frame, by stage.
    """
    stages = {}
    for stage, times in timings.items():
        values = np.fromiter(times, np.float64)
        if values.size:
            p50, p95 = np.percentile(values, (50, 95))
            stages[stage] = {
                "p50": round(float(p50), 2),
                "p95": round(float(p95), 2),
                "unit": "ms",
                "count": int(values.size),
            }
    return stages


def class_counts(labels: np.ndarray) -> dict[str, int]:
    """Number of voxels of each class and of `unknown` (occupied without a class) in (N,) labels."""
    counts = np.bincount(labels, minlength=UNKNOWN + 1)
    return {name: int(counts[label]) for label, name in enumerate(NAMES) if label} | {"unknown": int(counts[UNKNOWN])}


def figure(value: float, unit: str) -> dict[str, Any]:
    """One figure of a report, with its unit."""
    return {"value": value, "unit": unit}


def make_report(
    command: str,
    configuration: Mapping[str, Any],
    figures: Mapping[str, Any],
    timings: Mapping[str, Iterable[float]] | None = None,
) -> dict[str, Any]:
    """The content of a report.json.

    Args:
        command: The command that was run.
        configuration: Its configuration, as plain JSON values.
        figures: Results of `figure` by name, or nested mappings of them.
        timings: Milliseconds of every frame, by stage.
    """
    return {
        "format_version": FORMAT_VERSION, "command": command, "versions": versions(), "machine": machine(),
        "configuration": dict(configuration), "figures": dict(figures), "stages": summarise(timings or {}),
    }  # fmt: skip


def stage_table(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """The summarised stages as an aligned text table."""
    width = max((len(name) for name in stages), default=5)
    rows = [f"  {'stage':<{width}}  {'p50 ms':>8}  {'p95 ms':>8}"]
    rows += [f"  {name:<{width}}  {s['p50']:8.1f}  {s['p95']:8.1f}" for name, s in stages.items()]
    return "\n".join(rows)


def class_table(counts: Mapping[str, int]) -> str:
    """Voxels per class on one line, without the absent classes."""
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "none"
