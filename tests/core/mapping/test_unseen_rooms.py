"""Two rooms with a corridor between them: the shipped model's map of one room does not fill the corridor."""

import numpy as np
import pytest

from sgrocc_core.classes import label_of
from sgrocc_core.data.synthetic.rendering.camera_effects import draw_style
from sgrocc_core.data.synthetic.rendering.render import Renderer
from sgrocc_core.data.synthetic.solids.primitives import Builder
from sgrocc_core.data.synthetic.trajectories import camera_pose
from sgrocc_core.frame import Frame
from sgrocc_core.mapping.mapper import MapperConfig, OccupancyMapper
from tests.samples.engines import small_engine
from tests.samples.rooms.solid_scene import scene_of

SIZE = (320, 240)
HIGH = 2.5
ROOM, CORRIDOR, OTHER_ROOM = (0.0, 4.0), (4.16, 5.44), (5.6, 9.6)
"""Extents along x, metres; all are 4 m long along y. Walls of 0.16 m are between them."""


def rooms() -> Renderer:
    b = Builder()
    floor, ceiling, wall, table, cabinet = (label_of(n) for n in ("floor", "ceiling", "wall", "table", "furniture"))
    for x0, x1 in (ROOM, CORRIDOR, OTHER_ROOM):
        middle, wide = (x0 + x1) / 2, x1 - x0 + 0.16
        b.box((middle, 2.0, -0.06), (wide, 4.32, 0.12), floor, 0)
        b.box((middle, 2.0, HIGH + 0.06), (wide, 4.32, 0.12), ceiling, 0)
        for y in (-0.08, 4.08):
            b.box((middle, y, HIGH / 2), (wide, 0.16, HIGH), wall, 0)
    for x in (-0.08, 4.08, 5.52, 9.68):
        b.box((x, 2.0, HIGH / 2), (0.16, 4.0, HIGH), wall, 0)
    b.box((2.6, 1.2, 0.37), (0.8, 1.2, 0.74), table, 0)
    b.box((3.75, 3.0, 0.6), (0.45, 1.2, 1.2), cabinet, 0)
    return Renderer(scene_of(b), draw_style(np.random.default_rng(0)))


def frames(renderer: Renderer, places):
    K = np.array([[200.0, 0, 159.5], [0, 200.0, 119.5], [0, 0, 1]])
    for n, (x, y, yaw) in enumerate(places):
        T_wc = camera_pose(np.array([x, y, 1.5]), yaw, 0.25, 0.0)
        view = renderer.view(T_wc, K, SIZE, np.random.default_rng(n))
        yield Frame(view.image, K, T_wc, n * 100_000_000, view.depth)


def share_filled(mapper, x, margin=0.16):
    """Share that the map has filled of the space between x[0] and x[1], without the margin for the walls' thickness."""
    axes = [np.arange(a + margin + 0.04, b - margin, 0.08) for a, b in ((x[0], x[1]), (0.0, 4.0), (0.0, HIGH))]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    return mapper.map.query(points).is_occupied.mean()


@pytest.fixture(scope="module")
def renderer():
    return rooms()


@pytest.fixture(scope="module")
def mapped(renderer):
    """The map of the first room, seen from six places that all face the wall of the corridor."""
    mapper = OccupancyMapper(small_engine(), MapperConfig(depth_source="topic"))
    for frame in frames(renderer, [(0.8, 0.7 + 0.5 * n, 0.15 * (2.5 - n)) for n in range(6)]):
        mapper.step(frame)
    return mapper


def test_the_corridor_behind_the_wall_and_the_room_behind_it_stay_empty(mapped):
    assert share_filled(mapped, CORRIDOR) < 0.02
    assert share_filled(mapped, OTHER_ROOM) < 0.02


def test_the_wall_itself_is_there(mapped):
    y, z = np.meshgrid(np.arange(0.6, 3.4, 0.08), np.arange(1.3, 2.2, 0.08))
    points = np.stack([np.full(y.size, 4.04), y.ravel(), z.ravel()], 1)
    assert mapped.map.query(points).is_occupied.mean() > 0.95
