"""Runs a mapper over frames, one after the other, and keeps count: what `sgrocc map`, `sgrocc view` and `sgrocc bench` share."""

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
    """What happened.

    Attributes:
        frames: mapped. with_depth: of those, how many had sensor depth. stamp_ns: of the newest.
        looking_up: of those, how many have the camera's z axis pointing up in the map.
        timings: milliseconds of each frame, by stage.
    """

    frames: int = 0
    with_depth: int = 0
    looking_up: int = 0
    stamp_ns: int = 0
    timings: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))


def map_frames(
    mapper: OccupancyMapper, frames: Iterable[Frame], watch: Callable[[Frame, MapUpdate], None] | None = None
) -> MappingResult:
    """Map every frame in order; the same frames give the same map. watch: called after each frame with what it changed."""
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
