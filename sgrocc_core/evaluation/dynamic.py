"""Evaluation of changing scenes (method, section 4): how quickly the map removes and adds objects, and wrong removals.

The mapper processes each scene frame by frame. An event is judged by the frames that see its place after it happened.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sgrocc_core.classes import EMPTY, UNKNOWN
from sgrocc_core.data.dynamic_scenes import KINDS, SEES, ChangingScene, DynamicScenes, SceneEvent
from sgrocc_core.data.occ_scannet import Sample
from sgrocc_core.engines.engine import Engine
from sgrocc_core.errors import DataError
from sgrocc_core.evaluation.embodied import FRAME_NS, paint
from sgrocc_core.evaluation.metrics import regions
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.camera import back_project
from sgrocc_core.geometry.lattice import VOXEL_SIZE, box_pose
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.report import machine, versions

DONE = 0.9
"""Share of an object's voxels that must be removed, or present, for the event to count as done."""
LOOKS = 10
"""Number of looks within which an event should be done, and after which wrong removals are counted."""

MOMENTS = ("after_looks", "at_the_end")


@dataclass
class EventJudge:
    """Follows one event through the map, frame by frame.

    A look is a frame that sees the event's place after the event. Counts of 0 looks mean not yet.

    Attributes:
        event: the event to judge.
        before: (X, Y, Z) uint8, the truth just before the event.
        after: (X, Y, Z) uint8, the truth just after the event.
        thin: (X, Y, Z) bool, voxels of thin objects.
        looks: number of looks so far.
        gone: looks until the emptied voxels were removed from the map.
        came: looks until the filled voxels were in the map.
        came_visible: the same, for the filled voxels that depth has hit.
        stayed: voxels, after LOOKS looks, that were in the map before, are occupied before and after the
            event, and have been in view.
        removed: those of `stayed` that the map has lost.
        thin_stayed: those of `stayed` that are thin.
        thin_removed: those of `removed` that are thin.
        left_over: number of the `had` voxels still in the map, after LOOKS looks and at the end.
        there: number of the filled voxels in the map, after LOOKS looks and at the end.
        had: (N,) bool, which of the emptied voxels the map contained in the last frame before they were emptied.
        visible: (M,) bool, which of the filled voxels depth has hit since.
    """

    event: SceneEvent
    before: np.ndarray
    after: np.ndarray
    thin: np.ndarray
    looks: int = 0
    gone: int = 0
    came: int = 0
    came_visible: int = 0
    stayed: int = 0
    removed: int = 0
    thin_stayed: int = 0
    thin_removed: int = 0
    left_over: list[int] = field(default_factory=lambda: [0, 0])
    there: list[int] = field(default_factory=lambda: [0, 0])

    def __post_init__(self) -> None:
        self.had = np.zeros(len(self.event.emptied), np.bool_)
        self.visible = np.zeros(len(self.event.filled), np.bool_)
        self._map_before = np.zeros(self.before.shape, np.bool_)
        self._viewed = np.zeros(self.before.shape, np.bool_)

    @property
    def brings(self) -> bool:
        """Whether the event adds an object that stays; false for a person who passes."""
        return self.event.first == self.event.last and len(self.event.filled) > 0

    def step(self, frame: int, occupied: np.ndarray, viewed: np.ndarray, hit: np.ndarray) -> None:
        """Judge the map after a frame.

        Args:
            frame: its number.
            occupied: (X, Y, Z) bool, the map.
            viewed: (X, Y, Z) bool, voxels in view in this frame and not hidden.
            hit: (X, Y, Z) bool, voxels that contain this frame's depth.
        """
        event = self.event
        if frame == event.first - 1:
            self._map_before = occupied.copy()
        if frame == event.last - 1:
            self.had = occupied[tuple(event.emptied.T)]
        if frame < event.last:
            return
        sees = bool(event.seen[frame] >= SEES)
        self.looks += sees
        if self.looks <= LOOKS:
            self._viewed |= viewed
        left = occupied[tuple(event.emptied.T)] & self.had
        there = occupied[tuple(event.filled.T)]
        self.visible |= hit[tuple(event.filled.T)]
        self.left_over[1], self.there[1] = int(left.sum()), int(there.sum())
        if not sees:
            return
        if not self.gone and self.had.any() and left.sum() <= (1 - DONE) * self.had.sum() + 1e-9:
            self.gone = self.looks
        if self.brings and not self.came and there.sum() >= DONE * len(there):
            self.came = self.looks
        if (
            self.brings
            and not self.came_visible
            and self.visible.any()
            and there[self.visible].sum() >= DONE * self.visible.sum()
        ):
            self.came_visible = self.looks
        if self.looks == LOOKS:
            self.left_over[0], self.there[0] = int(left.sum()), int(there.sum())
            self._count_removed(occupied)

    def _count_removed(self, occupied: np.ndarray) -> None:
        matter = [(labels != EMPTY) & (labels != UNKNOWN) for labels in (self.before, self.after)]
        stayed = matter[0] & matter[1] & self._map_before & self._viewed
        removed = stayed & ~occupied
        self.stayed, self.removed = int(stayed.sum()), int(removed.sum())
        self.thin_stayed, self.thin_removed = int((stayed & self.thin).sum()), int((removed & self.thin).sum())

    def figures(self) -> dict[str, Any]:
        """Figures of this event as plain JSON; null where there is nothing to judge."""
        event = self.event
        return {
            "kind": event.kind, "frame": event.first, "until": event.last, "looks": self.looks,
            "emptied": len(event.emptied), "filled": len(event.filled), "map_had": int(self.had.sum()),
            "gone": _looks(self.gone) if self.had.any() else None,
            "came": _looks(self.came) if self.brings else None,
            "came_visible": _looks(self.came_visible) if self.brings and self.visible.any() else None,
            "visible": int(self.visible.sum()) if self.brings else None,
            "left_over": dict(zip(MOMENTS, self.left_over)),
            "there": dict(zip(MOMENTS, self.there)) if self.brings else None,
            "stayed": self.stayed, "removed": self.removed,
            "thin_stayed": self.thin_stayed, "thin_removed": self.thin_removed,
        }  # fmt: skip


