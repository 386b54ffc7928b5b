"""Evaluation of the embodied task (method, section 7): whole scenes, mapped frame by frame and scored.

The map is the one a robot would have: the fused and verified memory, with the evidence of the depth. It is compared
with the single frames of the same run, each scored within its own view, and with trivial predictors on the same frames.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sgrocc_core.classes import EMPTY
from sgrocc_core.data.embodied_scannet import EmbodiedScanNet, EmbodiedScene
from sgrocc_core.data.occ_scannet import Sample
from sgrocc_core.engines.engine import Engine, ImageOutputs, Sources
from sgrocc_core.errors import DataError
from sgrocc_core.evaluation.baselines import Statistics, depth_surface, drawn_by_frequency
from sgrocc_core.evaluation.excess import ExcessCounts
from sgrocc_core.evaluation.metrics import OccupancyCounts, regions
from sgrocc_core.evaluation.models import splat_local
from sgrocc_core.frame import Frame
from sgrocc_core.gaussians.gaussians import History, LocalGaussians
from sgrocc_core.geometry.camera import scale_intrinsics
from sgrocc_core.geometry.lattice import (
    BOX_CELLS,
    BOX_VOXELS,
    CELL_SIZE,
    CELL_VOXELS,
    box_overlap,
    box_pose,
)
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.report import machine, versions
from sgrocc_core.voxels.splatting.equations import labels_from

SOURCES = {"predicted": "mono", "sensor": "topic"}
"""The mapper's depth_source for each kind of depth."""
FRAME_NS = 100_000_000
"""Time between frames, nanoseconds; the sets have no timestamps."""
MARGIN = BOX_VOXELS
"""Voxels around a scene's grid that are also looked at: no box reaches farther from a camera inside it."""


