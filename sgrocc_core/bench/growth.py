"""How a step's time and the memory grow with the map: a walk through a building, the networks' outputs of every view kept and repeated.

What a network says of a view does not depend on how large the map is, so each runs once a view; all else is done as ever.
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
"""The late frames are compared with those of the room that this one is in."""
MOST_TIMES = 1.1
"""Target: time of the late frames over that of the early ones."""
MOST_BYTES = 1000.0
"""Target: bytes of the memory for each occupied voxel."""
STAGES = ("slice", "memory", "splat")
"""Everything but the networks."""
FRAME_NS = 100_000_000


class RepeatingEngine:
    """An engine whose networks run once a view and repeat what they said.

    Attributes:
        view: which one is mapped next; to be set before each step.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine, self.spec, self.description = engine, engine.spec, engine.description
        self.view: tuple[int, int] = (0, 0)
        self._images: dict[tuple[int, int], ImageOutputs] = {}
        self._boxes: dict[tuple[int, int], LocalGaussians] = {}

    def image(self, *inputs: Any) -> ImageOutputs:
        """As an Engine's."""
        if self.view not in self._images:
            self._images[self.view] = self._engine.image(*inputs)
        return self._images[self.view]

    def expert(self, *inputs: Any) -> LocalGaussians:
        """As an Engine's."""
        if self.view not in self._boxes:
            self._boxes[self.view] = self._engine.expert(*inputs)
        return self._boxes[self.view]


@dataclass
class Growth:
    """What a walk measured.

    Attributes:
        frames: in each room. start_mb: resident memory before the first frame.
        times: milliseconds of every frame, by stage, and their `sum`.
        rooms: after each room: frame, voxels (occupied), blocks, memory_mb (of memory and voxel map), rss_mb (of the process).
    """

    frames: int
    start_mb: float
    times: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in (*STAGES, "sum")})
    rooms: list[dict[str, float]] = field(default_factory=list)

    def median(self, room: int, stage: str) -> float:
        """Median time of a stage over the frames of a room, milliseconds."""
        return float(np.median(self.times[stage][room * self.frames : (room + 1) * self.frames]))


def early_room(frames: int, rooms: int) -> int:
    """The room that EARLY_FRAME is in, of those before the last; frames: in each room."""
    return min(EARLY_FRAME // frames, rooms - 2)


def learn(
    engine: RepeatingEngine, building: Building, config: MapperConfig, tick: Callable[[], object] = lambda: None
) -> None:
    """Have the networks look at every view, in maps thrown away; all kernels are loaded then."""
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
    """Walk through all rooms, there and back past the views of each.

    Args:
        engine: that has learnt the building. frames: in each room. tick: called after each frame.
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
        growth.rooms.append({
            "frame": (room + 1) * frames, "voxels": mapper.map.voxel_map.occupied_count, "blocks": len(mapper.map.memory),
            "memory_mb": (mapper.map.memory.nbytes + mapper.map.voxel_map.nbytes) / 1e6, "rss_mb": memory_mb(),
        })  # fmt: skip
    return growth, mapper


def there_and_back(step: int, count: int) -> int:
    """Position of a walk to and fro along `count` places: 0, 1, ..., count - 1, count - 2, ..., 0, 1, ..."""
    turn = max(2 * (count - 1), 1)
    return min(step % turn, turn - step % turn) if count > 1 else 0


def figures(growth: Growth) -> dict[str, Any]:
    """The report's figures: early and late time, their ratio, the slowest frame, the memory at the end."""
    early, late, last = early_room(growth.frames, len(growth.rooms)), len(growth.rooms) - 1, growth.rooms[-1]
    times = {stage: (growth.median(early, stage), growth.median(late, stage)) for stage in (*STAGES, "sum")}
    slowest = int(np.argmax(growth.times["sum"]))
    return {
        "early": {stage: figure(round(a, 2), "ms") for stage, (a, _) in times.items()},
        "late": {stage: figure(round(b, 2), "ms") for stage, (_, b) in times.items()},
        "late_over_early": {stage: figure(round(b / a, 3), "times") for stage, (a, b) in times.items()},
        "slowest_frame": {"time": figure(round(growth.times["sum"][slowest], 1), "ms"), "frame": figure(slowest, "frame")},
        "voxels": figure(last["voxels"], "voxels"), "blocks": figure(last["blocks"], "blocks"),
        "memory": figure(round(last["memory_mb"], 1), "MB"), "bytes_per_voxel": figure(round(bytes_per_voxel(last), 1), "bytes"),
        "rss_start": figure(round(growth.start_mb, 1), "MB"), "rss_end": figure(round(last["rss_mb"], 1), "MB"),
    }  # fmt: skip


def bytes_per_voxel(room: dict[str, float]) -> float:
    """Bytes of memory and voxel map for each occupied voxel, of an entry of `Growth.rooms`."""
    return 1e6 * room["memory_mb"] / max(room["voxels"], 1)
