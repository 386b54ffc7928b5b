"""The learning rate of a run: linear warm-up, then a cosine to nearly zero.

Progress is measured in steps and, if the run has a time limit, in time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from sgrocc_core.errors import ConfigError


@dataclass(frozen=True)
class Schedule:
    """Length of a run and its learning rate.

    Attributes:
        rate: highest learning rate.
        steps: maximum number of steps.
        minutes: maximum training time; 0 = no limit. The run ends at whichever limit it reaches first.
        warmup: share of the run in which the rate rises linearly.
        floor: learning rate at the end as a share of `rate`.

    Raises:
        ConfigError: a value is not allowed.
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
        """Returns the share of the run that is over, 0..1.

        Args:
            step: number of steps taken.
            seconds: training time so far, seconds.
        """
        by_clock = seconds / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(step / self.steps, by_clock))

    def rate_at(self, step: int, seconds: float) -> float:
        """Returns the learning rate of the next step; arguments as of `progress`."""
        progress = self.progress(step, seconds)
        if progress < self.warmup:
            # Half a step ahead, so that the rate of the first step is not zero.
            return self.rate * min(1.0, progress / self.warmup + 0.5 / max(1.0, self.warmup * self.steps))
        after_warmup = (progress - self.warmup) / (1 - self.warmup)
        return self.rate * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * after_warmup)))
