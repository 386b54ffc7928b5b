"""One walk through all mappers: in each frame every mapper takes the same depth image, and begins in turn."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from sgrocc_core.bench.peers.mappers import DepthView, Peer, depth_view
from sgrocc_core.classes import EMPTY, UNKNOWN
from sgrocc_core.evaluation.metrics import OccupancyCounts, regions
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.lattice import VOXEL_SIZE, voxel_centres
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.mapping.mapper import OccupancyMapper

STEP, BACK_END = "sgrocc", "sgrocc, back end"
"""Names of our whole step, and of the part of it that holds no network: slice, memory and splat."""
BACK_END_STAGES = ("slice", "memory", "splat")


@dataclass(frozen=True)
class Truth:
    """The true labels of the room.

    Attributes:
        labels: (X, Y, Z) uint8, 0 empty, 255 unknown.
        low: (3,) int, first voxel of the grid on the lattice.
        origin: (3,) origin of the lattice, metres.
    """

    labels: np.ndarray
    low: np.ndarray
    origin: np.ndarray


@dataclass
class Comparison:
    """What was measured.

    Attributes:
        times: milliseconds of every frame, by mapper.
        points: number of pixels with depth, of every frame.
        scores: by mapper and region (`seen`, `in_view`): `iou` and `boundary_f1`; empty without the truth.
        memory: MB of the map by mapper; None where the mapper does not tell.
        voxels: number of occupied voxels among those of the truth, by mapper.
    """

    times: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    points: list[int] = field(default_factory=list)
    scores: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    memory: dict[str, float | None] = field(default_factory=dict)
    voxels: dict[str, int] = field(default_factory=dict)

    def ratio(self, name: str, other: str) -> float:
        """Median over the frames of one mapper's time as a multiple of another's."""
        return float(np.median(np.array(self.times[name]) / np.array(self.times[other])))


def run_together(
    mapper: OccupancyMapper,
    peers: Sequence[Peer],
    frames: Sequence[Frame],
    truth: Truth | None,
    skip: int = 3,
    tick: Callable[[], object] = lambda: None,
) -> Comparison:
    """Map the frames with all mappers.

    Args:
        mapper: ours, with the truth's origin.
        peers: the others.
        frames: with depth registered to the images; those without are left out.
        truth: of the room; None: nothing is scored.
        skip: number of first frames that are mapped and not timed.
        tick: called after every frame.
    """
    found = Comparison()
    seen = None if truth is None else _Seen(truth, mapper.config.max_distance)
    usable = [frame for frame in frames if frame.depth is not None]
    for number, frame in enumerate(usable):
        view = depth_view(frame.depth, frame.K, _on_lattice(frame, mapper.map.origin))  # type: ignore[arg-type]
        order = [(number + k) % (len(peers) + 1) for k in range(len(peers) + 1)]
        for which in order:
            _map_one(mapper, peers, which, frame, view, found.times if number >= skip else defaultdict(list))
        if seen is not None:
            seen.add(view)
        if number >= skip:
            found.points.append(len(view.points))
        tick()
    ours = mapper.map
    found.memory = {p.name: p.memory_mb() for p in peers}
    found.memory[STEP] = (ours.memory.nbytes + ours.voxel_map.nbytes) / 1e6
    if seen is not None and truth is not None:
        _score(found, mapper, peers, truth, seen)
    return found


def _map_one(
    mapper: OccupancyMapper, peers: Sequence[Peer], which: int, frame: Frame, view: DepthView,
    times: dict[str, list[float]],
) -> None:  # fmt: skip
    started = time.perf_counter()
    if which < len(peers):
        peers[which].insert(view)
        times[peers[which].name].append(1000 * (time.perf_counter() - started))
        return
    update = mapper.step(frame)
    times[STEP].append(1000 * (time.perf_counter() - started))
    times[BACK_END].append(sum(update.timings[stage] for stage in BACK_END_STAGES))


class _Seen:
    """The voxels that were in view, and those of them that no image hid."""

    def __init__(self, truth: Truth, reach: float) -> None:
        self._truth, self._reach = truth, reach
        self._centres = voxel_centres(np.zeros(3), truth.labels.shape)  # type: ignore[arg-type]
        self.masks = {name: np.zeros(truth.labels.shape, np.bool_) for name in ("seen", "in_view")}

    def add(self, view: DepthView) -> None:
        """Add what one image sees within reach."""
        T_gc = make_pose(view.T_wc[:3, :3], view.T_wc[:3, 3] - self._truth.low * VOXEL_SIZE)
        found = regions(self._truth.labels, view.depth, view.K, T_gc)
        near = (self._centres - T_gc[:3, 3]) @ T_gc[:3, 2] <= self._reach
        self.masks["in_view"] |= found["in_view"] & near
        self.masks["seen"] |= found["in_view"] & near & ~found["hidden"]


def _score(found: Comparison, mapper: OccupancyMapper, peers: Sequence[Peer], truth: Truth, seen: _Seen) -> None:
    shape = truth.labels.shape
    centres = (truth.low + np.moveaxis(np.indices(shape), 0, -1).reshape(-1, 3) + 0.5) * VOXEL_SIZE
    maps = {peer.name: peer.occupied(centres).reshape(shape) for peer in peers}
    voxels = mapper.map.occupied()[0] - truth.low
    inside = ((voxels >= 0) & (voxels < shape)).all(1)
    maps[STEP] = np.zeros(shape, np.bool_)
    maps[STEP][tuple(voxels[inside].T)] = True
    for name, occupied in maps.items():
        found.voxels[name] = int(occupied.sum())
        found.scores[name] = {}
        for region, mask in seen.masks.items():
            counts = OccupancyCounts()
            counts.add(np.where(occupied, np.uint8(UNKNOWN), np.uint8(EMPTY)), truth.labels, mask)
            figures = counts.figures()
            found.scores[name][region] = {"iou": figures["sc_iou"], "boundary_f1": figures["boundary_f1"]}


def _on_lattice(frame: Frame, origin: np.ndarray) -> np.ndarray:
    """The camera's pose relative to the lattice's origin."""
    return make_pose(frame.T_wc[:3, :3], frame.T_wc[:3, 3] - origin)
