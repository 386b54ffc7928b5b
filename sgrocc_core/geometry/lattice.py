"""The lattice of anchors: cells of 0.16 m of 2 x 2 x 2 voxels, blocks of 8^3 cells, and the local box before the camera.

Everything here is integer index arithmetic relative to the map's lattice origin; memory to box and back is a slice.
"""

from __future__ import annotations

import numpy as np

from sgrocc_core.geometry.poses import heading

VOXEL_SIZE = 0.08
"""Edge of a voxel, metres."""
CELL_VOXELS = 2
CELL_SIZE = VOXEL_SIZE * CELL_VOXELS
"""Edge of a cell, metres."""
BLOCK_CELLS = 8
BLOCK_VOXELS = BLOCK_CELLS * CELL_VOXELS
BLOCK_SIZE = VOXEL_SIZE * BLOCK_VOXELS
"""Edge of a block, metres."""
BOX_CELLS: tuple[int, int, int] = (30, 30, 18)
BOX_VOXELS: tuple[int, int, int] = (60, 60, 36)
NUM_ANCHORS = 30 * 30 * 18
BOX_AHEAD = 2.4
"""Distance of the box's centre ahead of the camera, metres."""
BOX_BELOW = 1.8
"""Depth of the box's bottom under the camera, metres (default of `box_below`)."""


def box_corner(T_wc: np.ndarray, origin: np.ndarray | None = None, box_below: float = BOX_BELOW) -> np.ndarray:
    """Cell index of the local box's lowest corner for a camera.

    Args:
        T_wc: (4, 4) camera (optical) to world, metres.
        origin: (3,) the lattice's origin in the world, metres; None is 0.
        box_below: how far the box begins under the camera, metres.

    Returns:
        (3,) int32.
    """
    centre = T_wc[:3, 3] + BOX_AHEAD * heading(T_wc[:3, :3])
    half = CELL_SIZE * np.array([BOX_CELLS[0], BOX_CELLS[1], 0]) / 2
    corner = centre - half - np.array([0.0, 0.0, box_below])
    if origin is not None:
        corner = corner - origin
    return np.rint(corner / CELL_SIZE).astype(np.int32)


def box_pose(T_wc: np.ndarray, corner_world: np.ndarray) -> np.ndarray:
    """T_bc, camera to box frame: the world's axes with the box's lowest corner as origin. (4, 4) float64."""
    T_bc = np.array(T_wc, np.float64)
    T_bc[:3, 3] -= corner_world
    return T_bc


def box_overlap(corner: np.ndarray, shape: tuple[int, ...]) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """Where a local box at a corner (3,), voxels, and a grid of a shape overlap: slices of the grid, and of the box."""
    low = np.maximum(corner, 0)
    high = np.maximum(np.minimum(corner + BOX_VOXELS, shape), low)
    grid = tuple(slice(int(a), int(b)) for a, b in zip(low, high))
    return grid, tuple(slice(int(a), int(b)) for a, b in zip(low - corner, high - corner))


def voxel_centres(corner: np.ndarray, shape: tuple[int, int, int] = BOX_VOXELS, size: float = VOXEL_SIZE) -> np.ndarray:
    """Centres of a regular grid's voxels.

    Args:
        corner: (3,) metres, the grid's lowest corner.

    Returns:
        (X, Y, Z, 3) float64 metres.
    """
    axes = [corner[a] + (np.arange(shape[a]) + 0.5) * size for a in range(3)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1)