class _Listener:
    """Engine wrapper that also records the prediction made without history."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self.spec, self.description = engine, engine.spec, engine.description
        self.image = engine.image
        self.alone: LocalGaussians

    def stereo(self, seen: ImageOutputs, sources: Sources) -> tuple[np.ndarray, np.ndarray]:
        """See `Engine.stereo`."""
        return self._engine.stereo(seen, sources)

    def expert(
        self,
        features: np.ndarray,
        depth: np.ndarray,
        spread: np.ndarray,
        thickness: np.ndarray,
        K: np.ndarray,
        T_bc: np.ndarray,
        history: History | None = None,
        wanted: np.ndarray | None = None,
    ) -> LocalGaussians:
        """See `Engine.expert`."""
        self.alone = self._engine.expert(features, depth, spread, thickness, K, T_bc)
        return self._engine.expert(features, depth, spread, thickness, K, T_bc, history, wanted)


@dataclass
class SourceCounts:
    """Counts of one kind of depth over any number of scenes.

    Attributes:
        final: the map after a scene's last frame, over the union of the frames' masks.
        hidden: the same, restricted to voxels that were hidden behind the surface in every frame.
        single: each frame's own prediction, over its own mask.
        surface: the surface of all frames' depth.
        curve: the map after frame 1, 2, ..., over the union of the masks so far.
        excess: of the whole map after a scene's last frame, masks or not.
    """

    final: OccupancyCounts = field(default_factory=OccupancyCounts)
    hidden: OccupancyCounts = field(default_factory=OccupancyCounts)
    single: OccupancyCounts = field(default_factory=OccupancyCounts)
    surface: OccupancyCounts = field(default_factory=OccupancyCounts)
    curve: list[OccupancyCounts] = field(default_factory=list)
    excess: ExcessCounts = field(default_factory=ExcessCounts)

    def figures(self) -> dict[str, Any]:
        """Figures of the final map, with the others as nested entries."""
        curve = [{key: counts.figures()[key] for key in ("sc_iou", "miou")} for counts in self.curve]
        return {
            **self.final.figures(),
            "hidden": self.hidden.figures(),
            "single_frame": self.single.figures(),
            "curve": curve,
            "excess": self.excess.figures(),
            "baselines": {"depth_surface": self.surface.figures()},
        }


class EmbodiedEvaluation:
    """Counts over the scenes of a set.

    Args:
        engine: the model.
        statistics: of the baselines' training set; None omits the baselines.
        config: of the mapper.
        own_boxes: whether the mapper places its boxes as in use, instead of where the set has them.
    """

    def __init__(
        self,
        engine: Engine,
        statistics: Statistics | None,
        config: MapperConfig | None = None,
        own_boxes: bool = False,
    ) -> None:
        self.own_boxes = own_boxes
        self.engine, self.statistics, self.config = _Listener(engine), statistics, config or MapperConfig()
        self.counts = {source: SourceCounts() for source in SOURCES}
        self.empty, self.drawn = OccupancyCounts(), OccupancyCounts()
        self.scenes, self.frames = 0, 0

    def add(
        self, scene: EmbodiedScene, frames: Iterable[tuple[Sample, np.ndarray]], tick: Callable[[], None] = lambda: None
    ) -> None:
        """Map one scene with both kinds of depth.

        Args:
            scene: the scene with its truth.
            frames: the scene's samples in order, each with its mask (X, Y, Z) bool.
            tick: called after every frame.

        Raises:
            DataError: the scene has no frames.
        """
        walks = {
            source: _Walk(scene, self.engine, self._mapper(scene, kind), self.counts[source], self.own_boxes)
            for source, kind in SOURCES.items()
        }
        surfaces = {source: np.full(scene.labels.shape, EMPTY, np.uint8) for source in SOURCES}
        union, observed, number = np.zeros(scene.labels.shape, np.bool_), np.zeros(scene.labels.shape, np.bool_), 0
        for number, (sample, mask) in enumerate(frames, 1):
            union |= mask
            T_sc = box_pose(sample.T_wc, scene.origin)
            observed |= mask & ~regions(scene.labels, sample.depth, sample.K, T_sc)["hidden"]
            for source, walk in walks.items():
                depth = walk.step(sample, number, mask, union)
                if self.statistics is not None:
                    K = scale_intrinsics(
                        sample.K, depth.shape[1] / sample.image.shape[1], depth.shape[0] / sample.image.shape[0]
                    )
                    found = depth_surface(depth, K, sample.T_wc, scene.origin, scene.labels.shape, self.statistics)
                    np.copyto(surfaces[source], found, where=found != EMPTY)
            tick()
        if not number:
            raise DataError(f"scene {scene.name} has no frames")
        for source, walk in walks.items():
            walk.finish(union, observed)
            self.counts[source].surface.add(surfaces[source], scene.labels, union)
        self.empty.add(np.zeros_like(scene.labels), scene.labels, union)
        if self.statistics is not None:
            self.drawn.add(drawn_by_frequency(scene.labels.shape, self.statistics, self.scenes), scene.labels, union)
        self.scenes, self.frames = self.scenes + 1, self.frames + number

    def _mapper(self, scene: EmbodiedScene, depth_source: str) -> OccupancyMapper:
        config = replace(self.config, depth_source=depth_source)
        return OccupancyMapper(self.engine, config, tuple(float(v) for v in scene.origin))  # type: ignore[arg-type]

    def report(self) -> dict[str, Any]:
        """All figures so far, with the keys of the method's section 7."""
        figures: dict[str, Any] = {source: counts.figures() for source, counts in self.counts.items()}
        figures["baselines"] = {"all_empty": self.empty.figures()}
        if self.statistics is not None:
            figures["baselines"]["class_frequency"] = self.drawn.figures()
        else:
            for source in SOURCES:
                del figures[source]["baselines"]
        return {**figures, "scenes": self.scenes, "frames": self.frames}


class _Walk:
    """One scene processed by one mapper."""

    def __init__(
        self, scene: EmbodiedScene, engine: _Listener, mapper: OccupancyMapper, counts: SourceCounts, own_boxes: bool
    ) -> None:
        self.scene, self.engine, self.mapper, self.counts, self.own_boxes = scene, engine, mapper, counts, own_boxes
        self.whole = np.zeros([n + 2 * m for n, m in zip(scene.labels.shape, MARGIN)], np.uint8)
        self.labels = self.whole[tuple(slice(m, m + n) for n, m in zip(scene.labels.shape, MARGIN))]

    def step(self, sample: Sample, number: int, mask: np.ndarray, union: np.ndarray) -> np.ndarray:
        """Map and count a frame; returns the depth used, registered to the image, (H, W) metres.

        Unless the mapper places its boxes itself, each extends as far down and up as the set's own box for this
        frame, because its masks end there, also at ceilings.
        """
        if not self.own_boxes:
            below = float(np.clip(sample.T_wc[2, 3] - sample.voxel_origin[2], 0.0, BOX_CELLS[2] * CELL_SIZE))
            self.mapper.config = replace(self.mapper.config, box_below=below, box_shift=0.0)
        frame = Frame(sample.image, sample.K, sample.T_wc, number * FRAME_NS, sample.depth)
        update = self.mapper.step(frame)
        paint(self.whole, update.voxels + np.array(MARGIN), update.labels)
        if len(self.counts.curve) < number:
            self.counts.curve.append(OccupancyCounts())
        self.counts.curve[number - 1].add(self.labels, self.scene.labels, union)
        self._count_alone(mask)
        return update.depth

    def _count_alone(self, mask: np.ndarray) -> None:
        """Score the network's prediction without history for this frame, within its box and mask."""
        view = self.mapper.map.last_view
        assert view is not None
        labels = labels_from(*splat_local(self.engine.alone), self.mapper.config.occupancy_threshold)
        whole, part = box_overlap(view.corner * CELL_VOXELS, self.scene.labels.shape)
        inside = np.zeros(mask.shape, np.bool_)
        inside[whole] = True
        placed = np.zeros(mask.shape, np.uint8)
        placed[whole] = labels[part]
        self.counts.single.add(placed, self.scene.labels, mask & inside)

    def finish(self, union: np.ndarray, observed: np.ndarray) -> None:
        """Count the finished map."""
        self.counts.final.add(self.labels, self.scene.labels, union)
        self.counts.hidden.add(self.labels, self.scene.labels, union & ~observed)
        self.counts.excess.add(self.whole, MARGIN, self.scene.labels)


