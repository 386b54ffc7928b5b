"""The mapper: one frame in, the changed voxels out, in five steps. Nothing here knows of ROS, or of how a network is run."""

from __future__ import annotations

import numpy as np

from sgrocc_core.engines.engine import Engine
from sgrocc_core.errors import FrameError
from sgrocc_core.frame import Frame
from sgrocc_core.gaussians.confidence import view_cells
from sgrocc_core.gaussians.depth_source import depth_prior
from sgrocc_core.gaussians.evidence import observe
from sgrocc_core.gaussians.gaussians import LocalGaussians
from sgrocc_core.gaussians.last_view import MOST, GaussiansInView, LastView, forget_view, gaussians_in_view
from sgrocc_core.gaussians.memory import GaussianMemory, blocks_to_forget
from sgrocc_core.gaussians.motion_depth import MotionDepth
from sgrocc_core.gaussians.newly_hidden import begin_anew
from sgrocc_core.geometry.camera import Letterbox
from sgrocc_core.geometry.lattice import CELL_SIZE, box_corner, box_pose
from sgrocc_core.geometry.poses import gravity_aligned_rotation, make_pose
from sgrocc_core.mapper_types import MapperConfig, MapUpdate, Stopwatch
from sgrocc_core.voxels.query import BoxQuery, PointQuery, query_box, query_points
from sgrocc_core.voxels.voxel_map import VoxelMap

__all__ = ["MapUpdate", "MapperConfig", "OccupancyMapper"]

MOTION = "motion."
"""Begins the names of the depth correction's arrays, beside the memory's."""


