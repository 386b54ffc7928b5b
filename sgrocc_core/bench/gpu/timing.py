"""Times of the checks on a GPU."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np

from sgrocc_core.report import figure


def timed(call: Callable[[], object], runs: int) -> list[float]:
    """Seconds of each of some runs on the GPU, after two that are not timed."""
    return times_in_turn({"": call}, runs)[""]


def times_in_turn(calls: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Seconds of each of some runs of several calls, one after the other in each round, after two that are not timed.

    Args:
        calls: by name.
        runs: number of timed rounds.
    """
    import torch

    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(-2, runs):
        for name, call in calls.items():
            wait()
            started = perf_counter()
            call()
            wait()
            if k >= 0:
                seconds[name].append(perf_counter() - started)
    return seconds


def milliseconds(seconds: list[float]) -> dict[str, Any]:
    """The median as a figure."""
    return figure(round(1000 * float(np.median(seconds)), 2), "ms")
