"""2D grids: every cell follows from the voxels of its column, whatever the order of changes."""

import numpy as np
import pytest

from sgrocc_core.errors import DataError
from sgrocc_core.gaussians.confidence import SURFACE
from sgrocc_core.gaussians.evidence import HIT, MISS
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.voxels import columns as columns_module
from sgrocc_core.voxels.columns import FLOOR, ColumnMap, Columns, slab_layers
from sgrocc_core.voxels.voxel_map import VoxelMap
from tests.samples.recordings.streams import box_of, looks


def expected_cells(occupied, free, first, last):
    """Known cells, from lists of voxels."""
    cells = {(x, y): 0 for x, y, z in free if first <= z <= last}
    return cells | {(x, y): 100 for x, y, z in occupied if first <= z <= last}


def cells_of(grid):
    rows, columns = np.nonzero(grid.values != -1)
    where = zip((columns + grid.corner[0]).tolist(), (rows + grid.corner[1]).tolist())
    return dict(zip(where, grid.values[rows, columns].tolist()))


def from_above_of(key, labels, seen):
    made = Columns.empty(np.array([key]))
    made.put(np.array([0]), labels, seen)
    return made


def block(key, occupied=(), free=(), label=3):
    """Columns of one block with given occupied and free voxels."""
    labels, seen = np.zeros((1, 16, 16, 16), np.uint8), np.zeros((1, 16, 16, 16), np.bool_)
    for voxel in occupied:
        labels[(0, *voxel)] = label
    for voxel in free:
        seen[(0, *voxel)] = True
    return from_above_of(key, labels, seen)


def floor_block(key, layers):
    """Columns of a block with given numbers of floor voxels by layer."""
    labels = np.zeros((1, 256, 16), np.uint8)
    for layer, count in layers.items():
        labels[0, :count, layer] = FLOOR
    return from_above_of(key, labels.reshape(1, 16, 16, 16), np.zeros((1, 16, 16, 16), np.bool_))


def followed(voxel_map, from_above):
    """Apply only the blocks that an update changed."""
    voxel_map.update()
    from_above.apply(voxel_map.columns(voxel_map.judged))


def test_a_grid_that_follows_the_updates_is_that_of_the_map_while_blocks_change_and_are_forgotten():
    memory = GaussianMemory(4, 8)
    voxel_map, from_above = VoxelMap(memory), ColumnMap()
    rng = np.random.default_rng(1)
    seen = set()
    for step in range(10):
        corner = np.array([-5, 3, -7]) + rng.integers(-8, 9, 3)
        cells = [tuple(c) for c in rng.integers(0, [30, 30, 18], (60, 3)).tolist()]
        memory.update(corner, box_of(cells[:20], seed=step), looks(SURFACE, cells), step)
        keys = np.unique(rng.integers(-2, 3, (6, 3)), axis=0)
        increments = rng.choice(np.array([0, HIT, -MISS], np.float32), (len(keys), 16, 16, 16), p=[0.94, 0.01, 0.05])
        memory.add_evidence(keys, increments)
        if step % 3 == 2:
            voxel_map.forget(np.flatnonzero(rng.random(len(memory)) < 0.4))
        followed(voxel_map, from_above)
        first, last = (-10, 4) if step < 5 else (-3, 12)
        grid = from_above.grid(first, last)
        occupied, free = voxel_map.occupied()[0].tolist(), voxel_map.free().tolist()
        assert cells_of(grid) == expected_cells(occupied, free, first, last)
        low = np.floor_divide(np.concatenate([occupied, free]), 16).min(0) * 16
        assert grid.corner == (low[0], low[1]) and grid.values.dtype == np.int8
        seen |= set(np.unique(grid.values).tolist())
    assert seen == {-1, 0, 100}


def test_a_new_threshold_reaches_the_grid():
    memory = GaussianMemory(4, 8)
    voxel_map, from_above = VoxelMap(memory), ColumnMap()
    cells = [tuple(c) for c in np.random.default_rng(4).integers(0, [30, 30, 18], (40, 3)).tolist()]
    memory.update(np.zeros(3, int), box_of(cells, opacity=1.5, seed=5), looks(SURFACE, cells), 0)
    followed(voxel_map, from_above)
    before = cells_of(from_above.grid(0, 30))
    voxel_map.occupancy_threshold = 0.65
    voxel_map.refresh()
    followed(voxel_map, from_above)
    after = cells_of(from_above.grid(0, 30))
    assert 0 < len(after) < len(before)
    assert after == expected_cells(voxel_map.occupied()[0].tolist(), [], 0, 30)


