"""The mapper: turns one frame into the changed voxels in five steps, without ROS and with any network runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from sgrocc_core.depth.source import depth_prior
from sgrocc_core.engines.engine import Engine
from sgrocc_core.errors import ConfigError, FrameError
from sgrocc_core.frame import Frame
from sgrocc_core.gaussians.confidence import UNSEEN, CellView, view_cells
from sgrocc_core.gaussians.evidence import observe
from sgrocc_core.gaussians.footprint import within_footprint
from sgrocc_core.gaussians.gaussians import LocalGaussians
from sgrocc_core.gaussians.last_view import LastView
from sgrocc_core.gaussians.memory import blocks_to_forget
from sgrocc_core.gaussians.newly_hidden import begin_anew
from sgrocc_core.geometry.lattice import CELL_SIZE, box_pose
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.mapping.box import place_box
from sgrocc_core.mapping.from_motion import Motion, SeenImage, available, depth_from_motion
from sgrocc_core.mapping.live_map import LiveMap
from sgrocc_core.mapping.look import LooksAhead
from sgrocc_core.mapping.points_alone import observe_points
from sgrocc_core.mapping.types import MapperConfig, MapUpdate, Stopwatch
from sgrocc_core.voxels.objects import FoundObject

if TYPE_CHECKING:
    from sgrocc_core.open_vocabulary.model import LanguageModel

__all__ = ["MapUpdate", "MapperConfig", "OccupancyMapper"]


class OccupancyMapper:
    """Maps frames into a Gaussian memory and a voxel map.

    Args:
        engine: An open model.
        config: How to map; the defaults if None.
        origin: (3,) origin of the lattice in the map frame, metres.

    Attributes:
        engine: The engine that runs the networks.
        map: The LiveMap: the Gaussian memory, the voxel map and the queries.
        language: The image-text model whose features the Gaussians carry; None without.

    Raises:
        ModelError: The image-text model of the configuration cannot be used.
    """

    def __init__(
        self, engine: Engine, config: MapperConfig | None = None, origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ) -> None:
        self.engine, self._config = engine, config or MapperConfig()
        self._notes: list[str] = []
        self._told = False
        self._looks = LooksAhead()
        self.language = _language(self._config.language)
        threshold, confidence = self._config.occupancy_threshold, self._config.confidence
        self.map = LiveMap(engine.spec, threshold, confidence, origin, self.language)

    @property
    def config(self) -> MapperConfig:
        """How to map; a new configuration takes effect at the next frame, for the whole map."""
        return self._config

    @config.setter
    def config(self, config: MapperConfig) -> None:
        if config.language != self._config.language:
            raise ConfigError(f"language is {config.language!r}; a mapper keeps its own ({self._config.language!r})")
        self._config = config
        self.map.occupancy_threshold, self.map.confidence = config.occupancy_threshold, config.confidence

    def step(self, frame: Frame, following: Callable[[], Frame | None] | None = None) -> MapUpdate:
        """Map one frame.

        Args:
            frame: The frame to map.
            following: Called after the networks; gives the frame that will be mapped next, if it is known. Its image
                network runs beside the rest of this step. The map is the same; more frames are mapped, with images
                that are a little older.

        Returns:
            The changed voxels, the times of the stages and the depth prior that was used.

        Raises:
            FrameError: The frame cannot be mapped; the map is unchanged.
        """
        clock, self._notes = Stopwatch(), []
        # 1. Features and depth of the image, corrected by the camera's motion.
        look = self._looks.take(self.engine, frame)
        camera, seen = look.camera, look.seen
        head, spread, has_source = seen.depth, seen.spread, True
        source, motion = self._config.depth_source_of(frame.camera), self.map.motion_of(frame.camera)
        if frame.depth is None or source == "mono":
            looked = SeenImage(look.image, camera, frame.T_wc, frame.stamp_ns, seen)
            head, spread = self._depth_from_motion(motion, looked)
            has_source = motion.helped
        clock.lap("image")
        # 2. The local box in front of the camera, and the visibility of its cells in the depth prior.
        depth = depth_prior(source, frame, camera, head, spread)
        T_lc = make_pose(frame.T_wc[:3, :3], frame.T_wc[:3, 3] - self.map.origin)
        corner = place_box(depth.expert, camera.K, T_lc, self._config.box_below, self._config.box_shift)
        T_bc = box_pose(T_lc, corner * CELL_SIZE)
        view = view_cells(depth.layers, T_bc, self._config.max_distance)
        history = self.map.memory.history(corner, view, frame.stamp_ns)
        clock.lap("slice")
        # 3. The spatial expert's Gaussians of the box.
        gaussians = self.engine.expert(
            seen.features, depth.expert, depth.spread, seen.thickness, camera.K, T_bc, history, view.state != UNSEEN
        )
        _check_finite(gaussians)
        clock.lap("expert")
        if following is not None and (coming := following()) is not None:
            self._looks.begin(self.engine, coming)
        # 4. Verify, update and write back; add the evidence of the depth itself.
        keys, increments = observe(depth.layers, T_lc, self._config.max_distance)
        begin_anew(self.map.memory, depth.layers, T_lc, self._config.max_distance)
        self.map.memory.add_evidence(keys, increments)
        view = within_footprint(self.map.memory, corner, view, gaussians)
        if self.language is None:
            self.map.memory.update(corner, gaussians, view, frame.stamp_ns)
        else:
            self._update_with_language(self.language, frame, corner, gaussians, view, T_lc)
        self.map.voxel_map.forget(
            blocks_to_forget(self.map.memory, T_lc[:3, 3], self._config.forget_radius, self._config.max_memory_mb)
        )
        self.map.last_view = LastView(frame.stamp_ns, corner, view, keys, increments != 0)
        clock.lap("memory")
        # 5. Splat the blocks that changed.
        x0, y0, w, h = camera.letterbox.content
        update = self.map.update(frame.stamp_ns, clock, depth.expert[y0 : y0 + h, x0 : x0 + w])
        return replace(update, notes=tuple(self._notes), has_source=has_source)

    def observe_points(self, points: np.ndarray, origin: np.ndarray, stamp_ns: int) -> MapUpdate:
        """Add points without an image as evidence of geometry; see `points_alone.observe_points`.

        Args:
            points: (N, 3) metres, map frame.
            origin: (3,) metres, place of their sensor in the map.
            stamp_ns: Stamp of the points, nanoseconds.
        """
        return observe_points(self.map, self._config, points, origin, stamp_ns)

    def _update_with_language(
        self,
        language: LanguageModel,
        frame: Frame,
        corner: np.ndarray,
        gaussians: LocalGaussians,
        view: CellView,
        T_lc: np.ndarray,
    ) -> None:
        """Update the memory, and the Gaussians' language features by what the image shows, at the same rates."""
        from sgrocc_core.open_vocabulary.features import blend, rates

        memory, size = self.map.memory, (frame.image.shape[1], frame.image.shape[0])
        rate = rates(memory, corner, view, frame.stamp_ns)
        seen = language.look(frame.image)
        memory.update(corner, gaussians, view, frame.stamp_ns)
        blend(memory, corner, view, rate, seen, frame.K, size, T_lc)

    def find(self, phrase: str) -> list[FoundObject]:
        """The things of the map that a phrase means; see `LiveMap.find`."""
        return self.map.find(phrase)

    def _depth_from_motion(self, motion: Motion, seen: SeenImage) -> tuple[np.ndarray, np.ndarray]:
        kind, fallback = available(self._config.motion_depth, self.engine.spec)
        depth, spread, said = depth_from_motion(kind, self.engine, motion, seen)
        if fallback and not self._told:
            self._notes.append(fallback)
        self._told = self._told or fallback is not None
        self._notes += [said] if said else []
        return depth, spread


def _language(folder: str) -> LanguageModel | None:
    """The image-text model in a folder; without one, nothing of it is imported."""
    if not folder:
        return None
    from sgrocc_core.open_vocabulary.model import open_language

    return open_language(folder)


def _check_finite(gaussians: LocalGaussians) -> None:
    for name, array in vars(gaussians).items():
        if not np.isfinite(array.sum()):  # a product of BLAS would leave a thread that keeps a core busy
            raise FrameError(
                "network_not_finite", f"the network's {name} hold values that are not finite; is the model damaged?"
            )
