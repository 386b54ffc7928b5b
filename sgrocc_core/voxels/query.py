"""Questions to a map: what is at these points, what is in this box. Space that no depth saw free and nothing fills is unknown, not free."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np

from sgrocc_core.errors import QueryError
from sgrocc_core.geometry.lattice import BLOCK_VOXELS, VOXEL_SIZE

TOUCH = 1e-6
"""A box that reaches no deeper into a voxel than this share of its edge does not touch it: 0.24 m ends voxel 2, whatever floats say."""
FARTHEST = 2**20
"""Block coordinates are clipped to this; no map reaches so far, so that what lies beyond is unknown."""


class VoxelState(IntEnum):
    """What a map knows of a voxel."""

    UNKNOWN = 0
    """Neither occupied nor observed free: never looked at, or only guessed to be empty."""
    FREE = 1
    """Observed free by depth, as `free` of map.npz."""
    OCCUPIED = 2


@dataclass(frozen=True)
class PointQuery:
    """What a map knows of the voxels that points lie in.

    Attributes:
        labels: (N,) uint8, 1 to 11, 255 = occupied without a class, 0 = not occupied.
        probability: (N,) float32, multiples of 1/16; 0 where not occupied.
        state: (N,) uint8, a VoxelState each.
    """

    labels: np.ndarray
    probability: np.ndarray
    state: np.ndarray

    @property
    def is_occupied(self) -> np.ndarray:
        """(N,) bool."""
        return self.state == VoxelState.OCCUPIED

    @property
    def is_free(self) -> np.ndarray:
        """(N,) bool, observed free."""
        return self.state == VoxelState.FREE


@dataclass(frozen=True)
class BoxQuery:
    """What a map knows of the voxels that a box touches.

    Attributes:
        voxels: (N, 3) int32, the occupied ones; centre = origin + (index + 0.5) * 0.08 m. labels: (N,) uint8. probability: (N,) float32.
        free: (M, 3) int32, those observed free. unknown: how many are neither.
    """

    voxels: np.ndarray
    labels: np.ndarray
    probability: np.ndarray
    free: np.ndarray
    unknown: int

    @property
    def is_free(self) -> bool:
        """Whether every voxel was observed free."""
        return not len(self.voxels) and not self.unknown


class QueriedMap(Protocol):
    """What answers questions in voxel indices."""

    def read(self, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of voxels (N, 3) int64: labels (N,) uint8, probability (N,) float32, whether observed free (N,) bool."""

    def within(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Of the voxels from low (3,) to high (3,), both included: the occupied, their labels and probability, those observed free."""


def query_points(queried: QueriedMap, points: np.ndarray, origin: np.ndarray | None = None) -> PointQuery:
    """What a map knows of points.

    Args:
        points: (N, 3) metres, map frame. origin: (3,) of the voxels' lattice in the map frame, metres; None is 0.

    Raises:
        QueryError: another shape, or coordinates that are not finite numbers.
    """
    points = _numbers("points", points)
    if points.ndim != 2 or points.shape[1] != 3:
        raise QueryError(f"points are of shape {points.shape}; it must be (N, 3), metres")
    if not (finite := np.isfinite(points).all(1)).all():
        worst = int(np.argmin(finite))
        raise QueryError(f"points[{worst}] is {points[worst].tolist()}; its coordinates must be finite, metres")
    reach = FARTHEST * BLOCK_VOXELS - 1
    index = np.floor((points - (0.0 if origin is None else origin)) / VOXEL_SIZE)
    labels, probability, free = queried.read(np.clip(index, -reach, reach).astype(np.int64))
    state = np.where(
        labels > 0,
        np.uint8(VoxelState.OCCUPIED),
        np.where(free, np.uint8(VoxelState.FREE), np.uint8(VoxelState.UNKNOWN)),
    )
    return PointQuery(labels, probability, state)


def query_box(queried: QueriedMap, low: np.ndarray, high: np.ndarray, origin: np.ndarray | None = None) -> BoxQuery:
    """What a map knows of a box along the axes: of every voxel that it touches. A box without depth along an axis is a slice of voxels.

    Args:
        low, high: (3,) metres, map frame, the box's corners. origin: as for points.

    Raises:
        QueryError: not three finite numbers each, or a low above its high.
    """
    low, high = _corner("low", low), _corner("high", high)
    for axis, a, b in zip("xyz", low, high):
        if a > b:
            raise QueryError(f"the box's low {axis} is {a:g}, above its high {axis}, {b:g}; low must be at most high")
    shift, reach = (0.0 if origin is None else origin), FARTHEST * BLOCK_VOXELS - 1
    first = np.clip(np.floor((low - shift) / VOXEL_SIZE + TOUCH), -reach, reach).astype(np.int64)
    last = np.clip(np.ceil((high - shift) / VOXEL_SIZE - TOUCH) - 1, -reach, reach).astype(np.int64)
    last = np.maximum(first, last)
    voxels, labels, probability, free = queried.within(first, last)
    count = math.prod((last - first + 1).tolist())
    return BoxQuery(voxels, labels, probability, free, count - len(voxels) - len(free))


def by_block(voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, ...]]:
    """Voxels (N, 3) int64 by the blocks that they lie in.

    Returns:
        keys: (B, 3) int64, the blocks, each once. block: (N,) which of them. local: x, y, z (N,) each, the voxel in its block.
    """
    bits = FARTHEST.bit_length()
    shifted = (voxels >> 4) + FARTHEST  # one number a block sorts a hundred times faster than rows of three
    codes, block = np.unique((shifted[:, 0] << 2 * bits) | (shifted[:, 1] << bits) | shifted[:, 2], return_inverse=True)
    mask = (1 << bits) - 1
    keys = np.stack([codes >> 2 * bits, (codes >> bits) & mask, codes & mask], 1) - FARTHEST
    return keys, block.reshape(-1), tuple((voxels & (BLOCK_VOXELS - 1)).T)


def inside(voxels: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(N,) bool, which of the voxels (N, 3) lie from low (3,) to high (3,), both included."""
    return np.all((voxels >= low) & (voxels <= high), axis=1)


def _numbers(name: str, values: np.ndarray) -> np.ndarray:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise QueryError(f"{name} cannot be read as an array of numbers: {error}") from error


def _corner(name: str, values: np.ndarray) -> np.ndarray:
    corner = _numbers(name, values)
    if corner.shape != (3,):
        raise QueryError(f"{name} is of shape {corner.shape}; it must be (3,), metres")
    if not np.isfinite(corner).all():
        raise QueryError(f"{name} is {corner.tolist()}; its coordinates must be finite, metres")
    return corner
