"""Depth from the camera's motion: corners are tracked from image to image and triangulated with the given poses.

Each track sums I - d d^T and (I - d d^T) o over the rays along which it was seen (direction d, origin o). The solution
of this linear system is the point nearest to all rays. Only the last image is kept. There are no points if the camera
only turns or if the scene has no texture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from sgrocc_core.array_layout import ArrayLayout, check_arrays
from sgrocc_core.geometry.camera import NEAREST, project

MAX_TRACKS = 400
"""Maximum number of tracks (chosen by hand)."""
SPACING = 7
"""Minimum distance between corners, pixels of the network's input (chosen by hand)."""
QUALITY = 0.003
"""Minimum strength of a corner relative to the strongest one (chosen by hand)."""
WINDOW, PYRAMID = (15, 15), 3
"""Window, pixels, and pyramid levels of the optical flow (OpenCV's example uses 15 and 2)."""
RETURN = 1.0
"""Maximum error of tracking forward and back again, pixels (chosen by hand)."""
REPROJECTION = 2.5
"""Maximum reprojection error of a point, pixels; beyond it the object moved or the track drifted (chosen by hand)."""
RAY_SIGMA = 2.0
"""Standard deviation of a ray due to tracking and pose, pixels (chosen by hand)."""
MAX_SIGMA = 0.3
"""Maximum relative uncertainty of depth of a returned point (chosen by hand)."""
MIN_RAYS = 3
"""Minimum number of rays of a returned point."""
RANGE = (0.2, 12.0)
"""Minimum and maximum depth of a point, metres (round guess: indoors)."""
MAX_STEP, MAX_TURN, MAX_GAP_NS = 1.0, 0.8, 1_500_000_000
"""Maximum motion between two images, metres and radians, and time, nanoseconds, for tracking (chosen by hand)."""


@dataclass(frozen=True)
class TrackedPoints:
    """Triangulated points of one image.

    Attributes:
        pixels: (N, 2) float32, u and v, pixels.
        depth: (N,) float32, metres along the optical axis.
        sigma: (N,) float32, standard deviation of depth relative to the depth.
    """

    pixels: np.ndarray
    depth: np.ndarray
    sigma: np.ndarray


NO_POINTS = TrackedPoints(np.zeros((0, 2), np.float32), np.zeros(0, np.float32), np.zeros(0, np.float32))


LAYOUT: ArrayLayout = {
    "grey": (("H", "W"), np.uint8), "K": ((3, 3), np.float64), "T_wc": ((4, 4), np.float64),
    "stamp_ns": ((1,), np.int64), "pixels": (("N", 2), np.float32), "points": (("N", 3), np.float64),
    "normal": (("N", 3, 3), np.float64), "moment": (("N", 3), np.float64), "rays": (("N",), np.int64),
}  # fmt: skip
"""Layout of `PointTracks.arrays`; `grey` is 0 x 0 before the first image."""