def test_a_column_is_occupied_by_any_voxel_and_free_only_without_one():
    from_above = ColumnMap()
    from_above.apply(
        block((0, 0, 0), occupied=[(1, 2, 5), (4, 4, 9)], free=[(1, 2, 4), (3, 3, 3), (4, 4, 5), (5, 5, 0)])
    )
    assert cells_of(from_above.grid(3, 6)) == {(1, 2): 100, (3, 3): 0, (4, 4): 0}
    assert cells_of(from_above.grid(9, 9)) == {(4, 4): 100}
    assert from_above.grid(3, 6).values[2, 1] == 100  # rows are y


def test_blocks_above_each_other_share_their_columns():
    from_above = ColumnMap()
    from_above.apply(block((0, -1, 0), free=[(1, 2, 15), (2, 2, 15)]))
    from_above.apply(block((0, -1, 1), occupied=[(1, 2, 0)]))
    assert cells_of(from_above.grid(15, 16)) == {(1, -14): 100, (2, -14): 0}
    from_above.apply(block((0, -1, 1)))
    assert cells_of(from_above.grid(15, 16)) == {(1, -14): 0, (2, -14): 0} and len(from_above) == 1


def test_the_extent_is_that_of_the_blocks_and_shrinks_when_they_are_gone():
    from_above = ColumnMap()
    from_above.apply(block((-1, 0, 3), free=[(0, 0, 0)]))
    from_above.apply(block((2, 1, 0), occupied=[(0, 0, 0)]))
    grid = from_above.grid(0, 15)
    assert grid.corner == (-16, 0) and grid.values.shape == (32, 64)
    assert cells_of(grid) == {(32, 16): 100}
    from_above.apply(block((-1, 0, 3)))
    grid = from_above.grid(0, 15)
    assert grid.corner == (32, 16) and grid.values.shape == (16, 16) and cells_of(grid) == {(32, 16): 100}


def test_an_empty_map_has_no_grid():
    from_above = ColumnMap()
    assert from_above.grid(0, 5) is None
    from_above.apply(block((0, 0, 0), free=[(0, 0, 0)]))
    from_above.apply(block((0, 0, 0)))
    assert from_above.grid(0, 5) is None and len(from_above) == 0


def test_a_map_too_wide_for_a_grid_is_refused_and_comes_back_when_it_is_not(monkeypatch):
    monkeypatch.setattr(columns_module, "MOST_CELLS", 1000)
    from_above = ColumnMap()
    from_above.apply(block((0, 0, 0), free=[(0, 0, 0)]))
    assert cells_of(from_above.grid(0, 5)) == {(0, 0): 0}
    from_above.apply(block((100, 0, 0), free=[(0, 0, 0)]))
    from_above.apply(block((0, 0, 0), occupied=[(0, 0, 0)]))
    with pytest.raises(DataError, match="the map is 129 m by 1 m: 25856 cells, above 1000"):
        from_above.grid(0, 5)
    from_above.apply(block((100, 0, 0)))
    assert cells_of(from_above.grid(0, 5)) == {(0, 0): 100}


def test_a_slab_holds_the_layers_whose_centres_lie_in_it():
    assert slab_layers(0.0, 0.15, 1.75) == (2, 21)  # centres 0.20 to 1.72
    assert slab_layers(0.0, 0.15, 1.8) == (2, 22)  # the centre of layer 22 is 1.80
    assert slab_layers(0.0, 0.04, 0.12) == (0, 1)
    assert slab_layers(-0.5, 0.1, 0.18) == (-5, -5)  # centre -0.36
    assert slab_layers(1.04, 0.0, 0.08) == (13, 13)


def test_the_floor_is_where_most_floor_voxels_are():
    from_above = ColumnMap()
    from_above.apply(floor_block((0, 0, -1), {9: 200}))  # voxel -7
    from_above.apply(floor_block((1, 0, 0), {3: 150}))  # a table top labelled floor
    assert from_above.floor_height() == pytest.approx(-6.5 * 0.08)


def test_a_floor_at_the_face_of_two_voxels_is_found_there():
    from_above = ColumnMap()
    from_above.apply(floor_block((0, 0, -1), {15: 100}))
    from_above.apply(floor_block((0, 0, 0), {0: 100}))
    assert from_above.floor_height() == pytest.approx(0.0, abs=1e-9)


def test_without_enough_floor_voxels_the_floor_is_at_zero():
    from_above = ColumnMap()
    assert from_above.floor_height() == 0.0
    from_above.apply(floor_block((0, 0, 2), {3: 39}))
    assert from_above.floor_height() == 0.0
    from_above.apply(floor_block((1, 0, 2), {3: 39}))
    assert from_above.floor_height() == pytest.approx(35.5 * 0.08)
    from_above.apply(floor_block((1, 0, 2), {}))
    assert from_above.floor_height() == 0.0
