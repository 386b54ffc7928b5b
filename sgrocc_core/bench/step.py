"""Time of a mapper's step, stage by stage.

Frames are processed one after the other, or arrive at a fixed rate like a camera's.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from sgrocc_core.frame import Frame
from sgrocc_core.mapping.mapper import OccupancyMapper


@dataclass
class Arrival:
    """Result of mapping frames that arrive at a fixed rate.

    Attributes:
        arrived: number of frames that arrived.
        mapped: number of frames that were mapped.
        seconds: total time, seconds.
        timings: milliseconds by stage; `arrival_to_update` is from a frame's arrival to the end of its step.
    """

    arrived: int = 0
    mapped: int = 0
    seconds: float = 0.0
    timings: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def back_to_back(
    mapper: OccupancyMapper, frames: Sequence[Frame], skip: int = 3, ahead: bool = False
) -> dict[str, list[float]]:
    """Map frames one after the other, starting with an empty map.

    Args:
        mapper: is reset first.
        frames: to map.
        skip: number of first frames that are not counted.
        ahead: whether the next frame's image network runs beside the end of each step.

    Returns:
        milliseconds of each stage of each frame.
    """
    mapper.map.reset()
    timings: dict[str, list[float]] = defaultdict(list)
    for i, frame in enumerate(frames):
        started = time.perf_counter()
        coming = frames[i + 1] if ahead and i + 1 < len(frames) else None
        update = mapper.step(frame, lambda: coming)  # noqa: B023, called within the step
        whole = (time.perf_counter() - started) * 1000
        if i < skip:
            continue
        for stage, milliseconds in update.timings.items():
            if stage != "total":
                timings[stage].append(milliseconds)
        timings["whole_step"].append(whole)
    return timings


def arriving(mapper: OccupancyMapper, frames: Sequence[Frame], rate: float, ahead: bool = False) -> Arrival:
    """Map frames that arrive in real time, always the newest one, as the node does; starts with an empty map.

    Args:
        mapper: is reset first.
        frames: to map.
        rate: frames per second.
        ahead: whether the image network of the newest frame at the end of the networks runs beside the rest of a step;
            that frame is then mapped next.
    """
    mapper.map.reset()
    result = Arrival(arrived=len(frames))
    started = time.perf_counter()
    taken, begun = -1, -1

    def newest_yet() -> int:
        return min(int((time.perf_counter() - started) * rate), len(frames) - 1)

    def following() -> Frame | None:
        nonlocal begun
        begun = max(newest_yet(), taken)
        return frames[begun] if ahead and begun > taken else None

    while taken < len(frames) - 1:
        newest = begun if ahead and begun > taken else newest_yet()
        if newest <= taken:
            time.sleep(max(0.0, started + (taken + 1) / rate - time.perf_counter()))
            continue
        taken = newest
        before = time.perf_counter()
        mapper.step(frames[taken], following)
        after = time.perf_counter()
        result.mapped += 1
        result.timings["whole_step"].append((after - before) * 1000)
        result.timings["arrival_to_update"].append((after - started - taken / rate) * 1000)
    result.seconds = time.perf_counter() - started
    return result
