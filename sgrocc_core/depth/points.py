"""Depth of an image from the points of another sensor: a LiDAR, or another camera, by their poses in the map.

Every point is brought into the map by the sensor's pose at the point's own time, so that the motion between points, and
between the cloud and the image, is taken out; then it is projected into the image. Where several points fall into a
pixel the nearest wins. Where none does there is no reading: nothing is interpolated.
"""

from __future__ import annotations

from collections.abc import Callable
from math import gcd

import numpy as np
from numba import njit

from sgrocc_core.errors import FrameError
from sgrocc_core.geometry.camera import NEAREST, pinhole, scale_intrinsics
from sgrocc_core.geometry.poses import invert_pose
from sgrocc_core.geometry.transforms import TransformLookupError

BIN_NS = 5_000_000
"""Points whose times differ by less than this share a pose, nanoseconds: 5 mm at 1 m/s (round guess)."""
PIXELS_A_POINT = 2.0
"""Pixels of the depth image per point in view: about one reading per pixel along a LiDAR's rows (round guess)."""
LEAST_PIXELS, MOST_PIXELS = 80 * 60, 320 * 240
"""Size of the depth image, pixels: from the network's depth to its input."""
LARGEST_RADIUS = 3
"""Most pixels to each side that a point covers, where an image's size leaves no coarser one of its aspect."""


def cloud_pose(pose_at: Callable[[int], np.ndarray], stamp_ns: int) -> np.ndarray:
    """The sensor's pose at a time; FrameError `cloud_pose` where it is not known."""
    try:
        return pose_at(stamp_ns)
    except TransformLookupError as error:
        raise FrameError("cloud_pose", f"the pose of the cloud's points is not known: {error}") from error


def points_in_map(
    points: np.ndarray, offsets_ns: np.ndarray | None, stamp_ns: int, pose_at: Callable[[int], np.ndarray]
) -> np.ndarray:
    """Bring the points of a cloud into the map frame.

    Args:
        points: (N, 3) metres, frame of the sensor.
        offsets_ns: (N,) int64, times of the points after the stamp, nanoseconds; None: all are of the stamp.
        stamp_ns: stamp of the cloud, nanoseconds.
        pose_at: returns the sensor's pose in the map, (4, 4) metres, at a time, nanoseconds.

    Returns:
        (N, 3) float64, metres.

    Raises:
        FrameError: `cloud_pose`, a pose is not known.
    """
    bins = np.zeros(len(points), np.int64) if offsets_ns is None else np.floor_divide(offsets_ns, BIN_NS)
    first = int(bins.min(initial=0))
    bins -= first
    counts = np.bincount(bins)
    sums = counts * 0.0 if offsets_ns is None else np.bincount(bins, offsets_ns)
    poses = np.zeros((len(counts), 4, 4))
    for number in np.flatnonzero(counts):
        poses[number] = cloud_pose(pose_at, stamp_ns + round(sums[number] / counts[number]))
    out = np.empty((len(points), 3))
    _move(points, bins, poses, out)
    return out


def depth_of_points(points: np.ndarray, T_wc: np.ndarray, K: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Project points into an image.

    Args:
        points: (N, 3) metres, map frame.
        T_wc: (4, 4) pose of the image, camera to map.
        K: (3, 3) intrinsics of the image, pixels.
        size: (width, height) of the image, pixels.

    Returns:
        (H, W) float32, metres along the optical axis, 0 = no reading; of the image's aspect, at a resolution that fits
        the number of points.

    Raises:
        FrameError: `cloud_not_in_view`, no point lies in the image.
    """
    seen = np.empty((len(points), 3))
    count = _in_view(points, invert_pose(T_wc), pinhole(K), size[0], size[1], seen)
    if not count:
        raise FrameError("cloud_not_in_view", f"none of the cloud's {len(points)} points lies in the image")
    width, height = depth_size(size, count)
    scaled = pinhole(scale_intrinsics(K, width / size[0], height / size[1]))
    radius = min(int(np.sqrt(width * height / count) / 2), LARGEST_RADIUS) if width * height > MOST_PIXELS else 0
    depth = np.zeros((height, width), np.float32)
    _splat(seen[:count], scaled, radius, depth)
    return depth


def depth_size(size: tuple[int, int], points: int) -> tuple[int, int]:
    """Size (width, height) of the depth image of so many points in view; it has exactly the aspect of the image."""
    steps = gcd(*size)
    unit = size[0] * size[1] / steps**2
    wanted = min(max(PIXELS_A_POINT * points, LEAST_PIXELS), MOST_PIXELS, size[0] * size[1])
    step = min(max(round(np.sqrt(wanted / unit)), 1), steps)
    return size[0] // steps * step, size[1] // steps * step


@njit(cache=True)
def _move(points, bins, poses, out):
    """Move each point by the pose of its bin."""
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        T = poses[bins[n]]
        for axis in range(3):
            out[n, axis] = T[axis, 0] * x + T[axis, 1] * y + T[axis, 2] * z + T[axis, 3]


@njit(cache=True)
def _in_view(points, T, K, width, height, seen):
    """Collect the points that lie in the image, in the camera's frame; return their number."""
    count = 0
    for n in range(len(points)):
        x, y, z = points[n, 0], points[n, 1], points[n, 2]
        ahead = T[2, 0] * x + T[2, 1] * y + T[2, 2] * z + T[2, 3]
        if ahead < NEAREST:
            continue
        right = T[0, 0] * x + T[0, 1] * y + T[0, 2] * z + T[0, 3]
        down = T[1, 0] * x + T[1, 1] * y + T[1, 2] * z + T[1, 3]
        u, v = K[0] * right / ahead + K[2], K[1] * down / ahead + K[3]
        if -0.5 <= u < width - 0.5 and -0.5 <= v < height - 0.5:
            seen[count, 0], seen[count, 1], seen[count, 2] = right, down, ahead
            count += 1
    return count


@njit(cache=True)
def _splat(points, K, radius, out):
    height, width = out.shape
    for n in range(len(points)):
        z = np.float32(points[n, 2])
        column = int(np.floor(points[n, 0] / points[n, 2] * K[0] + K[2] + 0.5))
        row = int(np.floor(points[n, 1] / points[n, 2] * K[1] + K[3] + 0.5))
        for i in range(max(row - radius, 0), min(row + radius + 1, height)):
            for j in range(max(column - radius, 0), min(column + radius + 1, width)):
                if out[i, j] == 0.0 or z < out[i, j]:
                    out[i, j] = z