def _looks(count: int) -> int | str:
    return count or "never"


def evaluate_scene(
    scene: ChangingScene, frames: Iterable[Sample], mapper: OccupancyMapper, tick: Callable[[], Any] = lambda: None
) -> list[dict[str, Any]]:
    """Map a scene and judge its events, in chronological order.

    Args:
        scene: the scene with its events.
        frames: all of the scene's frames.
        mapper: with an empty map and the scene's origin.
        tick: called after every frame.
    """
    judges = [EventJudge(e, scene.labels(e.first - 1), scene.labels(e.last), scene.thin) for e in scene.events]
    labels = np.zeros(scene.thin.shape, np.uint8)
    nothing = np.zeros(labels.shape, np.bool_)
    for number, sample in enumerate(frames):
        update = mapper.step(Frame(sample.image, sample.K, sample.T_wc, (number + 1) * FRAME_NS, sample.depth))
        paint(labels, update.voxels, update.labels)
        viewed = hit = nothing
        if any(number >= e.last for e in scene.events):
            viewed, hit = _in_view(scene, sample, mapper.config.max_distance), _hit(scene, sample)
        for judge in judges:
            judge.step(number, labels != EMPTY, viewed, hit)
        tick()
    return [{"scene": scene.name, **judge.figures()} for judge in judges]


def _in_view(scene: ChangingScene, sample: Sample, max_distance: float) -> np.ndarray:
    """(X, Y, Z) bool: voxels in the image within the map's range, excluding those behind the first surface."""
    depth = np.where(sample.depth > 0, np.minimum(sample.depth, max_distance), max_distance)
    shape = scene.thin.shape
    parts = regions(np.zeros(shape, np.uint8), depth, sample.K, box_pose(sample.T_wc, scene.origin))
    return np.asarray(parts["in_view"] & ~parts["hidden"])


def _hit(scene: ChangingScene, sample: Sample) -> np.ndarray:
    """(X, Y, Z) bool: voxels that contain the frame's depth."""
    index = np.floor((back_project(sample.depth, sample.K, sample.T_wc) - scene.origin) / VOXEL_SIZE).astype(np.int64)
    hit = np.zeros(scene.thin.shape, np.uint8)
    paint(hit, index, np.ones(len(index), np.uint8))
    return hit > 0


