"""Whether the next image is worth waiting for when the newest one is old already.

Where a step takes longer than the images' period, images are overtaken anyway, and the newest one is half a period old on
average when the worker is free. What counts is how old the map's news is: the image's age when it is taken, the step, and on
average half the time until the next news. Taking an image at once costs its age; waiting for the next one costs half the wait.
With ages spread evenly over a period P, and waiting from age a on, that is a^2 / 2P + (P - a)^2 / 4P, which is least at
a = P / 3: a sixth of a period, where taking always costs half of one.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from statistics import median

INTERVALS = 10
"""Images, and takes, over which the period and the lag are judged."""
ENOUGH = 5
"""Intervals without which nothing is waited for."""
FRESH = 1 / 3
"""Periods up to which an image is taken at once."""
LATE = 1.25
"""Periods after which the next image is not waited for any longer."""


class Cadence:
    """Knows how often images come, and how long after that they are complete. All times are seconds of the steady clock."""

    def __init__(self) -> None:
        self._arrivals: deque[float] = deque(maxlen=INTERVALS + 1)
        self._lags: deque[float] = deque(maxlen=INTERVALS)

    def arrive(self, now: float) -> None:
        """An image has come."""
        self._arrivals.append(now)

    def take(self, age: float) -> None:
        """An image is taken `age` seconds after it came."""
        self._lags.append(age)

    def patience(self, age: float, work: float) -> float:
        """How long to wait for the image after the newest complete one; 0: take that one.

        Args:
            age: of the newest complete image, seconds since it came. work: seconds that the last image took.
        """
        times = list(self._arrivals)
        if len(times) <= ENOUGH:
            return 0.0
        period = median(b - a for a, b in pairwise(times))
        since_complete = age - min(
            self._lags, default=0.0
        )  # pose and depth come later than the image; taken at once, they have just come
        if work < period or since_complete <= FRESH * period:
            return 0.0
        return max(0.0, LATE * period - since_complete)
