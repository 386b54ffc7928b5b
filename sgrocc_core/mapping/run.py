"""Maps a sequence of frames and counts them, for `sgrocc map`, `sgrocc view` and `sgrocc bench`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sgrocc_core.frame import Frame
from sgrocc_core.geometry.upright import looks_up

if TYPE_CHECKING:
    from sgrocc_core.mapping.mapper import MapUpdate, OccupancyMapper


@dataclass
class MappingResult:
    """Counts and times of a mapped sequence.

    Attributes:
        frames: Number of mapped frames.
        with_depth: Number of mapped frames with sensor depth.
        looking_up: Number of mapped frames in which the camera's z axis points up.
        stamp_ns: Stamp of the newest mapped frame, nanoseconds.
        timings: Milliseconds of every frame, by stage.
    """

    frames: int = 0
    with_depth: int = 0
    looking_up: int = 0
    stamp_ns: int = 0
    timings: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def map_frames(
    mapper: OccupancyMapper, frames: Iterable[Frame], watch: Callable[[Frame, MapUpdate], None] | None = None
) -> MappingResult:
    """Map all frames in order; the same frames give the same map.

    Args:
        mapper: The mapper.
        frames: The frames.
        watch: Called after each frame with the frame and its update.

    Returns:
        Counts and times.
    """
    result = MappingResult()
    for frame in frames:
        update = mapper.step(frame)
        if watch is not None:
            watch(frame, update)
        result.frames += 1
        result.with_depth += frame.depth is not None
        result.looking_up += looks_up(frame.T_wc)
        result.stamp_ns = update.stamp_ns
        for stage, milliseconds in update.timings.items():
            result.timings[stage].append(milliseconds)
    return result
