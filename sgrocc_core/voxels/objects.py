"""Things of a map: connected occupied voxels of one class, with their box, volume and a place to see them from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numba import njit

from sgrocc_core.classes import NAMES, UNKNOWN, label_of
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.words.encoder import encoder_if_installed
from sgrocc_core.words.phrases import meaning_of

LEAST_VOXELS = 6
"""Fewer connected voxels are no thing (0.003 m^3)."""
LEAST_BY_CLASS = {
    label_of(name): least for name, least in (("bed", 500), ("sofa", 400), ("table", 60), ("chair", 50), ("tvs", 50))
}
"""The same for classes whose things are larger: about a third of a small one's voxels. Smaller patches are parts of
something else that a class was given to (chosen on 20 generated rooms, the numbers below on 24)."""
NARROWEST = {label_of("chair"): 5}
"""Voxels that both sides of a thing's box have at least (0.4 m)."""
BY_FACES = (label_of("tvs"),)
"""Classes whose voxels must share a face to be one thing: screens stand beside each other."""
WIDEST = {label_of("chair"): 15}
"""Voxels along a side (1.2 m) beyond which a thing is looked at for being several that touch, such as chairs."""
SMOOTH, PEAK_REACH, PEAK_SHARE = 1.5, 4, 0.25
"""How they are told apart, by the number of voxels above each place of the floor: the deviation that it is smoothed by
and the distance to which a peak is the highest, voxels, and its least share of the highest peak."""
STRAY = {label_of("tvs"): 0.02}
"""Share of a thing's voxels that may lie outside its box at each end: a thin thing's box is spoilt by a few."""
ON_LEGS = tuple(label_of(name) for name in ("bed", "sofa", "table", "chair"))
"""Classes whose things stand on the floor. Their boxes reach down to it: legs are too thin for most maps."""
LEGS = 13
"""Voxels from the floor up to the lowest voxel of such a thing at most (1 m); what is higher stands on something."""
AROUND = 12
"""Voxels around a thing in which its floor is looked for (1 m)."""
STAND_FROM, STAND_TO = 0.5, 2.5
"""Distances from a thing's box at which to stand to see it, metres."""
HEADROOM = 1.0
"""Height above the floor that must not be occupied where one stands, metres."""


@dataclass(frozen=True)
class FoundObject:
    """A thing in a map.

    Attributes:
        name: its class.
        label: of its class.
        centre: (3,) middle of its box, metres, map frame.
        extent: (3,) size of its box along the map's axes, metres; the box of what stands on legs reaches to the floor.
        volume: of its voxels, cubic metres.
        probability: mean probability of its voxels, 0 to 1.
        stand: (3,) nearest free place on the floor from which to see it, metres; None if none is known.
        voxels: (N, 3) int32, its voxels.
        similarity: cosine of its language features and the phrase, -1 to 1; None without language features.
    """

    name: str
    label: int
    centre: np.ndarray
    extent: np.ndarray
    volume: float
    probability: float
    stand: np.ndarray | None
    voxels: np.ndarray = field(repr=False)
    similarity: float | None = None


@njit(cache=True)
def _components(keys, steps):  # type: ignore[no-untyped-def]
    """(N,) number of the component of each sorted key; voxels are connected where their keys differ by a step."""
    parent = np.arange(len(keys))
    for i in range(len(keys)):
        for step in steps:
            j = np.searchsorted(keys, keys[i] + step)
            if j < len(keys) and keys[j] == keys[i] + step:
                a, b = i, j
                while parent[a] != a:
                    parent[a] = parent[parent[a]]
                    a = parent[a]
                while parent[b] != b:
                    parent[b] = parent[parent[b]]
                    b = parent[b]
                parent[max(a, b)] = min(a, b)
    for i in range(len(keys)):
        parent[i] = parent[parent[i]]
    return parent


