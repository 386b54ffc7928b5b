"""Making surfaces solid: volumes of known bodies, closed, open, overlapping, doubled and beyond repair."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from sgrocc_core.data.assets.solid import MOST_DOUBT, PITCH, Cells, solid_cells
from tests.samples.rooms.furniture import block, bowl


def solid(mesh: trimesh.Trimesh, dropped: np.ndarray | None = None) -> Cells:
    """The cells inside a mesh that stands on the floor, without some of its faces."""
    corners = np.array(mesh.triangles)
    corners[..., 2] -= corners[..., 2].min()
    return solid_cells(corners if dropped is None else corners[~dropped])


def volume(cells: Cells) -> float:
    return float(cells.inside.sum() * PITCH**3)


BOX = block((-0.25, 0.25), (-0.2, 0.2), (0, 0.6))


def test_a_closed_box_is_exactly_full():
    cells = solid(BOX)
    assert volume(cells) == pytest.approx(0.5 * 0.4 * 0.6, rel=0.01) and cells.doubt == 0


def test_the_inside_of_a_ball_is_where_its_points_are():
    cells = solid(trimesh.creation.icosphere(4, 0.3))
    index = np.stack(np.meshgrid(*[np.arange(n) for n in cells.inside.shape], indexing="ij"), -1)
    away = np.linalg.norm(cells.low + (index + 0.5) * PITCH - [0, 0, 0.3], axis=-1)
    assert cells.inside[away < 0.297].all() and not cells.inside[away > 0.303].any()


def test_the_hole_of_a_ring_stays_free():
    ring = trimesh.creation.torus(0.4, 0.1)
    cells = solid(ring)
    assert volume(cells) == pytest.approx(ring.volume, rel=0.03)
    middle = np.floor((np.array([0, 0, 0.1]) - cells.low) / PITCH).astype(int)
    assert not cells.inside[tuple(middle)]


def test_an_underside_is_not_needed():
    cells = solid(BOX, BOX.face_normals[:, 2] < -0.9)
    assert volume(cells) == pytest.approx(0.12, rel=0.01) and cells.doubt == 0


def test_bodies_that_overlap_add_up_and_do_not_cancel():
    both = trimesh.util.concatenate([block((0, 0.4), (0, 0.4), (0, 0.4)), block((0.2, 0.6), (0, 0.4), (0, 0.4))])
    assert volume(solid(both)) == pytest.approx(0.6 * 0.4 * 0.4, rel=0.01)


def test_surfaces_with_two_sides_are_one_surface():
    doubled = trimesh.Trimesh(BOX.vertices, np.r_[BOX.faces, BOX.faces[:, ::-1]], process=False)
    assert volume(solid(doubled)) == pytest.approx(0.12, rel=0.01)


def test_a_cabinet_of_panels_that_do_not_touch_is_full():
    gap = 0.004
    panels = [
        block((0, 0.018), (gap, 0.4 - gap), (0, 1.0)),
        block((0.782, 0.8), (gap, 0.4 - gap), (0, 1.0)),
        block((gap, 0.8 - gap), (0.382, 0.4), (0, 1.0)),
        block((gap, 0.398), (0, 0.018), (0, 1.0)),
        block((0.402, 0.8 - gap), (0, 0.018), (0, 1.0)),
        block((0, 0.8), (0, 0.4), (1.0 + gap, 1.02)),
    ]
    cells = solid(trimesh.util.concatenate(panels))
    inner = cells.inside[20:60, 10:30, 5:95]  # well inside the panels
    assert inner.all() and volume(cells) > 0.9 * 0.8 * 0.4 * 1.0


def test_the_space_under_a_table_stays_free():
    legs = [block((x, x + 0.05), (y, y + 0.05), (0, 0.7)) for x in (0, 0.95) for y in (0, 0.55)]
    cells = solid(trimesh.util.concatenate([*legs, block((0, 1.0), (0, 0.6), (0.7, 0.74))]))
    expected = 4 * 0.05 * 0.05 * 0.7 + 1.0 * 0.6 * 0.04
    assert volume(cells) == pytest.approx(expected, rel=0.05) and cells.doubt == 0


def test_a_box_without_front_and_back_is_in_doubt():
    assert solid(BOX, np.abs(BOX.face_normals[:, 1]) > 0.9).doubt > MOST_DOUBT


def test_a_bowl_of_one_sheet_is_in_doubt():
    assert solid(bowl()).doubt > MOST_DOUBT


def test_a_flat_sheet_has_no_inside_and_no_doubt():
    sheet = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 0, 1], [0, 0, 1]], [[0, 1, 2], [0, 2, 3]])
    cells = solid(sheet)
    assert not cells.inside.any() and cells.doubt == 0
