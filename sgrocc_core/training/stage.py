"""The interface between a `Trainer` and what it trains: a stage provides networks, data, loss and validation.

The stages are `local.stage.LocalStage` (single views) and `embodied.stage.WalkStage` (walks with the memory). The
trainer has the optimizer, the moving average, checkpoints, logs and time limits, and knows nothing of networks or
data.
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
        name: one of `config.STAGES`; part of the file names of checkpoints, weights and logs.
        passed_on: prefix of a network that the stage lacks and whose weights it passes from its start to its result.
        compute: device and precision.
        networks: all networks by the prefix of their weights' names (`image.`, `expert.`). A warm start loads their
            weights, and a checkpoint contains them.
        trained: the modules that are trained, by the prefix of their weights' names; all other parameters are frozen.
    """

    name: str
    passed_on: str
    compute: Compute
    networks: dict[str, nn.Module]
    trained: dict[str, Trained]

    def objective(self) -> nn.Module:
        """Returns the networks with their loss as one module.

        With several processes the trainer wraps it for distribution.
        """
        ...

    def load_data(self) -> Any:
        """Returns the training data, the same in all processes; called again whenever `batches` is exhausted.

        Raises:
            DataError: there is none.
        """
        ...

    def batches(self, data: Any, step: int) -> Iterator[StepInput]:
        """Yields the inputs of the steps from `step` on.

        Args:
            data: the result of `load_data`.
            step: number of steps taken. Random draws depend only on it and on the seed, so that a resumed run equals an
                uninterrupted one.
        """
        ...

    def loss(self, objective: nn.Module, values: Any, step: int) -> Terms:
        """Returns the terms of the loss of one step.

        Args:
            objective: the module of `objective`, possibly wrapped.
            values: of a `StepInput`, on the CPU.
            step: number of steps taken.
        """
        ...

    def validate(self) -> dict[str, float]:
        """Returns figures of the networks' current weights on held-out data, by name; empty without such data."""
        ...


def make_networks(config: TrainConfig, compute: Compute) -> tuple[nn.Module, nn.Module]:
    """Build the image engine and the spatial expert with random weights from the run's seed.

    Args:
        config: of the run.
        compute: device and precision.

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
    """Move a network to the device; its batch norms share their statistics among the processes.

    Args:
        module: network.
        compute: device and precision.
    """
    return distribution.synchronise(module.to(compute.device), compute.device)
