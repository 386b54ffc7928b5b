"""Stages on walks (method, section 6): the temporal manager first, then everything.

The stages are `manager` (phase 1: the temporal manager on a frozen spatial expert), `everything` (phase 2: lifter and
spatial encoder at a tenth of the rate, the depth backbone frozen) and, for comparison, `end_to_end` (all of these
from the first step at one rate).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sgrocc_core.errors import DataError
from sgrocc_core.evaluation.local import spread_evenly
from sgrocc_core.network.expert.lattice_encoder import cell_centres
from sgrocc_core.training import distribution
from sgrocc_core.training.compute import choose
from sgrocc_core.training.config import TrainConfig
from sgrocc_core.training.data.dataset import Batch
from sgrocc_core.training.data.sequences import Turn, Walks, episodes
from sgrocc_core.training.embodied.look import look_at_walks
from sgrocc_core.training.embodied.scene_memory import SceneMemory
from sgrocc_core.training.embodied.step import WalkObjective
from sgrocc_core.training.local.stage import dataset_options
from sgrocc_core.training.losses.objectives import Terms, class_weights, voxel_weights
from sgrocc_core.training.stage import StepInput, Trained, make_networks, on_device

SPATIAL = ("code", "lifters", "encoders", "dual_mamba")
"""Attribute names of the spatial expert's lifter and encoder."""
HEADS = ("refinements", "dense", "fusion")
SPATIAL_RATE = 0.1
"""Learning rate of the spatial expert in phase 2 as a share of the stage's (method, section 6)."""
COUNTED_WALKS = 24
"""Maximum number of scenes whose voxels are counted for the class weights; a round guess."""


@dataclass(frozen=True)
class WalkData:
    """The training walks, with the weights of their classes.

    Attributes:
        walks: the scenes of all folders.
        label_weights: (12,) weights of the labels in the image (unused) and in the grid, on the device.
    """

    walks: Walks
    label_weights: tuple[Tensor, Tensor]


class WalkInput(NamedTuple):
    """`StepInput.values` of a stage on walks.

    Attributes:
        frames: consecutive batches of `sequences.episodes`, this process's share, on the CPU.
        episode: number of the episode.
        first: number of the first of these frames in its walk.
        label_weights: see `WalkData`.
    """

    frames: list[Batch]
    episode: int
    first: int
    label_weights: tuple[Tensor, Tensor]


