"""The network's depth set right by the camera's own motion (ours; the method corrects a head's depth only by a sensor's).

A network guesses scale from what things look like; a camera that moves by a known length measures it. Points triangulated along the way
(geometry/point_tracks.py) draw a smooth field of factors over the head's depth, each point speaking for its surroundings on its own
surface; where there are points, the spread shrinks. The constants were fitted on generated walks with 3 mm and 0.1 degrees of pose noise,
some of them of a camera that turns on the spot.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numba import njit

from sgrocc_core.array_layout import ArrayLayout, check_arrays, check_range
from sgrocc_core.depth.source import upsampled
from sgrocc_core.depth.tracks import PointTracks, TrackedPoints
from sgrocc_core.geometry.camera import NEAREST

REACH = 8.0
"""How far a point speaks for its surroundings, pixels of the head (standard deviation)."""
SAME_SURFACE = 0.2
"""How alike the head's depths must be for a point to speak for a pixel, natural logarithm (standard deviation)."""
PRIOR = 0.3
"""Weight of the image's own factor beside the points around a pixel."""
OUTLIER = 0.5
"""Points off by this much from the image's factor count half, natural logarithm."""
CERTAIN = 0.1
"""A point certain to this share of its depth counts half."""
LEAST = 3.0
"""Weight of points below which they do not tell the image's factor."""
STEADY = 20.0
"""Weight of the factor so far beside an image's own, in points."""
FACTOR_DECAY = 0.95
"""What is left of the factor's logarithm after an image without points."""
SHRINK = (1.5, -0.22)
"""With points of weight n around a pixel its spread is (1 + 1.5 n)^-0.22 of the head's."""


LAYOUT: ArrayLayout = {"log_factor": ((1,), np.float64)}
MAX_LOG_FACTOR = 10.0
"""A saved factor beyond this is no depth's, natural logarithm."""


class MotionDepth:
    """Corrects the depth of image after image of one camera.

    Attributes:
        factor: of the last image: what the head's depth is multiplied by where no point speaks.
    """

    def __init__(self) -> None:
        self.tracks, self._log_factor = PointTracks(), 0.0

    @property
    def factor(self) -> float:
        """See the class."""
        return float(np.exp(self._log_factor))

    def arrays(self) -> dict[str, np.ndarray]:
        """All that correcting goes on from: the tracks' arrays, and `log_factor` (1,) float64."""
        return {"log_factor": np.array([self._log_factor], np.float64)} | self.tracks.arrays()

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Go on from what `arrays` gave; DataError where it cannot be."""
        what = "the saved depth correction"
        check_arrays(what, arrays, LAYOUT)
        check_range(what, "log_factor", arrays["log_factor"], -MAX_LOG_FACTOR, MAX_LOG_FACTOR)
        self.tracks.restore(arrays)
        self._log_factor = float(arrays["log_factor"][0])

    def correct(
        self,
        image: np.ndarray,
        mask: np.ndarray,
        K: np.ndarray,
        T_wc: np.ndarray,
        stamp_ns: int,
        depth: np.ndarray,
        spread: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Depth and spread of the next image, corrected.

        Args:
            image: (H, W, 3) uint8 RGB, letterboxed. mask: (H, W) float32, 0 in the padding. K: (3, 3) pixels.
            T_wc: (4, 4) camera to world, metres. stamp_ns: of the image.
            depth, spread: (h, w) float32 metres, the head's; h and w divide H and W alike.
        """
        guess = upsampled(depth * np.float32(self.factor), mask)
        points = self.tracks.follow(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), mask, K, T_wc, stamp_ns, guess)
        return self.apply(depth, spread, points, mask.shape[1] / depth.shape[1])

    def apply(
        self, depth: np.ndarray, spread: np.ndarray, points: TrackedPoints, stride: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same from points that are at hand, in an image `stride` times as large as the depth."""
        height, width = depth.shape
        log_depth = np.log(np.maximum(depth, NEAREST)).astype(np.float32)
        at = ((points.pixels + 0.5) / stride - 0.5).astype(np.float32)
        column, row = np.clip(np.rint(at).astype(np.int64), 0, (width - 1, height - 1)).T
        near = log_depth[row, column]
        ratio = np.log(points.depth) - near
        weight = 1.0 / (1.0 + (points.sigma / CERTAIN) ** 2)
        if (total := float(weight.sum())) >= LEAST:
            # Points of one image err together, since they share its poses: many uncertain ones are no better than one.
            gain = total / len(weight) * total / (total + STEADY)
            self._log_factor += gain * (_weighted_median(ratio, weight) - self._log_factor)
        else:
            self._log_factor *= FACTOR_DECAY
        off = (ratio - self._log_factor).astype(np.float32)
        # Squared, for the same reason: uncertain points lose against the prior even where there are many.
        weight = (weight**2 / (1.0 + (off / OUTLIER) ** 2)).astype(np.float32)
        field, support = _field(log_depth, at, near, off, weight)
        factor = np.exp(field + np.float32(self._log_factor))
        return depth * factor, spread * factor * (1 + np.float32(SHRINK[0]) * support) ** np.float32(SHRINK[1])


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    order = np.argsort(values, kind="stable")
    cumulative = np.cumsum(weights[order])
    return float(values[order[np.searchsorted(cumulative, cumulative[-1] / 2)]])


@njit(cache=True)
def _field(log_depth, at, near, off, weight):
    """The points' mean offset about every pixel, drawn towards 0, and their weight there."""
    height, width = log_depth.shape
    total, support = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    span = int(3 * REACH)
    for n in range(len(at)):
        u, v = at[n]
        for i in range(max(int(v) - span, 0), min(int(v) + span + 1, height)):
            for j in range(max(int(u) - span, 0), min(int(u) + span + 1, width)):
                apart = ((i - v) ** 2 + (j - u) ** 2) / REACH**2 + ((log_depth[i, j] - near[n]) / SAME_SURFACE) ** 2
                if apart < 12.0:
                    w = weight[n] * math.exp(-0.5 * apart)
                    total[i, j] += w * off[n]
                    support[i, j] += w
    return total / (support + np.float32(PRIOR)), support
