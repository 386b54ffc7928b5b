"""Pinhole intrinsics from the fields of a ROS CameraInfo, with region of interest, binning and lens distortion."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

from sgrocc_core.errors import FrameError
from sgrocc_core.geometry.camera import scale_intrinsics

FISHEYE_MODELS = ("equidistant", "fisheye")
KNOWN_MODELS = ("", "plumb_bob", "rational_polynomial", *FISHEYE_MODELS)
FISHEYE_COEFFICIENTS = 4
"""Coefficients of OpenCV's fisheye model, k1 to k4."""
PINHOLE_COEFFICIENTS = (4, 5, 8, 12, 14)
"""Numbers of coefficients that OpenCV's pinhole model accepts."""


def is_rectified(setting: str, image_topic: str) -> bool:
    """Whether images count as rectified.

    Args:
        setting: the parameter `rectified`: `yes`, `no`, or `auto`, which looks for a word that begins
            with `rect` in the topic.
        image_topic: name of the image topic.
    """
    if setting == "auto":
        return re.search(r"(?<![a-z])rect", image_topic.lower()) is not None
    return setting == "yes"


@dataclass(frozen=True)
class Calibration:
    """Intrinsics and lens distortion of a camera, in the pixels of its images.

    Attributes:
        size: (width, height) of the images, pixels.
        K: (3, 3) float64, intrinsics of the undistorted image, pixels.
        distortion: coefficients in OpenCV's order; empty for an image without distortion.
        fisheye: whether the coefficients are those of the equidistant model.
    """

    size: tuple[int, int]
    K: np.ndarray
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))
    fisheye: bool = False

    def rectify(self, image: np.ndarray, nearest: bool = False) -> np.ndarray:
        """Remove the lens distortion of an image.

        Args:
            image: (H, W) or (H, W, 3), of the calibration's size.
            nearest: sample the nearest pixel; for depth, which must not be interpolated.

        Returns:
            The undistorted image, of the same shape and type.

        Raises:
            FrameError: `size_mismatch`, the image is not of the size that camera_info describes.
        """
        height, width = image.shape[:2]
        if (width, height) != self.size and not (nearest and not self.distortion.size):
            described = f"{self.size[0]} x {self.size[1]}"
            raise FrameError(
                "size_mismatch", f"image of {width} x {height} pixels, but camera_info describes {described}"
            )
        if not self.distortion.size:
            return image
        interpolation = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
        return cv2.remap(image, *self._maps, interpolation, borderMode=cv2.BORDER_CONSTANT)

    @cached_property
    def _maps(self) -> tuple[np.ndarray, np.ndarray]:
        undistort = cv2.fisheye.initUndistortRectifyMap if self.fisheye else cv2.initUndistortRectifyMap
        return undistort(self.K, self.distortion, np.eye(3), self.K, self.size, cv2.CV_32FC1)


def read_calibration(
    size: tuple[int, int],
    K: Sequence[float] | np.ndarray,
    D: Sequence[float] | np.ndarray,
    P: Sequence[float] | np.ndarray,
    model: str = "plumb_bob",
    roi: tuple[int, int, int, int] = (0, 0, 0, 0),
    binning: tuple[int, int] = (0, 0),
    rectified: bool = False,
) -> Calibration:
    """Make a calibration from the fields of a sensor_msgs/CameraInfo.

    Args:
        size: (width, height) of the full image, pixels.
        K: 9 numbers, row by row: intrinsics of the raw image, pixels.
        D: distortion coefficients; as many as the model has, or none.
        P: 12 numbers, row by row: projection matrix of the rectified image, pixels.
        model: name of the distortion model.
        roi: x offset, y offset, width, height in pixels; width or height 0 means the full image.
        binning: factors along x and y; 0 means 1.
        rectified: whether the images are rectified; then P is used, and K and D are not.

    Returns:
        The calibration of the image that is published.

    Raises:
        FrameError: `bad_intrinsics`, for numbers or a distortion model that cannot be used.
    """
    matrix = np.array(K, np.float64).reshape(3, 3)
    projection = np.asarray(P, np.float64).reshape(3, 4)
    distortion = np.asarray(D, np.float64).reshape(-1)
    if not (np.isfinite(matrix).all() and np.isfinite(distortion).all()):
        raise FrameError(
            "bad_intrinsics", f"camera_info has K {matrix.tolist()} and D {distortion.tolist()}; they must be finite"
        )
    if rectified:
        matrix, distortion = (projection[:, :3].copy() if projection[0, 0] > 0 else matrix), np.zeros(0)
    matrix[0, 2] -= roi[0]
    matrix[1, 2] -= roi[1]
    bx, by = max(binning[0], 1), max(binning[1], 1)
    width, height = (roi[2], roi[3]) if roi[2] and roi[3] else size
    if bx > 1 or by > 1:
        matrix = scale_intrinsics(matrix, 1 / bx, 1 / by)
    return Calibration((width // bx, height // by), matrix, _coefficients(distortion, model), model in FISHEYE_MODELS)


def _coefficients(D: np.ndarray, model: str) -> np.ndarray:
    """Coefficients as OpenCV takes them, none if all are 0; zeros after a fisheye model's fourth are dropped."""
    if not D.any():
        return np.zeros(0)
    if model not in KNOWN_MODELS:
        raise FrameError(
            "bad_intrinsics",
            f"distortion model {model!r} is not known; allowed: {', '.join(filter(None, KNOWN_MODELS))}",
        )
    if model in FISHEYE_MODELS:
        fits, allowed = len(D) >= FISHEYE_COEFFICIENTS and not D[FISHEYE_COEFFICIENTS:].any(), str(FISHEYE_COEFFICIENTS)
        used = D[:FISHEYE_COEFFICIENTS]
    else:
        fits, used = len(D) in PINHOLE_COEFFICIENTS, D
        allowed = f"{', '.join(map(str, PINHOLE_COEFFICIENTS[:-1]))} or {PINHOLE_COEFFICIENTS[-1]}"
    if not fits:
        raise FrameError(
            "bad_intrinsics",
            f"camera_info's D has {len(D)} coefficient(s) {D.tolist()}; the model {model!r} takes {allowed} "
            "(is distortion_model the camera's?)",
        )
    return used
