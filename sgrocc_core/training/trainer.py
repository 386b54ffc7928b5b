"""Training of one stage: optimizer, moving average of the weights, checkpoints, logs and time limits.

A run can be stopped at any moment and resumed exactly: random draws depend on seed and step only, and a checkpoint
contains the weights, their average, the optimizer's moments, the step and the training time. Several processes
(`distribution`) train as one.
"""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sgrocc_core.errors import DataError
from sgrocc_core.network import weights_file
from sgrocc_core.network.image.engine import PriorEngine
from sgrocc_core.training import checkpoint, distribution
from sgrocc_core.training.config import StageConfig
from sgrocc_core.training.run_log import NoLog, RunLog, summary
from sgrocc_core.training.stage import Stage, StepInput


class RunConfig(Protocol):
    """What a trainer has to know of a run's configuration; see `config.TrainConfig` for the attributes."""

    @property
    def model(self) -> str: ...

    @property
    def seed(self) -> int: ...

    @property
    def average(self) -> float: ...

    @property
    def checkpoint_minutes(self) -> float: ...

    @property
    def validate_minutes(self) -> float: ...

    @property
    def stages(self) -> dict[str, StageConfig]: ...


class Watcher:
    """Follows a training run step by step; its methods do nothing unless they are overridden."""

    def before_step(self, trainer: Trainer) -> None:
        """Called before each step of the optimizer."""

    def after_step(self, trainer: Trainer, values: dict[str, float]) -> None:
        """Called after each step of the optimizer.

        Args:
            trainer: the trainer.
            values: the result of `Trainer.train_step`.
        """


