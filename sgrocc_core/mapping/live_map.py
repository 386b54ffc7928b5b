"""The map as it lives: kept, queried, reset, forgotten in parts; what the mapper's step makes of a frame is in mapper.py."""

from __future__ import annotations

import numpy as np

from sgrocc_core.depth.motion import MotionDepth
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.errors import FrameError
from sgrocc_core.gaussians.last_view import MOST, GaussiansInView, LastView, forget_view, gaussians_in_view
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.mapping.types import MapUpdate, Stopwatch
from sgrocc_core.voxels.query import BoxQuery, PointQuery, query_box, query_points
from sgrocc_core.voxels.voxel_map import VoxelMap

MOTION = "motion."
"""Begins the names of the depth correction's arrays, beside the memory's."""


class LiveMap:
    """A Gaussian memory, the voxel map computed from it, and the state that mapping continues from.

    Args:
        spec: Model whose Gaussians the memory holds.
        occupancy_threshold: Probability from which a voxel is occupied, 0..1 exclusive.
        confidence: Factors of Eq. 8 that the memory is judged by, one of CONFIDENCES.
        origin: (3,) origin of the lattice in the map frame, metres.

    Attributes:
        spec: The model's specification.
        origin: (3,) float64, origin of the lattice in the map frame, metres.
        confidence: As the argument; a new value takes effect at the next reset.
        sequence: Number of the last update, 0 before the first.
        memory: The GaussianMemory.
        voxel_map: The VoxelMap.
        motion: Depth correction from the camera's motion.
        last_view: What the last frame saw; None before the first frame.
    """

    def __init__(
        self, spec: ModelSpec, occupancy_threshold: float, confidence: str, origin: tuple[float, float, float]
    ) -> None:
        self.spec, self.origin, self.sequence = spec, np.array(origin, np.float64), 0
        self.confidence, self._occupancy_threshold = confidence, occupancy_threshold
        self.reset()

    @property
    def occupancy_threshold(self) -> float:
        """Probability from which a voxel is occupied; a new value takes effect at the next update, for the whole map."""
        return self._occupancy_threshold

    @occupancy_threshold.setter
    def occupancy_threshold(self, threshold: float) -> None:
        if threshold != self._occupancy_threshold:
            self._occupancy_threshold = self.voxel_map.occupancy_threshold = threshold
            self.voxel_map.refresh()

    def reset(self) -> None:
        """Forget the map; the sequence number continues."""
        self.memory = self._new_memory()
        self.voxel_map = VoxelMap(self.memory, self._occupancy_threshold)
        self.motion = MotionDepth()
        self.last_view: LastView | None = None

    def arrays(self, room: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """A copy of all that mapping goes on from: the memory's arrays, and those of the depth correction, `motion.NAME`.

        Args:
            room: what `memory.room()` gave, to copy into; None: fresh arrays.
        """
        return self.memory.arrays(room) | {MOTION + name: array for name, array in self.motion.arrays().items()}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Continue from what `arrays` gave; the voxel map is computed from it. Without `motion.NAME` the camera's motion begins anew.

        Raises:
            DataError: the arrays do not fit the model, or hold what no mapper made; the map is as it was.
        """
        memory, motion = self._new_memory(), MotionDepth()
        memory.restore(arrays)
        if saved := {name.removeprefix(MOTION): array for name, array in arrays.items() if name.startswith(MOTION)}:
            motion.restore(saved)
        voxel_map = VoxelMap(memory, self._occupancy_threshold)
        voxel_map.update()
        self.memory, self.voxel_map, self.motion, self.last_view = memory, voxel_map, motion, None

    def _new_memory(self) -> GaussianMemory:
        return GaussianMemory(self.spec.gaussians_per_cell, self.spec.feature_channels, self.confidence)

    def query(self, points: np.ndarray) -> PointQuery:
        """What the map knows of points (N, 3), metres, map frame; between two steps. QueryError: another shape, or not finite."""
        return query_points(self.voxel_map, points, self.origin)

    def query_box(self, low: np.ndarray, high: np.ndarray) -> BoxQuery:
        """What the map knows of the box between two corners (3,), metres, map frame. QueryError: not finite, or a low above its high."""
        return query_box(self.voxel_map, low, high, self.origin)

    def gaussians_in_view(self, most: int = MOST) -> GaussiansInView | None:
        """The `most` most opaque Gaussians in the last frame's view; None before the first frame. Between two steps."""
        return None if self.last_view is None else gaussians_in_view(self.memory, self.last_view, self.origin, most)

    def clear_view(self) -> MapUpdate:
        """Forget what the last frame saw; what was hidden from it stays. Between two steps.

        Raises:
            FrameError: no frame has been mapped since the start, or since the map was reset or restored.
        """
        if self.last_view is None:
            raise FrameError("nothing_in_view", "no frame has been mapped yet, so that there is no view to forget")
        clock = Stopwatch()
        forget_view(self.memory, self.last_view)
        return self.update(self.last_view.stamp_ns, clock, np.zeros((0, 0), np.float32))

    def update(self, stamp_ns: int, clock: Stopwatch, depth: np.ndarray) -> MapUpdate:
        """Splat the blocks that changed, and say what is different then."""
        voxels, labels, probability, blocks = self.voxel_map.update()
        self.sequence += 1
        clock.lap("splat")
        return MapUpdate(stamp_ns, self.sequence, voxels, labels, probability, blocks, clock.timings(), depth)
