"""Embodied training (method, section 6): the temporal manager alone on a frozen spatial expert, then everything at a low rate.

The stages: `manager` (phase 1), `everything` (phase 2: lifters and the spatial encoder at a tenth of the rate, the depth backbone not at
all), and, to compare with, `end_to_end` (all of it from the first step, at one rate).
"""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sgrocc_core.errors import DataError
from sgrocc_core.evaluation.local import spread_evenly
from sgrocc_core.network.expert.lattice_encoder import cell_centres
from sgrocc_core.training import distribution
from sgrocc_core.training.config import TrainConfig
from sgrocc_core.training.data.sequences import Turn, Walks, episodes
from sgrocc_core.training.embodied.look import look_at_walks
from sgrocc_core.training.embodied.scene_memory import SceneMemory
from sgrocc_core.training.embodied.step import WalkObjective
from sgrocc_core.training.losses.objectives import Terms, class_weights, voxel_weights
from sgrocc_core.training.run_log import NoLog, RunLog
from sgrocc_core.training.step import Batch
from sgrocc_core.training.trainer import Trainer

SPATIAL = ("code", "lifters", "encoders")
"""The spatial expert's lifter and encoder: a tenth of the rate in phase 2."""
HEADS = ("refinements", "dense", "fusion")
SLOW = 0.1
COUNTED_WALKS = 24
"""Scenes that class weights are counted on."""


