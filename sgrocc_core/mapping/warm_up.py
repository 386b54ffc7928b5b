"""Loads all compiled kernels and runs the networks once, so that the first frame is not delayed."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba.core.dispatcher import Dispatcher

from sgrocc_core.data.point_cloud import PointLayout, decode_points
from sgrocc_core.data.rvl import decode_rvl, encode_rvl
from sgrocc_core.depth.layer import DepthLayer
from sgrocc_core.depth.motion import MotionDepth
from sgrocc_core.depth.points import depth_of_points, points_in_map
from sgrocc_core.depth.registration import plan_registration
from sgrocc_core.depth.sweep import inverse_plane_depths, plane_sweep
from sgrocc_core.depth.tracks import NO_POINTS
from sgrocc_core.engines.engine import Engine
from sgrocc_core.frame import Frame
from sgrocc_core.gaussians.memory import BLOCK_ROWS
from sgrocc_core.gaussians.newly_hidden import WELL_FREE, begin_anew
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from sgrocc_core.voxels.columns import FLOOR, ColumnMap, Columns
from sgrocc_core.voxels.distances.field import MAX_DISTANCE, Distances
from sgrocc_core.voxels.distances.slab import SlabDistances
from sgrocc_core.voxels.listed import ListedVoxels


@dataclass(frozen=True)
class Kernels:
    """Kernels that have been made ready in this process.

    Attributes:
        compiled: names of those that were compiled, `module.function`.
        loaded: names of those that were loaded from Numba's cache.
        folders: where Numba keeps them.
    """

    compiled: tuple[str, ...]
    loaded: tuple[str, ...]
    folders: tuple[Path, ...]


def warm_up(engine: Engine, config: MapperConfig) -> None:
    """Map an artificial frame with both kinds of depth into a temporary map, and let a new surface appear in it.

    Args:
        engine: the engine; its networks run once.
        config: of the mapper.
    """
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
    mapper.map.memory.evidence[:blocks] = 2 * WELL_FREE
    begin_anew(mapper.map.memory, [DepthLayer.sensor(0.6 * depth, K)], T_wc, config.max_distance)
    MotionDepth().apply(np.ones((2, 2), np.float32), np.ones((2, 2), np.float32), NO_POINTS, 1.0)


def compile_kernels(engine: Engine, config: MapperConfig) -> Kernels:
    """Make every kernel ready that mapping a bag or a topic may need, also those that most streams do not.

    Args:
        engine: the engine.
        config: of the mapper.
    """
    warm_up(engine, config)
    coded = encode_rvl(np.arange(64, dtype=np.uint16).reshape(8, 8))
    decode_rvl(coded, 8, 8)
    K = np.array([[8.0, 0, 3.5], [0, 8.0, 3.5], [0, 0, 1]])
    registration = plan_registration((8, 8), K, (8, 8), K, make_pose(np.eye(3), np.array([0.05, 0, 0])))
    assert registration is not None
    registration(np.ones((8, 8), np.float32))
    features = np.zeros((1, 4, 4, 16), np.float32)
    bounds = np.array([[0, 0, 3, 3]], np.float32)
    plane_sweep(features[0], features, np.eye(3, 4, dtype=np.float32)[None], bounds, inverse_plane_depths(8))
    warm_up_points()
    _compile_planning()
    return kernels()


def warm_up_points() -> None:
    """Project one point, so that the first cloud of points does not wait for its kernels."""
    layout = PointLayout([("x", 0, 7), ("y", 4, 7), ("z", 8, 7)], 12, 12, 1, 1)
    cloud = decode_points(layout, np.ones(3, "<f4").tobytes(), 0)
    points = points_in_map(cloud.points, cloud.offsets_ns, 0, lambda stamp: np.eye(4))
    depth_of_points(points, np.eye(4), np.array([[8.0, 0, 3.5], [0, 8.0, 3.5], [0, 0, 1]]), (16, 16))


def _compile_planning() -> None:
    """Make the kernels of distances and of the grid's floor ready."""
    floor = np.argwhere(np.ones((8, 8, 1), np.bool_)).astype(np.int32)
    labels, ones = np.full(len(floor), FLOOR, np.uint8), np.ones(len(floor), np.float32)
    blocks = ListedVoxels(floor, labels, ones, floor + np.array([0, 0, 4], np.int32))
    Distances(blocks).query(np.zeros((1, 3)), None, "free", MAX_DISTANCE)
    keys, columns = blocks.blocks(), ColumnMap()
    found, free = blocks.block_voxels(keys, with_free=True)
    summary = Columns.empty(keys, with_labels=True)
    summary.put(np.arange(len(keys)), found, np.asarray(free))
    columns.apply(summary)
    columns.update(2, 20, 3)
    SlabDistances(False).update(columns, columns.changed_since(0))


def kernels() -> Kernels:
    """The kernels of this package that have been compiled or loaded in this process."""
    found = {
        id(value): value
        for name, module in list(sys.modules.items())
        if name.startswith("sgrocc_core.")
        for value in vars(module).values()
        if isinstance(value, Dispatcher)
    }.values()
    compiled, loaded, folders = [], [], set()
    for kernel in found:
        name = f"{kernel.__module__.removeprefix('sgrocc_core.')}.{kernel.py_func.__name__}"
        if kernel.stats.cache_misses:
            compiled.append(name)
        elif kernel.stats.cache_hits:
            loaded.append(name)
        else:
            continue
        folders.add(Path(str(kernel.stats.cache_path)))
    return Kernels(tuple(sorted(compiled)), tuple(sorted(loaded)), tuple(sorted(folders)))
