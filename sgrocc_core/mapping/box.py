"""Where the local box of a frame lies: at a fixed height below the camera, or moved up or down to what is seen.

A box that begins 1.8 m below the camera suits a camera that is carried at the height of the head. From a robot's camera
most of it would lie below the floor, and the ceiling above it; looking up, the upper part of a high room would be
missed. The spatial expert is trained with boxes that are shifted at random, so that it does not mind.
"""

from __future__ import annotations

import numpy as np

from sgrocc_core.geometry.camera import pinhole
from sgrocc_core.geometry.lattice import BOX_CELLS, BOX_SHIFT, CELL_SIZE, box_corner

WORTH = 0.005
"""Share of the seen points that a shift must bring into the box for each cell (round guess)."""
STRIDE = 8
"""Every how many pixels, along each axis, a point is looked at."""


def place_box(
    depth: np.ndarray, K: np.ndarray, T_lc: np.ndarray, box_below: float, max_shift: float = BOX_SHIFT
) -> np.ndarray:
    """Lowest corner of the local box: the one with the most seen points among boxes at different heights.

    Args:
        depth: (H, W) float32 metres along the optical axis, 0 = none.
        K: (3, 3) intrinsics, pixels.
        T_lc: (4, 4) camera to lattice frame, metres.
        box_below: distance from the camera down to the bottom of the box that is not shifted, metres.
        max_shift: largest shift up or down, metres.

    Returns:
        (3,) int32, cell index.
    """
    corner = box_corner(T_lc, box_below=box_below)
    most = int(max_shift / CELL_SIZE + 1e-6)
    if not most:
        return corner
    fx, fy, cx, cy = pinhole(K)
    z = depth[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].astype(np.float64)
    v, u = np.nonzero(z > 0)
    z = z[v, u]
    pixels = np.stack([(u * STRIDE + STRIDE // 2 - cx) / fx, (v * STRIDE + STRIDE // 2 - cy) / fy, np.ones(len(u))])
    cells = (pixels * z).T @ T_lc[:3, :3].T / CELL_SIZE + (T_lc[:3, 3] / CELL_SIZE - corner)
    heights = np.floor(cells[((cells[:, :2] >= 0) & (cells[:, :2] < BOX_CELLS[:2])).all(1), 2])
    if not len(heights):
        return corner
    shifts = np.arange(-most, most + 1)
    inside = (heights[:, None] >= shifts) & (heights[:, None] < BOX_CELLS[2] + shifts)
    corner[2] += shifts[np.argmax(inside.mean(0) - WORTH * np.abs(shifts))]
    return corner
