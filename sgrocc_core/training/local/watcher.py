"""Lets the teacher of views without labels follow the weights of a run."""

from __future__ import annotations

from sgrocc_core.training.local.teacher import SlowCopy
from sgrocc_core.training.trainer import Trainer, Watcher


class TeacherWatcher(Watcher):
    """Hands the moving average of the weights to the teacher before each step.

    Args:
        teacher: follows the average.
        other: another watcher, which is called, too.
    """

    def __init__(self, teacher: SlowCopy, other: Watcher | None = None) -> None:
        self.teacher, self.other = teacher, other or Watcher()

    def before_step(self, trainer: Trainer) -> None:
        """See `Watcher`."""
        self.teacher.follow(trainer.average)
        self.other.before_step(trainer)

    def after_step(self, trainer: Trainer, values: dict[str, float]) -> None:
        """See `Watcher`."""
        self.other.after_step(trainer, values)