class Trainer:
    """Trains one stage of one run.

    Args:
        config: of the whole run.
        stage: networks, data, loss and validation; see `stage.Stage`.
        out: folder of checkpoints and logs.
        watcher: is called around each step.
    """

    def __init__(self, config: RunConfig, stage: Stage, out: Path, watcher: Watcher | None = None) -> None:
        self.config, self.stage, self.out, self.watcher = config, stage, out, watcher or Watcher()
        self.stage_config: StageConfig = config.stages[stage.name]
        self.schedule = self.stage_config.schedule()
        self.processes = distribution.here()
        self.processes.places(self.stage_config.batch)
        self.step, self.seconds = 0, 0.0
        self.carried: dict[str, Tensor] = {}
        self.figures: dict[str, float] = {}
        self._saved = self._validated = 0.0
        self._prepare()

    def _prepare(self) -> None:
        """Optimizer, names and moving average for the weights as they are now."""
        groups: list[dict[str, Any]] = []
        self.names: dict[Tensor, str] = {}
        for prefix, (module, rate) in self.stage.trained.items():
            learned: dict[Tensor, str] = {p: prefix + name for name, p in module.named_parameters() if p.requires_grad}
            matrices, vectors = [p for p in learned if p.dim() > 1], [p for p in learned if p.dim() <= 1]
            groups.append({"params": matrices, "share": rate, "weight_decay": self.stage_config.weight_decay})
            groups.append({"params": vectors, "share": rate, "weight_decay": 0.0})
            self.names |= learned
        self.optimizer = torch.optim.AdamW(groups, lr=self.schedule.rate)
        self.scaler = self.stage.compute.scaler()
        self.average = {name: value.detach().clone() for name, value in self._floating().items()}
        self.objective = self.stage.objective()
        if self.processes.count > 1:
            self.objective = distribution.distributed(self.objective)

    def _floating(self) -> dict[str, Tensor]:
        """The tensors that training changes: trained parameters and floating-point buffers, by name."""
        found: dict[str, Tensor] = {}
        for prefix, (module, _) in self.stage.trained.items():
            frozen = {name for name, p in module.named_parameters() if not p.requires_grad}
            values = ((name, value) for name, value in module.state_dict().items() if name not in frozen)
            found |= {prefix + name: value for name, value in values if value.is_floating_point()}
        return found

    def load_prior(self) -> Path | None:
        """Fill an image engine that builds on published weights with those.

        Returns:
            the file or folder that they were read from; None for other image engines.

        Raises:
            ModelError: the published weights are not installed.
        """
        engine = self.stage.networks["image."]
        if not isinstance(engine, PriorEngine):
            return None
        found = engine.load_prior()
        self._prepare()
        return found

    def warm_start(self, path: Path) -> list[str]:
        """Load those of the stage's networks that a weights file contains; of others, what the stage passes on is kept.

        Returns:
            names of the networks loaded (`image`, `expert`, `stereo`).

        Raises:
            ModelError: the file cannot be read, or does not fit a network.
        """
        tensors = weights_file.read_weights(path)
        loaded = [prefix[:-1] for prefix in weights_file.load_networks(self.stage.networks, tensors, path)]
        self.carried = {name: value for name, value in tensors.items() if name.startswith(self.stage.passed_on)}
        self._prepare()
        return loaded

    @property
    def checkpoint_path(self) -> Path:
        """Path of this stage's checkpoint."""
        return self.out / f"{self.stage.name}.checkpoint.safetensors"

    def save(self) -> None:
        """Write the checkpoint and, beside it, the averaged weights as a model file (`STAGE.weights.safetensors`)."""
        if not self.processes.first:
            return
        tensors = {f"average.{name}": value for name, value in self.average.items()}
        for prefix, network in self.stage.networks.items():
            tensors |= {prefix + name: value for name, value in network.state_dict().items()}
        tensors |= {f"carried.{name}": value for name, value in self.carried.items()}
        tensors |= checkpoint.optimizer_tensors(self.optimizer, self.names)
        state = {"stage": self.stage.name, "step": self.step, "seconds": self.seconds, "seed": self.config.seed}
        state["scaler"] = self.scaler.state_dict()
        checkpoint.write(self.checkpoint_path, tensors, state)
        weights = self.out / f"{self.stage.name}.weights.safetensors"
        weights_file.save_model(weights, self.stage.networks, {**self.carried, **self.average})

    def resume(self) -> None:
        """Continue from this stage's checkpoint.

        Raises:
            DataError: there is none, or it is damaged or of another stage.
        """
        tensors, state = checkpoint.read(self.checkpoint_path)
        if state["stage"] != self.stage.name:
            raise DataError(f"{self.checkpoint_path} is of stage {state['stage']!r}, not {self.stage.name!r}")
        for prefix, network in self.stage.networks.items():
            weights_file.load_weights(network, tensors, prefix, self.checkpoint_path)
        carried = ((name.removeprefix("carried."), value) for name, value in tensors.items())
        self.carried = {name: value for name, value in carried if name.startswith(self.stage.passed_on)}
        self._prepare()
        for name, own in self.average.items():
            own.copy_(tensors[f"average.{name}"])
        checkpoint.restore_optimizer(self.optimizer, self.names, tensors)
        if state.get("scaler"):
            self.scaler.load_state_dict(state["scaler"])
        self.step, self.seconds = int(state["step"]), float(state["seconds"])

    def train_step(self, given: StepInput) -> dict[str, float]:
        """Take one step of the optimizer.

        Args:
            given: an input of `Stage.batches`; with several processes, this one's share.

        Returns:
            every term of the loss, `loss`, `gradient` (norm) and `rate`, of the batch of all processes.
        """
        self.watcher.before_step(self)
        # Dropout of this step: the same after a resume, another in every process.
        torch.manual_seed(self.config.seed * 1_000_003 + self.step + 7_368_787 * self.processes.rank)
        rate = self.schedule.rate_at(self.step, self.seconds)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        terms = self.stage.loss(self.objective, given.values, self.step)
        values = torch.stack(list(terms.values()))
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(values.sum()).backward()
        self.scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(list(self.names), self.stage_config.clip).item()
        if (
            math.isfinite(norm) or self.scaler.is_enabled()
        ):  # an enabled scaler skips the step itself and lowers its scale
            self.scaler.step(self.optimizer)
        self.scaler.update()
        if math.isfinite(norm):
            self._update_average()
        self.step += 1
        means = distribution.averaged(values).tolist()
        found = {**dict(zip(terms, means, strict=True)), "loss": sum(means), "gradient": norm, "rate": rate}
        self.watcher.after_step(self, found)
        return found

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.config.average, (1 + self.step) / (10 + self.step))
        values = self._floating()
        torch._foreach_lerp_([self.average[name] for name in values], list(values.values()), 1 - decay)

    def validate(self) -> dict[str, float]:
        """Returns figures of the averaged weights on held-out data; empty without such data."""
        kept = {name: value.clone() for name, value in self._floating().items()}
        self._load(self.average)
        try:
            return self.stage.validate()
        finally:
            self._load(kept)

    @torch.no_grad()
    def _load(self, values: dict[str, Tensor]) -> None:
        for name, value in self._floating().items():
            value.copy_(values[name])

    def run(self) -> dict[str, float]:
        """Train to the end of the schedule.

        Returns:
            the last validation's figures.

        Raises:
            DataError: there is no training data, or the processes find different data.
        """
        self._saved = self._validated = time.monotonic()
        with RunLog(self.out, self.stage.name, self.step) if self.processes.first else NoLog() as log:
            while self.schedule.progress(self.step, self.seconds) < 1.0:
                self._run_batches(self.stage.load_data(), log)
            self.save()
            self.figures = self.validate()
            log.note("heldout", self.step, self.seconds, self.figures)
        distribution.wait_for_all()  # every process may now read the files
        return self.figures

    def _run_batches(self, data: Any, log: RunLog) -> None:
        """Train until the stage's batches are exhausted, or to the schedule's end."""
        clock = time.monotonic()
        for given in self.stage.batches(data, self.step):
            values = self.train_step(given)
            clock = self._do_what_is_due(values, clock, given, log)
            if given.resumable and self.schedule.progress(self.step, self.seconds) >= 1.0:
                break

    def _do_what_is_due(self, values: dict[str, float], clock: float, given: StepInput, log: RunLog) -> float:
        """After a step: log, save and validate where that is due.

        Args:
            values: of `train_step`.
            clock: `time.monotonic()` when the step began.
            given: the step's input.
            log: of the run.

        Returns:
            `time.monotonic()` when the next step begins.
        """
        now = time.monotonic()
        speed = given.views / (now - clock)
        due = [float(now - self._saved > 60 * self.config.checkpoint_minutes)]
        due.append(float(now - self._validated > 60 * self.config.validate_minutes))
        self.seconds, save, validate = distribution.from_first([self.seconds + now - clock, *due])
        if self.step % 20 == 0:
            counts = {"views_per_second": speed, "views": float(given.total)}
            log.note("train", self.step, self.seconds, {**values, **counts})
            pace = f"{speed:.0f} views/s of {given.total}"
            text = f"step {self.step}, loss {values['loss']:.3f}, {pace}, {summary(self.figures)}"
            log.show(self.schedule.progress(self.step, self.seconds), text)
        if save and given.resumable:
            self.save()
            self._saved = time.monotonic()
        if validate:
            self.figures = self.validate()
            log.note("heldout", self.step, self.seconds, self.figures)
            self._validated = time.monotonic()
        return now
