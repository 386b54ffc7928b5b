"""Time of a step and memory as the map grows, measured on a walk through a building.

The networks' outputs do not depend on the size of the map, so they are computed once per view and repeated;
everything else runs as usual.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgrocc_core.bench.building import Building
from sgrocc_core.engines.engine import Engine, ImageOutputs
from sgrocc_core.gaussians.gaussians import LocalGaussians
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.report import figure, memory_mb

EARLY_FRAME = 500
"""The room of this frame is compared with the last room."""
MOST_TIMES = 1.1
"""Target: maximum ratio of the time of late frames to that of early ones."""
MOST_BYTES = 1000.0
"""Target: maximum bytes of the memory per occupied voxel."""
STAGES = ("slice", "memory", "splat")
"""All timed stages of a step except the networks."""
FRAME_NS = 100_000_000


class RepeatingEngine:
    """Engine wrapper that runs the networks once per view and then repeats their outputs.

    Attributes:
        view: kind of room and number of the view to be mapped next; set before each step.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self.spec, self.description = engine, engine.spec, engine.description
        self.view: tuple[int, int] = (0, 0)
        self._images: dict[tuple[int, int], ImageOutputs] = {}
        self._boxes: dict[tuple[int, int], LocalGaussians] = {}

    def image(self, *inputs: Any) -> ImageOutputs:
        """See `Engine`."""
        if self.view not in self._images:
            self._images[self.view] = self._engine.image(*inputs)
        return self._images[self.view]

    def stereo(self, *inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        """See `Engine`; it depends on the images before, so that it is not repeated."""
        return self._engine.stereo(*inputs)

    def expert(self, *inputs: Any) -> LocalGaussians:
        """See `Engine`."""
        if self.view not in self._boxes:
            self._boxes[self.view] = self._engine.expert(*inputs)
        return self._boxes[self.view]


@dataclass
class Growth:
    """Measurements of a walk.

    Attributes:
        frames: number of frames in each room.
        start_mb: resident memory before the first frame, MB.
        times: milliseconds of every frame, by stage, and their `sum`.
        rooms: after each room: frame, voxels (occupied), blocks, memory_mb (of memory and voxel map), rss_mb (of the
            process).
    """

    frames: int
    start_mb: float
    times: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in (*STAGES, "sum")})
    rooms: list[dict[str, float]] = field(default_factory=list)

    def median(self, room: int, stage: str) -> float:
        """Median time of a stage over the frames of a room, milliseconds."""
        return float(np.median(self.times[stage][room * self.frames : (room + 1) * self.frames]))


def early_room(frames: int, rooms: int) -> int:
    """Returns the room of EARLY_FRAME, or the last but one if that comes first.

    Args:
        frames: number of frames in each room.
        rooms: number of rooms.
    """
    return min(EARLY_FRAME // frames, rooms - 2)


def learn(
    engine: RepeatingEngine, building: Building, config: MapperConfig, tick: Callable[[], object] = lambda: None
) -> None:
    """Run the networks on every view, in temporary maps; this also loads all kernels.

    Args:
        engine: to fill with the outputs.
        building: the rooms.
        config: of the mapper.
        tick: called after each view.
    """
    for kind, views in enumerate(building.views):
        mapper = OccupancyMapper(engine, config)
        for number, seen in enumerate(views):
            engine.view = (kind, number)
            mapper.step(seen)
            tick()


def walk(
    engine: RepeatingEngine,
    building: Building,
    frames: int,
    config: MapperConfig,
    tick: Callable[[], object] = lambda: None,
) -> tuple[Growth, OccupancyMapper]:
    """Walk through all rooms, back and forth along the views of each.

    Args:
        engine: filled by `learn`.
        building: the rooms.
        frames: number of frames in each room.
        config: of the mapper.
        tick: called after each frame.

    Returns:
        the measurements, and the mapper after the last frame.
    """
    mapper, growth = OccupancyMapper(engine, config), Growth(frames, memory_mb())
    for room, kind in enumerate(building.order):
        for step in range(frames):
            number = there_and_back(step, len(building.views[kind]))
            engine.view = (kind, number)
            update = mapper.step(building.frame(room, number, FRAME_NS * (room * frames + step)))
            for stage in STAGES:
                growth.times[stage].append(update.timings[stage])
            growth.times["sum"].append(sum(update.timings[stage] for stage in STAGES))
            tick()
        growth.rooms.append(
            {
                "frame": (room + 1) * frames,
                "voxels": mapper.map.voxel_map.occupied_count,
                "blocks": len(mapper.map.memory),
                "memory_mb": (mapper.map.memory.nbytes + mapper.map.voxel_map.nbytes) / 1e6,
                "rss_mb": memory_mb(),
            }
        )
    return growth, mapper


def there_and_back(step: int, count: int) -> int:
    """Returns the position after `step` steps back and forth along `count` places.

    The positions are 0, 1, ..., count - 1, ..., 1, 0, 1 and so on.
    """
    turn = max(2 * (count - 1), 1)
    return min(step % turn, turn - step % turn) if count > 1 else 0


def figures(growth: Growth) -> dict[str, Any]:
    """Returns the report's figures: early and late times, their ratio, the slowest frame, and the memory at the end."""
    early, late, last = early_room(growth.frames, len(growth.rooms)), len(growth.rooms) - 1, growth.rooms[-1]
    times = {stage: (growth.median(early, stage), growth.median(late, stage)) for stage in (*STAGES, "sum")}
    slowest = int(np.argmax(growth.times["sum"]))
    return {
        "early": {stage: figure(round(a, 2), "ms") for stage, (a, _) in times.items()},
        "late": {stage: figure(round(b, 2), "ms") for stage, (_, b) in times.items()},
        "late_over_early": {stage: figure(round(b / a, 3), "times") for stage, (a, b) in times.items()},
        "slowest_frame": {
            "time": figure(round(growth.times["sum"][slowest], 1), "ms"),
            "frame": figure(slowest, "frame"),
        },
        "voxels": figure(last["voxels"], "voxels"),
        "blocks": figure(last["blocks"], "blocks"),
        "memory": figure(round(last["memory_mb"], 1), "MB"),
        "bytes_per_voxel": figure(round(bytes_per_voxel(last), 1), "bytes"),
        "rss_start": figure(round(growth.start_mb, 1), "MB"),
        "rss_end": figure(round(last["rss_mb"], 1), "MB"),
    }


def bytes_per_voxel(room: dict[str, float]) -> float:
    """Returns the bytes of memory and voxel map per occupied voxel, for an entry of `Growth.rooms`."""
    return 1e6 * room["memory_mb"] / max(room["voxels"], 1)
