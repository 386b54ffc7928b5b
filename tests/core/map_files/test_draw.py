"""The picture of a map: no ceiling, near walls cut, and the classes in their colours."""

import cv2
import numpy as np
import pytest

from sgrocc_core.classes import COLORS, label_of
from sgrocc_core.drawing.picture import PAGE, draw_map, render_map
from sgrocc_core.drawing.plan import draw_plan
from sgrocc_core.drawing.room import cut_near_walls, draw_room, fit_view, floor_level, open_ceiling
from sgrocc_core.drawing.surface import CORNERS, NORMALS, VoxelBox, coarsened, exposed_faces, faces_of

WALL, FLOOR, CEILING, SOFA = (label_of(name) for name in ("wall", "floor", "ceiling", "sofa"))


def room() -> tuple[np.ndarray, np.ndarray]:
    """A room of 50 x 40 x 32 voxels with a sofa; its lowest corner is far from the origin."""
    grid = np.zeros((50, 40, 32), np.uint8)
    grid[:, :, 0], grid[:, :, 31] = FLOOR, CEILING
    grid[0, :, 1:31] = grid[-1, :, 1:31] = grid[:, 0, 1:31] = grid[:, -1, 1:31] = WALL
    grid[20:30, 15:22, 1:9] = SOFA
    voxels = np.argwhere(grid).astype(np.int32)
    return voxels + [100, -300, 7], grid[tuple(voxels.T)]


def test_the_faces_of_a_block_are_its_surface():
    block = VoxelBox.of(np.argwhere(np.ones((2, 3, 4))), np.ones(24, np.uint8))
    _, sides = exposed_faces(block)
    assert np.bincount(sides).tolist() == [12, 12, 8, 8, 6, 6]


def test_the_corners_of_a_face_turn_counter_clockwise_about_its_normal():
    for side, corners in enumerate(CORNERS):
        np.testing.assert_array_equal(np.cross(corners[1] - corners[0], corners[2] - corners[1]), NORMALS[side])


def test_the_floor_is_found_and_the_ceiling_comes_off():
    grid = VoxelBox.of(*room())
    assert floor_level(grid) == 2  # margin, floor, then this
    opened = open_ceiling(grid, 20)
    assert not (opened.labels == CEILING).any() and not opened.labels[:, :, 22:].any()
    assert (opened.labels == SOFA).sum() == (grid.labels == SOFA).sum()


@pytest.mark.parametrize("side", range(4))
def test_the_wall_towards_the_viewer_is_cut_and_the_one_behind_stays(side):
    grid = open_ceiling(VoxelBox.of(*room()), 30)
    cut = cut_near_walls(grid, side * np.pi / 2).labels[:, :, 15] == WALL
    walls = {0: cut[-2, 5:-5], 1: cut[5:-5, -2], 2: cut[1, 5:-5], 3: cut[5:-5, 1]}
    assert not walls[side].any() and walls[(side + 2) % 4].all()


def test_every_voxel_lies_inside_the_picture():
    grid = open_ceiling(VoxelBox.of(*room()), 30)
    points = fit_view(grid, 0.7, (600, 400)).project(np.argwhere(grid.labels > 0) + 0.5)
    assert (points > 0).all() and (points < (600, 400)).all()


def test_the_sofa_is_seen_in_its_color():
    picture = draw_room(VoxelBox.of(*room()), (480, 360))
    hue = cv2.cvtColor(np.rint(picture).astype(np.uint8), cv2.COLOR_RGB2HSV)
    wanted = cv2.cvtColor(COLORS[SOFA].reshape(1, 1, 3), cv2.COLOR_RGB2HSV)[0, 0]
    red = (np.abs(hue[:, :, 0].astype(int) - wanted[0]) <= 3) & (hue[:, :, 1] > 120)
    assert 0.01 < red.mean() < 0.3


def test_the_plan_has_the_right_scale_and_the_long_side_upright():
    plan, pixels = draw_plan(VoxelBox.of(*room()), None, (400, 600))
    assert pixels == pytest.approx(min(400 / 40, 600 / 50))
    red = (plan[:, :, 0] > 120) & (plan[:, :, 1] < 90) & (plan[:, :, 2] < 90)
    rows, columns = np.nonzero(red)
    assert np.ptp(rows) == pytest.approx(10 * pixels, abs=8) and np.ptp(columns) == pytest.approx(7 * pixels, abs=8)


def test_space_seen_as_free_is_shown_in_the_plan():
    voxels, labels = room()
    keep = labels != FLOOR
    plan, _ = draw_plan(VoxelBox.of(voxels[keep], labels[keep]), voxels[~keep], (400, 600))
    blank, _ = draw_plan(VoxelBox.of(voxels[keep], labels[keep]), None, (400, 600))
    assert np.abs(plan - blank).max(2).astype(bool).mean() > 0.3


def test_the_same_map_gives_the_same_picture_and_the_file_holds_it(tmp_path):
    voxels, labels = room()
    page = render_map(voxels, labels, 0.08)
    assert page.shape == (PAGE[1], PAGE[0], 3) and page.dtype == np.uint8
    draw_map(tmp_path / "map.png", voxels, labels, 0.08)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "map.png"))[:, :, ::-1], page)


def test_an_empty_map_and_a_single_voxel_are_drawn():
    empty = render_map(np.zeros((0, 3), np.int32), np.zeros(0, np.uint8), 0.08)
    one = render_map(np.array([[5, 5, 5]], np.int32), np.array([SOFA], np.uint8), 0.08)
    assert empty.std() > 0 and one.std() > empty.std()


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path):
    with pytest.raises(OSError, match="cannot write"):
        draw_map(tmp_path / "nowhere/map.png", *room(), 0.08)


def test_the_faces_among_voxels_are_those_of_their_box():
    voxels, labels = room()
    box = VoxelBox.of(voxels, labels)
    cells, sides = exposed_faces(box)
    rows, of = faces_of(voxels)
    expected = {(*(cell + box.origin).tolist(), side) for cell, side in zip(cells, sides.tolist())}
    assert {(*voxels[row].tolist(), side) for row, side in zip(rows, of.tolist())} == expected and len(rows) == len(
        cells
    )


def test_a_map_of_great_extent_is_drawn_in_coarser_cells_of_the_commonest_label():
    voxels = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1000, 0, 0]], np.int32)
    cells, labels, factor = coarsened(voxels, np.array([WALL, SOFA, SOFA, FLOOR], np.uint8), 20_000)
    assert (cells.tolist(), labels.tolist(), factor) == ([[0, 0, 0], [500, 0, 0]], [SOFA, FLOOR], 2)
    assert coarsened(voxels, labels, 10**6)[2] == 1
