"""Queries of a map at points and in boxes. Space is free only if depth observed it; otherwise it is unknown."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

import numpy as np

from sgrocc_core.errors import QueryError
from sgrocc_core.geometry.lattice import BLOCK_VOXELS, VOXEL_SIZE

TOUCH = 1e-6
"""Minimum overlap of a box and a voxel, in voxels: a box that ends at 0.24 m does not touch voxel 3."""
FARTHEST = 2**20
"""Bound that block coordinates are clipped to; no map reaches that far, so space beyond it is unknown."""


class VoxelState(IntEnum):
    """State of a voxel of a map."""

    UNKNOWN = 0
    """Neither occupied nor observed free by depth."""
    FREE = 1
    """Observed free by depth, as `free` in map.npz."""
    OCCUPIED = 2
    """Occupied, by depth or by the network."""


@dataclass(frozen=True)
class PointQuery:
    """Voxels of a map at points.

    Attributes:
        labels: (N,) uint8, class 1 to 11, 255 = occupied without a class, 0 = not occupied.
        probability: (N,) float32, multiples of 1/16; 0 if not occupied.
        state: (N,) uint8, values of VoxelState.
    """

    labels: np.ndarray
    probability: np.ndarray
    state: np.ndarray

    @property
    def is_occupied(self) -> np.ndarray:
        """(N,) bool, occupied."""
        return self.state == VoxelState.OCCUPIED

    @property
    def is_free(self) -> np.ndarray:
        """(N,) bool, observed free."""
        return self.state == VoxelState.FREE


@dataclass(frozen=True)
class BoxQuery:
    """Voxels of a map in a box.

    Attributes:
        voxels: (N, 3) int32, indices of occupied voxels; a centre is origin + (index + 0.5) * 0.08 m.
        labels: (N,) uint8, class 1 to 11, 255 = no class.
        probability: (N,) float32, multiples of 1/16.
        free: (M, 3) int32, indices of voxels observed free.
        unknown: number of voxels that are neither.
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
    """A map that is queried by voxel indices."""

    def read(self, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels (N,) uint8, probability (N,) float32 and observed free (N,) bool of voxels (N, 3) int64."""

    def within(self, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Occupied voxels from low to high, both included, their labels and probability, and voxels observed free."""


def query_points(queried: QueriedMap, points: np.ndarray, origin: np.ndarray | None = None) -> PointQuery:
    """Query a map at points.

    Args:
        queried: the map.
        points: (N, 3) metres, map frame.
        origin: (3,) origin of the lattice in the map frame, metres; None is 0.

    Raises:
        QueryError: the points have another shape, or their coordinates are not finite numbers.
    """
    points = checked_points(points)
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
    """Query the voxels that an axis-aligned box touches; a box without extent along an axis touches one layer.

    Args:
        queried: the map.
        low: (3,) lowest corner of the box, metres, map frame.
        high: (3,) highest corner of the box, metres, map frame.
        origin: (3,) origin of the lattice in the map frame, metres; None is 0.

    Raises:
        QueryError: a corner is not three finite numbers, or low is above high along an axis.
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
    """Group voxels by block.

    Args:
        voxels: (N, 3) int64 voxel indices.

    Returns:
        keys: (B, 3) int64, the blocks, each once.
        block: (N,) int64, row of `keys` for each voxel.
        local: x, y, z, (N,) each, index of the voxel in its block.
    """
    bits = FARTHEST.bit_length()
    shifted = (
        voxels >> 4
    ) + FARTHEST  # sorting one number per block is a hundred times faster than sorting rows of three
    codes, block = np.unique((shifted[:, 0] << 2 * bits) | (shifted[:, 1] << bits) | shifted[:, 2], return_inverse=True)
    mask = (1 << bits) - 1
    keys = np.stack([codes >> 2 * bits, (codes >> bits) & mask, codes & mask], 1) - FARTHEST
    return keys, block.reshape(-1), tuple((voxels & (BLOCK_VOXELS - 1)).T)


def inside(voxels: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Whether voxels (N, 3) lie between low (3,) and high (3,), both included: (N,) bool."""
    return np.all((voxels >= low) & (voxels <= high), axis=1)


def checked_points(points: np.ndarray) -> np.ndarray:
    """Points of a query as (N, 3) float64.

    Raises:
        QueryError: they have another shape, or their coordinates are not finite numbers.
    """
    points = _numbers("points", points)
    if points.ndim != 2 or points.shape[1] != 3:
        raise QueryError(f"points are of shape {points.shape}; it must be (N, 3), metres")
    if not (finite := np.isfinite(points).all(1)).all():
        worst = int(np.argmin(finite))
        raise QueryError(f"points[{worst}] is {points[worst].tolist()}; its coordinates must be finite, metres")
    return points


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
