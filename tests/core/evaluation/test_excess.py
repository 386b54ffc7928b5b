"""Excess of a map: voxels counted by hand in a small room with a wall, a floor and nothing known behind them."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.classes import label_of
from sgrocc_core.evaluation.excess import ExcessCounts

WALL, FLOOR, CHAIR = label_of("wall"), label_of("floor"), label_of("chair")
MARGIN = (6, 6, 6)


def room() -> np.ndarray:
    """Free for x < 10, a wall of one voxel at x = 10, unknown behind it up to x = 14."""
    truth = np.zeros((15, 20, 12), np.uint8)
    truth[10] = WALL
    truth[11:] = 255
    return truth


def empty_map() -> np.ndarray:
    return np.zeros((15 + 12, 20 + 12, 12 + 12), np.uint8)


def counted(published: np.ndarray, truth: np.ndarray | None = None) -> dict[str, float]:
    counts = ExcessCounts()
    counts.add(published, MARGIN, room() if truth is None else truth)
    return counts.figures()


def test_a_wall_of_two_voxels_has_no_structure_too_far_behind_the_surface():
    published = empty_map()
    published[6 + 10 : 6 + 12, 6:26, 6:18] = WALL
    figures = counted(published)
    assert figures["voxels"] == 2 * 20 * 12 and figures["structural"] == 0
    assert figures["outside"] == 0.5  # the second layer is where nothing is known


def test_every_layer_after_the_second_is_excess():
    published = empty_map()
    published[6 + 10 : 6 + 15, 6:26, 6:18] = WALL
    figures = counted(published)
    assert figures["structural"] == pytest.approx(3 / 5) and figures["outside"] == pytest.approx(4 / 5)
    assert figures["either"] == pytest.approx(4 / 5) and figures["true"] == 0
    assert figures["invented"] == figures["structural"]


def test_structure_before_the_surface_is_no_excess():
    published = empty_map()
    published[6 + 3, 6:26, 6:18] = WALL
    assert counted(published)["either"] == 0


def test_objects_count_only_outside_the_shell():
    published = empty_map()
    published[6 + 13, 10, 10] = CHAIR  # 4 voxels behind the surface, and outside
    published[6 + 2, 10, 10] = CHAIR
    figures = counted(published)
    assert (figures["structural"], figures["outside"], figures["either"]) == (0, 0.5, 0.5)


def test_what_lies_outside_the_grid_of_the_truth_counts():
    published = empty_map()
    published[0, 0, 0] = FLOOR
    published[8, 8, 8] = FLOOR
    figures = counted(published)
    assert (figures["structural"], figures["outside"]) == (0.5, 0.5)


def test_the_middle_of_a_thick_wall_is_excess_that_the_truth_has_too():
    truth = np.zeros((15, 20, 12), np.uint8)
    truth[5:10] = WALL
    published = np.pad(truth, 6)
    figures = counted(published, truth)  # layers 5, 6, 8 and 9 are within two voxels of free space, layer 7 is not
    assert figures["structural"] == figures["true"] == pytest.approx(1 / 5) and figures["outside"] == 0
    assert figures["invented"] == 0


def test_two_maps_are_pooled_and_an_empty_one_has_no_shares():
    counts = ExcessCounts()
    assert counts.figures()["structural"] is None
    for layers in (1, 3):
        published = empty_map()
        published[6 + 10 : 6 + 10 + layers, 6:26, 6:18] = WALL
        counts.add(published, MARGIN, room())
    assert counts.figures()["structural"] == pytest.approx(1 / 4) and counts.figures()["voxels"] == 4 * 20 * 12
