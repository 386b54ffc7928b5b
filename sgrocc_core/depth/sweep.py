"""The plane sweep of stereo from motion: how well an image matches earlier ones at each depth (Numba, CPU).

A pixel of the target is projected into each source at each of the planes' depths; the score of a plane is the dot
product of the two normalised matching features, averaged over the sources that see the point.
network/stereo/sweep_torch.py is the reference.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numba import njit, prange

from sgrocc_core.geometry.poses import invert_pose

PLANES = 64
CHANNELS = 16
"""Channels of the matching features: 16 float32 values fill one 512-bit vector register."""
MAX_SOURCES = 4
NEAREST, FARTHEST = 0.25, 10.0
"""Depths of the first and the last plane, metres."""
BEHIND = 0.05
"""A point nearer to a source than this, along its optical axis, is not seen by it, metres."""
TOLERANCE = 1e-3
"""A point may project this far outside the picture, pixels of the features: less than this is rounding."""


def plane_depths(count: int = PLANES, nearest: float = NEAREST, farthest: float = FARTHEST) -> np.ndarray:
    """Depths of the planes, metres: (count,) float64, nearest first, evenly spaced in the square root of inverse depth.

    Even steps in inverse depth are even steps of disparity, but leave 0.5 m between planes at 3 m; even steps in log
    depth skip several pixels of disparity near by. The square root lies between the two.
    """
    return np.linspace(nearest**-0.5, farthest**-0.5, count) ** -2.0


@lru_cache
def inverse_plane_depths(count: int = PLANES) -> np.ndarray:
    """1 / `plane_depths`, as the sweep takes them: (count,) float32, read only."""
    inverse = (1 / plane_depths(count)).astype(np.float32)
    inverse.flags.writeable = False
    return inverse


def sweep_transform(K: np.ndarray, T_wc: np.ndarray, source_K: np.ndarray, source_T_wc: np.ndarray) -> np.ndarray:
    """The projection of target pixels into a source.

    Args:
        K: (3, 3) intrinsics at the features' resolution, pixels.
        T_wc: (4, 4) camera to world, metres.
        source_K: intrinsics of the source.
        source_T_wc: pose of the source.

    Returns:
        (3, 4) float32 [Q | r]: pixel (u, v) at depth z appears in the source at Q [u, v, 1] + r / z, up to scale; the
        third component times z is the depth in the source.
    """
    T = invert_pose(source_T_wc) @ T_wc
    return np.concatenate([source_K @ T[:3, :3] @ np.linalg.inv(K), (source_K @ T[:3, 3])[:, None]], 1).astype(
        np.float32
    )


def content_bounds(mask: np.ndarray, stride: int) -> np.ndarray:
    """First and last feature pixels that lie wholly inside the letterboxed image.

    Args:
        mask: (H, W), 0 in the padding; what is inside is a rectangle.
        stride: image pixels per feature pixel.

    Returns:
        (4,) float32: first column, first row, last column, last row; the last lie before the first where nothing is
            inside.
    """
    whole = mask.reshape(mask.shape[0] // stride, stride, mask.shape[1] // stride, stride).min((1, 3)) > 0
    columns, rows = np.flatnonzero(whole.any(0)), np.flatnonzero(whole.any(1))
    if not len(columns):
        return np.array([0, 0, -1, -1], np.float32)
    return np.array([columns[0], rows[0], columns[-1], rows[-1]], np.float32)


def plane_sweep(
    target: np.ndarray,
    sources: np.ndarray,
    transforms: np.ndarray,
    bounds: np.ndarray,
    inverse_depths: np.ndarray,
    out: tuple[np.ndarray, np.ndarray] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Matching scores of one image against its sources.

    Args:
        target: (H, W, 16) float32, normalised features.
        sources: (S, H, W, 16) float32, the same of the sources; S may be 0.
        transforms: (S, 3, 4) float32, of `sweep_transform`.
        bounds: (S, 4) float32, of `content_bounds`.
        inverse_depths: (P,) float32, 1 / metres.
        out: arrays to write the two results to; None: fresh ones.

    Returns:
        score: (P, H, W) float32, mean over the sources that see the point, 0 where none does. count: (P, H, W)
            float32, how many do.
    """
    height, width, _ = target.shape
    if out is None:
        shape = (len(inverse_depths), height, width)
        out = np.empty(shape, np.float32), np.empty(shape, np.float32)
    _sweep(target, sources, transforms, bounds, inverse_depths, *out)
    return out


def between_planes(values: np.ndarray, planes: int, every: int) -> np.ndarray:
    """Values (P, H, W) of every n-th plane, interpolated linearly between them; beyond the last one it is repeated.

    Returns:
        (planes, H, W) float32.
    """
    place = np.minimum(np.arange(planes) / every, len(values) - 1)
    low = np.minimum(place.astype(np.int64), max(0, len(values) - 2))
    share = (place - low).astype(np.float32)[:, None, None]
    return (1 - share) * values[low] + share * values[np.minimum(low + 1, len(values) - 1)]


