"""Number of back-projected depth pixels in each voxel of the local box, an input of the spatial expert.

The ray through the centre of a voxel can miss a surface that fills only a part of the voxel, as at silhouettes and thin
objects; counting the pixels that fall into the voxel finds it.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from sgrocc_core.geometry.camera import pinhole
from sgrocc_core.geometry.lattice import BOX_VOXELS, VOXEL_SIZE


def count_hits(depth: np.ndarray, K: np.ndarray, T_bc: np.ndarray) -> np.ndarray:
    """Count the back-projected pixels in every voxel of the local box.

    Args:
        depth: (H, W) float32, metres along the optical axis, 0 = no depth.
        K: (3, 3) intrinsics, pixels.
        T_bc: (4, 4) camera to box frame, metres.

    Returns:
        (60, 60, 36) float32 counts.
    """
    hits = np.zeros(BOX_VOXELS, np.float32)
    _count(np.ascontiguousarray(depth, np.float32), pinhole(K), np.ascontiguousarray(T_bc, np.float64), hits)
    return hits


@njit(cache=True)
def _count(depth, K, T, hits):
    for row in range(depth.shape[0]):
        y = (row - K[3]) / K[1]
        for column in range(depth.shape[1]):
            d = float(depth[row, column])
            if d <= 0.0:
                continue
            x = (column - K[2]) / K[0]
            i = int(np.floor((d * (T[0, 0] * x + T[0, 1] * y + T[0, 2]) + T[0, 3]) / VOXEL_SIZE))
            j = int(np.floor((d * (T[1, 0] * x + T[1, 1] * y + T[1, 2]) + T[1, 3]) / VOXEL_SIZE))
            k = int(np.floor((d * (T[2, 0] * x + T[2, 1] * y + T[2, 2]) + T[2, 3]) / VOXEL_SIZE))
            if 0 <= i < hits.shape[0] and 0 <= j < hits.shape[1] and 0 <= k < hits.shape[2]:
                hits[i, j, k] += 1.0
