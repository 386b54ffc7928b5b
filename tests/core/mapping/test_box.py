"""The local box: at a fixed height below the camera, and shifted to where the most is seen."""

import numpy as np
import pytest

from sgrocc_core.geometry.lattice import BOX_CELLS, CELL_SIZE, box_corner
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.mapping.box import place_box
from sgrocc_core.mapping.types import MapperConfig

K = np.array([[160.0, 0, 159.5], [0, 160.0, 119.5], [0, 0, 1]])
LEVEL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
ROWS = (np.arange(240) - 119.5) / 160


def looking(height: float, pitch: float = 0.0) -> np.ndarray:
    """A camera so many metres above the floor, which is z = 0, that looks up by so many radians."""
    c, s = np.cos(pitch), np.sin(pitch)
    up = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    return make_pose(up @ LEVEL, np.array([0.03, 0.04, height]))


def room(T_wc: np.ndarray, ceiling: float, wall: float = 3.0) -> np.ndarray:
    """Depth (240, 320) of a floor, a ceiling and a wall ahead."""
    rays = np.stack([np.zeros(240), ROWS, np.ones(240)], 1) @ T_wc[:3, :3].T
    ends = [(0.0 - T_wc[2, 3]) / rays[:, 2], (ceiling - T_wc[2, 3]) / rays[:, 2], (wall - T_wc[0, 3]) / rays[:, 0]]
    column = np.min([np.where(end > 0, end, np.inf) for end in ends], 0)
    return np.repeat(column[:, None], 320, 1).astype(np.float32)


def shift(T_wc: np.ndarray, depth: np.ndarray, **options: float) -> int:
    """Cells by which the box lies above the one that is not shifted."""
    found, fixed = place_box(depth, K, T_wc, 1.8, **options), box_corner(T_wc)
    assert found.dtype == np.int32 and (found[:2] == fixed[:2]).all()
    return int(found[2] - fixed[2])


def test_a_box_that_holds_all_that_is_seen_stays() -> None:
    T_wc = looking(1.6)
    assert shift(T_wc, room(T_wc, 2.5)) == 0


def test_of_a_low_camera_the_box_rises_to_what_is_seen_but_no_farther() -> None:
    T_wc = looking(0.3)  # a box that begins 1.8 m below ends at 1.38 m; the wall is seen up to 2.5 m
    assert shift(T_wc, room(T_wc, 2.5)) == 3
    assert shift(T_wc, room(T_wc, 2.5), max_shift=2 * CELL_SIZE) == 2
    assert shift(T_wc, room(T_wc, 1.6)) == 2  # the lowest box that holds the ceiling


def test_looking_up_the_box_rises_to_a_high_ceiling() -> None:
    T_wc = looking(1.6, 0.6)
    corner = place_box(room(T_wc, 3.0), K, T_wc, 1.8)
    assert corner[2] * CELL_SIZE < 3.0 < (corner[2] + BOX_CELLS[2]) * CELL_SIZE
    assert (box_corner(T_wc)[2] + BOX_CELLS[2]) * CELL_SIZE < 3.0


def test_of_a_high_camera_the_box_sinks_to_the_floor() -> None:
    T_wc = looking(2.1, -0.6)
    assert shift(T_wc, room(T_wc, 5.0)) < 0


@pytest.mark.parametrize("depth", [np.zeros((240, 320), np.float32), np.full((240, 320), 9.0, np.float32)])
def test_where_nothing_is_seen_within_reach_the_box_stays(depth: np.ndarray) -> None:
    assert shift(looking(0.3), depth) == 0


def test_few_points_do_not_move_the_box() -> None:
    T_wc = looking(1.6)
    depth = room(T_wc, 2.5)
    depth[4, 4::40] = 3.5  # a few readings above the ceiling
    assert shift(T_wc, depth) == 0


def test_a_fixed_box_stays_wherever_the_points_are() -> None:
    T_wc = looking(0.3)
    assert shift(T_wc, room(T_wc, 2.5), max_shift=MapperConfig(box_shift=0).box_shift) == 0
