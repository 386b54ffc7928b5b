"""The footprint of the observed space: which cells a view may write, from evidence in a few columns."""

import numpy as np
import pytest

from sgrocc_core.classes import label_of
from sgrocc_core.gaussians.confidence import FREE, HIDDEN, SURFACE, UNSEEN
from sgrocc_core.gaussians.footprint import observed_columns, within_footprint
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.geometry.lattice import BOX_CELLS
from tests.samples.recordings.streams import box_of, looks

CORNER = np.zeros(3, int)
EVERYWHERE = [tuple(c) for c in np.argwhere(np.ones(BOX_CELLS, bool))]


def observed(boxes):
    """A memory in which depth has observed the voxels between pairs of corners, both included."""
    memory = GaussianMemory(4, 8)
    dense = np.zeros((64, 64, 48), np.float32)
    for (x0, y0, z0), (x1, y1, z1), value in boxes:
        dense[x0 : x1 + 1, y0 : y1 + 1, z0 : z1 + 1] = value
    keys = np.argwhere(np.ones((4, 4, 3), bool))
    blocks = dense.reshape(4, 16, 4, 16, 3, 16).transpose(0, 2, 4, 1, 3, 5).reshape(-1, 16, 16, 16)
    memory.add_evidence(keys, blocks)
    return memory


def walls_at(cells):
    """A prediction of walls in some cells and of nothing elsewhere."""
    return box_of(cells, opacity=3.0, label=label_of("wall"))


@pytest.fixture
def room():
    """Free space over columns 20 to 29 along x and y and layers 4 to 23."""
    return observed([((20, 20, 4), (29, 29, 23), -1.0)])


def written(memory, gaussians, state=HIDDEN):
    return within_footprint(memory, CORNER, looks(state, EVERYWHERE), gaussians).state.reshape(BOX_CELLS) != UNSEEN


def test_the_columns_know_their_lowest_and_highest_observed_voxel(room):
    low, high, start = observed_columns(room, CORNER)
    x, y = 24 - start[0], 21 - start[1]
    assert (low[x, y], high[x, y]) == (4, 23)
    assert high[x - 5, y] < 0 < low[x - 5, y] and not (low <= high)[: 20 - start[0]].any()


def test_behind_a_wall_only_its_thickness_is_written(room):
    everything = walls_at(EVERYWHERE)  # walls everywhere: there is no hidden space
    kept = written(room, everything)
    along = kept[:, 12, 6]  # a line through the room; its free voxels are the cells 10 to 14
    np.testing.assert_array_equal(np.flatnonzero(along), np.arange(9, 16))  # a cell on each side: voxels 18, 19; 30, 31


def test_under_the_floor_and_above_the_ceiling_two_layers_are_written(room):
    kept = written(room, walls_at(EVERYWHERE))
    np.testing.assert_array_equal(np.flatnonzero(kept[12, 12]), np.arange(1, 13))  # voxels 2 to 25


def test_hidden_space_without_walls_is_written_up_to_half_a_metre(room):
    kept = written(room, walls_at([]))[:, 12, 6]
    np.testing.assert_array_equal(np.flatnonzero(kept), np.arange(6, 19))  # 3 cells of hidden space and one of a wall


def test_a_predicted_wall_ends_hidden_space(room):
    slab = [(16, j, k) for j in range(BOX_CELLS[1]) for k in range(BOX_CELLS[2])]
    kept = written(room, walls_at(slab))[:, 12, 6]
    assert kept[15] and kept[16] and not kept[17:].any()


def test_free_cells_and_the_space_of_earlier_frames_stay(room):
    assert written(room, walls_at(EVERYWHERE), FREE).all()
    room.add_evidence(np.array([[2, 1, 0]]), np.full((1, 16, 16, 16), 0.85, np.float32))
    assert written(room, walls_at(EVERYWHERE), SURFACE)[16, 12, 4]  # of the voxel (33, 24, 8)


def test_without_any_evidence_nothing_is_written():
    assert not written(GaussianMemory(4, 8), walls_at(EVERYWHERE)).any()