def components(voxels: np.ndarray, by_faces: bool = False) -> np.ndarray:
    """(N,) int64 component of each voxel (N, 3) int; voxels that share a face, or else an edge, are connected."""
    if not len(voxels):
        return np.zeros(0, np.int64)
    shifted = voxels.astype(np.int64) - voxels.min(0) + 1
    size = shifted.max(0) + 2
    scale = np.array([size[1] * size[2], size[2], 1], np.int64)
    around = np.array([(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1)])
    near = around[(np.abs(around).sum(1) <= (1 if by_faces else 2)) & (around @ scale > 0)]
    keys = shifted @ scale
    order = np.argsort(keys)
    numbers = np.empty(len(keys), np.int64)
    numbers[order] = _components(keys[order], near @ scale)
    return numbers


def objects_of(
    voxels: np.ndarray,
    labels: np.ndarray,
    probability: np.ndarray,
    free: np.ndarray,
    wanted: Sequence[int] | None = None,
    origin: np.ndarray | None = None,
    least: int | None = None,
) -> list[FoundObject]:
    """The things of a map, the largest first.

    Args:
        voxels: (N, 3) int, occupied voxels.
        labels: (N,) uint8, their classes.
        probability: (N,) their probabilities.
        free: (M, 3) int, voxels observed free.
        wanted: labels of the classes; None = all that are not structural.
        origin: (3,) of the lattice, metres; zero if None.
        least: voxels that a thing has at least; None: LEAST_BY_CLASS, else LEAST_VOXELS.
    """
    start = np.zeros(3) if origin is None else np.asarray(origin, np.float64)
    chosen = range(5, len(NAMES)) if wanted is None else wanted
    floor, found = _Floor(voxels, labels, free), []
    for label in chosen:
        if label == UNKNOWN:
            continue
        mine = np.flatnonzero(labels == label)
        number = components(voxels[mine], label in BY_FACES)
        _, number, count = np.unique(number, return_inverse=True, return_counts=True)
        order = np.argsort(number, kind="stable")
        connected = np.split(mine[order], np.cumsum(count)[:-1]) if len(mine) else []
        for rows in (part for whole in connected for part in _parts(whole, voxels, WIDEST.get(label))):
            if len(rows) >= (LEAST_BY_CLASS.get(label, LEAST_VOXELS) if least is None else least):
                thing = _object(label, voxels[rows], probability[rows], floor, start)
                if least is not None or thing.extent[:2].min() >= (NARROWEST.get(label, 0) - 0.5) * VOXEL_SIZE:
                    found.append(thing)
    return sorted(found, key=lambda thing: -thing.volume)


def _object(label: int, voxels: np.ndarray, probability: np.ndarray, floor: _Floor, origin: np.ndarray) -> FoundObject:
    low, high = _ends(voxels, STRAY.get(label, 0.0))
    low[2] = floor.below(label, low, high)
    stand = floor.place_near(low, high)
    return FoundObject(
        NAMES[label],
        label,
        origin + (low + high) / 2 * VOXEL_SIZE,
        (high - low) * VOXEL_SIZE,
        len(voxels) * VOXEL_SIZE**3,
        float(probability.mean()),
        None if stand is None else origin + stand * VOXEL_SIZE,
        voxels.astype(np.int32),
    )


def _parts(rows: np.ndarray, voxels: np.ndarray, widest: int | None) -> list[np.ndarray]:
    """The rows of connected voxels, by the nearest peak of their footprint if it is wider than one thing's.

    Args:
        rows: (n,) int, of `voxels`.
        voxels: (N, 3) int.
        widest: voxels along a side of one thing at most; None: they are not looked at.
    """
    flat = voxels[rows][:, :2].astype(np.int64)
    flat -= flat.min(0)
    if widest is None or flat.max() < widest:
        return [rows]
    foot = np.zeros(flat.max(0) + 1, np.float32)
    np.add.at(foot, tuple(flat.T), 1.0)
    smooth = cv2.GaussianBlur(foot, (0, 0), SMOOTH, borderType=cv2.BORDER_REFLECT)
    highest = cv2.dilate(smooth, np.ones((2 * PEAK_REACH + 1,) * 2, np.uint8))
    top = (smooth == highest) & (smooth > PEAK_SHARE * smooth.max()) & (foot > 0)
    # Places side by side that are equally high are one peak, in their middle; the centroids are (y, x).
    _, _, _, middles = cv2.connectedComponentsWithStats(top.astype(np.uint8), connectivity=8)
    nearest = np.square(flat[:, None] - middles[1:, ::-1]).sum(2).argmin(1) if len(middles) > 1 else np.zeros(len(rows))
    return [rows[nearest == k] for k in np.unique(nearest)]


