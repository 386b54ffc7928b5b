"""Statistics of an ablation: mean and spread over seeds, and differences to the reference paired by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from scipy.special import stdtrit

CONFIDENCE = 0.95
"""Probability of the two-sided interval of a difference."""


@dataclass(frozen=True)
class Estimate:
    """The mean of a few values.

    Attributes:
        mean: their mean.
        spread: sample standard deviation (n - 1); None for one value.
        count: number of values.
    """

    mean: float
    spread: float | None
    count: int

    @property
    def error(self) -> float | None:
        """Standard error of the mean; None for one value."""
        return None if self.spread is None else self.spread / math.sqrt(self.count)

    @property
    def clear(self) -> bool:
        """Whether 0 lies outside the mean's confidence interval by Student's t; False for one value."""
        if self.error is None:
            return False
        return abs(self.mean) > float(stdtrit(self.count - 1, (1 + CONFIDENCE) / 2)) * self.error


def estimate(values: list[float]) -> Estimate | None:
    """Returns mean and sample standard deviation; None without values."""
    if not values:
        return None
    count = len(values)
    mean = math.fsum(values) / count
    spread = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (count - 1)) if count > 1 else None
    return Estimate(mean, spread, count)


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Estimate | None:
    """Returns the mean of value - reference over the seeds that both have; None without a common seed.

    Pairing cancels the effect of a seed that both share.

    Args:
        values: by seed.
        reference: by seed.
    """
    return estimate([values[seed] - reference[seed] for seed in sorted(set(values) & set(reference))])