def paint(labels: np.ndarray, voxels: np.ndarray, values: np.ndarray) -> None:
    """Write an update's voxels into a dense grid; voxels outside are ignored."""
    inside = ((voxels >= 0) & (voxels < labels.shape)).all(1)
    labels[tuple(voxels[inside].T)] = values[inside]


def evaluate_embodied(
    engine: Engine,
    data: EmbodiedScanNet,
    chosen: Iterable[int],
    statistics: Statistics | None,
    config: MapperConfig | None = None,
    most_frames: int = 0,
    tick: Callable[[], None] = lambda: None,
    own_boxes: bool = False,
) -> dict[str, Any]:
    """Evaluate a model on scenes.

    Args:
        engine: the model.
        data: the set.
        chosen: indices of the scenes.
        statistics: of the baselines' training set; None omits the baselines.
        config: of the mapper.
        most_frames: maximum number of frames per scene, 0 = all.
        tick: called after every frame.
        own_boxes: see `EmbodiedEvaluation`.

    Returns:
        The figures, with the model, the settings, versions, machine and duration in seconds.

    Raises:
        DataError: there are no scenes, or a scene has no frames.
    """
    start = time.perf_counter()
    evaluation = EmbodiedEvaluation(engine, statistics, config, own_boxes)
    for index in chosen:
        scene = data[index]
        frames = (
            data.frames(scene) if not most_frames else (pair for pair, _ in zip(data.frames(scene), range(most_frames)))
        )
        evaluation.add(scene, frames, tick)
    if not evaluation.scenes:
        raise DataError("no scenes to evaluate")
    spec = engine.spec
    return {
        **evaluation.report(),
        "model": {"name": spec.name, "folder": str(spec.folder), "files": spec.files, "engine": engine.description},
        "settings": {
            "occupancy_threshold": evaluation.config.occupancy_threshold,
            "max_distance": evaluation.config.max_distance,
            "boxes": "own" if own_boxes else "set",
        },
        "versions": versions(),
        "machine": machine(),
        "seconds": round(time.perf_counter() - start, 1),
    }


def table(report: dict[str, Any]) -> str:
    """Format the report's main figures as text: the map, the single frames, the trivial predictors and the curve."""
    rows = []
    for source in SOURCES:
        part = report[source]
        rows.append((f"{source} depth: the map after the last frame", part))
        rows.append(("  where no frame saw", part["hidden"]))
        rows.append(("  the single frames", part["single_frame"]))
        if "baselines" in part:
            rows.append(("  depth surface, class by height", part["baselines"]["depth_surface"]))
    rows += [(name.replace("_", " "), part) for name, part in report["baselines"].items()]
    lines = [f"{report['frames']} frames of {report['scenes']} scenes; SC-IoU / mIoU / boundary F1"]
    lines += [f"{name:42}{part['sc_iou']:.3f} / {part['miou']:.3f} / {part['boundary_f1']:.3f}" for name, part in rows]
    for source in SOURCES:
        part = report[source]["excess"]
        if part["voxels"]:
            lines.append(
                f"{source} depth, excess of {part['voxels']} voxels: "
                f"{100 * part['structural']:.1f} % structure behind the surface "
                f"({100 * part['invented']:.1f} % where there is none), "
                f"{100 * part['outside']:.1f} % outside the shell, {100 * part['either']:.1f} % either"
            )
    for source in SOURCES:
        curve = report[source]["curve"]
        some = sorted({*range(0, len(curve), max(1, len(curve) // 6)), len(curve) - 1})
        points = ", ".join(f"{i + 1}: {curve[i]['sc_iou']:.3f} / {curve[i]['miou']:.3f}" for i in some)
        lines.append(f"{source} depth, after frame {points}")
    return "\n".join(lines)