def pooled(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Pooled figures of several events; a share without a denominator is null."""
    parts: dict[str, Any] = {"events": len(events)}
    for key in ("gone", "came", "came_visible"):
        looks = [e[key] for e in events if e[key] is not None]
        numbers = sorted(np.inf if n == "never" else n for n in looks)
        middle = float(np.median(numbers)) if numbers else None
        parts[key] = {
            "judged": len(looks), "within_10": _share(sum(n <= LOOKS for n in numbers), len(looks)),
            "never": looks.count("never"),
            "median_looks": None if middle is None or not np.isfinite(middle) else middle,
        }  # fmt: skip
    for key, of, part in (
        ("removed", "stayed", "wrongly_removed"),
        ("thin_removed", "thin_stayed", "thin_wrongly_removed"),
    ):
        counts = [sum(e[k] for e in events) for k in (key, of)]
        parts[part] = {"removed": counts[0], "stayed": counts[1], "share": _share(*counts)}
    had = sum(e["map_had"] for e in events)
    parts["held_before"] = _share(had, sum(e["emptied"] for e in events))
    parts["left_over"] = {k: _share(sum(e["left_over"][k] for e in events), had) for k in MOMENTS}
    brought = [e for e in events if e["there"] is not None]
    parts["there"] = {
        k: _share(sum(e["there"][k] for e in brought), sum(e["filled"] for e in brought)) for k in MOMENTS
    }
    return parts


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def evaluate_dynamic(
    engine: Engine,
    data: DynamicScenes,
    chosen: Iterable[int],
    config: MapperConfig,
    tick: Callable[[], Any] = lambda: None,
) -> dict[str, Any]:
    """Evaluate a model on scenes that change.

    Args:
        engine: the model.
        data: the set.
        chosen: indices of the scenes.
        config: of the mapper.
        tick: called after every frame.

    Returns:
        Figures of all events, by kind and per event, with the model, the settings, versions, machine and duration in
        seconds.

    Raises:
        DataError: there are no scenes, or a file is missing or damaged.
    """
    start, events, scenes = time.perf_counter(), [], 0
    for index in chosen:
        scene = data[index]
        mapper = OccupancyMapper(engine, config, tuple(float(v) for v in scene.origin))  # type: ignore[arg-type]
        events += evaluate_scene(scene, data.frames(scene), mapper, tick)
        scenes += 1
    if not events:
        raise DataError("no scenes to evaluate")
    spec = engine.spec
    return {
        "pooled": pooled(events),
        "by_kind": {kind: pooled([e for e in events if e["kind"] == kind]) for kind in KINDS},
        "scenes": scenes, "per_event": events,
        "model": {"name": spec.name, "folder": str(spec.folder), "files": spec.files, "engine": engine.description},
        "settings": {
            "depth_source": config.depth_source, "occupancy_threshold": config.occupancy_threshold,
            "max_distance": config.max_distance,
        },
        "versions": versions(), "machine": machine(), "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip


def table(report: dict[str, Any]) -> str:
    """Format the report's main figures as text: one line per kind of event, and one for all."""
    lines = [
        f"{report['pooled']['events']} events in {report['scenes']} scenes, depth source "
        f"{report['settings']['depth_source']}; 90 % of it done within 10 frames that see the place (median frames)",
        f"{'':15}{'gone':>15}{'there':>15}{'there, seen':>15}"
        f"{'wrongly removed':>17}{'of it thin':>12}{'left over':>11}",
    ]
    for name, part in [*report["by_kind"].items(), ("all", report["pooled"])]:
        done = [_done(part[key]) for key in ("gone", "came", "came_visible")]
        wrong = [_percent(part[key]["share"]) for key in ("wrongly_removed", "thin_wrongly_removed")]
        cells = "".join(f"{cell:>15}" for cell in done)
        lines.append(f"{name:15}{cells}{wrong[0]:>17}{wrong[1]:>12}{_percent(part['left_over']['after_looks']):>11}")
    return "\n".join(lines)


def _done(part: dict[str, Any]) -> str:
    if not part["judged"]:
        return "-"
    return (
        f"{_percent(part['within_10'])} ({'-' if part['median_looks'] is None else format(part['median_looks'], 'g')})"
    )


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"
