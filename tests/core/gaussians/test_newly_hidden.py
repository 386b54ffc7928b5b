"""Evidence for free space decays behind new objects, and nowhere else."""

import numpy as np
import pytest

from sgrocc_core.depth.layer import DepthLayer
from sgrocc_core.gaussians.confidence import view_cells
from sgrocc_core.gaussians.evidence import observe
from sgrocc_core.gaussians.memory import BLOCK_ROWS, GaussianMemory
from sgrocc_core.gaussians.newly_hidden import FREE_DECAY, begin_anew
from tests.samples.recordings.streams import K, box_of, camera_at, sensor, wall_depth

CAMERA = camera_at(0.04, 2.44, 1.48)
WALL = 3.04
"""Distance of the wall, metres; it lies in the voxels that begin at x = 3.04 m."""


def known_room(looks=8):
    """Memory after several views of a wall."""
    memory = GaussianMemory(4, 8)
    layer = sensor(wall_depth(WALL))
    view = view_cells([layer], np.array(CAMERA), 4.8)
    for stamp in range(looks):
        memory.update(np.zeros(3, int), box_of(), view, stamp)
        memory.add_evidence(*observe([layer], CAMERA, 4.8))
    memory.evidence_changed[:] = False
    return memory


def along(memory, name="evidence"):
    """Evidence, or tag or weight of the cells, of the voxels on the optical axis at x = 0.04, 0.12 ... 3.96 m."""
    values = []
    for i in range(50):
        voxel = np.array([i, 30, 18])
        slot = memory.slots((voxel // 16)[None])[0]
        a, b, c = voxel % 16
        if name == "evidence":
            values.append(memory.evidence[slot, a, b, c])
        else:
            values.append(getattr(memory.fields, name)[slot * BLOCK_ROWS + ((a // 2) * 8 + b // 2) * 8 + c // 2])
    return np.array(values)


def board(distance, columns=slice(40, 120)):
    """Depth of the wall with a board in front of it."""
    depth = wall_depth(WALL)
    depth[:, columns] = distance
    return depth


def test_evidence_of_freedom_fades_behind_a_board_and_nowhere_else():
    memory = known_room()
    before = along(memory)
    assert before[8:37] == pytest.approx(-2.0) and before[38] > 0
    assert begin_anew(memory, [sensor(board(2.04))], CAMERA, 4.8) > 1000
    after = along(memory)
    changed = np.flatnonzero(after != before)
    assert (changed.min(), changed.max()) == (
        26,
        37,
    )  # from the board to the voxel before the wall, which is in voxel 38
    np.testing.assert_allclose(after[26:38], FREE_DECAY * before[26:38])
    np.testing.assert_array_equal(after[38:], before[38:])
    assert memory.evidence_changed.any()


def test_empty_cells_behind_the_board_begin_anew_and_others_keep_their_weight():
    memory = known_room()
    weight = along(memory, "weight")
    begin_anew(memory, [sensor(board(2.04))], CAMERA, 4.8)
    assert (along(memory, "tag")[26:36] == 0).all() and (along(memory, "weight")[26:36] == 0).all()
    np.testing.assert_array_equal(along(memory, "weight")[:24], weight[:24])
    assert (along(memory, "tag")[8:24] == 1).all()


def test_an_occupied_cell_behind_the_board_is_kept():
    memory = known_room()
    a, b, c = 14 % 8, 15 % 8, 9 % 8  # the cell of x = 2.24 to 2.40 m
    row = memory.slots(np.array([[1, 1, 1]]))[0] * BLOCK_ROWS + (a * 8 + b) * 8 + c
    memory.fields.opacities[row] = 3.0
    begin_anew(memory, [sensor(board(2.04))], CAMERA, 4.8)
    assert memory.fields.tag[row] == 1 and memory.fields.weight[row] > 0


def test_a_metre_behind_the_board_nothing_changes():
    memory = known_room()
    before = along(memory)
    begin_anew(memory, [sensor(board(1.0))], CAMERA, 4.8)
    after = along(memory)
    assert (after[14:24] > before[14:24]).all()
    np.testing.assert_array_equal(after[27:], before[27:])


def test_the_same_view_again_changes_nothing():
    memory = known_room()
    assert begin_anew(memory, [sensor(wall_depth(WALL))], CAMERA, 4.8) == 0
    assert not memory.evidence_changed.any()


@pytest.mark.parametrize("noise", [1.2, 2.0])
def test_single_pixels_in_free_space_are_noise(noise):
    memory = known_room()
    depth = wall_depth(WALL)
    depth[10::7, 10::7] = noise
    assert begin_anew(memory, [sensor(depth)], CAMERA, 4.8) == 0


def test_what_a_learned_depth_sees_new_fades_nothing():
    memory = known_room()
    layer = DepthLayer.learned(board(2.04), np.full((120, 160), 0.05, np.float32), K)
    assert begin_anew(memory, [layer], CAMERA, 4.8) == 0


def test_an_empty_memory_and_an_empty_depth_are_no_error():
    assert begin_anew(GaussianMemory(4, 8), [sensor(wall_depth(WALL))], CAMERA, 4.8) == 0
    assert begin_anew(known_room(1), [sensor(wall_depth(0.0))], CAMERA, 4.8) == 0


def test_what_the_network_says_behind_the_board_is_taken_at_once_and_is_seen_free_again_when_the_board_has_gone():
    memory = known_room()
    layer = sensor(board(2.04))
    begin_anew(memory, [layer], CAMERA, 4.8)
    cell = (14, 15, 9)
    memory.update(np.zeros(3, int), box_of([cell], opacity=3.0), view_cells([layer], np.array(CAMERA), 4.8), 100)
    row = memory.slots(np.array([[1, 1, 1]]))[0] * BLOCK_ROWS + (6 * 8 + 7) * 8 + 1
    assert memory.fields.opacities[row] == pytest.approx(3.0)
    memory.add_evidence(*observe([layer], CAMERA, 4.8))
    gone = sensor(wall_depth(WALL))
    for _ in range(5):
        memory.add_evidence(*observe([gone], CAMERA, 4.8))
    assert along(memory)[28] < -1.5
