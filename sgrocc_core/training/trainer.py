"""Training of the spatial expert in stages: image engine alone, expert on its frozen features, both at a low rate (method, section 6).

A run can be stopped at any moment and resumed exactly: draws depend on seed and step only, and a checkpoint holds the weights,
their average, the optimizer's moments, the step and the time used. Several processes (`distribution`) train as one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import DataError
from sgrocc_core.network import weights_file
from sgrocc_core.network.image.efficientnet_engine import EfficientNetEngine
from sgrocc_core.network.image.engine import PriorEngine
from sgrocc_core.training import checkpoint, distribution
from sgrocc_core.training.compute import choose
from sgrocc_core.training.config import StageConfig, TrainConfig
from sgrocc_core.training.data.dataset import DatasetOptions, PackedViews, loader
from sgrocc_core.training.data.packed import view_size
from sgrocc_core.training.frozen_backbone import run_frozen_apart
from sgrocc_core.training.heldout import look_at_image, look_at_voxels
from sgrocc_core.training.losses.objectives import Terms, class_weights, voxel_weights
from sgrocc_core.training.run_log import NoLog, RunLog, summary
from sgrocc_core.training.step import StepObjective
from sgrocc_core.training.validation import fixed_views

LOOKS = 50
"""Times that processes look for the same views before they give up."""


class Trainer:
    """One stage of one run.

    Args:
        config: of the whole run. stage: `image`, `expert` or `joint`.
        folders: packed training scenes. heldout: packed scenes to validate on, or None.
        out: where checkpoints and logs go.
    """

    def __init__(self, config: TrainConfig, stage: str, folders: list[Path], heldout: Path | None, out: Path) -> None:
        self.config, self.stage, self.folders, self.out = config, stage, folders, out
        self.stage_config: StageConfig = config.stages[stage]
        self.schedule = self.stage_config.schedule()
        self.processes = distribution.here()
        self.processes.places(self.stage_config.batch)
        self.compute = choose(config.device, config.amp, self.processes.local_rank)
        torch.manual_seed(config.seed)
        engine, expert = build_networks({"image": config.image, "expert": dataclasses.asdict(config.network)})
        engine = engine.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.engine: nn.Module = distribution.synchronise(engine.to(self.compute.device), self.compute.device)
        run_frozen_apart(self.engine, self.compute.device, config.threads)
        self.expert: nn.Module | None = None
        if stage != "image":
            self.expert = distribution.synchronise(expert.to(self.compute.device), self.compute.device)
        self.step, self.seconds = 0, 0.0
        grid = engine.grid
        self.options = DatasetOptions(
            augment=True, sensor_share=config.sensor_share, grid=stage != "image", seed=config.seed, head_stride=grid.head_stride,
            input_size=None if view_size(grid) == grid.image_size else grid.image_size,
        )  # fmt: skip
        self.heldout = heldout
        self.figures: dict[str, float] = {}
        self._views: list[dict[str, np.ndarray]] | None = None
        self._saved = self._validated = 0.0
        self._prepare()

    def _prepare(self) -> None:
        """Optimizer, names and the moving average for the weights as they are now."""
        groups: list[dict[str, Any]] = []
        self.trained = self.learning()
        for share, learned in (pair for item in self.trained.items() for pair in self._rates(*item)):
            matrices, vectors = [p for p in learned if p.dim() > 1], [p for p in learned if p.dim() <= 1]
            groups.append({"params": matrices, "share": share, "weight_decay": self.stage_config.weight_decay})
            groups.append({"params": vectors, "share": share, "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, lr=self.schedule.rate)
        self.scaler = self.compute.scaler()
        self.names: dict[Tensor, str] = {
            p: prefix + name
            for prefix, module in self.trained.items()
            for name, p in module.named_parameters()
            if p.requires_grad
        }
        self.average = {name: value.detach().clone() for name, value in self._floating().items()}
        self.objective: nn.Module = self.make_objective()
        if self.processes.count > 1:
            self.objective = distribution.distributed(self.objective)

    def learning(self) -> dict[str, nn.Module]:
        """The modules that this stage trains, by the prefix of their weights' names; the others are frozen."""
        trained: dict[str, nn.Module] = {}
        if self.stage != "expert":
            trained["image."] = self.engine
        else:  # no loss of the image stage reads the features: their projection is learned with the expert that reads them
            projection = self.engine.get_submodule("to_features")
            self.engine.requires_grad_(False)
            trained["image.to_features."] = projection.requires_grad_(True)
        if self.expert is not None:
            trained["expert."] = self.expert
        return trained

    def share(self, prefix: str) -> float:
        """Rate of one of the trained modules as a share of the stage's."""
        return self.stage_config.image_rate if self.stage == "joint" and prefix == "image." else 1.0

    def _rates(self, prefix: str, module: nn.Module) -> list[tuple[float, list[nn.Parameter]]]:
        """What is learned of a module, with its rate as a share of the stage's: a published backbone may follow slowly."""
        share, learned = self.share(prefix), [p for p in module.parameters() if p.requires_grad]
        if not isinstance(module, EfficientNetEngine):
            return [(share, learned)]
        slow = set(module.backbone.parameters())
        rest, tuned = [p for p in learned if p not in slow], [p for p in learned if p in slow]
        return [(share, rest), (share * module.tune, tuned)] if tuned else [(share, rest)]

    def make_objective(self) -> nn.Module:
        """The networks with their loss."""
        return StepObjective(self.engine, self.expert, self.stage != "expert", self.config.losses, self.compute)

    def terms(self, batch: Any, label_weights: tuple[Tensor, Tensor]) -> Terms:
        """The loss of a batch, term by term."""
        size = len(batch["image"])
        places = range(self.processes.rank * size, (self.processes.rank + 1) * size)
        found: Terms = self.objective(self.compute.move(batch), label_weights, self.config.seed, self.step, places)
        return found

    def _floating(self) -> dict[str, Tensor]:
        """What learning changes: trained parameters and floating-point buffers, by name."""
        frozen = {
            prefix + name
            for prefix, module in self.trained.items()
            for name, p in module.named_parameters()
            if not p.requires_grad
        }
        for prefix, module in self.trained.items():  # a published backbone keeps its batch statistics
            if isinstance(module, EfficientNetEngine):
                frozen |= {f"{prefix}backbone.{name}" for name, _ in module.backbone.named_buffers()}
        return {
            prefix + name: value
            for prefix, module in self.trained.items()
            for name, value in module.state_dict().items()
            if value.is_floating_point() and prefix + name not in frozen
        }

    def load_prior(self) -> Path | None:
        """Fill an image engine that builds on published weights with those; the file or folder that they came from."""
        if not isinstance(self.engine, PriorEngine):
            return None
        found = self.engine.load_prior()
        self._prepare()
        return found

    def warm_start(self, path: Path) -> list[str]:
        """Start from a weights file: what it has of the two networks is loaded.

        Returns:
            names of what was loaded (`image`, `expert`).
        """
        tensors = weights_file.read_weights(path)
        loaded = []
        for prefix, module in (("image.", self.engine), ("expert.", self.expert)):
            if module is not None and weights_file.load_weights(module, tensors, prefix, path):
                loaded.append(prefix[:-1])
        self._prepare()
        return loaded

    @property
    def checkpoint_path(self) -> Path:
        """Where this stage's checkpoint is."""
        return self.out / f"{self.stage}.checkpoint.safetensors"

    def save(self) -> None:
        """Write the checkpoint, and the averaged weights as a model file beside it (`STAGE.weights.safetensors`)."""
        if not self.processes.first:
            return
        tensors = {f"average.{name}": value for name, value in self.average.items()}
        for prefix, module in (("image.", self.engine), ("expert.", self.expert)):
            if module is not None:
                tensors |= {prefix + name: value for name, value in module.state_dict().items()}
        tensors |= checkpoint.optimizer_tensors(self.optimizer, self.names)
        state = {"stage": self.stage, "step": self.step, "seconds": self.seconds, "seed": self.config.seed}
        state["scaler"] = self.scaler.state_dict()
        checkpoint.write(self.checkpoint_path, tensors, state)
        weights_file.save_model(self.out / f"{self.stage}.weights.safetensors", self.engine, self.expert, self.average)

    def resume(self) -> None:
        """Go on from this stage's checkpoint.

        Raises:
            DataError: there is none, it is damaged or of another stage.
        """
        tensors, state = checkpoint.read(self.checkpoint_path)
        if state["stage"] != self.stage:
            raise DataError(f"{self.checkpoint_path} is of stage {state['stage']!r}, not {self.stage!r}")
        for prefix, module in (("image.", self.engine), ("expert.", self.expert)):
            if module is not None:
                weights_file.load_weights(module, tensors, prefix, self.checkpoint_path)
        self._prepare()
        for name, own in self.average.items():
            own.copy_(tensors[f"average.{name}"])
        checkpoint.restore_optimizer(self.optimizer, self.names, tensors)
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])

    def train_step(self, batch: Any, label_weights: tuple[Tensor, Tensor]) -> dict[str, float]:
        """One step of the optimizer.

        Args:
            batch: of `dataset.loader` (what `terms` takes); with several processes, this one's share. label_weights: of `label_weights`.

        Returns:
            every term of the loss, `loss`, `gradient` (norm) and `rate`: those of the whole batch.
        """
        # Dropout of this step: the same after a resume, another in every process.
        torch.manual_seed(self.config.seed * 1_000_003 + self.step + 7_368_787 * self.processes.rank)
        rate = self.schedule.rate_at(self.step, self.seconds)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        terms = self.terms(batch, label_weights)
        values = torch.stack(list(terms.values()))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(values.sum()).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(list(self.names), self.stage_config.clip).item()
        if math.isfinite(norm) or self.scaler.is_enabled():  # a scaler leaves the step out itself, and lowers its scale
            self.scaler.step(self.optimizer)
        self.scaler.update()
        if math.isfinite(norm):
            self._update_average()
        self.step += 1
        found = distribution.averaged(values).tolist()
        return {**dict(zip(terms, found, strict=True)), "loss": sum(found), "gradient": norm, "rate": rate}

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        values = self._floating()
        torch._foreach_lerp_([self.average[name] for name in values], list(values.values()), 1 - decay)

    def validate(self) -> dict[str, float]:
        """Figures of the averaged weights on held-out views; empty without such views."""
        if self.heldout is None:
            return {}
        if self._views is None:
            data = PackedViews(
                [self.heldout], dataclasses.replace(self.options, augment=False, sensor_share=1.0, seed=0)
            )
            if not len(data):
                return {}
            views = fixed_views(data, self.config.validation_views, data.options)
            self._views = views[self.processes.rank :: self.processes.count]
        kept = {name: value.clone() for name, value in self._floating().items()}
        self._load(self.average)
        try:
            figures = look_at_image(self.engine, self._views, self.compute) if self.stage != "expert" else {}
            if self.expert is not None:
                figures |= look_at_voxels(self.engine, self.expert, self._views, self.compute)
        finally:
            self._load(kept)
        return figures

    @torch.no_grad()
    def _load(self, values: dict[str, Tensor]) -> None:
        for name, value in self._floating().items():
            value.copy_(values[name])

    def label_weights(self, data: PackedViews) -> tuple[Tensor, Tensor]:
        """Class weights in the image and in the grid, from the views' own counts (the grid's from a sample of views); on the device."""
        some = np.unique(np.linspace(0, len(data) - 1, min(64, len(data))).astype(int))
        voxels = sum(np.bincount(data.view(int(i)).target.ravel(), minlength=256)[:12] for i in some)
        image, grid = (
            class_weights(torch.from_numpy(data.counts.sum(0))),
            voxel_weights(torch.from_numpy(np.asarray(voxels))),
        )
        return image.to(self.compute.device), grid.to(self.compute.device)

    def run(self, rescan: Callable[[], None] | None = None) -> dict[str, float]:
        """Train to the end of the schedule.

        Args:
            rescan: called by the first process before data is looked for, at the start and every `rescan_steps`; may add packed scenes.

        Returns:
            the last validation's figures.

        Raises:
            DataError: no training views, or the processes find different ones.
        """
        every = self.config.rescan_steps
        self._saved = self._validated = time.monotonic()
        with RunLog(self.out, self.stage, self.step) if self.processes.first else NoLog() as log:
            while self.schedule.progress(self.step, self.seconds) < 1.0:
                data = self._look_for_data(rescan)
                self._run_steps(data, min(self.schedule.steps, (self.step // every + 1) * every), log)
            self.save()
            self.figures = self.validate()
            log.note("heldout", self.step, self.seconds, self.figures)
        distribution.wait_for_all()  # the files are there for everybody
        return self.figures

    def _look_for_data(self, rescan: Callable[[], None] | None) -> PackedViews:
        """The views there are, the same in every process: one that looks while a scene appears looks again."""
        where = ", ".join(map(str, self.folders))
        for _ in range(LOOKS):
            if rescan is not None and self.processes.first:
                rescan()
            distribution.wait_for_all()
            data = PackedViews(self.folders, self.options)
            if distribution.same_everywhere([len(data), hashlib.sha256(data.counts.tobytes()).hexdigest()]):
                if not len(data):
                    raise DataError(f"no training views under {where}")
                return data
            time.sleep(0.2)
        raise DataError(f"the processes find different training views under {where}; all must see the same files")

    def _run_steps(self, data: PackedViews, last: int, log: RunLog) -> None:
        """Train on one look at the data, until step `last` or the schedule's end."""
        weights, size = self.label_weights(data), self.stage_config.batch
        clock = time.monotonic()
        whole = loader(data, size, self.step, last, self.config.workers)
        for batch in distribution.shared_loader(whole, self.processes, size):
            values = self.train_step(batch, weights)
            clock = self.after_step(values, clock, size, len(data), log)
            if self.schedule.progress(self.step, self.seconds) >= 1.0:
                break

    def after_step(
        self, values: dict[str, float], clock: float, views: int, of: int, log: RunLog, may_save: bool = True
    ) -> float:
        """What is due after a step: the log, a checkpoint, a look at held-out views.

        Args:
            values: of `train_step`. clock: `time.monotonic()` when the step began. views: of the step. of: how many there are.
            may_save: whether a run could be resumed here.

        Returns:
            when the next step begins.
        """
        now = time.monotonic()
        speed = views / (now - clock)
        due = [float(now - self._saved > 60 * self.config.checkpoint_minutes)]
        due.append(float(now - self._validated > 60 * self.config.validate_minutes))
        self.seconds, save, look = distribution.told_by_first([self.seconds + now - clock, *due])
        if self.step % 20 == 0:
            log.note("train", self.step, self.seconds, {**values, "views_per_second": speed, "views": float(of)})
            text = f"step {self.step}, loss {values['loss']:.3f}, {speed:.0f} views/s of {of}, {summary(self.figures)}"
            log.show(self.schedule.progress(self.step, self.seconds), text)
        if save and may_save:
            self.save()
            self._saved = time.monotonic()
        if look:
            self.figures = self.validate()
            log.note("heldout", self.step, self.seconds, self.figures)
            self._validated = time.monotonic()
        return now
