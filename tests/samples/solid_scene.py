"""A bare room of given solids, and a camera for it."""

from __future__ import annotations

import numpy as np

from sgrocc_core.data.synthetic.layouts import Layout
from sgrocc_core.data.synthetic.placement import FloorPlan
from sgrocc_core.data.synthetic.primitives import Builder, rotation_zyx
from sgrocc_core.data.synthetic.rooms import Scene

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


def intrinsics(f: float = 60.0) -> np.ndarray:
    return np.array([[f, 0, (SIZE[0] - 1) / 2], [0, f, (SIZE[1] - 1) / 2], [0, 0, 1.0]])
