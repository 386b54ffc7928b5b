"""Euclidean distance from points to the nearest occupied voxel of a map, its gradient, and the class of that voxel.

A `DistanceField` holds the distances between the centres of voxels, block by block, exact up to MAX_DISTANCE. It
computes the blocks that a query touches, and of these only what the changes of the map since then may have changed;
blocks that nobody asks for cost nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from sgrocc_core.classes import NAMES, UNKNOWN, UNLABELLED
from sgrocc_core.errors import QueryError
from sgrocc_core.geometry.lattice import BLOCK_VOXELS, VOXEL_SIZE
from sgrocc_core.voxels.columns import column_bits
from sgrocc_core.voxels.distances import passes
from sgrocc_core.voxels.query import FARTHEST, by_block, checked_points

MAX_DISTANCE = passes.REACH * VOXEL_SIZE
"""Largest distance that a field knows, metres."""
MOST_FIELDS = 4
"""Number of fields (of classes, of unknown space) that a map keeps; the one not asked for longest is dropped."""
MOST_UNASKED = 300
"""Changes of the map without a query after which a field is dropped: a minute at five frames a second (round guess)."""
_X, _Y, _Z = 0, 1, 2
_AROUND = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)
_SIBLINGS = np.stack(np.meshgrid(*[[0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
Unknown = Literal["free", "occupied"]


@dataclass(frozen=True)
class DistanceQuery:
    """Distances of points from the obstacles of a map.

    The distance is that between centres of voxels, interpolated linearly between them: 0 at the centre of an occupied
    voxel, whose faces are 0.04 m away from it, and in the middle of solid objects.

    Attributes:
        distance: (N,) float32, metres, at most the query's `max_distance`.
        gradient: (N, 3) float32, direction in which the distance grows, of length 1: away from the obstacle nearest to
            the point's voxel; 0 within an obstacle and where none is within `max_distance`.
        labels: (N,) uint8, class of the obstacle nearest to the point's voxel, 255 = no class; 0 where none is within
            `max_distance`, and for unknown space.
    """

    distance: np.ndarray
    gradient: np.ndarray
    labels: np.ndarray


class VoxelSource(Protocol):
    """A map whose blocks are read."""

    def blocks(self) -> np.ndarray:
        """Keys (B, 3) int32 of all blocks."""

    def block_voxels(self, keys: np.ndarray, with_free: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Labels (B, 16, 16, 16) uint8 and, if asked for, observed free (bool) of blocks (B, 3) int; 0 for others."""

    def read(self, voxels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Labels (N,) uint8, probability (N,) float32 and observed free (N,) bool of voxels (N, 3) int64."""


class Distances:
    """The fields of one map, made when they are first asked for.

    Args:
        source: the map.
    """

    def __init__(self, source: VoxelSource) -> None:
        self._source = source
        self._fields: OrderedDict[tuple, DistanceField] = OrderedDict()

    def change(self, keys: np.ndarray) -> None:
        """Tell that blocks (B, 3) of the map may have changed."""
        for key, field in list(self._fields.items()):
            field.change(keys)
            if field.unasked > MOST_UNASKED:
                del self._fields[key]

    def query(
        self,
        points: np.ndarray,
        classes: Sequence[str] | None,
        unknown: str,
        max_distance: float,
        origin: np.ndarray | None = None,
    ) -> DistanceQuery:
        """Distances of points; see `LiveMap.distance`.

        Raises:
            QueryError: points, classes, unknown or max_distance are not allowed.
        """
        points = checked_points(points)
        labels = None if classes is None else _labels_of(classes)
        if unknown not in ("free", "occupied"):
            raise QueryError(f"unknown is {unknown!r}; unknown space must count as 'free' or as 'occupied'")
        if not 0 < max_distance <= MAX_DISTANCE:
            raise QueryError(f"max_distance is {max_distance!r}; it must be above 0 and at most {MAX_DISTANCE:g} m")
        key = labels, unknown
        field = self._fields.pop(key, None) or DistanceField(self._source, labels, unknown == "occupied")
        self._fields[key] = field
        while len(self._fields) > MOST_FIELDS:
            self._fields.popitem(last=False)
        return field.query(points if origin is None else points - origin, max_distance)


class DistanceField:
    """Distances to the obstacles of one kind.

    A slot is kept for each block of the map and for the blocks up to two away, so that all blocks in reach have one.
    The results of the three passes have rows for the slots that were needed so far.

    Args:
        source: the map.
        labels: labels of the obstacles; None = every occupied voxel.
        unknown_is_occupied: whether unknown voxels are obstacles, too.
    """

    def __init__(self, source: VoxelSource, labels: tuple[int, ...] | None, unknown_is_occupied: bool) -> None:
        self._source, self._labels, self._with_unknown = source, labels, unknown_is_occupied
        self._slots: dict[tuple[int, int, int], int] = {}
        self._held: set[tuple[int, int, int]] = set()
        self._keys = np.zeros((0, 3), np.int64)
        self._words = np.zeros((0, BLOCK_VOXELS, BLOCK_VOXELS), np.uint16)
        self._near = np.zeros((3, 0, passes.SPAN), np.int64)
        self._column, self._row, self._plane = (_Pass(values) for values in ((1,), (1, 2), (1, 3)))
        self._pending: list[np.ndarray] = [source.blocks()]

    def change(self, keys: np.ndarray) -> None:
        """Tell that blocks (B, 3) of the map may have changed."""
        self._pending.append(keys)

    @property
    def unasked(self) -> int:
        """Number of changes since the last query."""
        return len(self._pending)

    def query(self, points: np.ndarray, max_distance: float) -> DistanceQuery:
        """Distances of points (N, 3) float64, metres from the origin of the lattice, up to max_distance, metres."""
        self._take_changes()
        reach = FARTHEST * BLOCK_VOXELS // 2
        at = np.clip(points / VOXEL_SIZE - 0.5, -reach, reach)
        base = np.floor(at).astype(np.int64)
        keys, block, local = by_block(base)
        slots = self._siblings(keys, block, local)
        self._compute(np.unique(slots[slots >= 0]))
        rows = np.full(slots.shape, -1, np.int64)
        rows[slots >= 0] = self._plane.rows[slots[slots >= 0]]
        count = len(points)
        distance, nearest = np.empty(count, np.float32), np.empty((count, 3), np.int64)
        passes.interpolate(
            np.stack(local, 1), at - base, block, rows, self._plane.squared, self._plane.offsets,
            0 if self._with_unknown else passes.NONE, max_distance, distance, nearest,
        )  # fmt: skip
        labels, found = np.zeros(count, np.uint8), nearest[:, 0] != passes.NONE
        obstacle = base[found] + nearest[found]
        labels[found] = self._source.read(obstacle)[0]
        gradient = np.zeros((count, 3), np.float32)
        away = (at[found] - obstacle) * (np.floor(at[found] + 0.5) != obstacle).any(1, keepdims=True)
        gradient[found] = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
        return DistanceQuery(distance, gradient, labels)

    def refresh(self) -> int:
        """Compute every block of the map, as a query of all of them would; returns their number."""
        self._take_changes()
        slots = np.array([self._slots[key] for key in self._held], np.int64)
        self._compute(slots)
        return len(slots)

    def _siblings(self, keys: np.ndarray, block: np.ndarray, local: tuple[np.ndarray, ...]) -> np.ndarray:
        """Slots (B, 2, 2, 2) of blocks (B, 3) and of the next ones, where a point lies between the two; else -1."""
        last = np.zeros((len(keys), 3), np.bool_)
        for axis in range(3):
            last[block[local[axis] == BLOCK_VOXELS - 1], axis] = True
        wanted = (last[:, None] | (_SIBLINGS == 0)).all(2)
        slots = np.full((len(keys), 8), -1, np.int64)
        at = np.nonzero(wanted)
        found = (keys[at[0]] + _SIBLINGS[at[1]]).tolist()
        slots[at] = [self._slots.get((x, y, z), -1) for x, y, z in found]
        return slots.reshape(-1, 2, 2, 2)

    def _take_changes(self) -> None:
        """Read the blocks that may have changed, and mark the columns within reach of those that did."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        keys = np.concatenate(pending).astype(np.int64).reshape(-1, 3)
        keys = np.array(list(dict.fromkeys(map(tuple, keys.tolist()))), np.int64).reshape(-1, 3)
        self._add(keys)
        slots = np.array([self._slots[x, y, z] for x, y, z in keys.tolist()], np.int64)
        words = self._obstacles(keys)
        different = words != self._words[slots]
        some = different.any((1, 2))
        self._words[slots[some]] = words[some]
        columns = np.packbits(different[some], axis=2, bitorder="little").view("<u2")[..., 0]
        for n in range(passes.SPAN):
            other = self._near[_Z, slots[some], n]
            self._column.stale[other[other >= 0]] |= columns[other >= 0]

    def _obstacles(self, keys: np.ndarray) -> np.ndarray:
        """Bits (B, 16, 16) uint16 of the columns of blocks, set at obstacles."""
        labels, free = self._source.block_voxels(keys, self._with_unknown)
        solid = labels != 0 if self._labels is None else np.isin(labels, self._labels)
        return column_bits(solid if free is None else solid | ((labels == 0) & ~free))

    def _add(self, keys: np.ndarray) -> None:
        """Make slots for blocks (B, 3) of the map and for those around them."""
        new = [key for key in map(tuple, keys.tolist()) if key not in self._held]
        if not new:
            return
        self._held.update(new)
        around = map(tuple, (np.array(new)[:, None] + _AROUND).reshape(-1, 3).tolist())
        added = [key for key in dict.fromkeys(around) if key not in self._slots]
        if not added:
            return
        start, count = len(self._slots), len(self._slots) + len(added)
        self._slots.update(((x, y, z), start + n) for n, (x, y, z) in enumerate(added))
        if count > len(self._words):
            self._hold(max(count, 2 * len(self._words)))
        slots = np.arange(start, count)
        self._keys[slots] = added
        for axis in range(3):
            for n in range(passes.SPAN):
                other = self._keys[slots].copy()
                other[:, axis] += n - 2
                found = np.array([self._slots.get((x, y, z), -1) for x, y, z in other.tolist()], np.int64)
                self._near[axis, slots, n] = found
                self._near[axis, found[found >= 0], passes.SPAN - 1 - n] = slots[found >= 0]

    def _hold(self, count: int) -> None:
        """Make room for that many slots."""
        old = len(self._words)
        self._keys = _longer(self._keys, count, 0)
        self._words = _longer(self._words, count, 0xFFFF if self._with_unknown else 0)
        near = np.full((3, count, passes.SPAN), -1, np.int64)
        near[:, :old] = self._near
        self._near = near
        for each in (self._column, self._row, self._plane):
            each.hold(count)

    def _compute(self, slots: np.ndarray) -> None:
        """Compute the distances of blocks where they may have changed."""
        column, row, plane = self._column, self._row, self._plane
        second = self._within(_X, slots)
        first = self._within(_Y, second)
        for each, needed in ((column, first), (row, second), (plane, slots)):
            each.need(needed)
        passes.column_pass(
            column.to_compute(first), column.stale, self._words, self._near[_Z], column.rows, column.offsets[..., 0],
            self._near[_Y], row.stale,
        )  # fmt: skip
        passes.row_pass(
            row.to_compute(second), row.stale, self._near[_Y], column.rows, column.offsets[..., 0],
            row.rows, row.squared, row.offsets, row.most, self._near[_X], plane.stale,
        )  # fmt: skip
        passes.plane_pass(
            plane.to_compute(slots), plane.stale, self._near[_X], row.rows, row.squared, row.offsets,
            plane.rows, plane.squared, plane.offsets, plane.most,
        )  # fmt: skip

    def _within(self, axis: int, slots: np.ndarray) -> np.ndarray:
        """Slots of the blocks up to two before and behind blocks along an axis, with themselves."""
        found = np.unique(self._near[axis, slots])
        return found[found >= 0]


class _Pass:
    """Results of one pass.

    Args:
        values: kinds and number of its results per voxel: (1, n) has squared distances and n offsets, (1,) one offset.

    Attributes:
        rows: (S,) int64, row of the results of each slot, -1 = not needed so far.
        stale: (S, 16) or (S, 16, 5) uint16, what has changed since its results were computed; see `passes`.
        most: (R, 16, 16) int16, largest squared distance of each row along z.
    """

    def __init__(self, values: tuple[int, ...]) -> None:
        size, is_first = BLOCK_VOXELS, len(values) == 1
        self.squared = np.zeros((0,) if is_first else (0, size, size, size), np.int16)
        self.most = np.zeros((0,) if is_first else (0, size, size), np.int16)
        self.offsets = np.zeros((0, size, size, size, values[-1]), np.int8)
        self.rows = np.zeros(0, np.int64)
        self.stale = np.zeros((0, size) if is_first else (0, size, passes.SPAN), np.uint16)
        self._nothing = passes.NO_OFFSET if is_first else 0
        self._count = 0

    def hold(self, slots: int) -> None:
        """Make room for that many slots."""
        self.rows = _longer(self.rows, slots, -1)
        self.stale = _longer(self.stale, slots, 0xFFFF)

    def need(self, slots: np.ndarray) -> None:
        """Make rows for slots."""
        new = slots[self.rows[slots] < 0]
        if not len(new):
            return
        count = self._count + len(new)
        if count > len(self.offsets):
            room = max(count, 2 * len(self.offsets))
            self.offsets = _longer(self.offsets, room, self._nothing)
            if self.squared.ndim > 1:
                self.squared = _longer(self.squared, room, passes.NONE)
                self.most = _longer(self.most, room, passes.NONE)
        self.rows[new] = np.arange(self._count, count)
        self._count = count

    def to_compute(self, slots: np.ndarray) -> np.ndarray:
        """Those of some slots that have stale results."""
        return slots[self.stale[slots].any(tuple(range(1, self.stale.ndim)))]


def _longer(old: np.ndarray, count: int, value: int) -> np.ndarray:
    new = np.full((count, *old.shape[1:]), value, old.dtype)
    new[: len(old)] = old
    return new


def _labels_of(classes: Sequence[str]) -> tuple[int, ...]:
    names = [classes] if isinstance(classes, str) else list(classes)
    known = {name: label for label, name in enumerate(NAMES) if label} | {UNLABELLED: UNKNOWN}
    for name in names:
        if name not in known:
            raise QueryError(f"classes holds {name!r}; a class must be one of {', '.join(known)}")
    if not names:
        raise QueryError("classes is empty; give the names of classes, or None for every occupied voxel")
    return tuple(sorted({known[name] for name in names}))
