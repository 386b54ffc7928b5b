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
"""The frames of this frame's room are compared with those of a room of the same kind after the walk."""
MOST_TIMES = 1.0
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
        pairs: milliseconds of an early and of the same late frame, which ran one after the other, by stage and `sum`.
        rooms: after each room: frame, voxels (occupied), blocks, memory_mb (of memory and voxel map), rss_mb (of the
            process).
    """

    frames: int
    start_mb: float
    times: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in (*STAGES, "sum")})
    pairs: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: {n: [] for n in (*STAGES, "sum")})
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
    rooms: int | None = None,
) -> tuple[Growth, OccupancyMapper]:
    """Walk through the rooms, back and forth along the views of each.

    Args:
        engine: filled by `learn`.
        building: the rooms.
        frames: number of frames in each room.
        config: of the mapper.
        tick: called after each frame.
        rooms: how many of the rooms; None: all.

    Returns:
        the measurements, without pairs, and the mapper after the last frame.
    """
    mapper, growth = OccupancyMapper(engine, config), Growth(frames, memory_mb())
    for room, kind in enumerate(building.order[:rooms]):
        for step in range(frames):
            number = there_and_back(step, len(building.views[kind]))
            engine.view = (kind, number)
            update = mapper.step(building.frame(room, number, FRAME_NS * (room * frames + step)))
            for stage, spent in _stages(update.timings).items():
                growth.times[stage].append(spent)
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


def in_turn(
    engine: RepeatingEngine,
    building: Building,
    growth: Growth,
    config: MapperConfig,
    grown: OccupancyMapper,
    tick: Callable[[], object] = lambda: None,
) -> None:
    """Map the room of EARLY_FRAME in a map as it was then, and one like it in the grown map, frame by frame in turn.

    What else runs on the machine changes over the minutes of a walk, but hardly from one frame to the next.

    Args:
        engine: filled by `learn`.
        building: the rooms.
        growth: of the walk; receives the pairs.
        config: of the mapper.
        grown: the mapper after the walk; it maps a room on an empty plot.
        tick: called after each frame.
    """
    early, last = early_room(growth.frames, len(building.order)), len(building.order)
    _, young = walk(engine, building, growth.frames, config, tick, early)
    kind, draw = building.order[early], np.random.default_rng(0)
    for step in range(growth.frames):
        number = there_and_back(step, len(building.views[kind]))
        engine.view = (kind, number)
        turns = [(young, early), (grown, last)]
        spent = {}
        for which in draw.permutation(2):  # either is the first as often
            mapper, plot = turns[which]
            seen = building.frame(plot, number, FRAME_NS * (plot * growth.frames + step), kind)
            spent[which] = _stages(mapper.step(seen).timings)
            tick()
        for stage, pairs in growth.pairs.items():
            pairs.append((spent[0][stage], spent[1][stage]))


def _stages(timings: dict[str, float]) -> dict[str, float]:
    """Milliseconds of STAGES, and their `sum`."""
    found = {stage: timings[stage] for stage in STAGES}
    return found | {"sum": sum(found.values())}


def there_and_back(step: int, count: int) -> int:
    """Returns the position after `step` steps back and forth along `count` places.

    The positions are 0, 1, ..., count - 1, ..., 1, 0, 1 and so on.
    """
    turn = max(2 * (count - 1), 1)
    return min(step % turn, turn - step % turn) if count > 1 else 0


def figures(growth: Growth) -> dict[str, Any]:
    """Returns the report's figures: early and late times, their ratio, the slowest frame, and the memory at the end.

    The ratio is the median of the pairs' ratios.
    """
    last = growth.rooms[-1]
    pairs = {stage: np.array(found) for stage, found in growth.pairs.items()}
    times = {stage: np.median(found, 0) for stage, found in pairs.items()}
    ratios = {stage: float(np.median(found[:, 1] / found[:, 0])) for stage, found in pairs.items()}
    slowest = int(np.argmax(growth.times["sum"]))
    return {
        "early": {stage: figure(round(float(a), 2), "ms") for stage, (a, _) in times.items()},
        "late": {stage: figure(round(float(b), 2), "ms") for stage, (_, b) in times.items()},
        "late_over_early": {stage: figure(round(ratio, 3), "times") for stage, ratio in ratios.items()},
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
