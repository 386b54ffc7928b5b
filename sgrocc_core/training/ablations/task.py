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
    """What an ablation is run with.

    Attributes:
        budget: steps of each run. seeds: how many, from 1. config: base training configuration.
        data: roots of training sets, or folders of packed scenes.
        heldout: root of the set to evaluate on (its split `test`). limit: held-out views or scenes, 0 = all.
        packed: see `session.packed_folder`. weights: that all variants start from, as far as their task shares them; None: the model's own.
        out: folder of the runs, of one or several ablations. threads: in place of the configuration's.
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
        folder: of the run, with `config.yaml`. views: folder of the packed scenes. start: the weights that all runs start from.
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
        shared: file name of the weights that all runs start from; empty: there are none.
        unit: what is scored one by one, for people. chosen: indices of these.
    """

    shared: str
    unit: str
    chosen: list[int]

    def is_shared(self, tensor: str) -> bool:
        """Whether all variants start from a tensor of the weights that were given."""
        ...

    def steps(self, variant: Variant) -> dict[str, int]:
        """Steps of each stage of a run, in the order of training."""
        ...

    def scenes(self, folder: Path) -> list[Path]:
        """Packed scenes in a folder."""
        ...

    def pack(self, root: Path) -> Path:
        """Pack a training set; the folder of its packed scenes."""
        ...

    def settings(self, variant: Variant) -> tuple[dict[str, Any], dict[str, Any]]:
        """What training and evaluation of a variant depend on beside its configuration, as plain JSON."""
        ...

    def train(self, run: Run) -> None:
        """Train from the start, or from the run's checkpoints."""
        ...

    def evaluate(self, run: Run) -> dict[str, Any]:
        """Score a trained run; the report."""
        ...

    def time(self, run: Run, folder: Path) -> tuple[float, float]:
        """Seconds a step and seconds a held-out unit, timed on a few of each in an empty folder."""
        ...

    def facts(self, config: TrainConfig, scenes: int) -> dict[str, str]:
        """What is trained and scored, for the report."""
        ...
