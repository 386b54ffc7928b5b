"""A bare room of given solids, and a camera for it."""

from __future__ import annotations

import numpy as np

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.data.synthetic.generate import GeneratedFrame, GeneratedScene
from sgrocc_core.data.synthetic.rooms.layouts import Layout
from sgrocc_core.data.synthetic.rooms.placement import FloorPlan
from sgrocc_core.data.synthetic.rooms.rooms import Scene
from sgrocc_core.data.synthetic.solids.primitives import Builder, rotation_zyx
from sgrocc_core.geometry.camera import back_project
from sgrocc_core.geometry.lattice import VOXEL_SIZE

SIZE = (96, 72)


def scene_of(b: Builder, yaw: float = 0.0) -> Scene:
    """A scene of the builder's solids in a room of 4 x 4 x 2.4 m, turned about its corner."""
    layout = Layout([(0.0, 0.0, 4.0, 4.0)], 1, 2.4, 0.12)
    lights = np.array([[2.0, 2.0, 2.2, 1.0, 1.0, 1.0, 2.0, 0.1]])
    materials = np.array([[0, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.1, 0.1, 0.0, 20.0, 0.0, 1, 0.0]])
    solids = b.solids().moved(rotation_zyx(yaw), np.zeros(3))
    return Scene(
        solids,
        materials,
        lights,
        layout,
        FloorPlan(layout),
        yaw,
        np.zeros(3),
        np.ones(3) * 0.3,
        np.zeros(6),
        np.zeros((0, 11)),
        "test",
    )


def hits(scene: GeneratedScene, frame: GeneratedFrame) -> tuple[float, float]:
    """Shares of a frame's depth that hits an occupied voxel, and a voxel of its label or one beside such a voxel."""
    grid, labels = scene.grid, frame.view.labels[frame.view.depth > 0]
    points = back_project(frame.view.depth, frame.K, frame.T_wc)
    index = np.floor((points - grid.origin) / VOXEL_SIZE).astype(int) - grid.low
    hit = grid.labels[tuple(index.T)]
    around = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    near = np.clip(index[:, None] + around[None], 0, np.array(grid.labels.shape) - 1)
    beside = (grid.labels[near[..., 0], near[..., 1], near[..., 2]] == labels[:, None]).any(1)
    return float(((hit > 0) & (hit != UNKNOWN)).mean()), float(beside.mean())


def intrinsics(f: float = 60.0) -> np.ndarray:
    return np.array([[f, 0, (SIZE[0] - 1) / 2], [0, f, (SIZE[1] - 1) / 2], [0, 0, 1.0]])
