"""The learning rate over a run: linear warm-up, then a cosine to nearly zero, by step and, for runs of fixed length, by the clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

from sgrocc_core.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """When a run ends and how fast it learns on the way.

    Attributes:
        rate: highest learning rate. steps: the run's length in steps. minutes: or in wall time, whichever ends first; 0 = no limit.
        warmup: share of the run in which the rate rises linearly. floor: share of `rate` that is left at the end.
    """

    rate: float
    steps: int
    minutes: float = 0.0
    warmup: float = 0.03
    floor: float = 0.01

    def __post_init__(self) -> None:
        if self.rate <= 0:
            raise ConfigError(f"rate is {self.rate}; it must be positive")
        if self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; at least 1 is needed")
        if self.minutes < 0:
            raise ConfigError(f"minutes is {self.minutes}; it must be 0 (no limit) or more")
        if not 0 <= self.warmup < 1:
            raise ConfigError(f"warmup is {self.warmup}; it is a share of the run, from 0 to below 1")

    def progress(self, step: int, seconds: float) -> float:
        """How much of the run is over, 0..1, after `step` steps and `seconds` of training."""
        by_clock = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(step / self.steps, by_clock))

    def rate_at(self, step: int, seconds: float) -> float:
        """Learning rate of the next step."""
        progress = self.progress(step, seconds)
        if progress < self.warmup:
            # Half a step ahead, so that the first one is not at rate zero.
            return self.rate * min(1.0, progress / self.warmup + 0.5 / max(1.0, self.warmup * self.steps))
        through = (progress - self.warmup) / (1 - self.warmup)
        return self.rate * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * through)))
