"""Scores of imagined views: agreement of image and occupancy, classes that are there, and a Fréchet distance."""

from __future__ import annotations

import numpy as np
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn

from sgrocc_core.classes import NUM_CLASSES, UNKNOWN
from sgrocc_core.geometry.lattice import BOX_VOXELS, VOXEL_SIZE

STEP, FARTHEST = 0.04, 7.0
"""Step along a ray and its length, metres: half a voxel, and more than the box's diagonal."""
AXES = 32
"""Principal axes of the real features on which the Fréchet distance is computed: a few hundred images do not determine
the covariance of all channels (round guess)."""


def project_labels(labels: np.ndarray, K: np.ndarray, T_bc: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Render the labels of a grid: each pixel has the label of the first occupied voxel on its ray.

    Args:
        labels: (60, 60, 36) uint8; empty and unknown voxels are passed through.
        K: (3, 3) intrinsics, pixels.
        T_bc: (4, 4) camera to grid, metres.
        size: (width, height), pixels.

    Returns:
        (H, W) uint8; UNKNOWN where a ray leaves the grid.
    """
    x = (np.arange(size[0]) - K[0, 2]) / K[0, 0]
    y = (np.arange(size[1]) - K[1, 2]) / K[1, 1]
    rays = np.stack([*np.meshgrid(x, y), np.ones((size[1], size[0]))], -1) @ T_bc[:3, :3].T
    found = np.full((size[1], size[0]), UNKNOWN, np.uint8)
    for z in np.arange(STEP, FARTHEST, STEP):
        index = np.floor((T_bc[:3, 3] + rays * z) / VOXEL_SIZE).astype(np.int64)
        inside = ((index >= 0) & (index < BOX_VOXELS)).all(-1) & (found == UNKNOWN)
        hit = labels[tuple(index[inside].T)]
        found[inside] = np.where((hit > 0) & (hit <= NUM_CLASSES), hit, UNKNOWN)
    return found


def agreement(seen: np.ndarray, projected: np.ndarray) -> float:
    """Returns the mean over the classes of either picture of the intersection over union of their pixels.

    Args:
        seen: (..., H, W) uint8, classes of the image.
        projected: the same shape, of the occupancy; pixels without a class there do not count.
    """
    valid = projected != UNKNOWN
    ious = []
    for label in range(1, NUM_CLASSES + 1):
        one, other = (seen == label) & valid, (projected == label) & valid
        if one.any() or other.any():
            ious.append((one & other).sum() / (one | other).sum())
    return float(np.mean(ious)) if ious else 0.0


@torch.no_grad()
def backbone_features(engine: nn.Module, images: np.ndarray) -> np.ndarray:
    """Mean features of the frozen backbone's last map.

    Args:
        engine: image engine on a published backbone.
        images: (N, H, W, 3) uint8.

    Returns:
        (N, C) float64.
    """
    engine.eval()
    found = []
    for image in images:
        tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
        large: Tensor = nn.functional.interpolate(tensor, (240, 320), mode="bilinear", align_corners=False)
        maps = engine.maps(large, torch.ones_like(large[:, :1]))  # type: ignore[operator]
        found.append(maps[-1].mean((0, 2, 3)).double().numpy())
    return np.stack(found)


def frechet(real: np.ndarray, made: np.ndarray) -> float:
    """Fréchet distance between two sets of features, on the principal axes of the real ones in units of deviation.

    Args:
        real: (N, C).
        made: (M, C).

    Returns:
        the distance; 0 for two sets of the same mean and covariance.
    """
    centre = real.mean(0)
    _, scales, axes = np.linalg.svd(real - centre, full_matrices=False)
    count = min(AXES, len(real) // 2, len(made) // 2)
    # Scaled by one number, so that the axes keep their relative weight.
    unit = scales[0] / np.sqrt(len(real))
    one, other = (((values - centre) @ axes[:count].T) / unit for values in (real, made))
    mixed = sqrtm(np.cov(one.T) @ np.cov(other.T))
    gap = ((one.mean(0) - other.mean(0)) ** 2).sum()
    return float(gap + np.trace(np.cov(one.T) + np.cov(other.T) - 2 * np.real(mixed)))
