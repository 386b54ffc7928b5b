"""Statistics of an ablation: mean and spread over seeds, and differences to the first variant paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95
"""Probability of the two-sided interval of a difference."""


@dataclass(frozen=True)
class Estimate:
    """A mean of a few values.

    Attributes:
        mean: their mean. spread: sample standard deviation (n - 1), None of one value. count: how many.
    """

    mean: float
    spread: float | None
    count: int

    @property
    def error(self) -> float | None:
        """Standard error of the mean, None of one value."""
        return None if self.spread is None else self.spread / math.sqrt(self.count)

    @property
    def clear(self) -> bool:
        """Whether the mean lies farther from 0 than 95 % of such means would if the truth were 0."""
        if self.error is None:
            return False
        return abs(self.mean) > float(stdtrit(self.count - 1, (1 + CONFIDENCE) / 2)) * self.error


def estimate(values: list[float]) -> Estimate | None:
    """Mean and sample standard deviation; None of no values."""
    if not values:
        return None
    count = len(values)
    mean = math.fsum(values) / count
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1)) if count > 1 else None
    return Estimate(mean, spread, count)


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Estimate | None:
    """Mean of value - reference over the seeds that both have; what a seed does to both cancels. None without a common seed.

    Args:
        values, reference: by seed.
    """
    return estimate([values[seed] - reference[seed] for seed in sorted(set(values) & set(reference))])
