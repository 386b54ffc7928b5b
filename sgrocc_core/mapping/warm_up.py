"""Loads all compiled kernels and runs both networks once, so that the first frame is not delayed."""

from __future__ import annotations

import numpy as np

from sgrocc_core.depth.motion import MotionDepth
from sgrocc_core.depth.tracks import NO_POINTS
from sgrocc_core.engines.engine import Engine
from sgrocc_core.frame import Frame
from sgrocc_core.gaussians.memory import BLOCK_ROWS
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper


def warm_up(engine: Engine, config: MapperConfig) -> None:
    """Map an artificial frame with both kinds of depth into a temporary map."""
    mapper = OccupancyMapper(engine, config)
    rows, columns = np.indices((48, 64), np.float32)
    depth = 1.5 + 0.01 * columns + 0.01 * rows
    depth[:16] = 0.0  # a hole, so that both kinds of depth are used
    K = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])
    T_wc = make_pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.zeros(3))
    mapper.step(Frame(np.full((48, 64, 3), 128, np.uint8), K, T_wc, 0, depth))
    blocks = len(mapper.map.memory)
    mapper.map.memory.fields.opacities[: blocks * BLOCK_ROWS] = 0.0
    mapper.map.memory.gaussians_changed[:blocks] = True
    mapper.map.voxel_map.update()
    MotionDepth().apply(np.ones((2, 2), np.float32), np.ones((2, 2), np.float32), NO_POINTS, 1.0)
