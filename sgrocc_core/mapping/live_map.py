"""The state of a map while it is built: query, reset, copy, restore and forget.

`mapper.py` holds the step that maps a frame into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.errors import FrameError
from sgrocc_core.gaussians.last_view import MOST, GaussiansInView, LastView, forget_view, gaussians_in_view
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.mapping.from_motion import Motion
from sgrocc_core.mapping.types import MapUpdate, Stopwatch
from sgrocc_core.voxels.distances.field import MAX_DISTANCE, DistanceQuery, Distances, Unknown
from sgrocc_core.voxels.objects import FoundObject, find_objects
from sgrocc_core.voxels.query import BoxQuery, PointQuery, query_box, query_points
from sgrocc_core.voxels.voxel_map import VoxelMap

if TYPE_CHECKING:
    from sgrocc_core.open_vocabulary.model import LanguageModel

MOTION = "motion."
"""Prefix of the names of the depth correction's arrays."""
OF_CAMERA = "@"
"""Between such a name and the name of the camera."""


@dataclass(frozen=True)
class PreparedMap:
    """A state that a map can continue from, with everything computed that depends on it.

    Attributes:
        memory: The GaussianMemory.
        voxel_map: The VoxelMap computed from it.
        motions: State of the depth from motion, by camera.
    """

    memory: GaussianMemory
    voxel_map: VoxelMap
    motions: dict[str, Motion]


