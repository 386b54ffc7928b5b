"""Points without an image as evidence of geometry: what a LiDAR sees all around, also where no camera looks.

The points are projected into six views from their sensor, the faces of a cube along the axes of the map, and each view
is evidence as the depth of a depth camera is. Voxels get no class by it; where a camera has looked, the network's
Gaussians lend them theirs.
"""

from __future__ import annotations

import numpy as np

from sgrocc_core.depth.layer import DepthLayer
from sgrocc_core.depth.points import depth_of_points
from sgrocc_core.errors import FrameError
from sgrocc_core.gaussians.evidence import observe
from sgrocc_core.gaussians.memory import blocks_to_forget
from sgrocc_core.geometry.camera import scale_intrinsics
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.mapping.live_map import LiveMap
from sgrocc_core.mapping.types import MapperConfig, MapUpdate, Stopwatch

FACE = 240
"""Edge of a view, pixels, at most: 0.4 degrees a pixel, about the spacing of a LiDAR's points."""
_FORWARD = np.array([[1.0, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
_DOWN = np.array([[0.0, 0, -1]] * 4 + [[1, 0, 0]] * 2)
FACES = np.stack([np.stack([np.cross(d, f), d, f], 1) for f, d in zip(_FORWARD, _DOWN)])
"""(6, 3, 3) rotations of the views, camera to map: z forward, x right, y down."""
_K = np.array([[FACE / 2, 0, FACE / 2 - 0.5], [0, FACE / 2, FACE / 2 - 0.5], [0, 0, 1]])


def observe_points(
    live: LiveMap, config: MapperConfig, points: np.ndarray, origin: np.ndarray, stamp_ns: int
) -> MapUpdate:
    """Add the evidence of points to a map. Call it between two steps.

    Args:
        live: the map.
        config: how to map; points farther than `max_distance` along a view's axis end free space only.
        points: (N, 3) metres, map frame.
        origin: (3,) metres, place of the sensor in the map.
        stamp_ns: stamp of the points, nanoseconds.

    Returns:
        The changed voxels; without a depth prior.

    Raises:
        FrameError: `cloud_without_points`, there are no points.
    """
    if not len(points):
        raise FrameError("cloud_without_points", "a cloud without points is no evidence")
    clock = Stopwatch()
    seen = []
    for R in FACES:
        try:
            depth = depth_of_points(points, make_pose(R, origin), _K, (FACE, FACE))
        except FrameError:
            continue  # no point in this view
        scale = depth.shape[1] / FACE
        layer = DepthLayer.sensor(depth, scale_intrinsics(_K, scale, scale))
        seen.append(observe([layer], make_pose(R, origin - live.origin), config.max_distance))
    clock.lap("project")
    for keys, increments in seen:
        live.memory.add_evidence(keys, increments)
    live.voxel_map.forget(
        blocks_to_forget(live.memory, origin - live.origin, config.forget_radius, config.max_memory_mb)
    )
    clock.lap("memory")
    return live.update(stamp_ns, clock, np.zeros((0, 0), np.float32))
