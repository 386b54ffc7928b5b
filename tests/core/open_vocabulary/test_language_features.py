"""Language features of a memory's Gaussians: blended at the rate of the classes, kept with their blocks, counted."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.errors import DataError
from sgrocc_core.gaussians.confidence import FREE, HIDDEN, SURFACE
from sgrocc_core.gaussians.memory import BLOCK_ROWS, GaussianMemory
from sgrocc_core.geometry.lattice import CELL_SIZE, VOXEL_SIZE
from sgrocc_core.open_vocabulary.features import MapFeatures, blend, rates, sampled
from sgrocc_core.open_vocabulary.ranking import similarity
from tests.samples.recordings.streams import anchor, box_of, looks

CORNER = np.array([-13, 5, -9])
CELL = [(15, 15, 9)]
D = 8
K, SIZE = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]]), (64, 48)


def pose_at(cell: tuple[int, int, int]) -> np.ndarray:
    """A camera a metre before the middle of a cell of the box, that looks at it along x."""
    pose = np.eye(4)
    pose[:3, :3] = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
    pose[:3, 3] = (CORNER + np.array(cell) + 0.5) * CELL_SIZE - np.array([1.0, 0, 0])
    return pose


def see(memory: GaussianMemory, vector: np.ndarray, gaussians: object, look: object, stamp: int) -> None:
    """Update by a view that shows one feature everywhere."""
    rate = rates(memory, CORNER, look, stamp)  # type: ignore[arg-type]
    memory.update(CORNER, gaussians, look, stamp)  # type: ignore[arg-type]
    seen = np.broadcast_to(vector.astype(np.float32), (4, 4, D))
    blend(memory, CORNER, look, rate, seen, K, SIZE, pose_at(CELL[0]))  # type: ignore[arg-type]


def of_cell(memory: GaussianMemory) -> np.ndarray:
    assert memory.language is not None
    return memory.language[memory.box(CORNER)[anchor(*CELL[0])]].astype(np.float32)


def test_a_first_view_sets_the_feature_and_a_second_one_blends_it_at_the_rate_of_the_classes():
    memory = GaussianMemory(4, 8, language=D)
    row = None
    first, second = box_of(CELL, seed=1), box_of(CELL, seed=2)
    one, two = np.eye(D)[0], np.eye(D)[3]
    see(memory, one, first, looks(SURFACE, CELL, weight=0.6), 0)
    np.testing.assert_allclose(of_cell(memory), np.broadcast_to(one, (4, D)), atol=1e-3)
    row = memory.box(CORNER)[anchor(*CELL[0])]
    before = memory.fields.logits[row].copy()
    see(memory, two, second, looks(SURFACE, CELL, weight=0.2), 1)
    new = second.logits[anchor(*CELL[0])]
    moved = np.abs(new - before) > 0.1
    rate = ((memory.fields.logits[row] - before)[moved] / (new - before)[moved]).mean()
    assert 0.05 < rate < 0.95
    np.testing.assert_allclose(of_cell(memory), np.broadcast_to(one * (1 - rate) + two * rate, (4, D)), atol=2e-3)


@pytest.mark.parametrize("state", [HIDDEN, FREE])
def test_what_stands_before_a_cell_tells_nothing_about_it(state):
    memory = GaussianMemory(4, 8, language=D)
    see(memory, np.eye(D)[0], box_of(CELL), looks(state, CELL), 0)
    assert not of_cell(memory).any()


def test_a_cell_behind_the_camera_is_not_seen():
    memory, look = GaussianMemory(4, 8, language=D), looks(SURFACE, CELL)
    memory.update(CORNER, box_of(CELL), look, 0)
    away = pose_at(CELL[0])
    away[:3, 3] += [2.0, 0, 0]
    blend(memory, CORNER, look, np.ones(len(look.state), np.float32), np.ones((4, 4, D), np.float32), K, SIZE, away)
    assert not of_cell(memory).any()


def test_samples_are_bilinear_and_end_at_the_border():
    maps = np.arange(6, dtype=np.float32).reshape(2, 3, 1)  # centres at 1/6, 3/6, 5/6 and 1/4, 3/4
    x, y = np.array([1 / 6, 3 / 6, 2 / 6, 0.0, 5 / 6]), np.array([1 / 4, 3 / 4, 1 / 4, 0.0, 1 / 2])
    np.testing.assert_allclose(sampled(maps, x, y)[:, 0], [0, 4, 0.5, 0, 3.5], atol=1e-6)


def test_features_stay_with_their_blocks_and_are_counted_and_saved():
    plain, memory = GaussianMemory(4, 8), GaussianMemory(4, 8, language=D)
    cells = [(3, 4, 5), (15, 15, 9), (29, 0, 17)]
    for m in (plain, memory):
        m.update(CORNER, box_of(cells), looks(SURFACE, cells), 0)
    assert memory.nbytes - plain.nbytes == len(memory) * BLOCK_ROWS * 4 * D * 2
    assert plain.language is None and "language" not in plain.arrays()
    assert memory.language is not None
    rows = memory.box(CORNER)[[anchor(*cell) for cell in cells]]
    memory.language[rows] = np.arange(1, 4)[:, None, None]
    copy = GaussianMemory(4, 8, language=D)
    copy.restore(memory.arrays())
    for m in (memory, copy):
        m.remove(m.slots(np.array([(CORNER + np.array(cells[0])) // 8])))
        left = m.box(CORNER)[[anchor(*cell) for cell in cells]]
        assert left[0] < 0 and m.language is not None
        np.testing.assert_array_equal(m.language[left[1:], 0, 0], [2, 3])
        m.forget_cells(left[1:2])
        np.testing.assert_array_equal(m.language[left[1:], 0, 0], [0, 3])


def test_a_memory_without_features_takes_a_map_with_them_and_the_other_way_round():
    plain, memory = GaussianMemory(4, 8), GaussianMemory(4, 8, language=D)
    see(memory, np.eye(D)[0], box_of(CELL), looks(SURFACE, CELL), 0)
    plain.restore(memory.arrays())
    assert "language" not in plain.arrays()
    memory.restore(plain.arrays())
    assert not of_cell(memory).any()
    other = GaussianMemory(4, 8, language=D).arrays() | {"language": np.zeros((0, BLOCK_ROWS, 4, D + 1), np.float16)}
    with pytest.raises(DataError, match="'language' is"):
        memory.restore(other)


def test_the_feature_of_a_voxel_is_that_of_its_opaque_gaussians():
    language, opacities = np.zeros((1, BLOCK_ROWS, 2, D), np.float16), np.full((1, BLOCK_ROWS, 2), -20.0, np.float32)
    cell = (1 * 8 + 2) * 8 + 3
    language[0, cell, 0], language[0, cell, 1] = np.eye(D)[1], np.eye(D)[2]
    opacities[0, cell, 1] = 0.0
    features = MapFeatures(np.array([[-1, 0, 2]], np.int32), language, opacities)
    ratio = round(CELL_SIZE / VOXEL_SIZE)
    voxel = (np.array([-1, 0, 2]) * 8 + np.array([1, 2, 3])) * ratio + 1
    found = features.of_voxels(np.array([voxel, voxel + 2 * ratio, [500, 0, 0]]))
    np.testing.assert_allclose(found[0], 0.5 * np.eye(D)[2], atol=1e-4)
    assert not found[1:].any()
    assert similarity(found, np.eye(D)[2]) == pytest.approx(1.0)
    assert similarity(found, -np.eye(D)[2]) == pytest.approx(-1.0)
    assert similarity(found[1:], np.eye(D)[2]) is None
