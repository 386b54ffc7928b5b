"""The second sweep of stereo from motion, at twice the resolution and only around the depth that the first one found.

The planes of the first sweep lie 8 % of the depth apart at 2.5 m, which is half a pixel of its features. The second
one compares features at stride 2 at hypotheses a quarter of that apart; a pixel of the depth is the 2 x 2 pixels of
those features that it covers, compared together. Numba, CPU; network/stereo/sweep_torch.py is the reference.
"""

from __future__ import annotations

import numpy as np

from sgrocc_core.depth.sweep import FARTHEST, NEAREST, PLANES, sweep_pixels, sweep_pixels_backward

SCALE = 2
"""Pixels of the fine features per pixel of the depth, along each axis."""
STEP = 0.25 * (NEAREST**-0.5 - FARTHEST**-0.5) / (PLANES - 1)
"""Between two hypotheses, in the square root of inverse depth: a quarter of the first sweep's planes."""
SMALLEST = 0.15
"""Smallest square root of an inverse depth that is compared, 1 / sqrt(m): 44 m."""


def offsets(count: int) -> np.ndarray:
    """The hypotheses' offsets in the square root of inverse depth from the depth in hand, nearest first: (count,)."""
    return ((count - 1) / 2 - np.arange(count)) * STEP


def hypotheses(depth: np.ndarray, count: int) -> np.ndarray:
    """Inverse depths that are compared at each pixel.

    Args:
        depth: (h, w), metres, of the first sweep; positive.
        count: N, how many.

    Returns:
        (N, h, w) float32, 1 / metres, nearest first.
    """
    root = depth.astype(np.float32) ** np.float32(-0.5)
    around = root + offsets(count).astype(np.float32)[:, None, None]
    return np.maximum(around, np.float32(SMALLEST)) ** 2


def finer(transforms: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Projections and bounds at the resolution of the fine features.

    Args:
        transforms: (..., 3, 4) of `sweep.sweep_transform`, for pixels of the depth.
        bounds: (..., 4) of `sweep.content_bounds`, for pixels of the depth.

    Returns:
        The same for pixels of the fine features, float32. The centre of pixel u lies at SCALE u + (SCALE - 1) / 2.
    """
    shift = (SCALE - 1) / 2
    up = np.array([[SCALE, 0, shift], [0, SCALE, shift], [0, 0, 1]])
    fine = up @ transforms.astype(np.float64)
    fine[..., :3] = fine[..., :3] @ np.linalg.inv(up)
    edges = SCALE * bounds + np.array([0, 0, SCALE - 1, SCALE - 1])
    return fine.astype(np.float32), edges.astype(np.float32)


def cascade_sweep(
    target: np.ndarray, sources: np.ndarray, transforms: np.ndarray, bounds: np.ndarray, inverse_depths: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Matching scores of one image against its sources at each pixel's own depths.

    Args:
        target: (2h, 2w, 16) float32, normalised features.
        sources: (S, 2h, 2w, 16) float32, the same of the sources; S may be 0.
        transforms: (S, 3, 4) float32, of `finer`.
        bounds: (S, 4) float32, of `finer`.
        inverse_depths: (N, h, w) float32, 1 / metres.

    Returns:
        score: (N, h, w) float32, mean over the pairs of pixels and sources that see the point, 0 where none does.
            count: (N, h, w) float32, how many do, as a number of sources.
    """
    score, count = (np.empty(inverse_depths.shape, np.float32) for _ in range(2))
    sweep_pixels(target, sources, transforms, bounds, inverse_depths, score, count)
    return score, count


def cascade_sweep_backward(
    target: np.ndarray,
    sources: np.ndarray,
    transforms: np.ndarray,
    bounds: np.ndarray,
    inverse_depths: np.ndarray,
    count: np.ndarray,
    score_gradient: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of `cascade_sweep`'s score with respect to the features of the target and the sources.

    Args:
        target: as for `cascade_sweep`.
        sources: as for `cascade_sweep`.
        transforms: as for `cascade_sweep`.
        bounds: as for `cascade_sweep`.
        inverse_depths: as for `cascade_sweep`.
        count: (N, h, w) of the forward pass.
        score_gradient: (N, h, w) float32.

    Returns:
        (2h, 2w, 16) of the target and (S, 2h, 2w, 16) of the sources.
    """
    to_target, to_sources = np.zeros(sources.shape, np.float32), np.zeros(sources.shape, np.float32)
    share = score_gradient / np.maximum(count * SCALE**2, 1)
    sweep_pixels_backward(target, sources, transforms, bounds, inverse_depths, share, to_target, to_sources)
    return to_target.sum(0), to_sources
