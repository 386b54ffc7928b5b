"""Checks of depth images: their unit, and whether they are registered to the colour image.

Where depth jumps the colour usually changes too. The edges of both images are correlated over several frames, for
shifts and for scales of the depth image; a registered pair correlates best without either.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from sgrocc_core.checks.findings import Finding

PLAUSIBLE_MEDIAN = (0.1, 30.0)
"""Metres that the median of an indoor depth image lies within."""
FARTHEST = 100.0
"""Metres beyond which a reading of a frame's depth is not used."""
WIDTH = 160
"""Columns at which edges are compared."""
JUMP = 0.1
"""Relative step of depth between neighbouring pixels that counts as an edge."""
GAP = 3
"""Pixels without a reading that an edge may reach across."""
SCALES = (0.6, 0.7, 0.8, 0.9, 1.0, 1.11, 1.25, 1.43, 1.67)
"""Sizes of the depth image that are tried, relative to the colour image."""
REACH = 0.12
"""Largest shift that is tried, as a share of the image's width."""
LEAST_EDGES = 400
"""Edge pixels over all frames below which nothing is said."""
LEAST_FRAMES = 4
CLEARLY_BETTER = 1.35
"""Ratio of the best correlation to the one without shift from which a pair counts as not registered. On three real
recordings and on generated walks registered pairs were never significant, and shifts of 4 % of the width gave ratios
above 2."""
SIGNIFICANT = 2.5
"""The best correlation must exceed the one without shift by so many standard deviations of all correlations."""
LEAST_SHIFT = 0.02
"""Shifts below this share of the width are not reported."""


def check_unit(median: float, images: int) -> list[Finding]:
    """Whether depth is in metres, judged by its median.

    Args:
        median: of all finite, positive readings after decoding, metres; NaN without any.
        images: number of depth images it was taken over.
    """
    if not np.isfinite(median):
        return [
            Finding(
                "warning",
                "depth_empty",
                f"{images} depth images have no valid reading: all are 0, NaN or infinite",
                "The sensor may be covered, too close, or may need another exposure.",
            )
        ]
    if PLAUSIBLE_MEDIAN[0] <= median <= PLAUSIBLE_MEDIAN[1]:
        return []
    unit, level = "", "error"
    if median > FARTHEST:
        level = "warning"  # none of it is used
    if 0.1 <= median / 1000 <= 30:
        unit = ": millimetres?"
    elif 0.1 <= median * 1000 <= 30:
        unit = ": metres read as millimetres?"
    return [
        Finding(
            level,
            "depth_unit",
            f"the median of {images} depth images is {median:.2g} m{unit} Indoors {PLAUSIBLE_MEDIAN[0]:g} to "
            f"{PLAUSIBLE_MEDIAN[1]:g} m are plausible",
            "32FC1 must be in metres; for 16UC1 give the metres of one unit with --depth-scale.",
        )
    ]


@dataclass
class DepthStatistics:
    """Collects the median depth of images one by one; the median of the images' medians is reported."""

    medians: list[float] = field(default_factory=list)
    empty: int = 0

    def add(self, depth: np.ndarray) -> None:
        """Add one decoded depth image, (H, W) metres, before anything is filtered out."""
        valid = depth[::4, ::4]
        valid = valid[np.isfinite(valid) & (valid > 0)]
        if valid.size:
            self.medians.append(float(np.median(valid)))
        else:
            self.empty += 1

    @property
    def median(self) -> float:
        """Metres; NaN without a reading."""
        return float(np.median(self.medians)) if self.medians else float("nan")

    def findings(self) -> list[Finding]:
        """See `check_unit`."""
        images = len(self.medians) + self.empty
        return check_unit(self.median, images) if images else []


