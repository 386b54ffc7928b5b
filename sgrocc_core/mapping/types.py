"""What goes into the mapper and comes out of it beside frames: its configuration, the update of the map, the stages' times."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter

import numpy as np

from sgrocc_core.errors import ConfigError
from sgrocc_core.frame import DEPTH_SOURCES
from sgrocc_core.gaussians.confidence import CONFIDENCES
from sgrocc_core.geometry.lattice import BOX_BELOW

BOX_REACH = 2.3
"""A block's centre lies at most this much farther from the camera than `max_distance` while the block is in view, metres."""
MIN_MEMORY_MB = 64.0
"""What the blocks of one view take at most, and room to move, MB."""


@dataclass(frozen=True)
class MapperConfig:
    """How to map; checked when made.

    Attributes:
        depth_source: `mono` (the network's depth), `topic` (the sensor's), `fused` (the sensor's, filled by the network's).
        occupancy_threshold: probability from which a voxel is occupied, 0..1 exclusive.
        box_below: how far the local box begins under the camera, 0..2.88 m.
        max_distance: nothing farther along the optical axis is mapped, 0.5..20 m.
        max_memory_mb: bound of what the memory's blocks take, 0 = none; the farthest from the camera are forgotten first.
        forget_radius: blocks farther than this from the camera are forgotten, metres, 0 = none.
        motion_depth: whether points triangulated from the camera's motion correct the network's depth of frames without a sensor's.
        confidence: which factors of Eq. 8 the memory is judged by, one of CONFIDENCES; all but `hybrid` are for comparison. Counts from
            the next reset on.

    Raises:
        ConfigError: names the key, the value and what is allowed.
    """

    depth_source: str = "fused"
    occupancy_threshold: float = 0.5
    box_below: float = BOX_BELOW
    max_distance: float = 4.8
    max_memory_mb: float = 0.0
    forget_radius: float = 0.0
    motion_depth: bool = True
    confidence: str = "hybrid"

    def __post_init__(self) -> None:
        if self.depth_source not in DEPTH_SOURCES:
            raise ConfigError(f"depth_source is {self.depth_source!r}; it must be one of {', '.join(DEPTH_SOURCES)}")
        if self.confidence not in CONFIDENCES:
            raise ConfigError(f"confidence is {self.confidence!r}; it must be one of {', '.join(CONFIDENCES)}")
        if not isinstance(self.motion_depth, bool):
            raise ConfigError(f"motion_depth is {self.motion_depth!r}; it must be true or false")
        bounds = (
            ("occupancy_threshold", 0.01, 0.99),
            ("box_below", 0.0, 2.88),
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
            raise ConfigError(
                f"forget_radius is {self.forget_radius!r}; it must be 0 (none) or at least {least:g}: what is in view stays"
            )
        if 0 < self.max_memory_mb < MIN_MEMORY_MB:
            allowed = f"0 (no bound) or at least {MIN_MEMORY_MB:g}, what one view may take"
            raise ConfigError(f"max_memory_mb is {self.max_memory_mb!r}; it must be {allowed}")


@dataclass(frozen=True)
class MapUpdate:
    """What one frame changed.

    Attributes:
        stamp_ns: of the frame. sequence: one higher than the last update's.
        voxels: (N, 3) int32; centre = origin + (index + 0.5) * 0.08 m. labels: (N,) uint8, 0 = freed, 255 = occupied without a class.
        probability: (N,) float32, multiples of 1/16; 0 where freed.
        changed_blocks: (B, 3) int32, the 16^3 blocks that the voxels lie in.
        timings: milliseconds of image, slice, expert, memory, splat, total.
        depth: (H, W) float32 metres, the depth prior used, registered to the image, 0 = none.
    """

    stamp_ns: int
    sequence: int
    voxels: np.ndarray
    labels: np.ndarray
    probability: np.ndarray
    changed_blocks: np.ndarray
    timings: dict[str, float]
    depth: np.ndarray


class Stopwatch:
    """Milliseconds of the stages between its laps."""

    def __init__(self) -> None:
        self._times, self._names = [perf_counter()], ["start"]

    def lap(self, name: str) -> None:
        self._times.append(perf_counter())
        self._names.append(name)

    def timings(self) -> dict[str, float]:
        laps = {n: 1000 * (b - a) for n, a, b in zip(self._names[1:], self._times, self._times[1:])}
        return laps | {"total": 1000 * (self._times[-1] - self._times[0])}
