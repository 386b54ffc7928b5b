"""Parts of training a run that all kinds of ablation share: its start, and a clock of its steps."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from sgrocc_core.training.trainer import Trainer, Watcher


def begin(trainer: Trainer, start: Path) -> None:
    """Resume from the trainer's checkpoint if there is one; otherwise load the weights that all runs start from."""
    if trainer.checkpoint_path.is_file():
        trainer.resume()
    else:
        trainer.warm_start(start)


class StepClock(Watcher):
    """Records the time at which each step ended.

    Attributes:
        step_ends: `time.monotonic()` after each step, seconds.
    """

    def __init__(self) -> None:
        self.step_ends: list[float] = []

    def after_step(self, trainer: Trainer, values: dict[str, float]) -> None:
        """See `Watcher`."""
        self.step_ends.append(time.monotonic())

    @property
    def seconds_per_step(self) -> float:
        """Median time from the end of one step to the end of the next, seconds."""
        return float(np.median(np.diff(self.step_ends)))
