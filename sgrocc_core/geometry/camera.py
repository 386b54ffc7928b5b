"""The pinhole camera: scaling of intrinsics, letterboxing to a network's input, projection and back-projection.

Pixel (0, 0) is the centre of the top-left pixel. Depth is z along the optical axis, in metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

NEAREST = 0.05
"""Points nearer to the camera than this, along the optical axis, count as not in view, metres (round guess)."""


def scale_intrinsics(K: np.ndarray, sx: float, sy: float) -> np.ndarray:
    """Intrinsics of a resized image: f' = s f, c' = (c + 0.5) s - 0.5.

    Args:
        K: (3, 3) intrinsics, pixels.
        sx: new width over old width.
        sy: new height over old height.

    Returns:
        (3, 3) float64, pixels of the resized image.
    """
    scaled = np.array(K, np.float64)
    scaled[0, 0], scaled[0, 1], scaled[0, 2] = K[0, 0] * sx, K[0, 1] * sx, (K[0, 2] + 0.5) * sx - 0.5
    scaled[1, 1], scaled[1, 2] = K[1, 1] * sy, (K[1, 2] + 0.5) * sy - 0.5
    return scaled


def pinhole(K: np.ndarray) -> np.ndarray:
    """The numbers fx, fy, cx, cy of intrinsics K (3, 3), pixels, as (4,) float64 for compiled code."""
    return np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2]], np.float64)


@dataclass(frozen=True)
class Letterbox:
    """Placement of an image in a network's input: scaled by one factor and centred, with padding around it.

    Attributes:
        source: (width, height) of the image, pixels.
        target: (width, height) of the network's input, pixels.
    """

    source: tuple[int, int]
    target: tuple[int, int]

    @property
    def content(self) -> tuple[int, int, int, int]:
        """x0, y0, width, height of the image inside the target, pixels."""
        scale = min(self.target[0] / self.source[0], self.target[1] / self.source[1])
        w = max(1, min(self.target[0], round(self.source[0] * scale)))
        h = max(1, min(self.target[1], round(self.source[1] * scale)))
        return (self.target[0] - w) // 2, (self.target[1] - h) // 2, w, h

    def intrinsics(self, K: np.ndarray) -> np.ndarray:
        """(3, 3) float64 intrinsics of the letterboxed image."""
        x0, y0, w, h = self.content
        scaled = scale_intrinsics(K, w / self.source[0], h / self.source[1])
        scaled[0, 2] += x0
        scaled[1, 2] += y0
        return scaled

    def image(self, image: np.ndarray) -> np.ndarray:
        """Letterbox an image (H, W, 3) uint8; area-averaged if it shrinks, else bilinear; the padding is 0."""
        x0, y0, w, h = self.content
        shrink = w < self.source[0]
        resized = cv2.resize(image, (w, h), interpolation=cv2.INTER_AREA if shrink else cv2.INTER_LINEAR)
        out = np.zeros((self.target[1], self.target[0], 3), np.uint8)
        out[y0 : y0 + h, x0 : x0 + w] = resized
        return out

    def depth(self, depth: np.ndarray) -> np.ndarray:
        """Letterbox a depth image (H, W) float32, metres; sampled nearest, never blended across an edge; padding 0."""
        x0, y0, w, h = self.content
        out = np.zeros((self.target[1], self.target[0]), np.float32)
        out[y0 : y0 + h, x0 : x0 + w] = cv2.resize(depth, (w, h), interpolation=cv2.INTER_NEAREST_EXACT)
        return out

    def mask(self) -> np.ndarray:
        """(target height, target width) float32: 1 inside the image, 0 in the padding."""
        x0, y0, w, h = self.content
        out = np.zeros((self.target[1], self.target[0]), np.float32)
        out[y0 : y0 + h, x0 : x0 + w] = 1.0
        return out


@dataclass(frozen=True)
class LetterboxedCamera:
    """Camera of a letterboxed image; `OccupancyMapper.step` makes it once per frame and passes it on.

    Attributes:
        letterbox: how the camera's image lies in the network's input.
        K: (3, 3) float64 intrinsics of the letterboxed image, pixels.
    """

    letterbox: Letterbox
    K: np.ndarray

    @classmethod
    def of(cls, K: np.ndarray, source: tuple[int, int], target: tuple[int, int]) -> LetterboxedCamera:
        """Camera of an image that is letterboxed.

        Args:
            K: (3, 3) intrinsics of the image, pixels.
            source: (width, height) of the image, pixels.
            target: (width, height) of the network's input, pixels.
        """
        letterbox = Letterbox(source, target)
        return cls(letterbox, letterbox.intrinsics(K))

    @cached_property
    def mask(self) -> np.ndarray:
        """(target height, target width) float32: 1 inside the image, 0 in the padding."""
        return self.letterbox.mask()

    def intrinsics_at(self, shape: tuple[int, ...]) -> np.ndarray:
        """(3, 3) float64 intrinsics at the resolution of a map of the letterboxed image, `shape` = (height, width)."""
        width, height = self.letterbox.target
        return scale_intrinsics(self.K, shape[1] / width, shape[0] / height)


def project(points: np.ndarray, K: np.ndarray, T_wc: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Project world points into an image.

    Args:
        points: (N, 3) metres, world frame.
        K: (3, 3) intrinsics, pixels.
        T_wc: (4, 4) camera to world, metres.

    Returns:
        u and v, (N,) pixels, and z, (N,) metres; u and v are meaningless where z <= 0.
    """
    camera = (points - T_wc[:3, 3]) @ T_wc[:3, :3]
    z = camera[:, 2]
    safe = np.where(np.abs(z) < 1e-9, 1e-9, z)
    return K[0, 0] * camera[:, 0] / safe + K[0, 2], K[1, 1] * camera[:, 1] / safe + K[1, 2], z


def back_project(depth: np.ndarray, K: np.ndarray, T_wc: np.ndarray) -> np.ndarray:
    """World points of the valid pixels of a depth image.

    Args:
        depth: (H, W) metres, z along the optical axis; 0 = no reading.
        K: (3, 3) intrinsics, pixels.
        T_wc: (4, 4) camera to world, metres.

    Returns:
        (N, 3) float64, metres, world frame, in row-major order of the valid pixels.
    """
    v, u = np.nonzero(depth > 0)
    z = depth[v, u].astype(np.float64)
    x, y = (u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z
    # Not as a product of matrices: that of so many rows leaves a thread of BLAS behind that keeps a core busy.
    axes = [R[0] * x + R[1] * y + R[2] * z + t for R, t in zip(T_wc[:3, :3], T_wc[:3, 3])]
    return np.stack(axes, 1)
