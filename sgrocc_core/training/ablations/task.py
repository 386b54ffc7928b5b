"""The interface of what an ablation trains and scores, and the settings of its runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sgrocc_core.errors import ConfigError
from sgrocc_core.training.ablations.ablation import Variant
from sgrocc_core.training.config import TrainConfig


@dataclass(frozen=True)
class Options:
    """Settings of an ablation's runs.

    Attributes:
        budget: training steps of each run.
        seeds: number of seeds, from 1.
        config: base training configuration.
        data: roots of training sets, or folders of packed scenes.
        heldout: root of the set to evaluate on (its split `test`).
        out: folder of the runs of one or several ablations.
        packed: see `session.packed_folder`.
        weights: initial weights of all variants, as far as their task shares them; None: the model's own.
        limit: maximum number of held-out views or scenes; 0 = all.
        threads: CPU threads in place of the configuration's.

    Raises:
        ConfigError: a value is not allowed.
    """

    budget: int
    seeds: int
    config: Path
    data: tuple[Path, ...]
    heldout: Path
    out: Path
    packed: Path | None = None
    weights: Path | None = None
    limit: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        for key, low in (("budget", 1), ("seeds", 1), ("limit", 0)):
            if getattr(self, key) < low:
                raise ConfigError(f"{key} is {getattr(self, key)}; it must be {low} or more")


@dataclass(frozen=True)
class Run:
    """One variant with one seed.

    Attributes:
        variant: the variant.
        seed: the seed.
        config: of the run.
        folder: of the run, with `config.yaml`.
        views: folder of the packed scenes.
        start: the initial weights of all runs.
    """

    variant: Variant
    seed: int
    config: TrainConfig
    folder: Path
    views: Path
    start: Path


class Task(Protocol):
    """What an ablation trains and how it scores it.

    Attributes:
        shared: file name of the initial weights of all runs; empty if there are none.
        unit: name of a scored item, e.g. `view`.
        chosen: indices of the scored items.
    """

    shared: str
    unit: str
    chosen: list[int]

    def is_shared(self, tensor: str) -> bool:
        """Returns whether all variants start from this tensor of the given weights."""
        ...

    def steps(self, variant: Variant) -> dict[str, int]:
        """Returns the steps of each stage of a run, in the order of training."""
        ...

    def scenes(self, folder: Path) -> list[Path]:
        """Returns the packed scenes in a folder."""
        ...

    def pack(self, root: Path) -> Path:
        """Pack a training set.

        Returns:
            the folder of its packed scenes.
        """
        ...

    def settings(self, variant: Variant) -> tuple[dict[str, Any], dict[str, Any]]:
        """Returns the settings of training and of evaluation besides a variant's configuration, as plain JSON."""
        ...

    def train(self, run: Run) -> None:
        """Train a run, from the start or from its checkpoints."""
        ...

    def evaluate(self, run: Run) -> dict[str, Any]:
        """Score a trained run.

        Returns:
            the report.
        """
        ...

    def time(self, run: Run, folder: Path) -> tuple[float, float]:
        """Measure a run on a few steps and held-out items, in an empty folder.

        Returns:
            seconds per step and per held-out item.
        """
        ...

    def facts(self, config: TrainConfig, scenes: int) -> dict[str, str]:
        """Returns the settings of training and evaluation, for the report."""
        ...
