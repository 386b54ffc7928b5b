"""Numbers of the things of a map that stay while the thing stays, though its voxels change from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sgrocc_core.voxels.objects import FoundObject

SHARED = 0.2
"""Share of the voxels of the smaller of two things of a class that both have, from which they are the same."""
KEPT = 3
"""Looks for which a thing that is gone keeps its number."""


class ObjectIds:
    """Gives every thing a number: that of the thing of its class with which it shares most voxels, or a new one."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[FoundObject, int]] = {}
        self._next = 1

    def assign(self, things: Sequence[FoundObject]) -> list[int]:
        """The numbers of the things of the map as it is now; each number is given once."""
        pairs = sorted(
            (
                (share, number, k)
                for number, (old, _) in self._known.items()
                for k, thing in enumerate(things)
                if old.label == thing.label and _boxes_touch(old, thing) and (share := _shared(old, thing)) >= SHARED
            ),
            key=lambda pair: (-pair[0], pair[1], pair[2]),
        )
        numbers: dict[int, int] = {}
        for _, number, k in pairs:
            if k not in numbers and number not in numbers.values():
                numbers[k] = number
        for k in range(len(things)):
            if k not in numbers:
                numbers[k], self._next = self._next, self._next + 1
        seen = set(numbers.values())
        kept = {n: (old, age + 1) for n, (old, age) in self._known.items() if n not in seen and age + 1 < KEPT}
        self._known = kept | {number: (things[k], 0) for k, number in numbers.items()}
        return [numbers[k] for k in range(len(things))]


def _boxes_touch(a: FoundObject, b: FoundObject) -> bool:
    return bool((np.abs(a.centre - b.centre) * 2 < a.extent + b.extent).all())


def _shared(a: FoundObject, b: FoundObject) -> float:
    """Share of the smaller one's voxels that the other one has too."""
    low = np.minimum(a.voxels.min(0), b.voxels.min(0)).astype(np.int64)
    size = np.maximum(a.voxels.max(0), b.voxels.max(0)) - low + 1
    keys = [np.ravel_multi_index((thing.voxels - low).T, tuple(size.tolist())) for thing in (a, b)]
    return len(np.intersect1d(keys[0], keys[1], assume_unique=True)) / min(len(k) for k in keys)