class WalkStage:
    """A stage on walks; see `stage.Stage` for its attributes and methods.

    Args:
        config: of the whole run.
        name: `manager`, `everything` or `end_to_end`.
        folders: packed training walks.
        heldout: packed walks to validate on, or None.

    Raises:
        ConfigError: the device is not there, or a value of the networks' configuration is not allowed.
        DataError: the expert has no fusion to train.
    """

    passed_on = "stereo."

    def __init__(self, config: TrainConfig, name: str, folders: list[Path], heldout: Path | None) -> None:
        self.config, self.name, self.folders, self.heldout = config, name, folders, heldout
        self.walk = config.walk
        self.processes = distribution.here()
        self.compute = choose(config.device, config.amp, self.processes.local_rank)
        self.engine, expert = make_networks(config, self.compute)
        self.expert = on_device(expert, self.compute)
        self.networks: dict[str, nn.Module] = {"image.": self.engine, "expert.": self.expert}
        self.trained = self._choose_trained()
        self.options = dataset_options(config, grid=True)
        self.memories: list[SceneMemory] = []

    def _choose_trained(self) -> dict[str, Trained]:
        """Fusion in phase 1; later the expert and the features' projection; never the rest of the image engine."""
        for network in self.networks.values():
            network.requires_grad_(False)
        if self.name == "manager":
            trained = self._modules(("fusion",), 1.0)
            if not trained:
                raise DataError("the expert has no fusion to train; set network: {fusion: identity}")
        else:
            rate = SPATIAL_RATE if self.name == "everything" else 1.0
            projection = Trained(self.engine.get_submodule("to_features"), rate)
            trained = {"image.to_features.": projection, **self._modules(SPATIAL, rate), **self._modules(HEADS, 1.0)}
        for each in trained.values():
            each.module.requires_grad_(True)
        return trained

    def _modules(self, names: tuple[str, ...], rate: float) -> dict[str, Trained]:
        """Those of the expert's named modules that it has."""
        found = {f"expert.{name}.": getattr(self.expert, name, None) for name in names}
        return {prefix: Trained(module, rate) for prefix, module in found.items() if isinstance(module, nn.Module)}

    def objective(self) -> nn.Module:
        """See `Stage`."""
        frozen = self._modules(SPATIAL + HEADS[:2], 0.0) if self.name == "manager" else {}
        return WalkObjective(
            self.engine,
            self.expert,
            [each.module for each in frozen.values()],
            "image.to_features." in self.trained,
            self.config.losses,
            self.walk,
            self.compute,
            self.config.motion_share,
        )

    def load_data(self) -> WalkData:
        """See `Stage`."""
        distribution.wait_for_all()
        walks = Walks(self.folders, self.options, self.walk.length)
        return WalkData(walks, self._label_weights(walks))

    def _label_weights(self, walks: Walks) -> tuple[Tensor, Tensor]:
        """Class weights from the boxes of some walks' first frames."""
        sample = np.unique(np.linspace(0, len(walks) - 1, min(COUNTED_WALKS, len(walks))).astype(int))
        counts = np.zeros(12)
        for index in sample:
            walk = walks.walk(int(index))
            for frame in range(0, len(walk), max(1, len(walk) // 4)):
                counts += np.bincount(walks.view(int(index), frame, Turn())[0].target.ravel(), minlength=256)[:12]
        weights = torch.from_numpy(counts)
        return class_weights(weights).to(self.compute.device), voxel_weights(weights).to(self.compute.device)

    def batches(self, data: WalkData, step: int) -> Iterator[StepInput]:
        """See `Stage`; whole episodes, at whose ends a run can be resumed, since memories are not saved."""
        length, unroll = self.walk.length, self.walk.unroll
        settings, steps_per_episode = self.config.stages[self.name], length // unroll
        first, last = step // steps_per_episode, -(-settings.steps // steps_per_episode)
        whole = episodes(data.walks, settings.batch, first, last, self.config.workers)
        frames: list[Batch] = []
        for count, batch in enumerate(distribution.shared_loader(whole, self.processes, settings.batch)):
            frames.append(batch)
            if len(frames) < unroll:
                continue
            number = count % length + 1
            values = WalkInput(frames, first + count // length, number - unroll, data.label_weights)
            yield StepInput(values, settings.batch * unroll, len(data.walks), resumable=number == length)
            frames = []

    def loss(self, objective: nn.Module, values: WalkInput, step: int) -> Terms:
        """See `Stage`; gradients do not flow back beyond the frames of the step.

        Memories are empty at the first frame of a walk.
        """
        size = len(values.frames[0]["image"])
        places = range(self.processes.rank * size, (self.processes.rank + 1) * size)
        if values.first == 0:
            self.memories = [self.empty_memory(cells) for cells in values.frames[0]["cells"].numpy()]
        for memory in self.memories:
            memory.detach()
        frames, draw = [self.compute.move(frame) for frame in values.frames], (self.config.seed, values.episode)
        terms: Terms = objective(frames, self.memories, values.label_weights, draw, values.first, places)
        return terms

    def empty_memory(self, cells: np.ndarray) -> SceneMemory:
        """Returns an empty memory for a scene of (3,) cells."""
        network = self.config.network
        centres = cell_centres().to(self.compute.device)
        size = (int(cells[0]), int(cells[1]), int(cells[2]))
        return SceneMemory(size, network.gaussians, network.channels, centres, self.walk.confidence)

    def validate(self) -> dict[str, float]:
        """See `Stage`; with the head's depth and with the sensor's, see `figures`."""
        if self.heldout is None:
            return {}
        given = (("predicted", 0.0), ("sensor", 1.0))
        return {f"{name}_{key}": value for name, share in given for key, value in self.figures(share).items()}

    def figures(self, sensor_share: float) -> dict[str, float]:
        """Compute figures of the current weights on held-out walks.

        Args:
            sensor_share: share of the walks with sensor depth, 0..1.

        Returns:
            figures of the fused predictions, frame by frame in view, and of the memory's content.
        """
        options = dataclasses.replace(self.options, augment=False, sensor_share=sensor_share, seed=0)
        walks = Walks([self.heldout] if self.heldout else [], options, self.walk.length)
        chosen = spread_evenly(list(range(len(walks))), self.walk.validation_walks)
        mine = chosen[self.processes.rank :: self.processes.count]
        memories = {scene: self.empty_memory(walks.cells(scene, Turn())) for scene in mine}
        return look_at_walks(self.engine, self.expert, walks, mine, memories, self.compute).figures()
