"""Time of a mapper's step, stage by stage: frames one after the other, and frames that arrive by the clock as a camera's do."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sgrocc_core.frame import Frame
from sgrocc_core.mapping.mapper import OccupancyMapper


@dataclass
class Arrival:
    """What happened to frames that arrived at a rate.

    Attributes:
        arrived, mapped: frames. seconds: how long it took.
        timings: milliseconds by stage; `arrival_to_update` is from a frame's arrival to the end of its step.
    """

    arrived: int = 0
    mapped: int = 0
    seconds: float = 0.0
    timings: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def back_to_back(mapper: OccupancyMapper, frames: Sequence[Frame], skip: int = 3) -> dict[str, list[float]]:
    """Milliseconds of every stage of every frame, the first `skip` left out; the mapper starts empty."""
    mapper.map.reset()
    timings: dict[str, list[float]] = defaultdict(list)
    for i, frame in enumerate(frames):
        started = time.perf_counter()
        update = mapper.step(frame)
        whole = (time.perf_counter() - started) * 1000
        if i < skip:
            continue
        for stage, milliseconds in update.timings.items():
            if stage != "total":
                timings[stage].append(milliseconds)
        timings["whole_step"].append(whole)
    return timings


def arriving(mapper: OccupancyMapper, frames: Sequence[Frame], rate: float) -> Arrival:
    """Map frames that arrive at `rate` a second on the real clock, always the newest, as the node does; the mapper starts empty."""
    mapper.map.reset()
    result = Arrival(arrived=len(frames))
    started = time.perf_counter()
    taken = -1
    while taken < len(frames) - 1:
        now = time.perf_counter()
        newest = min(int((now - started) * rate), len(frames) - 1)
        if newest <= taken:
            time.sleep(max(0.0, started + (taken + 1) / rate - now))
            continue
        taken = newest
        before = time.perf_counter()
        mapper.step(frames[taken])
        after = time.perf_counter()
        result.mapped += 1
        result.timings["whole_step"].append((after - before) * 1000)
        result.timings["arrival_to_update"].append((after - started - taken / rate) * 1000)
    result.seconds = time.perf_counter() - started
    return result