class PointTracks:
    """Tracks corners through a stream of images of one camera."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Drop all tracks."""
        self._grey: np.ndarray | None = None
        self._K, self._T_wc, self._stamp_ns = np.eye(3), np.eye(4), 0
        self._pixels = np.zeros((0, 2), np.float32)
        self._points = np.zeros((0, 3))
        self._normal, self._moment = np.zeros((0, 3, 3)), np.zeros((0, 3))
        self._rays = np.zeros(0, np.int64)

    def arrays(self) -> dict[str, np.ndarray]:
        """State for saving, see LAYOUT; later tracking does not change the returned arrays."""
        grey = np.zeros((0, 0), np.uint8) if self._grey is None else self._grey
        values = (grey, self._K, self._T_wc, np.array([self._stamp_ns], np.int64), self._pixels, self._points.copy())
        return dict(zip(LAYOUT, (*values, self._normal, self._moment, self._rays)))

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Restore the state that `arrays` returned.

        Raises:
            DataError: an array is missing, has another shape or type, or is not finite.
        """
        check_arrays("the saved tracks", arrays, LAYOUT)
        grey, self._K, self._T_wc, stamp, self._pixels, points, self._normal, self._moment, self._rays = (
            arrays[name] for name in LAYOUT
        )
        self._grey, self._stamp_ns, self._points = grey if grey.size else None, int(stamp[0]), points.copy()

    def follow(
        self, grey: np.ndarray, mask: np.ndarray, K: np.ndarray, T_wc: np.ndarray, stamp_ns: int, depth: np.ndarray
    ) -> TrackedPoints:
        """Continue the tracks in the next image and start new ones.

        Args:
            grey: (H, W) uint8 image.
            mask: (H, W), 0 in the padding.
            K: (3, 3) intrinsics, pixels.
            T_wc: (4, 4) camera to world, metres.
            stamp_ns: time of the image, nanoseconds.
            depth: (H, W) float32, metres, estimate that predicts where new corners appear in the next image.

        Returns:
            The points whose depth is certain enough.
        """
        if self._grey is not None and not self._continues(grey, K, T_wc, stamp_ns):
            self.clear()
        found = NO_POINTS
        if self._grey is not None and len(self._pixels):
            self._track(grey, mask, K, T_wc)
            found = self._triangulate(K, T_wc)
        self._begin(grey, mask, K, T_wc, depth)
        self._grey, self._K, self._T_wc, self._stamp_ns = grey, K, T_wc, stamp_ns
        return found

    def _continues(self, grey: np.ndarray, K: np.ndarray, T_wc: np.ndarray, stamp_ns: int) -> bool:
        assert self._grey is not None
        step = np.linalg.norm(T_wc[:3, 3] - self._T_wc[:3, 3])
        cosine = (np.trace(self._T_wc[:3, :3].T @ T_wc[:3, :3]) - 1) / 2
        same = self._grey.shape == grey.shape and np.allclose(K, self._K, rtol=1e-3)
        return bool(
            same and 0 <= stamp_ns - self._stamp_ns <= MAX_GAP_NS and step <= MAX_STEP and cosine >= np.cos(MAX_TURN)
        )

    def _keep(self, kept: np.ndarray) -> None:
        self._pixels, self._points, self._rays = self._pixels[kept], self._points[kept], self._rays[kept]
        self._normal, self._moment = self._normal[kept], self._moment[kept]

    def _track(self, grey: np.ndarray, mask: np.ndarray, K: np.ndarray, T_wc: np.ndarray) -> None:
        """Find the corners in the new image, starting at the projections of their points; drop the lost ones."""
        height, width = mask.shape
        expected, z = _project(self._points, K, T_wc)
        self._keep((z > NEAREST) & (np.abs(expected - (width / 2, height / 2)) < (width, height)).all(1))
        if not len(self._pixels):
            return
        expected = _project(self._points, K, T_wc)[0].astype(np.float32)
        options = {"winSize": WINDOW, "maxLevel": PYRAMID, "flags": cv2.OPTFLOW_USE_INITIAL_FLOW}
        pixels, forth, _ = cv2.calcOpticalFlowPyrLK(self._grey, grey, self._pixels, expected.copy(), **options)  # type: ignore[call-overload]
        back, home, _ = cv2.calcOpticalFlowPyrLK(grey, self._grey, pixels, self._pixels.copy(), **options)  # type: ignore[call-overload]
        column, row = np.rint(pixels).astype(np.int64).T
        inside = (column >= 2) & (row >= 2) & (column < width - 2) & (row < height - 2)
        inside &= mask[np.clip(row, 0, height - 1), np.clip(column, 0, width - 1)] > 0
        kept = (forth[:, 0] > 0) & (home[:, 0] > 0) & inside & (np.linalg.norm(back - self._pixels, axis=1) < RETURN)
        self._pixels = pixels
        self._keep(kept)

    def _triangulate(self, K: np.ndarray, T_wc: np.ndarray) -> TrackedPoints:
        """Add the new rays, solve for the points, drop those that contradict their rays, return the certain ones."""
        d, centre = _rays(self._pixels, K, T_wc), T_wc[:3, 3]
        across = np.eye(3) - d[:, :, None] * d[:, None, :]
        self._normal, self._moment, self._rays = self._normal + across, self._moment + across @ centre, self._rays + 1
        # The sum of squared sines of parallax gives the uncertainty: sigma / z = ray sigma / sqrt(sum).
        parallax = np.einsum("ni,nij,nj->n", d, self._normal, d)
        sigma = RAY_SIGMA / K[0, 0] / np.sqrt(np.maximum(parallax, 1e-12))
        solved = sigma < 2 * MAX_SIGMA
        self._points[solved] = np.linalg.solve(self._normal[solved], self._moment[solved][..., None])[..., 0]
        seen, z = _project(self._points, K, T_wc)
        wrong = solved & (
            (np.linalg.norm(seen - self._pixels, axis=1) > REPROJECTION) | (z < RANGE[0]) | (z > RANGE[1])
        )
        given = solved & ~wrong & (sigma < MAX_SIGMA) & (self._rays >= MIN_RAYS)
        found = TrackedPoints(self._pixels[given], z[given].astype(np.float32), sigma[given].astype(np.float32))
        # Points that are not solved yet keep their distance.
        waiting = ~solved
        distance = np.linalg.norm(self._points[waiting] - centre, axis=1, keepdims=True)
        self._points[waiting] = centre + distance * d[waiting]
        self._keep(~wrong)
        return found

    def _begin(self, grey: np.ndarray, mask: np.ndarray, K: np.ndarray, T_wc: np.ndarray, depth: np.ndarray) -> None:
        """Start tracks at corners away from the existing ones."""
        room = MAX_TRACKS - len(self._pixels)
        if room < MAX_TRACKS // 8:
            return
        free = cv2.erode(
            (mask > 0).astype(np.uint8), np.ones((5, 5), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0
        )
        for u, v in self._pixels:
            cv2.circle(free, (int(u), int(v)), SPACING, 0, -1)
        corners = cv2.goodFeaturesToTrack(grey, room, QUALITY, SPACING, mask=free)
        if corners is None:
            return
        pixels = corners.reshape(-1, 2).astype(np.float32)
        d = _rays(pixels, K, T_wc)
        across = np.eye(3) - d[:, :, None] * d[:, None, :]
        column, row = np.rint(pixels).astype(np.int64).T
        z = np.clip(depth[row, column], *RANGE)
        along = d @ T_wc[:3, 2]
        self._pixels = np.concatenate([self._pixels, pixels])
        self._points = np.concatenate([self._points, T_wc[:3, 3] + d * (z / along)[:, None]])
        self._normal, self._moment = (
            np.concatenate([self._normal, across]),
            np.concatenate([self._moment, across @ T_wc[:3, 3]]),
        )
        self._rays = np.concatenate([self._rays, np.ones(len(pixels), np.int64)])


def _rays(pixels: np.ndarray, K: np.ndarray, T_wc: np.ndarray) -> np.ndarray:
    """Unit rays (N, 3) in the world through pixels (N, 2)."""
    camera = np.stack([(pixels[:, 0] - K[0, 2]) / K[0, 0], (pixels[:, 1] - K[1, 2]) / K[1, 1], np.ones(len(pixels))], 1)
    return (camera / np.linalg.norm(camera, axis=1, keepdims=True)) @ T_wc[:3, :3].T  # type: ignore[no-any-return]


def _project(points: np.ndarray, K: np.ndarray, T_wc: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    u, v, z = project(points, K, T_wc)
    return np.stack([u, v], 1), z
