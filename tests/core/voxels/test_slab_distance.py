"""Distances between cells of the grid equal a dense transform of it, after every change, with the class found there."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.classes import label_of
from sgrocc_core.voxels.columns import ColumnMap, Columns
from sgrocc_core.voxels.distances.slab import SlabDistances

CHAIR, WALL = label_of("chair"), label_of("wall")
LOW, SIZE = -32, 80


def columns_of(labels: np.ndarray, free: np.ndarray, tiles) -> Columns:
    """Columns of blocks at z = 0; labels and free are (80, 80, 16) from voxel (LOW, LOW, 0)."""
    found = Columns.empty(np.array([(x, y, 0) for x, y in tiles], np.int32), with_labels=True)
    for n, (x, y) in enumerate(tiles):
        at = slice(16 * x - LOW, 16 * x - LOW + 16), slice(16 * y - LOW, 16 * y - LOW + 16)
        found.put(np.array([n]), labels[at][None], free[at][None])
    return found


def expected_cells(labels, free, first, last, unknown_is_occupied):
    """Squared distance and label by cell, from a dense transform and a search of all obstacles."""
    edt = pytest.importorskip("edt")
    slab, seen = labels[..., first : last + 1], free[..., first : last + 1].any(2)
    occupied = (slab != 0).any(2)
    obstacle = occupied | (unknown_is_occupied & ~seen & ~occupied)
    margin = 26
    dense = np.full(np.array(obstacle.shape) + 2 * margin, not unknown_is_occupied, np.uint8)
    dense[margin:-margin, margin:-margin] = ~obstacle
    squared = np.minimum(np.rint(edt.edtsq(dense)[margin:-margin, margin:-margin]), 625).astype(int)
    return {(x + LOW, y + LOW): squared[x, y] for x, y in np.argwhere(occupied | seen).tolist()}


@pytest.mark.parametrize("unknown_is_occupied", [False, True])
def test_after_every_change_the_cells_equal_a_dense_transform(unknown_is_occupied):
    rng = np.random.default_rng(5)
    labels = np.zeros((SIZE, SIZE, 16), np.uint8)
    free = rng.random(labels.shape) < 0.4
    tiles = [(x, y) for x in range(-2, 3) for y in range(-2, 3)]
    columns, distances, revision = ColumnMap(), SlabDistances(unknown_is_occupied), 0
    for _ in range(4):
        changed = {tiles[n] for n in rng.integers(0, len(tiles), 6)} if revision else set(tiles)
        for x, y in changed:
            at = slice(16 * x - LOW, 16 * x - LOW + 16), slice(16 * y - LOW, 16 * y - LOW + 16)
            labels[at] = np.where(rng.random((16, 16, 16)) < 0.001, rng.choice([CHAIR, WALL], (16, 16, 16)), 0)
        columns.apply(columns_of(labels, free & (labels == 0), list(changed)))
        columns.update(2, 12)
        distances.update(columns, columns.changed_since(revision))
        revision = columns.revision
        cells = distances.cells()
        found = {(int(c["x"]), int(c["y"])): round((float(c["distance"]) / 0.08) ** 2) for c in cells}
        expected = expected_cells(labels, free & (labels == 0), 2, 12, unknown_is_occupied)
        assert found == expected and len(set(found.values())) > 8
        if not unknown_is_occupied:
            assert_the_class_is_of_a_nearest_obstacle(cells, labels[..., 2:13])


def assert_the_class_is_of_a_nearest_obstacle(cells, slab):
    at = np.argwhere((slab != 0).any(2))
    for cell in cells[:: len(cells) // 200]:
        apart = ((at + LOW - [cell["x"], cell["y"]]) ** 2).sum(1)
        nearest = [set(slab[x, y][slab[x, y] > 0].tolist()) for x, y in at[apart == apart.min()]]
        assert apart.min() > 625 or any(int(cell["label"]) in some for some in nearest)


def test_a_columns_class_is_the_commonest_within_the_slab():
    labels, free = np.zeros((SIZE, SIZE, 16), np.uint8), np.zeros((SIZE, SIZE, 16), np.bool_)
    labels[32, 32, 2:5], labels[32, 32, 5:7], labels[32, 32, 12:16] = WALL, CHAIR, 255
    free[33, 32, 4] = True
    columns, distances = ColumnMap(), SlabDistances(False)
    columns.apply(columns_of(labels, free, [(0, 0)]))
    for slab, expected in (((0, 9), WALL), ((4, 9), CHAIR), ((0, 15), 255)):
        columns.update(*slab)
        distances.update(columns, columns.changed_since(0))
        cells = distances.cells()
        assert [(int(c["x"]), int(c["y"]), int(c["label"])) for c in cells] == [(0, 0, expected), (1, 0, expected)]
        assert cells["distance"] == pytest.approx([0.0, 0.08])


def test_cells_that_are_gone_are_forgotten_and_those_around_measure_anew():
    labels, free = np.zeros((SIZE, SIZE, 16), np.uint8), np.zeros((SIZE, SIZE, 16), np.bool_)
    labels[32, 32, 3], free[32 - 5, 32, 3] = WALL, True
    columns, distances = ColumnMap(), SlabDistances(False)
    columns.apply(columns_of(labels, free, [(0, 0), (-1, 0)]))
    columns.update(0, 15)
    distances.update(columns, columns.changed_since(0))
    assert {(int(c["x"]), round(float(c["distance"]), 3)) for c in distances.cells()} == {(0, 0.0), (-5, 0.4)}
    revision = columns.revision
    columns.apply(Columns.empty(np.array([(0, 0, 0)]), with_labels=True))
    columns.update(0, 15)
    assert columns.changed_since(revision) == [(0, 0)]
    distances.update(columns, columns.changed_since(revision))
    assert {(int(c["x"]), float(c["distance"]), int(c["label"])) for c in distances.cells()} == {(-5, 2.0, 0)}
