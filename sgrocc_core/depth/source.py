"""The depth prior of a frame (method, section 2.1): the sensor's, the network's, or the sensor's filled by the network's.

`fused` takes the sensor where it has a reading and elsewhere the head's depth scaled by the median ratio to the sensor's. What the head
filled in counts as learned: with its own spread, and judged only where the sensor says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sgrocc_core.depth.layer import DepthLayer, sensor_spread
from sgrocc_core.errors import FrameError
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.camera import Letterbox, LetterboxedCamera, scale_intrinsics

MIN_COMMON = 20
"""Head pixels that need a sensor reading before the head's depth is scaled to the sensor's."""


@dataclass(frozen=True)
class DepthPrior:
    """Depth of one frame.

    Attributes:
        expert: (240, 320) float32 metres, letterboxed, 0 = none and in the padding: what the expert is given.
        spread: (240, 320) float32 metres, how far that may be off: a sensor's sigma_g, or the head's spread.
        layers: for view states and evidence, at their own resolutions, the most trusted first.
    """

    expert: np.ndarray
    spread: np.ndarray
    layers: list[DepthLayer]


def depth_prior(
    source: str, frame: Frame, camera: LetterboxedCamera, depth: np.ndarray, spread: np.ndarray
) -> DepthPrior:
    """The depth prior of a frame.

    Args:
        source: one of DEPTH_SOURCES; `fused` without a depth image is `mono`.
        frame: with depth, of the image's aspect at any resolution, or without.
        camera: of the letterboxed image.
        depth, spread: (60, 80) float32 metres, the head's, letterboxed.

    Raises:
        FrameError: `topic` and the frame has no depth image.
    """
    if source == "topic" and frame.depth is None:
        raise FrameError(
            "no_depth",
            "depth_source is topic and the frame has no depth image; use fused or mono, or check the depth topic",
        )
    mask, head = camera.mask, depth.shape
    inside = cv2.resize(mask, (head[1], head[0]), interpolation=cv2.INTER_NEAREST_EXACT) > 0
    learned = np.where(inside, depth, 0).astype(np.float32)
    head_K = camera.intrinsics_at(head)
    if source == "mono" or frame.depth is None:
        return DepthPrior(
            upsampled(learned, mask), upsampled(spread, mask), [DepthLayer.learned(learned, spread, head_K)]
        )

    height, width = frame.depth.shape
    sensor_K = scale_intrinsics(frame.K, width / frame.image.shape[1], height / frame.image.shape[0])
    sensor_layer = DepthLayer.sensor(frame.depth, sensor_K)
    sensor = Letterbox((width, height), camera.letterbox.target).depth(frame.depth)
    if source == "topic":
        return DepthPrior(sensor, sensor_spread(sensor), [sensor_layer])
    scale = _scale(sensor, learned)
    filled = np.where(sensor > 0, sensor, upsampled(learned * scale, mask))
    off = np.where(sensor > 0, sensor_spread(sensor), upsampled(spread * scale, mask))
    rows, columns = mask.shape[0] // head[0], mask.shape[1] // head[1]
    seen = (sensor.reshape(head[0], rows, head[1], columns) > 0).any((1, 3))
    holes = np.where(seen, 0, learned * scale).astype(np.float32)
    return DepthPrior(filled, off, [sensor_layer, DepthLayer.learned(holes, spread * scale, head_K)])


def upsampled(depth: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The head's depth at the input's resolution, nearest, 0 in the padding."""
    return cv2.resize(depth, (mask.shape[1], mask.shape[0]), interpolation=cv2.INTER_NEAREST_EXACT) * mask


def _scale(sensor: np.ndarray, learned: np.ndarray) -> np.float32:
    """Median ratio of the sensor's depth to the head's where both are; 1 where too few are."""
    near = cv2.resize(sensor, (learned.shape[1], learned.shape[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    both = (near > 0) & (learned > 0)
    return np.float32(np.median(near[both] / learned[both]) if both.sum() >= MIN_COMMON else 1.0)
