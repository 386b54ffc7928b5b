"""Stages on single views (method, section 6).

`image` trains the image engine alone, `expert` the spatial expert on its frozen features, `joint` both at a low rate.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.network.image.efficientnet_engine import EfficientNetEngine
from sgrocc_core.network.image.engine import grid_of
from sgrocc_core.training import distribution
from sgrocc_core.training.compute import Compute, choose
from sgrocc_core.training.config import TrainConfig
from sgrocc_core.training.data.dataset import Batch, DatasetOptions, PackedViews, loader
from sgrocc_core.training.language.prior import LanguagePrior
from sgrocc_core.training.local.look import look_at_image, look_at_voxels
from sgrocc_core.training.local.step import StepObjective
from sgrocc_core.training.local.teacher import SlowCopy
from sgrocc_core.training.local.watcher import TeacherWatcher
from sgrocc_core.training.losses.few_labels import FewLabels
from sgrocc_core.training.losses.objectives import Terms, class_weights, voxel_weights
from sgrocc_core.training.stage import StepInput, Trained, make_networks, on_device
from sgrocc_core.training.trainer import Watcher
from sgrocc_core.training.validation import fixed_views

ATTEMPTS = 50
"""Maximum number of times that the processes look for the same views; a round guess."""
COUNTED_VIEWS = 64
"""Maximum number of views whose voxels are counted for the class weights in the grid; a round guess."""


@dataclass(frozen=True)
class ViewData:
    """The training views found, with the weights of their classes.

    Attributes:
        views: the views of all packed scenes.
        label_weights: (12,) weights of the labels in the image and in the grid, on the device.
    """

    views: PackedViews
    label_weights: tuple[Tensor, Tensor]


class ViewInput(NamedTuple):
    """`StepInput.values` of a stage on single views.

    Attributes:
        batch: this process's share of a batch of `dataset.loader`, on the CPU.
        label_weights: see `ViewData`.
    """

    batch: Batch
    label_weights: tuple[Tensor, Tensor]


def dataset_options(config: TrainConfig, grid: bool) -> DatasetOptions:
    """Options of the training data of a run.

    Args:
        config: of the run.
        grid: whether the voxel targets are needed.
    """
    image = grid_of(config.image)
    return DatasetOptions(
        augment=True,
        sensor_share=config.sensor_share,
        grid=grid,
        seed=config.seed,
        head_stride=image.head_stride,
        input_size=image.image_size,
        appearance=config.appearance,
        plain=grid and config.language.published,
    )


def image_parts(engine: nn.Module, rate: float) -> dict[str, Trained]:
    """The parts of an image engine that learn: all of it, but a published backbone at its own rate or not at all.

    Args:
        engine: image engine.
        rate: of the engine as a share of the stage's.
    """
    if not isinstance(engine, EfficientNetEngine):
        return {"image.": Trained(engine, rate)}
    parts = {f"image.{name}.": Trained(module, rate) for name, module in engine.named_children()}
    if engine.tune:
        return {**parts, "image.backbone.": Trained(engine.backbone, rate * engine.tune)}
    return {prefix: part for prefix, part in parts.items() if part.module is not engine.backbone}


class LocalStage:
    """A stage on single views; see `stage.Stage` for its attributes and methods.

    Args:
        config: of the whole run.
        name: `image`, `expert` or `joint`.
        folders: packed training scenes.
        heldout: packed scenes to validate on, or None.
        rescan: called by the first process before data is looked for, at the start and every `rescan_steps`; it may
            add packed scenes.
        transform: applied to every batch before the loss, with the number of steps taken so far.
        compute: device and precision in place of the configuration's.
        shares: see `PackedViews`.

    Raises:
        ConfigError: the device is not there, or a value of the networks' configuration is not allowed.
    """

    passed_on = "stereo."

    def __init__(
        self,
        config: TrainConfig,
        name: str,
        folders: list[Path],
        heldout: Path | None,
        rescan: Callable[[], None] | None = None,
        transform: Callable[[Batch, int], Batch] | None = None,
        compute: Compute | None = None,
        shares: tuple[float, ...] | None = None,
    ) -> None:
        self.shares = shares
        self.config, self.name, self.folders, self.heldout = config, name, folders, heldout
        self.rescan, self.transform = rescan, transform
        self.processes = distribution.here()
        self.compute = compute or choose(config.device, config.amp, self.processes.local_rank)
        self.engine, expert = make_networks(config, self.compute)
        self.networks: dict[str, nn.Module] = {"image.": self.engine}
        self.expert: nn.Module | None = None
        if name != "image":
            self.expert = self.networks["expert."] = on_device(expert, self.compute)
        self.language = self._make_language()
        self.trained = self._choose_trained()
        motion = name != "image" and config.motion_share > 0
        self.options = dataclasses.replace(dataset_options(config, grid=name != "image"), motion=motion)
        self.few_labels = config.few_labels if name != "image" else FewLabels()
        self.teacher = self._prepare_few_labels()
        self._heldout_views: list[dict[str, np.ndarray]] | None = None

    def _choose_trained(self) -> dict[str, Trained]:
        trained: dict[str, Trained] = {}
        if self.name == "expert":
            # The image stage has no loss on the features, so their projection is trained together with the expert.
            self.engine.requires_grad_(False)
            projection = self.engine.get_submodule("to_features").requires_grad_(True)
            trained["image.to_features."] = Trained(projection)
        else:
            rate = self.config.stages[self.name].image_rate if self.name == "joint" else 1.0
            trained |= image_parts(self.engine, rate)
        if self.expert is not None:
            trained["expert."] = Trained(self.expert)
        if self.language is not None:
            trained["language."] = Trained(self.language.mlp)
        return trained

    def _make_language(self) -> LanguagePrior | None:
        """The language-aware prior, if there is one; its MLP becomes one of the networks."""
        if not self.config.language.on or self.expert is None:
            return None
        pyramid = self.engine.get_submodule("to_features").get_parameter("weight")
        language = LanguagePrior(self.config.language, pyramid.shape[1], self.config.network.channels, self.compute)
        self.networks["language."] = language.mlp
        return language

    def _prepare_few_labels(self) -> SlowCopy | None:
        """Check that the run can be trained with few labels, if it is to be; returns the teacher, if there is one."""
        few = self.few_labels
        self.options = dataclasses.replace(self.options, labelled=few.labelled, unlabelled=few.unlabelled)
        if not (few.unlabelled or few.heads):
            return None
        batch = self.config.stages[self.name].batch
        if few.unlabelled and not round(batch * few.unlabelled):
            raise ConfigError(
                f"few_labels.unlabelled is {few.unlabelled:g} and batch {batch}: no view without labels would be drawn"
            )
        if self.processes.count > 1:
            raise ConfigError(
                "few_labels.unlabelled and few_labels.heads are for one process: start it without torchrun"
            )
        if not getattr(self.engine, "semantic_head", False):
            raise ConfigError("the image engine has no class head, from which few_labels takes its pseudo labels")
        if not few.teacher or self.expert is None:
            return None
        return SlowCopy(self.engine.get_submodule("to_features"), self.expert)

    def watcher(self, other: Watcher | None = None) -> Watcher | None:
        """Returns what the trainer has to be given as its watcher, so that the teacher follows the weights.

        Args:
            other: another watcher, which is called, too.
        """
        return other if self.teacher is None else TeacherWatcher(self.teacher, other)

    def objective(self) -> nn.Module:
        """See `Stage`."""
        learn, losses = self.name != "expert", self.config.losses
        parts = (self.few_labels, self.teacher, self.language)
        motion = self.config.motion_share
        return StepObjective(self.engine, self.expert, learn, losses, self.compute, *parts, motion_share=motion)

    def load_data(self) -> ViewData:
        """See `Stage`; a process that looks while a scene appears looks again.

        Raises:
            DataError: there are no training views, none without labels though some are to be drawn, or the processes
                find different ones.
        """
        where = ", ".join(map(str, self.folders))
        for _ in range(ATTEMPTS):
            if self.rescan is not None and self.processes.first:
                self.rescan()
            distribution.wait_for_all()
            views = PackedViews(self.folders, self.options, self.shares)
            if distribution.same_everywhere([len(views), hashlib.sha256(views.counts.tobytes()).hexdigest()]):
                if not len(views):
                    raise DataError(f"no training views under {where}")
                if self.options.unlabelled and views.has_labels.all():
                    raise DataError(
                        f"a share of {self.options.labelled:g} of the {len(views.scenes)} scenes under {where} leaves "
                        "none without labels, which few_labels.unlabelled draws; give more scenes or a smaller share"
                    )
                return ViewData(views, self._label_weights(views))
            time.sleep(0.2)
        raise DataError(f"the processes find different training views under {where}; all must see the same files")

    def _label_weights(self, views: PackedViews) -> tuple[Tensor, Tensor]:
        """Class weights in the image and in the grid; the grid's are counted on a sample of the views with labels."""
        (known,) = np.nonzero(views.has_labels)
        sample = known[np.unique(np.linspace(0, len(known) - 1, min(COUNTED_VIEWS, len(known))).astype(int))]
        voxels = sum(np.bincount(views.view(int(i)).target.ravel(), minlength=256)[:12] for i in sample)
        image = class_weights(torch.from_numpy(views.counts[known].sum(0)))
        grid = voxel_weights(torch.from_numpy(np.asarray(voxels)))
        return image.to(self.compute.device), grid.to(self.compute.device)

    def batches(self, data: ViewData, step: int) -> Iterator[StepInput]:
        """See `Stage`; up to the next multiple of `rescan_steps` or the end of the schedule."""
        settings, every = self.config.stages[self.name], self.config.rescan_steps
        last = min(settings.steps, (step // every + 1) * every)
        whole = loader(data.views, settings.batch, step, last, self.config.workers)
        for batch in distribution.shared_loader(whole, self.processes, settings.batch):
            count = settings.batch + round(settings.batch * self.options.unlabelled)
            yield StepInput(ViewInput(batch, data.label_weights), count, len(data.views))

    def loss(self, objective: nn.Module, values: ViewInput, step: int) -> Terms:
        """See `Stage`."""
        batch = values.batch if self.transform is None else self.transform(values.batch, step)
        size = len(batch["image"])
        places = range(self.processes.rank * size, (self.processes.rank + 1) * size)
        terms: Terms = objective(self.compute.move(batch), values.label_weights, self.config.seed, step, places)
        return terms

    def validate(self) -> dict[str, float]:
        """See `Stage`; depth and 2D class figures of the image engine, voxel figures of the expert."""
        if self._heldout_views is None:
            self._heldout_views = self._choose_views()
        if self._heldout_views is None:
            return {}
        views = self._heldout_views[self.processes.rank :: self.processes.count]
        figures = look_at_image(self.engine, views, self.compute) if self.name != "expert" else {}
        if self.expert is not None:
            figures |= look_at_voxels(self.engine, self.expert, views, self.compute)
        return figures

    def _choose_views(self) -> list[dict[str, np.ndarray]] | None:
        """The held-out views of all processes together; None without any."""
        if self.heldout is None:
            return None
        data = PackedViews([self.heldout], self._heldout_options())
        return fixed_views(data, self.config.validation_views, data.options) if len(data) else None

    def _heldout_options(self) -> DatasetOptions:
        """Options of held-out views: all labels, none changed at random."""
        return dataclasses.replace(
            self.options,
            augment=False,
            sensor_share=1.0,
            seed=0,
            labelled=1.0,
            unlabelled=0.0,
            motion=False,
            plain=False,
        )