class EdgeAlignment:
    """Correlates the edges of depth and colour over several frames."""

    def __init__(self) -> None:
        self.frames = 0
        self.edges = 0
        self._sums: dict[float, np.ndarray] = {}

    def add(self, image: np.ndarray, depth: np.ndarray) -> None:
        """Add one pair.

        Args:
            image: (H, W, 3) uint8 RGB.
            depth: (h, w) metres of the same aspect, 0 = no reading.
        """
        height = max(round(WIDTH * image.shape[0] / image.shape[1]), 8)
        colour = _colour_edges(cv2.resize(image, (WIDTH, height), interpolation=cv2.INTER_AREA))
        jumps = depth_edges(cv2.resize(depth, (WIDTH, height), interpolation=cv2.INTER_NEAREST_EXACT))
        count = int(jumps.sum())
        if count < 30:
            return
        self.frames += 1
        self.edges += count
        spectrum = np.fft.rfft2(colour)
        for scale in SCALES:
            scaled = _scaled(jumps, scale)
            total = float(scaled.sum())
            if total < 1:
                continue
            correlation = np.fft.irfft2(spectrum * np.conj(np.fft.rfft2(scaled / total)), s=colour.shape)
            self._sums[scale] = self._sums.get(scale, np.zeros_like(correlation)) + correlation

    def best(self) -> tuple[float, float, float, float] | None:
        """The best alignment.

        Returns:
            scale of the depth image; shift to the right and downwards, as shares of the width; ratio of its correlation
            to the one of the images as they are, 1 where the difference lies within the noise. None with too few frames
            or edges.
        """
        if self.frames < LEAST_FRAMES or self.edges < LEAST_EDGES or 1.0 not in self._sums:
            return None
        height = self._sums[1.0].shape[0]
        reach = round(REACH * WIDTH)
        zero = float(_window(self._sums[1.0], 1).max())
        top = (-np.inf, 1.0, 0, 0)
        for scale, total in self._sums.items():
            window = _window(total, min(reach, height // 2 - 1))
            row, column = np.unravel_index(int(window.argmax()), window.shape)
            middle = window.shape[0] // 2
            top = max(top, (float(window[row, column]), scale, int(column) - middle, int(row) - middle))
        value, scale, right, down = top
        noise = float(np.std(self._sums[1.0]))
        if value - zero < SIGNIFICANT * noise:
            return 1.0, 0.0, 0.0, 1.0
        return scale, right / WIDTH, down / WIDTH, value / max(zero, noise)

    def findings(self) -> list[Finding]:
        """A warning where the depth fits the image better when it is shifted or scaled."""
        best = self.best()
        if best is None or best[3] < CLEARLY_BETTER:
            return []
        scale, right, down, ratio = best
        if scale == 1.0 and max(abs(right), abs(down)) < LEAST_SHIFT:
            return []
        size = "" if scale == 1.0 else f"scaled by {scale:g} and "
        return [
            Finding(
                "warning",
                "depth_registration",
                f"the edges of depth and image agree better ({ratio:.2g} times) with the depth {size}shifted by "
                f"{right:+.1%} of the width to the right and {down:+.1%} downwards: it does not "
                "look registered to the image",
                "Use the driver's registered (aligned) depth topic, or give its camera_info and transform.",
            )
        ]


def _window(correlation: np.ndarray, reach: int) -> np.ndarray:
    """Correlations of shifts up to `reach` in both directions, (2 reach + 1, 2 reach + 1), no shift in the middle."""
    return np.roll(correlation, (reach, reach), (0, 1))[: 2 * reach + 1, : 2 * reach + 1]


def _colour_edges(image: np.ndarray) -> np.ndarray:
    """Strength of edges as a rank within the image, of mean 0, (H, W) float64."""
    blurred = cv2.GaussianBlur(image, (0, 0), 1.0).astype(np.float32)
    dx, dy = cv2.Sobel(blurred, cv2.CV_32F, 1, 0), cv2.Sobel(blurred, cv2.CV_32F, 0, 1)
    strength = np.sqrt((dx * dx + dy * dy).max(2))
    ranks = np.empty(strength.size)
    ranks[np.argsort(strength, axis=None, kind="stable")] = np.linspace(0, 1, strength.size)
    edges = np.maximum(ranks.reshape(strength.shape) - 0.6, 0)
    edges[:2], edges[-2:], edges[:, :2], edges[:, -2:] = 0, 0, 0, 0
    return edges - edges.mean()


def depth_edges(depth: np.ndarray) -> np.ndarray:
    """1 at the nearer side of a jump between two readings, also across a gap of up to GAP pixels; (H, W) float64."""
    logs = np.where(depth > 0, np.log(np.maximum(depth, 1e-3)), np.nan)
    out = np.zeros(depth.shape)
    for axis in (0, 1):
        values, edges = np.moveaxis(logs, axis, 0), np.moveaxis(out, axis, 0)
        for lag in range(1, GAP + 2):
            step = values[lag:] - values[:-lag]
            empty = np.ones(step.shape, bool)
            for between in range(1, lag):
                empty &= np.isnan(values[between : len(values) - lag + between])
            jump = empty & (np.abs(np.nan_to_num(step)) > JUMP)
            edges[:-lag] = np.maximum(edges[:-lag], jump & (step > 0))
            edges[lag:] = np.maximum(edges[lag:], jump & (step < 0))
    return out


def _scaled(edges: np.ndarray, scale: float) -> np.ndarray:
    """Edges of the depth image enlarged about the image's middle."""
    if scale == 1.0:
        return edges
    height, width = edges.shape
    middle = np.array([(width - 1) / 2, (height - 1) / 2])
    matrix = np.hstack([scale * np.eye(2), ((1 - scale) * middle)[:, None]])
    return (cv2.warpAffine(edges, matrix, (width, height), flags=cv2.INTER_LINEAR) > 0.3).astype(np.float64)
