"""What a CameraInfo says about an image: the pinhole intrinsics, after region of interest, binning and lens distortion."""

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


def is_rectified(setting: str, image_topic: str) -> bool:
    """The parameter `rectified`: `yes`, `no`, or `auto`, which trusts a word that begins with `rect` in the image topic."""
    if setting == "auto":
        return re.search(r"(?<![a-z])rect", image_topic.lower()) is not None
    return setting == "yes"


@dataclass(frozen=True)
class Calibration:
    """A camera as its images show it.

    Attributes:
        size: (width, height) of the images, pixels.
        K: (3, 3) float64, intrinsics of the undistorted image.
        distortion: coefficients as OpenCV orders them; empty when there is nothing to undo.
        fisheye: whether they are those of the equidistant model.
    """

    size: tuple[int, int]
    K: np.ndarray
    distortion: np.ndarray = field(default_factory=lambda: np.zeros(0))
    fisheye: bool = False

    def rectify(self, image: np.ndarray, nearest: bool = False) -> np.ndarray:
        """The image without lens distortion.

        Args:
            image: (H, W) or (H, W, 3), of the calibration's size. nearest: for depth, which must not be blended.

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
        if self.fisheye:
            coefficients = np.resize(self.distortion, 4)
            return cv2.fisheye.initUndistortRectifyMap(self.K, coefficients, np.eye(3), self.K, self.size, cv2.CV_32FC1)
        return cv2.initUndistortRectifyMap(self.K, self.distortion, None, self.K, self.size, cv2.CV_32FC1)


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
    """The fields of a CameraInfo to a Calibration.

    Args:
        size: (width, height) of the full image, pixels.
        K: 9 numbers, D: any, P: 12 numbers, row by row.
        model: the distortion model's name.
        roi: x offset, y offset, width, height; width 0 means the full image.
        binning: x, y; 0 means 1.
        rectified: the images are rectified: P counts and D does not.

    Raises:
        FrameError: `bad_intrinsics` for numbers or a model that cannot be used.
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
    if not distortion.any():
        distortion = np.zeros(0)
    elif model not in KNOWN_MODELS:
        raise FrameError(
            "bad_intrinsics",
            f"distortion model {model!r} is not known; allowed: {', '.join(filter(None, KNOWN_MODELS))}",
        )
    matrix[0, 2] -= roi[0]
    matrix[1, 2] -= roi[1]
    bx, by = max(binning[0], 1), max(binning[1], 1)
    width, height = (roi[2], roi[3]) if roi[2] and roi[3] else size
    if bx > 1 or by > 1:
        matrix = scale_intrinsics(matrix, 1 / bx, 1 / by)
    return Calibration((width // bx, height // by), matrix, distortion, model in FISHEYE_MODELS)
