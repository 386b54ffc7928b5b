"""Correction of the network's depth by points that are triangulated from the camera's motion (ours).

A network estimates scale from appearance; a camera with known motion measures it. The triangulated points
(depth/tracks.py) give a smooth field of scale factors, in which a point affects the pixels near it that lie at a
similar depth. The spread is reduced where there are points. The constants below were fitted on generated walks with
3 mm and 0.1 degrees of pose noise, including cameras that turn on the spot.
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
"""Standard deviation of a point's influence over the image, pixels of the depth head."""
SAME_SURFACE = 0.2
"""Standard deviation of a point's influence over the natural logarithm of depth."""
PRIOR = 0.3
"""Weight of the image's scale factor relative to a point near the pixel."""
OUTLIER = 0.5
"""Deviation from the image's scale factor, natural logarithm, at which a point's weight is halved."""
CERTAIN = 0.1
"""Relative uncertainty of depth at which a point's weight is halved."""
LEAST = 3.0
"""Minimum total point weight needed to estimate the image's scale factor."""
STEADY = 20.0
"""Weight of the previous scale factor in the update, in points."""
FACTOR_DECAY = 0.95
"""Factor by which the logarithm of the scale factor decays per image without points."""
SHRINK = (1.5, -0.22)
"""Constants a, b of the spread's factor (1 + a n)^b at a pixel with nearby points of total weight n."""


LAYOUT: ArrayLayout = {"log_factor": ((1,), np.float64)}
MAX_LOG_FACTOR = 10.0
"""Maximum absolute logarithm of a saved scale factor; larger ones are refused as damaged (round guess)."""


class MotionDepth:
    """Corrects the depth of a stream of images of one camera.

    Attributes:
        factor: scale factor of the last image, applied to pixels without points near them.
    """

    def __init__(self) -> None:
        self.tracks, self._log_factor = PointTracks(), 0.0
        self.points = 0  # that the last image was corrected with

    @property
    def factor(self) -> float:
        """See the class."""
        return float(np.exp(self._log_factor))

    def arrays(self) -> dict[str, np.ndarray]:
        """State for saving: the arrays of the tracks, and `log_factor` (1,) float64."""
        return {"log_factor": np.array([self._log_factor], np.float64)} | self.tracks.arrays()

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore the state that `arrays` returned.

        Raises:
            DataError: an array is missing, has another shape or type, or holds values out of range.
        """
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
        """Correct depth and spread of the next image.

        Args:
            image: (H, W, 3) uint8 RGB, letterboxed.
            mask: (H, W) float32, 0 in the padding.
            K: (3, 3) intrinsics of the letterboxed image, pixels.
            T_wc: (4, 4) camera to world, metres.
            stamp_ns: time of the image, nanoseconds.
            depth: (h, w) float32, metres, from the network; H / h = W / w is an integer.
            spread: (h, w) float32, metres, from the network.

        Returns:
            Corrected depth and spread, (h, w) float32, metres.
        """
        guess = upsampled(depth * np.float32(self.factor), mask)
        points = self.tracks.follow(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), mask, K, T_wc, stamp_ns, guess)
        self.points = len(points.depth)
        return self.apply(depth, spread, points, mask.shape[1] / depth.shape[1])

    def apply(
        self, depth: np.ndarray, spread: np.ndarray, points: TrackedPoints, stride: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Correct depth and spread by the points of an image `stride` times as large; see `correct`."""
        height, width = depth.shape
        log_depth = np.log(np.maximum(depth, NEAREST)).astype(np.float32)
        at = ((points.pixels + 0.5) / stride - 0.5).astype(np.float32)
        column, row = np.clip(np.rint(at).astype(np.int64), 0, (width - 1, height - 1)).T
        near = log_depth[row, column]
        ratio = np.log(points.depth) - near
        weight = 1.0 / (1.0 + (points.sigma / CERTAIN) ** 2)
        if (total := float(weight.sum())) >= LEAST:
            # Points of one image share the error of its pose, so many uncertain points are no better than one.
            gain = total / len(weight) * total / (total + STEADY)
            self._log_factor += gain * (_weighted_median(ratio, weight) - self._log_factor)
        else:
            self._log_factor *= FACTOR_DECAY
        off = (ratio - self._log_factor).astype(np.float32)
        # Squared for the same reason: the prior outweighs uncertain points even if there are many.
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
    """Weighted mean offset of the points around each pixel, drawn towards 0 by PRIOR, and their total weight."""
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