class LiveMap:
    """A Gaussian memory, the voxel map computed from it, and the state that mapping continues from.

    Args:
        spec: Model whose Gaussians the memory holds.
        occupancy_threshold: Probability from which a voxel is occupied, 0..1 exclusive.
        confidence: Factors of Eq. 8 that the memory is judged by, one of CONFIDENCES.
        origin: (3,) origin of the lattice in the map frame, metres.
        language: Image-text model whose features the Gaussians carry; None = none.

    Attributes:
        spec: The model's specification.
        language: As the argument.
        origin: (3,) float64, origin of the lattice in the map frame, metres.
        confidence: As the argument; a new value takes effect at the next reset.
        sequence: Number of the last update, 0 before the first.
        memory: The GaussianMemory.
        voxel_map: The VoxelMap.
        motions: State of the depth from motion, by the name of the camera. Tracked points are saved, keyframes are
            not: after loading a map, stereo begins anew.
        last_view: What the last frame saw; None before the first frame.
    """

    def __init__(
        self,
        spec: ModelSpec,
        occupancy_threshold: float,
        confidence: str,
        origin: tuple[float, float, float],
        language: LanguageModel | None = None,
    ) -> None:
        self.language = language
        self.spec, self.origin, self.sequence = spec, np.array(origin, np.float64), 0
        self.confidence, self._occupancy_threshold = confidence, occupancy_threshold
        self.reset()

    @property
    def occupancy_threshold(self) -> float:
        """Probability from which a voxel is occupied; a new value applies to the whole map at the next update."""
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
        self._distances = Distances(self.voxel_map)
        self.motions: dict[str, Motion] = {}
        self.last_view: LastView | None = None

    def motion_of(self, camera: str) -> Motion:
        """State of the depth from motion of a camera: images of different cameras are not compared."""
        return self.motions.setdefault(camera, Motion())

    def arrays(self, room: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """A copy of the state that mapping continues from.

        It holds the memory's arrays, and those of the depth correction as `motion.NAME`, or as `motion.NAME@CAMERA` of
        a camera that has a name. With language features, `language.model` and `language.folder` say which model's.

        Args:
            room: Result of `memory.room()` to copy into; None allocates new arrays.
        """
        arrays = self.memory.arrays(room)
        if self.language is not None:
            from sgrocc_core.open_vocabulary.ranking import signature

            arrays |= signature(self.language)
        for camera, motion in self.motions.items():
            end = f"{OF_CAMERA}{camera}" if camera else ""
            arrays |= {f"{MOTION}{name}{end}": array for name, array in motion.tracks.arrays().items()}
        return arrays

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Continue from the result of `arrays`; the voxel map is computed from it.

        Args:
            arrays: Copied state. Without `motion.NAME` the camera's motion is estimated from the next frame on.

        Raises:
            DataError: The arrays do not fit the model or hold invalid values; the map is unchanged.
        """
        self.take(self.prepared(arrays))

    def prepared(self, arrays: dict[str, np.ndarray]) -> PreparedMap:
        """Do the work of `restore` without changing this map; any thread may do it while another one maps.

        Args:
            arrays: As for `restore`.

        Raises:
            DataError: As `restore`.
        """
        memory = self._new_memory()
        if self.language is not None and "language" in arrays:
            from sgrocc_core.open_vocabulary.ranking import check_same

            check_same(arrays, self.language)
        memory.restore(arrays)
        saved: dict[str, dict[str, np.ndarray]] = {}
        for name, array in arrays.items():
            if name.startswith(MOTION):
                key, _, camera = name.removeprefix(MOTION).partition(OF_CAMERA)
                saved.setdefault(camera, {})[key] = array
        motions = {camera: Motion() for camera in saved}
        for camera, motion in motions.items():
            motion.tracks.restore(saved[camera])
        voxel_map = VoxelMap(memory, self._occupancy_threshold)
        voxel_map.update()
        return PreparedMap(memory, voxel_map, motions)

    def take(self, prepared: PreparedMap) -> None:
        """Continue from a prepared state, which is this map's from then on. Call it between two steps."""
        self.memory, self.voxel_map, self.motions = prepared.memory, prepared.voxel_map, prepared.motions
        self.last_view, self._distances = None, Distances(prepared.voxel_map)
        if self.voxel_map.occupancy_threshold != self._occupancy_threshold:  # changed since the state was prepared
            self.voxel_map.occupancy_threshold = self._occupancy_threshold
            self.voxel_map.refresh()

    def _new_memory(self) -> GaussianMemory:
        numbers = 0 if self.language is None else self.language.spec.numbers
        return GaussianMemory(self.spec.gaussians_per_cell, self.spec.feature_channels, self.confidence, numbers)

    def occupied(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All occupied voxels.

        Returns:
            voxels: (N, 3) int32; the centre is origin + (index + 0.5) * 0.08 m.
            labels: (N,) uint8, 1 to 11, 255 = occupied without a class.
            probability: (N,) float32, multiples of 1/16.
        """
        return self.voxel_map.occupied()

    def free(self) -> np.ndarray:
        """(M, 3) int32, all voxels that depth has observed to be free."""
        return self.voxel_map.free()

    def query(self, points: np.ndarray) -> PointQuery:
        """State, class and probability of the voxels that points lie in. Call it between two steps.

        Args:
            points: (N, 3) metres, map frame.

        Raises:
            QueryError: Another shape, or coordinates that are not finite numbers.
        """
        return query_points(self.voxel_map, points, self.origin)

    def query_box(self, low: np.ndarray, high: np.ndarray) -> BoxQuery:
        """All voxels that an axis-aligned box touches. Call it between two steps.

        Args:
            low: (3,) lowest corner, metres, map frame.
            high: (3,) highest corner, metres, map frame.

        Raises:
            QueryError: Not three finite numbers each, or a low above its high.
        """
        return query_box(self.voxel_map, low, high, self.origin)

    def distance(
        self,
        points: np.ndarray,
        classes: Sequence[str] | None = None,
        unknown: Unknown = "free",
        max_distance: float = MAX_DISTANCE,
    ) -> DistanceQuery:
        """Euclidean distance from points to the nearest occupied voxel. Call it between two steps.

        The first call computes the field around its points; later ones only what has changed since, or was not asked
        for before. A field that is not asked for costs nothing.

        Args:
            points: (N, 3) metres, map frame.
            classes: Names of the classes that count as obstacles; None for every occupied voxel.
            unknown: Whether space that is neither occupied nor observed free counts as `free` or as `occupied`.
            max_distance: Distance from which on it is not measured, metres, at most 2.

        Raises:
            QueryError: A value is not allowed; the message names it.
        """
        return self._distances.query(points, classes, unknown, max_distance, self.origin)

    def find(self, phrase: str) -> list[FoundObject]:
        """The things that a phrase means. Call it between two steps. A map that is not asked pays nothing.

        Args:
            phrase: A class, a synonym, or, with the sentence encoder (`make setup-words`), what the thing is for, such
                as `somewhere to sit`. With language features any words.

        Returns:
            The things, those of the likeliest class first and the largest of each class first; with language features
            those of any class that lean towards the phrase, the most similar first.

        Raises:
            QueryError: The phrase is empty, too long, or means none of the classes.
        """
        if self.language is None:
            return find_objects(phrase, self.occupied(), self.free(), self.origin)
        from sgrocc_core.open_vocabulary.features import MapFeatures
        from sgrocc_core.open_vocabulary.ranking import find_by_language

        features = MapFeatures.of(self.memory)
        assert features is not None
        return find_by_language(phrase, self.language, features, self.occupied(), self.free(), self.origin)

    def gaussians_in_view(self, most: int = MOST) -> GaussiansInView | None:
        """The most opaque Gaussians in the last frame's view. Call it between two steps.

        Args:
            most: Maximum number of Gaussians.

        Returns:
            The Gaussians; None before the first frame.
        """
        return None if self.last_view is None else gaussians_in_view(self.memory, self.last_view, self.origin, most)

    def clear_view(self) -> MapUpdate:
        """Forget what the last frame saw and keep what was hidden from it. Call it between two steps.

        Raises:
            FrameError: No frame has been mapped since the start, a reset or a restore.
        """
        if self.last_view is None:
            raise FrameError("nothing_in_view", "no frame has been mapped yet, so that there is no view to forget")
        clock = Stopwatch()
        forget_view(self.memory, self.last_view)
        return self.update(self.last_view.stamp_ns, clock, np.zeros((0, 0), np.float32))

    def update(self, stamp_ns: int, clock: Stopwatch, depth: np.ndarray) -> MapUpdate:
        """Splat the changed blocks and collect what is different.

        Args:
            stamp_ns: Stamp of the frame, nanoseconds.
            clock: Stopwatch of the step, for the update's timings.
            depth: (H, W) float32 depth prior that was used, metres.
        """
        voxels, labels, probability, blocks = self.voxel_map.update()
        self._distances.change(self.voxel_map.judged)
        self.sequence += 1
        clock.lap("splat")
        return MapUpdate(stamp_ns, self.sequence, voxels, labels, probability, blocks, clock.timings(), depth)
