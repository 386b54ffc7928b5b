"""Euclidean distance from points to the nearest occupied voxel of a map, its gradient, and the class of that voxel.

A `DistanceField` holds the distances between the centres of voxels, block by block, exact up to MAX_DISTANCE. It
computes the blocks that a query touches, and of these only what the changes of the map since then may have changed;
blocks that nobody asks for cost nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat
from numbers import Real
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
_KEY_BITS = FARTHEST.bit_length()
_ALONG = np.arange(-2, 3) << np.array([[2 * _KEY_BITS], [_KEY_BITS], [0]])
"""(3, 5) int64, codes of the blocks up to two away along each axis; those of the 125 around are sums of three."""
_AROUND = (_ALONG[0][:, None, None] + _ALONG[1][:, None] + _ALONG[2]).ravel()
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
        if not isinstance(max_distance, Real) or not 0 < max_distance <= MAX_DISTANCE:
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
        self._slots: dict[int, int] = {}  # by the code of a block
        self._held: dict[int, int] = {}  # likewise, of the blocks of the map
        self._codes = np.zeros(0, np.int64)
        self._words = np.zeros((0, BLOCK_VOXELS, BLOCK_VOXELS), np.uint16)
        self._near = np.zeros((3, 0, passes.SPAN), np.int64)
        self._column, self._row, self._plane = (_Pass(blocks) for blocks in ((), (passes.SPAN,), (passes.SPAN,)))
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
        count, made = len(points), (self._plane, self._row, self._column)
        distance, nearest, gradient = (
            np.empty(count, np.float32), np.empty((count, 3), np.int64), np.zeros((count, 3), np.float32)
        )  # fmt: skip
        found = passes.interpolate(
            np.stack(local, 1), at - base, block, slots, self._near, np.stack([each.rows for each in made]),
            tuple(each.results for each in made), 0 if self._with_unknown else passes.LARGEST, max_distance,
            distance, nearest, gradient,
        )  # fmt: skip
        labels = np.zeros(count, np.uint8)
        labels[found] = self._source.read(base[found] + nearest[found])[0]
        return DistanceQuery(distance, gradient, labels)

    def refresh(self) -> int:
        """Compute every block of the map, as a query of all of them would; returns their number."""
        self._take_changes()
        slots = np.fromiter(self._held.values(), np.int64, len(self._held))
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
        slots[at] = self._slots_of(_codes_of(keys[at[0]] + _SIBLINGS[at[1]]))
        return slots.reshape(-1, 2, 2, 2)

    def _take_changes(self) -> None:
        """Read the blocks that may have changed, and mark the columns within reach of those that did."""
        pending, self._pending = self._pending, []
        if not pending:
            return
        codes, first = np.unique(_codes_of(np.concatenate(pending).reshape(-1, 3)), return_index=True)
        keys = np.concatenate(pending).reshape(-1, 3)[first]
        self._add(codes)
        slots = self._slots_of(codes)
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

    def _slots_of(self, codes: np.ndarray) -> np.ndarray:
        """Slots (n,) int64 of blocks by their codes (n,), -1 for those that have none."""
        return np.fromiter(map(self._slots.get, codes.tolist(), repeat(-1)), np.int64, len(codes))

    def _add(self, codes: np.ndarray) -> None:
        """Make slots for blocks of the map, by their codes (n,), and for those around them."""
        new = np.array([code for code in codes.tolist() if code not in self._held], np.int64)
        if not len(new):
            return
        around = np.unique(new[:, None] + _AROUND)
        added = around[self._slots_of(around) < 0]
        start, count = len(self._slots), len(self._slots) + len(added)
        self._slots.update(zip(added.tolist(), range(start, count)))
        self._held.update((code, self._slots[code]) for code in new.tolist())
        if count > len(self._words):
            self._hold(max(count, 2 * len(self._words)))
        slots = np.arange(start, count)
        self._codes[slots] = added
        other = (added[:, None, None] + _ALONG).ravel()  # (n, 3, 5)
        found = self._slots_of(other).reshape(-1, 3, passes.SPAN)
        self._near[:, slots] = found.transpose(1, 0, 2)
        n, axis, span = np.nonzero(found >= 0)
        self._near[axis, found[n, axis, span], passes.SPAN - 1 - span] = slots[n]

    def _hold(self, count: int) -> None:
        """Make room for that many slots."""
        old = len(self._words)
        self._codes = _longer(self._codes, count, 0)
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
            first, column.stale, self._words, self._near[_Z], column.rows, column.results, self._near[_Y], row.stale
        )
        passes.row_pass(
            second, row.stale, self._near[_Y], column.rows, column.results, row.rows, row.results, row.reach,
            True, self._near[_X], plane.stale,
        )  # fmt: skip
        passes.row_pass(
            slots, plane.stale, self._near[_X], row.rows, row.results, plane.rows, plane.results, plane.reach,
            False, self._near[_X, :0], plane.stale,
        )  # fmt: skip

    def _within(self, axis: int, slots: np.ndarray) -> np.ndarray:
        """Slots of the blocks up to two before and behind blocks along an axis, with themselves."""
        found = np.zeros(len(self._words) + 1, np.bool_)  # the last is that of -1, no block
        found[self._near[axis, slots]] = True
        return np.flatnonzero(found[:-1])


class _Pass:
    """Results of one pass.

    Args:
        blocks: shape of what is told of a plane: () or (5,), by block along the axis.

    Attributes:
        results: (R, 16, 16, 16) uint16; see `passes`.
        rows: (S,) int64, row of the results of each slot, -1 = not needed so far.
        stale: (S, 16) or (S, 16, 5) uint16, what has changed since its results were computed; see `passes`.
        reach: (R, 16, 16) uint8, largest distance of each row along z, voxels; not used by the first pass.
    """

    def __init__(self, blocks: tuple[int, ...]) -> None:
        self.results = np.zeros((0, *[BLOCK_VOXELS] * 3), np.uint16)
        self.reach = np.zeros((0, BLOCK_VOXELS, BLOCK_VOXELS), np.uint8)
        self.rows = np.zeros(0, np.int64)
        self.stale = np.zeros((0, BLOCK_VOXELS, *blocks), np.uint16)
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
        if count > len(self.results):
            room = max(count, 2 * len(self.results))
            self.results = _longer(self.results, room, passes.NOTHING)
            self.reach = _longer(self.reach, room, passes.REACH)
        self.rows[new] = np.arange(self._count, count)
        self._count = count


def _codes_of(keys: np.ndarray) -> np.ndarray:
    """One number for each block (n, 3), to which offsets of blocks may be added: (n,) int64."""
    x, y, z = keys.T.astype(np.int64)
    return (x << 2 * _KEY_BITS) + (y << _KEY_BITS) + z


def _longer(old: np.ndarray, count: int, value: int) -> np.ndarray:
    new = np.full((count, *old.shape[1:]), value, old.dtype)
    new[: len(old)] = old
    return new


def _labels_of(classes: Sequence[str]) -> tuple[int, ...]:
    try:
        names = [classes] if isinstance(classes, str) else list(classes)
    except TypeError:
        raise QueryError(f"classes is {classes!r}; it must be a list of names of classes, or None") from None
    known = {name: label for label, name in enumerate(NAMES) if label} | {UNLABELLED: UNKNOWN}
    for name in names:
        if not isinstance(name, str) or name not in known:
            raise QueryError(f"classes holds {name!r}; a class must be one of {', '.join(known)}")
    if not names:
        raise QueryError("classes is empty; give the names of classes, or None for every occupied voxel")
    return tuple(sorted({known[name] for name in names}))
