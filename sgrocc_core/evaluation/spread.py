"""How right a depth's spread is: the share of pixels whose error lies below the quantiles that the spread promises."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

LEVELS = (0.5, 0.68, 0.9)
"""Quantiles of the error; a right spread has these shares of the pixels below them."""


def quantile(level: float) -> float:
    """The error that this share of a Laplace distribution of scale 1 stays below: -ln(1 - level)."""
    return -math.log(1 - level)


@dataclass
class SpreadCalibration:
    """Counts over images.

    Attributes:
        below: (len(LEVELS),) pixels whose error is below each quantile.
        pixels: with a true depth.
    """

    below: np.ndarray = field(default_factory=lambda: np.zeros(len(LEVELS)))
    pixels: int = 0

    def add(self, depth: np.ndarray, spread: np.ndarray, truth: np.ndarray) -> None:
        """Count an image; all of the same shape, metres, truth and depth 0 = none, spread a Laplace scale."""
        known = (truth > 0) & (depth > 0)
        error = np.abs(depth - truth)[known] / np.maximum(spread[known], 1e-6)
        self.below += [(error <= quantile(level)).sum() for level in LEVELS]
        self.pixels += int(known.sum())

    def figures(self) -> dict[str, float | None]:
        """`p50`, `p68`, `p90`: share below each quantile; `error`: largest difference to it. None without pixels."""
        names = [f"p{level * 100:.0f}" for level in LEVELS]
        if not self.pixels:
            return dict.fromkeys([*names, "error"])
        shares = self.below / self.pixels
        worst = max(abs(share - level) for share, level in zip(shares, LEVELS))
        return {**{name: round(float(share), 4) for name, share in zip(names, shares)}, "error": round(float(worst), 4)}