class EmbodiedTrainer(Trainer):
    """One phase of embodied training; see `Trainer`, of which it keeps checkpoints, averages, logs and the optimizer's step.

    Args:
        folders: of packed walks. heldout: the same, or None.
    """

    def __init__(self, config: TrainConfig, stage: str, folders: list[Path], heldout: Path | None, out: Path) -> None:
        self.walk = config.walk
        self.memories: list[SceneMemory] = []
        super().__init__(config, stage, folders, heldout, out)
        self.options = dataclasses.replace(self.options, grid=True)

    def _modules(self, names: tuple[str, ...]) -> dict[str, nn.Module]:
        assert self.expert is not None
        return {
            f"expert.{name}.": module
            for name in names
            if isinstance(module := getattr(self.expert, name, None), nn.Module)
        }

    def learning(self) -> dict[str, nn.Module]:
        """Phase 1: fusion. Later: the expert and the features' projection; the rest of the image engine never."""
        assert self.expert is not None
        self.engine.requires_grad_(False)
        self.expert.requires_grad_(False)
        if self.stage == "manager":
            trained = self._modules(("fusion",))
            if not trained:
                raise DataError("the expert has no fusion to train; set network: {fusion: identity}")
        else:
            trained = {"image.to_features.": self.engine.get_submodule("to_features"), **self._modules(SPATIAL + HEADS)}
        for module in trained.values():
            module.requires_grad_(True)
        return trained

    def share(self, prefix: str) -> float:
        """A tenth for the spatial expert's lifter and encoder in phase 2; 1 otherwise."""
        spatial = prefix == "image.to_features." or prefix.removeprefix("expert.").rstrip(".") in SPATIAL
        return SLOW if self.stage == "everything" and spatial else 1.0

    def make_objective(self) -> nn.Module:
        """The networks with the loss of a few frames of several walks."""
        assert self.expert is not None
        frozen = list(self._modules(SPATIAL + HEADS[:2]).values()) if self.stage == "manager" else []
        return WalkObjective(
            self.engine,
            self.expert,
            frozen,
            "image.to_features." in self.trained,
            self.config.losses,
            self.walk,
            self.compute,
        )

    def terms(self, batch: Any, label_weights: tuple[Tensor, Tensor]) -> Terms:
        """The loss of a few frames: (frames, episode, number of the first)."""
        frames, episode, first = batch
        size = len(frames[0]["image"])
        places = range(self.processes.rank * size, (self.processes.rank + 1) * size)
        moved = [self.compute.move(frame) for frame in frames]
        if first == 0:
            self.memories = [self.memory(cells) for cells in frames[0]["cells"].numpy()]
        found: Terms = self.objective(moved, self.memories, label_weights, (self.config.seed, episode), first, places)
        return found

    def memory(self, cells: np.ndarray) -> SceneMemory:
        """An empty memory for a scene of (3,) cells."""
        network = self.config.network
        centres = cell_centres().to(self.compute.device)
        size = (int(cells[0]), int(cells[1]), int(cells[2]))
        return SceneMemory(size, network.gaussians, network.channels, centres, self.walk.confidence)

    @functools.cached_property
    def _walks(self) -> Walks:
        return Walks(self.folders, self.options, self.walk.length)

    def label_weights(self, data: Any) -> tuple[Tensor, Tensor]:
        """Class weights in the image (not used here) and in the grid, from the boxes of some walks' first frames; on the device."""
        some = np.unique(np.linspace(0, len(data) - 1, min(COUNTED_WALKS, len(data))).astype(int))
        counts = np.zeros(12)
        for index in some:
            walk = data.walk(int(index))
            for frame in range(0, len(walk), max(1, len(walk) // 4)):
                counts += np.bincount(data.view(int(index), frame, Turn())[0].target.ravel(), minlength=256)[:12]
        weights = torch.from_numpy(counts)
        return class_weights(weights).to(self.compute.device), voxel_weights(weights).to(self.compute.device)

    def run(self, rescan: Callable[[], None] | None = None) -> dict[str, float]:
        """Train to the end of the schedule, which is looked at between episodes; see `Trainer.run`."""
        if rescan is not None and self.processes.first:
            rescan()
        distribution.wait_for_all()
        weights = self.label_weights(self._walks)
        per_episode = self.walk.length // self.walk.unroll
        most = -(-self.schedule.steps // per_episode)
        with RunLog(self.out, self.stage, self.step) if self.processes.first else NoLog() as log:
            self._saved = self._validated = time.monotonic()
            self._run_episodes(weights, self.step // per_episode, most, log)
            self.save()
            self.figures = self.validate()
            log.note("heldout", self.step, self.seconds, self.figures)
        distribution.wait_for_all()
        return self.figures

    def _run_episodes(self, weights: tuple[Tensor, Tensor], first: int, last: int, log: RunLog) -> None:
        length, size, unroll = self.walk.length, self.stage_config.batch, self.walk.unroll
        whole = episodes(self._walks, size, first, last, self.config.workers)
        frames: list[Batch] = []
        clock = time.monotonic()
        for count, batch in enumerate(distribution.shared_loader(whole, self.processes, size)):
            episode, number = first + count // length, count % length
            frames.append(batch)
            if len(frames) < unroll:
                continue
            values = self.train_step((frames, episode, number + 1 - unroll), weights)
            for memory in self.memories:
                memory.detach()
            frames = []
            clock = self.after_step(values, clock, size * unroll, len(self._walks), log, may_save=number + 1 == length)
            if number + 1 == length and self.schedule.progress(self.step, self.seconds) >= 1.0:
                break

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Figures of the averaged weights on held-out walks, with the head's depth and with the sensor's: of the fused predictions, frame
        by frame in view, and of what the memory holds at the end.
        """
        if self.heldout is None:
            return {}
        kept = {name: value.clone() for name, value in self._floating().items()}
        self._load(self.average)
        try:
            return {
                f"{name}_{key}": value
                for name, share in (("predicted", 0.0), ("sensor", 1.0))
                for key, value in self.look(share).items()
            }
        finally:
            self._load(kept)

    def look(self, sensor_share: float) -> dict[str, float]:
        """Figures of the weights as they are on held-out walks, with this share of them seen by a sensor."""
        assert self.expert is not None
        options = dataclasses.replace(self.options, augment=False, sensor_share=sensor_share, seed=0)
        walks = Walks([self.heldout] if self.heldout else [], options, self.walk.length)
        chosen = spread_evenly(list(range(len(walks))), self.walk.validation_walks)
        mine = chosen[self.processes.rank :: self.processes.count]
        memories = {scene: self.memory(walks.cells(scene, Turn())) for scene in mine}
        return look_at_walks(self.engine, self.expert, walks, mine, memories, self.compute).figures()
