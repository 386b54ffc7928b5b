"""Training of the spatial expert in stages: image engine alone, expert on its frozen features, both at a low rate (method, section 6).

A run can be stopped at any moment and resumed exactly: draws depend on seed and step only, and a checkpoint holds the weights,
their average, the optimizer's moments, the step and the time used.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import DataError
from sgrocc_core.training import checkpoint
from sgrocc_core.training.config import StageConfig, TrainConfig
from sgrocc_core.training.dataset import DatasetOptions, PackedViews, loader
from sgrocc_core.training.objectives import (
    ImageWeights,
    class_weights,
    depth_prior,
    image_objective,
    local_objective,
    voxel_weights,
)
from sgrocc_core.training.run_log import RunLog, summary
from sgrocc_core.training.validation import Batch, fixed_views, run_image, validate_image, validate_local


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
        torch.manual_seed(config.seed)
        engine, expert = build_networks({"image": config.image, "expert": dataclasses.asdict(config.network)})
        self.engine = engine.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.expert = expert if stage != "image" else None
        self.step, self.seconds = 0, 0.0
        self.options = DatasetOptions(augment=True, sensor_share=config.sensor_share, grid=stage != "image", seed=config.seed)
        self.heldout = heldout
        self.figures: dict[str, float] = {}
        self._views: list[dict[str, np.ndarray]] | None = None
        self._saved = self._validated = 0.0
        self._prepare()

    def _prepare(self) -> None:
        """Optimizer, names and the moving average for the weights as they are now."""
        groups: list[dict[str, Any]] = []
        self.trained: dict[str, nn.Module] = {}
        if self.stage != "expert":
            self.trained["image."] = self.engine
        else:  # no loss of the image stage reads the features: their projection is learned with the expert that reads them
            self.trained["image.to_features."] = self.engine.to_features
        if self.expert is not None:
            self.trained["expert."] = self.expert
        for prefix, module in self.trained.items():
            share = self.stage_config.image_rate if self.stage == "joint" and prefix == "image." else 1.0
            matrices = [p for p in module.parameters() if p.dim() > 1]
            vectors = [p for p in module.parameters() if p.dim() <= 1]
            groups.append({"params": matrices, "share": share, "weight_decay": self.stage_config.weight_decay})
            groups.append({"params": vectors, "share": share, "weight_decay": 0.0})
        self.optimizer = torch.optim.AdamW(groups, lr=self.schedule.rate)
        self.names: dict[Tensor, str] = {
            p: prefix + name for prefix, module in self.trained.items() for name, p in module.named_parameters()
        }
        self.average = {name: value.detach().clone() for name, value in self._floating().items()}

    def _floating(self) -> dict[str, Tensor]:
        return {
            prefix + name: value
            for prefix, module in self.trained.items()
            for name, value in module.state_dict().items()
            if value.is_floating_point()
        }

    def warm_start(self, path: Path) -> list[str]:
        """Start from a weights file: what it has of the two networks is loaded.

        Returns:
            names of what was loaded (`image`, `expert`).
        """
        tensors = checkpoint.read_weights(path)
        loaded = []
        for prefix, module in (("image.", self.engine), ("expert.", self.expert)):
            if module is not None and checkpoint.load_weights(module, tensors, prefix, path):
                loaded.append(prefix[:-1])
        self._prepare()
        return loaded

    @property
    def checkpoint_path(self) -> Path:
        """Where this stage's checkpoint is."""
        return self.out / f"{self.stage}.checkpoint.safetensors"

    def save(self) -> None:
        """Write the checkpoint, and the averaged weights as a model file beside it (`STAGE.weights.safetensors`)."""
        tensors = {f"average.{name}": value for name, value in self.average.items()}
        for prefix, module in (("image.", self.engine), ("expert.", self.expert)):
            if module is not None:
                tensors |= {prefix + name: value for name, value in module.state_dict().items()}
        tensors |= checkpoint.optimizer_tensors(self.optimizer, self.names)
        state = {"stage": self.stage, "step": self.step, "seconds": self.seconds, "seed": self.config.seed}
        checkpoint.write(self.checkpoint_path, tensors, state)
        checkpoint.save_model(self.out / f"{self.stage}.weights.safetensors", self.engine, self.expert, self.average)

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
                checkpoint.load_weights(module, tensors, prefix, self.checkpoint_path)
        self._prepare()
        self.average = {name: tensors[f"average.{name}"] for name in self.average}
        checkpoint.restore_optimizer(self.optimizer, self.names, tensors)
        self.step, self.seconds = int(state["step"]), float(state["seconds"])

    def train_step(self, batch: Batch, label_weights: tuple[Tensor, Tensor]) -> dict[str, float]:
        """One step of the optimizer.

        Returns:
            every term of the loss, `loss`, `gradient` (norm) and `rate`.
        """
        torch.manual_seed(self.config.seed * 1_000_003 + self.step)  # dropout and sampling of this step, the same after a resume
        rate = self.schedule.rate_at(self.step, self.seconds)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        terms = self._terms(batch, label_weights)
        loss = torch.stack(list(terms.values())).sum()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(list(self.names), self.stage_config.clip)
        if torch.isfinite(norm):
            self.optimizer.step()
            self._update_average()
        self.step += 1
        return {**{k: v.item() for k, v in terms.items()}, "loss": loss.item(), "gradient": norm.item(), "rate": rate}

    def _terms(self, batch: Batch, label_weights: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(self.config.seed * 7919 + self.step)
        learn_image = self.stage != "expert"
        self.engine.train(learn_image)
        with torch.set_grad_enabled(learn_image):
            outputs = run_image(self.engine, batch, self.config.amp)
        if not learn_image:
            outputs["features"] = self.engine.to_features(outputs["pyramid"].float())
        terms: dict[str, Tensor] = {}
        if learn_image:
            terms |= image_objective(outputs, batch, label_weights[0], ImageWeights())
        if self.expert is not None:
            self.expert.train()
            depth = depth_prior(batch, outputs["depth"].detach(), generator)
            with torch.autocast("cpu", torch.bfloat16, enabled=self.config.amp):
                found = self.expert(outputs["features"], depth, outputs["thickness"].detach(), batch["intrinsics"], batch["pose"])
            terms |= local_objective(found, batch, label_weights[1], self.config.losses, generator)
        return terms

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
            data = PackedViews([self.heldout], DatasetOptions(augment=False, sensor_share=1.0, grid=self.expert is not None))
            if not len(data):
                return {}
            self._views = fixed_views(data, self.config.validation_views, data.options)
        kept = {name: value.clone() for name, value in self._floating().items()}
        self._load(self.average)
        try:
            figures = validate_image(self.engine, self._views, self.config.amp) if self.stage != "expert" else {}
            if self.expert is not None:
                figures |= validate_local(self.engine, self.expert, self._views, self.config.amp)
        finally:
            self._load(kept)
        return figures

    @torch.no_grad()
    def _load(self, values: dict[str, Tensor]) -> None:
        for name, value in self._floating().items():
            value.copy_(values[name])

    def label_weights(self, data: PackedViews) -> tuple[Tensor, Tensor]:
        """Class weights in the image and in the grid, from the views' own counts (the grid's from a sample of views)."""
        some = np.unique(np.linspace(0, len(data) - 1, min(64, len(data))).astype(int))
        voxels = sum(np.bincount(data.view(int(i)).target.ravel(), minlength=256)[:12] for i in some)
        return class_weights(torch.from_numpy(data.counts.sum(0))), voxel_weights(torch.from_numpy(np.asarray(voxels)))

    def run(self, rescan: Callable[[], None] | None = None) -> dict[str, float]:
        """Train to the end of the schedule.

        Args:
            rescan: called before data is looked for, at the start and every `rescan_steps`; may add packed scenes.

        Returns:
            the last validation's figures.

        Raises:
            DataError: no training views.
        """
        every = self.config.rescan_steps
        self._saved = self._validated = time.monotonic()
        with RunLog(self.out, self.stage) as log:
            while self.schedule.progress(self.step, self.seconds) < 1.0:
                if rescan is not None:
                    rescan()
                data = PackedViews(self.folders, self.options)
                if not len(data):
                    raise DataError(f"no training views under {', '.join(map(str, self.folders))}")
                self._run_steps(data, min(self.schedule.steps, (self.step // every + 1) * every), log)
            self.save()
            self.figures = self.validate()
            log.note("heldout", self.step, self.seconds, self.figures)
        return self.figures

    def _run_steps(self, data: PackedViews, last: int, log: RunLog) -> None:
        """Train on one look at the data, until step `last` or the schedule's end."""
        weights = self.label_weights(data)
        clock = time.monotonic()
        for batch in loader(data, self.stage_config.batch, self.step, last, self.config.workers):
            values = self.train_step(batch, weights)
            now = time.monotonic()
            self.seconds, speed, clock = self.seconds + now - clock, self.stage_config.batch / (now - clock), now
            done = self.schedule.progress(self.step, self.seconds)
            if self.step % 20 == 0:
                log.note("train", self.step, self.seconds, {**values, "views_per_second": speed, "views": float(len(data))})
                text = f"step {self.step}, loss {values['loss']:.3f}, {speed:.0f} views/s of {len(data)}, {summary(self.figures)}"
                log.show(done, text)
            if now - self._saved > 60 * self.config.checkpoint_minutes:
                self.save()
                self._saved = time.monotonic()
            if now - self._validated > 60 * self.config.validate_minutes:
                self.figures = self.validate()
                log.note("heldout", self.step, self.seconds, self.figures)
                self._validated = time.monotonic()
            if done >= 1.0:
                break
