"""The depth prior of a frame (method, section 2.1): depth of the sensor, of the network's depth head, or of both.

`fused` takes the sensor's depth where it has a reading, and elsewhere the head's depth times the median ratio between
the two. Depth from the head keeps its own spread and is used only where the sensor has no reading.
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
"""Minimum number of head pixels with a sensor reading for scaling the head's depth to the sensor's (round guess)."""


@dataclass(frozen=True)
class DepthPrior:
    """Depth of one frame.

    Attributes:
        expert: (H, W) float32, metres, letterboxed, for the spatial expert; 0 = no depth, also in the padding.
        spread: (H, W) float32, metres, uncertainty of `expert`: sigma_g of the sensor, or the spread of the head.
        layers: depth for view states and evidence, each at its own resolution, the most trusted first.
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
        frame: frame with or without a depth image, which has the aspect of the image at any resolution.
        camera: camera of the letterboxed image.
        depth: (h, w) float32, metres, of the head, letterboxed.
        spread: (h, w) float32, metres, of the head, letterboxed.

    Raises:
        FrameError: `no_depth`, the source is `topic` and the frame has no depth image.
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
    """Depth of the head (h, w) at the resolution of the mask (H, W), sampled nearest; 0 in the padding."""
    return cv2.resize(depth, (mask.shape[1], mask.shape[0]), interpolation=cv2.INTER_NEAREST_EXACT) * mask


def _scale(sensor: np.ndarray, learned: np.ndarray) -> np.float32:
    """Median ratio of the sensor's depth to the head's where both exist; 1 if these are fewer than MIN_COMMON."""
    near = cv2.resize(sensor, (learned.shape[1], learned.shape[0]), interpolation=cv2.INTER_NEAREST_EXACT)
    both = (near > 0) & (learned > 0)
    return np.float32(np.median(near[both] / learned[both]) if both.sum() >= MIN_COMMON else 1.0)
