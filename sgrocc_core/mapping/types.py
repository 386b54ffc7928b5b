"""The mapper's configuration, the update that a frame makes, and the stopwatch for the stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from sgrocc_core.errors import ConfigError
from sgrocc_core.frame import DEPTH_SOURCES, MOTION_DEPTHS
from sgrocc_core.gaussians.confidence import CONFIDENCES
from sgrocc_core.geometry.lattice import BOX_BELOW, BOX_SHIFT

BOX_REACH = 2.3
"""Maximum distance from the camera of the centre of a block in view, beyond `max_distance`, metres."""
MIN_MEMORY_MB = 64.0
"""Smallest allowed memory bound: the blocks of one view and a reserve, MB."""


@dataclass(frozen=True)
class MapperConfig:
    """Configuration of the mapper; its values are checked when it is created.

    Attributes:
        depth_source: `mono` (depth of the network), `topic` (depth of the sensor) or `fused` (depth of the sensor, with
            the network's depth in its holes).
        occupancy_threshold: Probability from which a voxel is occupied, 0.01..0.99.
        box_below: Distance from the camera down to the lower face of the local box, 0..2.88 m.
        box_shift: Largest distance by which that box is moved up or down to where the most is seen, 0..0.48 m.
        max_distance: Largest mapped depth along the optical axis, 0.5..20 m.
        max_memory_mb: Bound of the memory of the blocks, MB; 0 = none. The blocks farthest from the camera are
            forgotten first.
        forget_radius: Distance from the camera beyond which blocks are forgotten, metres; 0 = none.
        motion_depth: How the camera's motion corrects the network's depth in frames without sensor depth, one of
            MOTION_DEPTHS: `none`; `tracks`, by triangulated points; `stereo`, by comparison with earlier images. A
            model without a stereo network uses `tracks`.
        confidence: Factors of Eq. 8 that weigh the memory, one of CONFIDENCES; all but `hybrid` are for comparison. A
            new value takes effect at the next reset.
        language: Folder of an exported image-text model (`sgrocc export-language`), whose features every Gaussian then
            carries; empty = none. It holds for the mapper's whole life.
        camera_depth_sources: Depth source of single cameras, by the name of the camera, where it is not `depth_source`.

    Raises:
        ConfigError: A value is not allowed; names the key, the value and the allowed values.
    """

    depth_source: str = "fused"
    occupancy_threshold: float = 0.5
    box_below: float = BOX_BELOW
    box_shift: float = BOX_SHIFT
    max_distance: float = 4.8
    max_memory_mb: float = 0.0
    forget_radius: float = 0.0
    motion_depth: str = "stereo"
    confidence: str = "hybrid"
    language: str = ""
    camera_depth_sources: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for source in (self.depth_source, *self.camera_depth_sources.values()):
            if source not in DEPTH_SOURCES:
                raise ConfigError(f"depth_source is {source!r}; it must be one of {', '.join(DEPTH_SOURCES)}")
        if self.confidence not in CONFIDENCES:
            raise ConfigError(f"confidence is {self.confidence!r}; it must be one of {', '.join(CONFIDENCES)}")
        if self.motion_depth not in MOTION_DEPTHS:
            raise ConfigError(f"motion_depth is {self.motion_depth!r}; it must be one of {', '.join(MOTION_DEPTHS)}")
        bounds = (
            ("occupancy_threshold", 0.01, 0.99),
            ("box_below", 0.0, 2.88),
            ("box_shift", 0.0, BOX_SHIFT),
            ("max_distance", 0.5, 20.0),
            ("max_memory_mb", 0.0, 1e6),
            ("forget_radius", 0.0, 1e6),
        )
        for key, low, high in bounds:
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
                raise ConfigError(f"{key} is {value!r}; it must be a number from {low:g} to {high:g}")
        if 0 < self.forget_radius < self.max_distance + BOX_REACH:
            least = self.max_distance + BOX_REACH
            allowed = f"0 (none) or at least {least:g}, so that blocks in view stay"
            raise ConfigError(f"forget_radius is {self.forget_radius!r}; it must be {allowed}")
        if 0 < self.max_memory_mb < MIN_MEMORY_MB:
            allowed = f"0 (no bound) or at least {MIN_MEMORY_MB:g}, what one view may take"
            raise ConfigError(f"max_memory_mb is {self.max_memory_mb!r}; it must be {allowed}")

    def depth_source_of(self, camera: str) -> str:
        """Depth source of a camera."""
        return self.camera_depth_sources.get(camera, self.depth_source)


@dataclass(frozen=True)
class MapUpdate:
    """The change of the map by one frame.

    Attributes:
        stamp_ns: Stamp of the frame, nanoseconds.
        sequence: Number of the update, one higher than that of the last update.
        voxels: (N, 3) int32, indices of the changed voxels; the centre is origin + (index + 0.5) * 0.08 m.
        labels: (N,) uint8, 0 = freed, 1 to 11 = class, 255 = occupied without a class.
        probability: (N,) float32, multiples of 1/16; 0 where freed.
        changed_blocks: (B, 3) int32, the blocks of 16^3 voxels that contain the changed voxels.
        timings: Milliseconds of the stages image, slice, expert, memory, splat, and total.
        depth: (H, W) float32 metres, the depth prior that was used, registered to the image; 0 = none.
        notes: Sentences for the user; each is given once.
        has_source: Whether the depth had another source than this image: a sensor, or earlier images.
    """

    stamp_ns: int
    sequence: int
    voxels: np.ndarray
    labels: np.ndarray
    probability: np.ndarray
    changed_blocks: np.ndarray
    timings: dict[str, float]
    depth: np.ndarray
    notes: tuple[str, ...] = ()
    has_source: bool = True


class Stopwatch:
    """Measures the time between laps."""

    def __init__(self) -> None:
        self._times, self._names = [perf_counter()], ["start"]

    def lap(self, name: str) -> None:
        """End the stage of this name."""
        self._times.append(perf_counter())
        self._names.append(name)

    def timings(self) -> dict[str, float]:
        """Milliseconds of each stage, and their `total`."""
        laps = {n: 1000 * (b - a) for n, a, b in zip(self._names[1:], self._times, self._times[1:])}
        return laps | {"total": 1000 * (self._times[-1] - self._times[0])}
