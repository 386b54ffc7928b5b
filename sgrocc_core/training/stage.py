"""What a `Trainer` is given: a stage says which networks are trained on which data with which loss, and how they are validated.

The stages are `local.stage.LocalStage` (single views) and `embodied.stage.WalkStage` (walks with the memory). The trainer knows nothing
of networks or data: it has the optimizer, the moving average, checkpoints, logs and the clock.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import torch
from torch import nn

from sgrocc_core.engines.weights import build_networks
from sgrocc_core.training import distribution
from sgrocc_core.training.compute import Compute
from sgrocc_core.training.config import TrainConfig
from sgrocc_core.training.frozen_backbone import run_frozen_apart
from sgrocc_core.training.losses.objectives import Terms


class Trained(NamedTuple):
    """A module that a stage trains.

    Attributes:
        module: its parameters that require a gradient are trained.
        rate: its learning rate as a share of the stage's, from 0 to 1.
    """

    module: nn.Module
    rate: float = 1.0


@dataclass(frozen=True)
class StepInput:
    """The input of one optimizer step.

    Attributes:
        values: the argument of `Stage.loss`.
        views: number of views in it, over all processes.
        total: number of views or scenes in the data set, for the log.
        resumable: whether a run can be saved, resumed and ended after this step.
    """

    values: Any
    views: int
    total: int
    resumable: bool = True


class Stage(Protocol):
    """A stage of training.

    Attributes:
        name: one of `config.STAGES`; checkpoints, weights and logs carry it in their file names.
        compute: device and precision.
        networks: all networks by the prefix of their weights' names (`image.`, `expert.`): what a warm start fills and a checkpoint keeps.
        trained: the modules that learn, by the prefix of their weights' names; all other parameters are frozen.
    """

    name: str
    compute: Compute
    networks: dict[str, nn.Module]
    trained: dict[str, Trained]

    def objective(self) -> nn.Module:
        """Returns the networks with their loss as one module; with several processes the trainer wraps it in DistributedDataParallel."""
        ...

    def load_data(self) -> Any:
        """Returns the training data found now, the same in every process; it is loaded again when `batches` is exhausted.

        Raises:
            DataError: there is none.
        """
        ...

    def batches(self, data: Any, step: int) -> Iterator[StepInput]:
        """Yields the inputs of the steps from `step` on.

        Args:
            data: the result of `load_data`.
            step: steps taken so far. Random draws depend on it and on the seed only, so that a resumed run equals an uninterrupted one.
        """
        ...

    def loss(self, objective: nn.Module, values: Any, step: int) -> Terms:
        """Returns the terms of the loss of one step.

        Args:
            objective: the module of `objective`, possibly wrapped.
            values: of a `StepInput`, on the CPU.
            step: steps taken so far.
        """
        ...

    def validate(self) -> dict[str, float]:
        """Returns figures of the networks' current weights on held-out data, by name; empty without such data."""
        ...


def make_networks(config: TrainConfig, compute: Compute) -> tuple[nn.Module, nn.Module]:
    """Build the image engine and the spatial expert with weights drawn from the run's seed.

    Returns:
        the image engine, on the device, and the spatial expert, still on the CPU; see `on_device`.
    """
    torch.manual_seed(config.seed)
    engine, expert = build_networks({"image": config.image, "expert": dataclasses.asdict(config.network)})
    engine = engine.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    on_its_device = on_device(engine, compute)
    run_frozen_apart(on_its_device, compute.device, config.threads)
    return on_its_device, expert


def on_device(module: nn.Module, compute: Compute) -> nn.Module:
    """Move a network to the device; its batch norms share their statistics among the processes."""
    return distribution.synchronise(module.to(compute.device), compute.device)