def _ends(voxels: np.ndarray, stray: float) -> tuple[np.ndarray, np.ndarray]:
    """Corners (3,) of the box of voxels, in voxels, without a share of them at each end of each axis."""
    order = np.sort(voxels.astype(np.int64), axis=0)
    out = int(stray * len(voxels))
    return order[out], order[len(voxels) - 1 - out] + 1


class _Floor:
    """Columns of a map where one may stand: floor below, observed free above it, and nothing in the way."""

    def __init__(self, voxels: np.ndarray, labels: np.ndarray, free: np.ndarray) -> None:
        self._ground = ground = voxels[labels == 2]
        self.places = np.zeros((0, 3), np.int64)
        if not len(ground) or not len(free):
            return
        level = int(np.median(ground[:, 2]))
        flat = ground[np.abs(ground[:, 2] - level) <= 2]
        columns = {(int(x), int(y)) for x, y in flat[:, :2]}
        head = level + int(HEADROOM / VOXEL_SIZE)
        above = (voxels[:, 2] > level + 2) & (voxels[:, 2] <= head)
        blocked = {(int(x), int(y)) for x, y in voxels[above][:, :2]}
        seen = {(int(x), int(y)) for x, y in free[(free[:, 2] > level) & (free[:, 2] <= head)][:, :2]}
        self.places = np.array([(x, y, level + 1) for x, y in sorted((columns & seen) - blocked)]).reshape(-1, 3)

    def below(self, label: int, low: np.ndarray, high: np.ndarray) -> int:
        """Lower face of the box of a thing, in voxels: the floor around it for a thing on legs, else its own."""
        if label in ON_LEGS:
            heights = self._ground[:, 2] + 1
            near = (heights <= low[2]) & (heights >= low[2] - LEGS)
            for axis in (0, 1):
                at = self._ground[:, axis]
                near &= (at >= low[axis] - AROUND) & (at < high[axis] + AROUND)
            if near.any():
                return int(np.median(heights[near]))
        return int(low[2])

    def place_near(self, low: np.ndarray, high: np.ndarray) -> np.ndarray | None:
        """(3,) the place nearest to a box that is not too near, in voxels; None if there is none near."""
        if not len(self.places):
            return None
        middle = self.places[:, :2] + 0.5
        gap = np.linalg.norm(np.maximum(0.0, np.maximum(low[:2] - middle, middle - high[:2])), axis=1) * VOXEL_SIZE
        allowed = np.flatnonzero((gap >= STAND_FROM) & (gap <= STAND_TO))
        if not len(allowed):
            return None
        x, y, z = self.places[allowed[gap[allowed].argmin()]]
        return np.array([x + 0.5, y + 0.5, float(z)])


def find_objects(
    phrase: str,
    occupied: tuple[np.ndarray, np.ndarray, np.ndarray],
    free: np.ndarray,
    origin: np.ndarray | None = None,
    least: int | None = None,
) -> list[FoundObject]:
    """The things of a map that a phrase means, the largest of its likeliest class first.

    Args:
        phrase: a class, a synonym, or, with the sentence encoder, what the thing is for.
        occupied: voxels (N, 3), labels (N,) and probabilities (N,).
        free: (M, 3) int, voxels observed free.
        origin: (3,) of the lattice, metres; zero if None.
        least: voxels that a thing has at least; None: LEAST_BY_CLASS, else LEAST_VOXELS.

    Raises:
        QueryError: the phrase is empty, too long, or means none of the classes.
    """
    meaning = meaning_of(phrase, encoder_if_installed())
    things = objects_of(*occupied, free, meaning.labels, origin, least)
    return sorted(things, key=lambda thing: (meaning.labels.index(thing.label), -thing.volume))