def plane_sweep_backward(
    target: np.ndarray,
    sources: np.ndarray,
    transforms: np.ndarray,
    bounds: np.ndarray,
    inverse_depths: np.ndarray,
    count: np.ndarray,
    score_gradient: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of `plane_sweep`'s score with respect to the features of the target and the sources.

    Args:
        target: as for `plane_sweep`.
        sources: as for `plane_sweep`.
        transforms: as for `plane_sweep`.
        bounds: as for `plane_sweep`.
        inverse_depths: as for `plane_sweep`.
        count: (P, H, W) of the forward pass.
        score_gradient: (P, H, W) float32.

    Returns:
        (H, W, 16) of the target and (S, H, W, 16) of the sources.
    """
    to_target, to_sources = np.zeros(sources.shape, np.float32), np.zeros(sources.shape, np.float32)
    share = score_gradient / np.maximum(count, 1)
    _sweep_backward(target, sources, transforms, bounds, inverse_depths, share, to_target, to_sources)
    return to_target.sum(0), to_sources


@njit(cache=True, inline="always")
def _project_planes(transform, bounds, row, column, width, height, inverse_depths, inside, at, right, low):
    """Where a target pixel at every plane's depth lies in a source.

    Writes for each plane whether it is seen, the index of the top-left of the four pixels around it, and how far it
    lies to the right of that one and below it.
    """
    x = transform[0, 0] * column + transform[0, 1] * row + transform[0, 2]
    y = transform[1, 0] * column + transform[1, 1] * row + transform[1, 2]
    z = transform[2, 0] * column + transform[2, 1] * row + transform[2, 2]
    edge, near = np.float32(TOLERANCE), np.float32(BEHIND)
    for p in range(len(inverse_depths)):
        w = inverse_depths[p]
        depth = z + w * transform[2, 3]  # in the source, as a multiple of the depth in the target
        scale = np.float32(1) / depth if depth > near * w else np.float32(0)
        u, v = (x + w * transform[0, 3]) * scale, (y + w * transform[1, 3]) * scale
        across = (u >= bounds[0] - edge) & (u <= bounds[2] + edge)
        along = (v >= bounds[1] - edge) & (v <= bounds[3] + edge)
        inside[p] = (depth > near * w) & across & along
        u, v = min(max(u, np.float32(0)), np.float32(width - 1)), min(max(v, np.float32(0)), np.float32(height - 1))
        j, i = min(np.int32(u), np.int32(width - 2)), min(np.int32(v), np.int32(height - 2))
        at[p], right[p], low[p] = (i * width + j) * CHANNELS, u - np.float32(j), v - np.float32(i)


@njit(cache=True, inline="always")
def _match_planes(own, pixels, below, inside, at, right, low, total, seen):
    """Add the matches of a target pixel's features with a source's at every plane, and how many there are."""
    for p in range(len(inside)):
        if inside[p]:
            a, c = right[p], low[p]
            wa, wb, wc, wd = (1 - a) * (1 - c), a * (1 - c), (1 - a) * c, a * c
            upper, lower = at[p], at[p] + below
            match = np.float32(0)
            for k in range(CHANNELS):  # unsigned indices are not checked for counting from the end
                top = wa * pixels[np.uint64(upper + k)] + wb * pixels[np.uint64(upper + CHANNELS + k)]
                bottom = wc * pixels[np.uint64(lower + k)] + wd * pixels[np.uint64(lower + CHANNELS + k)]
                match += own[k] * (top + bottom)
            total[p] += match
            seen[p] += np.float32(1)


@njit(cache=True, inline="always")
def _match_planes_backward(own, own_gradient, pixels, gradient, below, share, inside, at, right, low):
    """Add the gradients of the features of a target pixel and of a source; `share` (P,) is that of every match."""
    for p in range(len(inside)):
        g = share[p]
        if inside[p] and g != 0:
            a, c = right[p], low[p]
            wa, wb, wc, wd = g * (1 - a) * (1 - c), g * a * (1 - c), g * (1 - a) * c, g * a * c
            upper, lower = at[p], at[p] + below
            for k in range(CHANNELS):
                i1, i2 = np.uint64(upper + k), np.uint64(upper + CHANNELS + k)
                i3, i4 = np.uint64(lower + k), np.uint64(lower + CHANNELS + k)
                own_gradient[k] += wa * pixels[i1] + wb * pixels[i2] + wc * pixels[i3] + wd * pixels[i4]
                gradient[i1] += wa * own[k]
                gradient[i2] += wb * own[k]
                gradient[i3] += wc * own[k]
                gradient[i4] += wd * own[k]


@njit(cache=True, parallel=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _sweep(target, sources, transforms, bounds, inverse_depths, score, count):
    height, width, _ = target.shape
    planes, below = len(inverse_depths), width * CHANNELS
    flat = sources.reshape(len(sources), height * width * CHANNELS)
    for row in prange(height):
        inside, at = np.empty(planes, np.bool_), np.empty(planes, np.int64)
        right, low = np.empty(planes, np.float32), np.empty(planes, np.float32)
        total, seen = np.empty(planes, np.float32), np.empty(planes, np.float32)
        for column in range(width):
            own = target[row, column]
            total[:], seen[:] = 0, 0
            for s in range(len(sources)):
                _project_planes(
                    transforms[s],
                    bounds[s],
                    np.float32(row),
                    np.float32(column),
                    width,
                    height,
                    inverse_depths,
                    inside,
                    at,
                    right,
                    low,
                )
                _match_planes(own, flat[s], below, inside, at, right, low, total, seen)
            for p in range(planes):
                score[p, row, column] = total[p] / max(seen[p], np.float32(1))
                count[p, row, column] = seen[p]


@njit(cache=True, parallel=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def _sweep_backward(target, sources, transforms, bounds, inverse_depths, share, to_target, to_sources):
    height, width, _ = target.shape
    planes, below = len(inverse_depths), width * CHANNELS
    flat = sources.reshape(len(sources), height * width * CHANNELS)
    flat_gradient = to_sources.reshape(len(sources), height * width * CHANNELS)
    for s in prange(len(sources)):  # each source's gradient is written by one thread
        inside, at = np.empty(planes, np.bool_), np.empty(planes, np.int64)
        right, low = np.empty(planes, np.float32), np.empty(planes, np.float32)
        pixels, gradient = flat[s], flat_gradient[s]
        for row in range(height):
            for column in range(width):
                own, own_gradient = target[row, column], to_target[s, row, column]
                _project_planes(
                    transforms[s],
                    bounds[s],
                    np.float32(row),
                    np.float32(column),
                    width,
                    height,
                    inverse_depths,
                    inside,
                    at,
                    right,
                    low,
                )
                _match_planes_backward(
                    own, own_gradient, pixels, gradient, below, share[:, row, column], inside, at, right, low
                )


@njit(cache=True, parallel=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def sweep_pixels(target, sources, transforms, bounds, inverse_depths, score, count):
    """`depth.cascade.cascade_sweep`, compiled; here, since a cached kernel notices changes of its own file only."""
    height, width, channels = target.shape
    number, below = len(inverse_depths), width * channels
    scale = height // inverse_depths.shape[1]
    flat = sources.reshape(len(sources), height * width * channels)
    for row in prange(height // scale):
        inside, at = np.empty(number, np.bool_), np.empty(number, np.int64)
        right, low = np.empty(number, np.float32), np.empty(number, np.float32)
        total, seen = np.empty(number, np.float32), np.empty(number, np.float32)
        depths = np.empty(number, np.float32)
        for column in range(width // scale):
            depths[:] = inverse_depths[:, row, column]
            total[:], seen[:] = 0, 0
            for part in range(scale * scale):
                v, u = scale * row + part // scale, scale * column + part % scale
                own = target[v, u]
                for s in range(len(sources)):
                    _project_planes(
                        transforms[s],
                        bounds[s],
                        np.float32(v),
                        np.float32(u),
                        width,
                        height,
                        depths,
                        inside,
                        at,
                        right,
                        low,
                    )
                    _match_planes(own, flat[s], below, inside, at, right, low, total, seen)
            for p in range(number):
                score[p, row, column] = total[p] / max(seen[p], np.float32(1))
                count[p, row, column] = seen[p] / np.float32(scale * scale)


@njit(cache=True, parallel=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
def sweep_pixels_backward(target, sources, transforms, bounds, inverse_depths, share, to_target, to_sources):
    """`depth.cascade.cascade_sweep_backward`, compiled."""
    height, width, channels = target.shape
    number, below = len(inverse_depths), width * channels
    scale = height // inverse_depths.shape[1]
    flat = sources.reshape(len(sources), height * width * channels)
    flat_gradient = to_sources.reshape(len(sources), height * width * channels)
    for s in prange(len(sources)):  # each source's gradient is written by one thread
        inside, at = np.empty(number, np.bool_), np.empty(number, np.int64)
        right, low = np.empty(number, np.float32), np.empty(number, np.float32)
        depths = np.empty(number, np.float32)
        pixels, gradient = flat[s], flat_gradient[s]
        for v in range(scale * (height // scale)):
            for u in range(scale * (width // scale)):
                row, column = v // scale, u // scale
                depths[:] = inverse_depths[:, row, column]
                _project_planes(
                    transforms[s],
                    bounds[s],
                    np.float32(v),
                    np.float32(u),
                    width,
                    height,
                    depths,
                    inside,
                    at,
                    right,
                    low,
                )
                _match_planes_backward(
                    target[v, u], to_target[s, v, u], pixels, gradient, below, share[:, row, column], inside, at,
                    right, low,
                )  # fmt: skip