class OccupancyMapper:
    """Maps frames into a Gaussian memory and a voxel map.

    Attributes:
        memory: GaussianMemory. voxel_map: VoxelMap. sequence: of the last update, 0 before the first.
    """

    def __init__(self, engine: Engine, config: MapperConfig | None = None, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> None:
        """A mapper with an empty map.

        Args:
            engine: an open model. config: how to map. origin: (3,) the lattice's origin in the map frame, metres.
        """
        self.engine, self.origin, self.sequence = engine, np.array(origin, np.float64), 0
        self._config = config or MapperConfig()
        self.reset()

    @property
    def config(self) -> MapperConfig:
        """How to map; a new one counts from the next frame on, for the whole map."""
        return self._config

    @config.setter
    def config(self, config: MapperConfig) -> None:
        if config.occupancy_threshold != self._config.occupancy_threshold:
            self.voxel_map.occupancy_threshold = config.occupancy_threshold
            self.voxel_map.refresh()
        self._config = config

    def reset(self) -> None:
        """Forget the map; the sequence goes on."""
        self.memory = self._new_memory()
        self.voxel_map = VoxelMap(self.memory, self._config.occupancy_threshold)
        self._motion = MotionDepth()
        self._last: LastView | None = None

    def arrays(self, room: dict[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """A copy of all that mapping goes on from: the memory's arrays, and those of the depth correction, `motion.NAME`.

        Args:
            room: what `memory.room()` gave, to copy into; None: fresh arrays.
        """
        return self.memory.arrays(room) | {MOTION + name: array for name, array in self._motion.arrays().items()}

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Continue from what `arrays` gave; the voxel map is computed from it. Without `motion.NAME` the camera's motion begins anew.

        Raises:
            DataError: the arrays do not fit the model, or hold what no mapper made; the map is as it was.
        """
        memory, motion = self._new_memory(), MotionDepth()
        memory.restore(arrays)
        if saved := {name.removeprefix(MOTION): array for name, array in arrays.items() if name.startswith(MOTION)}:
            motion.restore(saved)
        voxel_map = VoxelMap(memory, self._config.occupancy_threshold)
        voxel_map.update()
        self.memory, self.voxel_map, self._motion, self._last = memory, voxel_map, motion, None

    def _new_memory(self) -> GaussianMemory:
        spec = self.engine.spec
        return GaussianMemory(spec.gaussians_per_cell, spec.feature_channels, self._config.confidence)

    def step(self, frame: Frame) -> MapUpdate:
        """Map one frame.

        Raises:
            FrameError: a frame that cannot be mapped; the map is as it was.
        """
        clock = Stopwatch()
        # 1. Features and depth prior of the image.
        width, height = frame.image.shape[1], frame.image.shape[0]
        letterbox = Letterbox((width, height), self.engine.spec.image_size)
        K = letterbox.intrinsics(frame.K)
        image, mask = letterbox.image(frame.image), letterbox.mask()
        seen = self.engine.image(image, mask, K, gravity_aligned_rotation(frame.T_wc[:3, :3]))
        clock.lap("image")
        # 2. The local box before the camera, and how the depth sees its cells.
        head, spread = seen.depth, seen.spread
        if self._config.motion_depth and (frame.depth is None or self._config.depth_source == "mono"):
            head, spread = self._motion.correct(image, mask, K, frame.T_wc, frame.stamp_ns, head, spread)
        depth = depth_prior(self._config.depth_source, frame, letterbox, head, spread)
        T_lc = make_pose(frame.T_wc[:3, :3], frame.T_wc[:3, 3] - self.origin)
        corner = box_corner(T_lc, box_below=self._config.box_below)
        T_bc = box_pose(T_lc, corner * CELL_SIZE)
        view = view_cells(depth.layers, T_bc, self._config.max_distance)
        history = self.memory.history(corner, view, frame.stamp_ns)
        clock.lap("slice")
        # 3. The spatial expert's Gaussians of the box.
        gaussians = self.engine.expert(seen.features, depth.expert, depth.spread, seen.thickness, K, T_bc, history)
        _check_finite(gaussians)
        clock.lap("expert")
        # 4. Verify, update and write back; the depth's own evidence.
        begin_anew(self.memory, depth.layers, T_lc, self._config.max_distance)
        keys, increments = observe(depth.layers, T_lc, self._config.max_distance)
        self.memory.update(corner, gaussians, view, frame.stamp_ns)
        self.memory.add_evidence(keys, increments)
        self.voxel_map.forget(blocks_to_forget(self.memory, T_lc[:3, 3], self._config.forget_radius, self._config.max_memory_mb))
        self._last = LastView(frame.stamp_ns, corner, view, keys, increments != 0)
        clock.lap("memory")
        # 5. Splat the blocks that changed.
        x0, y0, w, h = letterbox.content
        return self._update(frame.stamp_ns, clock, depth.expert[y0 : y0 + h, x0 : x0 + w])

    def query(self, points: np.ndarray) -> PointQuery:
        """What the map knows of points (N, 3), metres, map frame; between two steps. QueryError: another shape, or not finite."""
        return query_points(self.voxel_map, points, self.origin)

    def query_box(self, low: np.ndarray, high: np.ndarray) -> BoxQuery:
        """What the map knows of the box between two corners (3,), metres, map frame. QueryError: not finite, or a low above its high."""
        return query_box(self.voxel_map, low, high, self.origin)

    def gaussians_in_view(self, most: int = MOST) -> GaussiansInView | None:
        """The `most` most opaque Gaussians in the last frame's view; None before the first frame. Between two steps."""
        return None if self._last is None else gaussians_in_view(self.memory, self._last, self.origin, most)

    def clear_view(self) -> MapUpdate:
        """Forget what the last frame saw; what was hidden from it stays. Between two steps.

        Raises:
            FrameError: no frame has been mapped since the start, or since the map was reset or restored.
        """
        if self._last is None:
            raise FrameError("nothing_in_view", "no frame has been mapped yet, so that there is no view to forget")
        clock = Stopwatch()
        forget_view(self.memory, self._last)
        return self._update(self._last.stamp_ns, clock, np.zeros((0, 0), np.float32))

    def _update(self, stamp_ns: int, clock: Stopwatch, depth: np.ndarray) -> MapUpdate:
        """Splat the blocks that changed, and say what is different then."""
        voxels, labels, probability, blocks = self.voxel_map.update()
        self.sequence += 1
        clock.lap("splat")
        return MapUpdate(stamp_ns, self.sequence, voxels, labels, probability, blocks, clock.timings(), depth)


def _check_finite(gaussians: LocalGaussians) -> None:
    for name, array in vars(gaussians).items():
        if not np.isfinite(np.dot(array.ravel(), array.ravel())):
            raise FrameError("network_not_finite", f"the network's {name} hold values that are not finite; is the model damaged?")
