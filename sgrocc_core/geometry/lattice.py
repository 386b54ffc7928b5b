"""The lattice (method, section 1): cells of 2 x 2 x 2 voxels, blocks of 8 x 8 x 8 cells, and the local box.

The local box lies in front of the camera. Its corner lies on the lattice, so it is copied from and to the memory by
index arithmetic, without resampling. Indices are relative to the origin of the lattice of the map.
"""

from __future__ import annotations

import numpy as np

from sgrocc_core.geometry.poses import heading

VOXEL_SIZE = 0.08
"""Edge of a voxel, metres, as in Occ-ScanNet."""
CELL_VOXELS = 2
"""Voxels along each edge of a cell."""
CELL_SIZE = VOXEL_SIZE * CELL_VOXELS
"""Edge of a cell, metres."""
BLOCK_CELLS = 8
"""Cells along each edge of a block."""
BLOCK_VOXELS = BLOCK_CELLS * CELL_VOXELS
"""Voxels along each edge of a block."""
BLOCK_SIZE = VOXEL_SIZE * BLOCK_VOXELS
"""Edge of a block, metres."""
BOX_CELLS: tuple[int, int, int] = (30, 30, 18)
BOX_VOXELS: tuple[int, int, int] = (60, 60, 36)
NUM_ANCHORS = 30 * 30 * 18
BOX_AHEAD = 2.4
"""Horizontal distance of the box's centre ahead of the camera, metres: half of the box, as in Occ-ScanNet."""
BOX_BELOW = 1.8
"""Distance from the camera down to the bottom of the box, metres; default of `box_below` (round guess)."""
BOX_SHIFT = 3 * CELL_SIZE
"""Largest distance by which boxes of generated rooms are shifted in training, and may be shifted in use, metres."""


def box_corner(T_wc: np.ndarray, origin: np.ndarray | None = None, box_below: float = BOX_BELOW) -> np.ndarray:
    """Lowest corner of a camera's local box.

    Args:
        T_wc: (4, 4) camera (optical) to world, metres.
        origin: (3,) origin of the lattice in the world, metres; None is 0.
        box_below: distance from the camera down to the bottom of the box, metres.

    Returns:
        (3,) int32, cell index.
    """
    centre = T_wc[:3, 3] + BOX_AHEAD * heading(T_wc[:3, :3])
    half = CELL_SIZE * np.array([BOX_CELLS[0], BOX_CELLS[1], 0]) / 2
    corner = centre - half - np.array([0.0, 0.0, box_below])
    if origin is not None:
        corner = corner - origin
    return np.rint(corner / CELL_SIZE).astype(np.int32)


def box_pose(T_wc: np.ndarray, corner_world: np.ndarray) -> np.ndarray:
    """Pose of the camera in the box frame, which has the world's axes and the box's lowest corner as origin.

    Args:
        T_wc: (4, 4) camera to world, metres.
        corner_world: (3,) lowest corner of the box in the world, metres.

    Returns:
        T_bc: (4, 4) float64, camera to box frame, metres.
    """
    T_bc = np.array(T_wc, np.float64)
    T_bc[:3, 3] -= corner_world
    return T_bc


def box_overlap(corner: np.ndarray, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Overlap of a local box and a grid.

    Args:
        corner: (3,) voxel index in the grid of the box's lowest corner.
        shape: voxels of the grid along x, y, z.

    Returns:
        Slices of the grid and slices of the box, along x, y, z.
    """
    low = np.maximum(corner, 0)
    high = np.maximum(np.minimum(corner + BOX_VOXELS, shape), low)
    grid = tuple(slice(int(a), int(b)) for a, b in zip(low, high))
    return grid, tuple(slice(int(a), int(b)) for a, b in zip(low - corner, high - corner))


def voxel_centres(corner: np.ndarray, shape: tuple[int, int, int] = BOX_VOXELS, size: float = VOXEL_SIZE) -> np.ndarray:
    """Centres of the voxels of a regular grid.

    Args:
        corner: (3,) lowest corner of the grid, metres.
        shape: voxels along x, y, z.
        size: edge of a voxel, metres.

    Returns:
        (X, Y, Z, 3) float64, metres.
    """
    axes = [corner[a] + (np.arange(shape[a]) + 0.5) * size for a in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)
