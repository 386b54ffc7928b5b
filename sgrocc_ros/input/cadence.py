"""Decides whether to wait for the next image when the newest one is already old.

If a step takes longer than the images' period P, images are overtaken anyway, and the newest one is P / 2 old on
average when the worker is free. The quantity to minimise is the age of the information in the map: the image's age when
it is taken, plus the step, plus on average half the time until the next update. Taking an image of age a at once costs
a; waiting for the next one costs half the waiting time. With ages uniform over P, waiting from age a on costs
a^2 / 2P + (P - a)^2 / 4P on average. The minimum is at a = P / 3 and costs P / 6, whereas taking at once costs P / 2.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from statistics import median

INTERVALS = 10
"""Number of images over which the period and the delay until completeness are estimated."""
ENOUGH = 5
"""Minimum number of intervals for an estimate of the period; with fewer there is no waiting."""
FRESH = 1 / 3
"""Age, in periods, up to which an image is taken at once; derived above."""
LATE = 1.25
"""Time since the last image, in periods, after which the next one counts as late and waiting ends; a round guess."""


class Cadence:
    """Estimates the period of the images and their delay until completeness. Times are seconds of the steady clock."""

    def __init__(self) -> None:
        self._arrivals: deque[float] = deque(maxlen=INTERVALS + 1)
        self._lags: deque[float] = deque(maxlen=INTERVALS)

    def arrive(self, now: float) -> None:
        """Record the arrival of an image."""
        self._arrivals.append(now)

    def take(self, age: float) -> None:
        """Record that an image was taken `age` seconds after its arrival."""
        self._lags.append(age)

    def patience(self, age: float, work: float) -> float:
        """Return how long to wait for the next image, seconds; 0 means to take the newest complete one.

        Args:
            age: time since the arrival of the newest complete image, seconds.
            work: time that the last image took to map, seconds.
        """
        times = list(self._arrivals)
        if len(times) <= ENOUGH:
            return 0.0
        period = median(b - a for a, b in pairwise(times))
        # Pose and depth arrive after the image; the smallest age at which one was taken is their delay.
        since_complete = age - min(self._lags, default=0.0)
        if work < period or since_complete <= FRESH * period:
            return 0.0
        return max(0.0, LATE * period - since_complete)
