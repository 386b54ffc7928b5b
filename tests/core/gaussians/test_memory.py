"""The Gaussian memory: slicing, update by one view, removal of cells observed free, saving."""

import resource
from pathlib import Path

import numpy as np
import pytest

from sgrocc_core.errors import DataError
from sgrocc_core.gaussians import address_space
from sgrocc_core.gaussians import memory as memory_module
from sgrocc_core.gaussians.confidence import FREE, HIDDEN, SURFACE
from sgrocc_core.gaussians.gaussians import sigmoid
from sgrocc_core.gaussians.memory import NEIGHBOURS, GaussianMemory, blocks_to_forget
from sgrocc_core.report import memory_mb
from tests.samples.recordings.streams import anchor, box_of, looks

CORNER = np.array([-13, 5, -9])
CELLS = [(3, 4, 5), (15, 15, 9), (29, 0, 17)]


def new_memory():
    return GaussianMemory(4, 8)


def row(memory, cell, corner=CORNER):
    return memory.box(corner)[anchor(*cell)]


def test_what_is_written_first_is_read_back():
    memory, box = new_memory(), box_of(CELLS, seed=1)
    memory.update(CORNER, box, looks(SURFACE, CELLS), 7)
    back = memory.read(CORNER)
    for cell in CELLS:
        a, n = anchor(*cell), row(memory, cell)
        for name in ("means", "scales", "opacities", "logits", "features"):
            np.testing.assert_allclose(getattr(back, name)[a], getattr(box, name)[a], atol=1e-5)
        assert np.abs((back.rotations[a] * box.rotations[a]).sum(-1)) == pytest.approx(1, abs=1e-6)
        assert (memory.fields.tag[n], memory.fields.stamp[n], memory.fields.weight[n]) == (1, 7, 1)
        assert memory.fields.label[n] == 3


def test_the_box_is_an_integer_slice_wherever_it_lies():
    memory, box = new_memory(), box_of(CELLS, seed=1)
    memory.update(CORNER, box, looks(SURFACE, CELLS), 0)
    moved = memory.read(CORNER + [2, -3, 1])
    np.testing.assert_array_equal(moved.opacities[anchor(13, 18, 8)], memory.read(CORNER).opacities[anchor(15, 15, 9)])
    np.testing.assert_allclose(
        moved.means[anchor(13, 18, 8)], box.means[anchor(15, 15, 9)] - np.array([0.32, -0.48, 0.16]), atol=1e-5
    )


def test_cells_out_of_view_are_neither_written_nor_given_room():
    memory = new_memory()
    memory.update(CORNER, box_of(CELLS), looks(SURFACE, CELLS[:1]), 0)
    assert memory.keys.tolist() == [[-2, 1, -1]]  # cell (-10, 9, -4) lies in block (-2, 1, -1)
    assert row(memory, CELLS[1]) == -1
    assert (sigmoid(memory.read(CORNER).opacities)[[anchor(*c) for c in CELLS[1:]]] < 1e-8).all()
    assert memory.fields.tag.sum() == 1


def test_a_verified_cell_averages():
    """At a surface with z = D, C_geo = 1; with a certain class, C_sem = 1; so lambda = 1 - W / (W + w)."""
    memory = new_memory()
    cell = [CELLS[1]]
    first, second = box_of(cell, opacity=2.0), box_of(cell, opacity=5.0)
    memory.update(CORNER, first, looks(SURFACE, cell, weight=0.6), 0)
    memory.update(CORNER, second, looks(SURFACE, cell, weight=0.2), 1)
    n = row(memory, cell[0])
    kept = 1.0  # the class is certain to 1e-6
    assert memory.fields.opacities[n] == pytest.approx(2.0 + (1 - kept * 0.6 / 0.8) * 3.0, abs=1e-4)
    assert memory.fields.weight[n] == pytest.approx(0.8)


def test_a_conflicting_cell_is_overwritten():
    """An empty cell at a surface with z = D has C_geo = 1 - g = 0."""
    memory = new_memory()
    cell = [CELLS[1]]
    memory.update(CORNER, box_of(), looks(SURFACE, cell), 0)
    memory.update(CORNER, box_of(cell, opacity=2.5), looks(SURFACE, cell, weight=0.3), 1)
    n = row(memory, cell[0])
    assert memory.fields.opacities[n] == pytest.approx(2.5, abs=1e-5) and memory.fields.weight[n] == pytest.approx(0.3)


def test_the_confidence_of_one_sigma_scales_the_history():
    memory = new_memory()
    cell = [CELLS[1]]
    memory.update(CORNER, box_of(cell, opacity=2.0), looks(SURFACE, cell), 0)
    memory.update(CORNER, box_of(cell, opacity=3.0), looks(SURFACE, cell, residual=0.05, sigma=0.05), 1)
    confidence = np.exp(-0.5)
    n = row(memory, cell[0])
    assert memory.fields.opacities[n] == pytest.approx(2.0 + 1 - confidence * 1 / (1 + 1), abs=1e-4)
    assert memory.fields.weight[n] == pytest.approx(confidence + 1, abs=1e-4)


def test_weights_do_not_grow_for_ever():
    memory, cell = new_memory(), [CELLS[1]]
    for stamp in range(20):
        memory.update(CORNER, box_of(cell), looks(HIDDEN, cell), stamp)
    assert memory.fields.weight[row(memory, cell[0])] == 8.0


def test_a_mean_stays_within_a_voxel_of_its_cell():
    memory, box = new_memory(), box_of(CELLS)
    box.means[anchor(15, 15, 9), 0] += [0.5, -0.5, 0.1]
    memory.update(CORNER, box, looks(SURFACE, CELLS), 0)
    np.testing.assert_allclose(memory.fields.means[row(memory, CELLS[1]), 0], [0.16, -0.16, 0.1], atol=1e-6)


def test_a_quaternion_and_its_negative_are_the_same_rotation():
    memory, cell = new_memory(), [CELLS[1]]
    first, second = box_of(cell, seed=2), box_of(cell, seed=2)
    second.rotations[:] *= -1
    memory.update(CORNER, first, looks(HIDDEN, cell), 0)
    memory.update(CORNER, second, looks(HIDDEN, cell), 1)
    stored = memory.fields.rotations[row(memory, cell[0])]
    assert np.abs((stored * first.rotations[anchor(*cell[0])]).sum(-1)) == pytest.approx(1, abs=1e-5)
    third = box_of(cell, seed=3)
    memory.update(CORNER, third, looks(HIDDEN, cell), 2)
    assert np.linalg.norm(memory.fields.rotations[row(memory, cell[0])], axis=-1) == pytest.approx(1, abs=1e-5)


def test_what_was_seen_through_three_times_is_removed():
    """The network predicts the cell as occupied in every frame, but depth observes it free."""
    memory, cell, box = new_memory(), [CELLS[1]], box_of([CELLS[1]])
    memory.update(CORNER, box, looks(SURFACE, cell), 0)
    occupied = []
    for stamp in range(1, 7):
        memory.update(CORNER, box, looks(FREE, cell), stamp)
        occupied.append(bool(memory.fields.opacities[row(memory, cell[0])].max() > 0))
    assert occupied == [True, True, False, False, False, False]
    memory.update(CORNER, box, looks(SURFACE, cell), 8)  # occupied again, at a surface
    assert memory.fields.opacities[row(memory, cell[0])].max() > 0


def test_a_surface_starts_the_count_of_looks_through_anew():
    memory, cell, box = new_memory(), [CELLS[1]], box_of([CELLS[1]])
    for stamp, state in enumerate([SURFACE, FREE, FREE, SURFACE, FREE, FREE]):
        memory.update(CORNER, box, looks(state, cell), stamp)
    assert memory.fields.opacities[row(memory, cell[0])].max() > 0


def test_hidden_cells_are_not_seen_through():
    memory, cell, box = new_memory(), [CELLS[1]], box_of([CELLS[1]])
    for stamp in range(9):
        memory.update(CORNER, box, looks(HIDDEN, cell), stamp)
    assert memory.fields.opacities[row(memory, cell[0])].max() > 0


def test_blocks_know_their_neighbours():
    memory = new_memory()
    keys = np.argwhere(np.random.default_rng(0).random((4, 4, 4)) < 0.5) - 2
    memory.allocate(keys[:10])
    memory.allocate(keys)
    known = {tuple(k): n for n, k in enumerate(memory.keys.tolist())}
    expected = [
        [known.get(tuple(np.add(key, offset).tolist()), -1) for offset in NEIGHBOURS] for key in memory.keys.tolist()
    ]
    assert memory.neighbours[: len(memory)].tolist() == expected


def test_a_changed_cell_marks_the_blocks_its_gaussians_may_reach():
    memory = new_memory()
    keys = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(-1, 3)
    memory.allocate(keys)
    memory.gaussians_changed[:] = False
    memory.update(np.zeros(3, int), box_of([(4, 4, 1)]), looks(SURFACE, [(4, 4, 1)]), 0)
    assert {tuple(k) for k in memory.keys[memory.gaussians_changed[:27]].tolist()} == {(0, 0, 0), (0, 0, -1)}


def test_silent_cells_that_stay_silent_change_nothing():
    memory = new_memory()
    memory.update(CORNER, box_of(), looks(FREE, CELLS), 0)
    memory.gaussians_changed[:] = memory.evidence_changed[:] = False
    memory.update(CORNER, box_of(), looks(FREE, CELLS), 1)
    assert not memory.gaussians_changed.any() and not memory.evidence_changed.any()


def test_a_memory_that_outgrows_its_room_keeps_what_it_holds(monkeypatch):
    monkeypatch.setattr(memory_module, "reserved_blocks", lambda bytes_each: 1)
    small = new_memory()
    monkeypatch.undo()
    large = new_memory()
    for n in range(6):
        corner = CORNER + [40 * n, 0, 0]
        for memory in (small, large):
            memory.update(corner, box_of(CELLS, seed=n), looks(SURFACE, CELLS), n)
            memory.add_evidence(memory.keys[-1:].copy(), np.full((1, 16, 16, 16), 0.1, np.float32))
    assert len(small) == len(large) > 10 and len(small.evidence) < len(large.evidence)
    for name, array in large.arrays().items():
        np.testing.assert_array_equal(small.arrays()[name], array)


def test_a_memory_grows_without_being_copied_and_takes_what_its_blocks_take():
    memory = new_memory()
    before = [*memory.fields, memory.evidence, memory.neighbours]
    start = memory_mb()
    memory.allocate(np.stack(np.unravel_index(np.arange(1200), (12, 10, 10)), 1))
    assert all(a is b for a, b in zip([*memory.fields, memory.evidence, memory.neighbours], before))
    assert memory_mb() - start < memory.nbytes / 1e6 + 20


def test_address_space_is_taken_for_all_of_the_machines_memory(monkeypatch):
    monkeypatch.setattr(address_space, "_is_scarce", lambda: False)
    kib = int(
        next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal")).split()[1]
    )
    assert address_space.reserved_blocks(2**16) == pytest.approx(kib / 64, rel=0.01)


def test_where_address_space_is_limited_little_is_taken(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (2**34, 2**34))
    assert address_space.reserved_blocks(2**16) == 1024


def test_a_saved_memory_goes_on_where_it_was():
    memory, other = new_memory(), new_memory()
    memory.update(CORNER, box_of(CELLS, seed=1), looks(SURFACE, CELLS), 5)
    memory.add_evidence(np.array([[0, 1, 2]]), np.full((1, 16, 16, 16), 0.5, np.float32))
    other.update(CORNER + 50, box_of(CELLS), looks(SURFACE, CELLS), 1)
    other.restore(memory.arrays())
    for m in (memory, other):
        m.update(CORNER, box_of(CELLS, seed=4), looks(SURFACE, CELLS, residual=0.02), 6)
    for name, array in memory.arrays().items():
        np.testing.assert_array_equal(other.arrays()[name], array)


def test_a_saved_memory_that_does_not_fit_is_refused_and_nothing_is_lost():
    memory = new_memory()
    memory.update(CORNER, box_of(CELLS), looks(SURFACE, CELLS), 5)
    saved = memory.arrays()
    missing = {k: v for k, v in saved.items() if k != "logits"}
    other_model = GaussianMemory(4, 16).arrays()
    twice = {k: np.concatenate([v, v]) for k, v in saved.items()}
    for bad, words in (
        (missing, "logits"),
        (saved | {"features": other_model["features"]}, "features"),
        (twice, "twice"),
        ({}, "blocks"),
    ):
        with pytest.raises(DataError, match=words):
            memory.restore(bad)
    assert memory.arrays()["opacities"].tobytes() == saved["opacities"].tobytes()


def test_means_keep_their_precision_a_hundred_kilometres_away():
    memory, box = new_memory(), box_of(CELLS, seed=1)
    far = CORNER + np.array([625_000, -625_000, 0])
    memory.update(far, box, looks(SURFACE, CELLS), 0)
    np.testing.assert_allclose(memory.read(far).means[anchor(15, 15, 9)], box.means[anchor(15, 15, 9)], atol=1e-6)


def test_the_history_of_a_box_is_what_its_cells_hold_before_the_look():
    memory, box = new_memory(), box_of(CELLS[:2], opacity=5.0, seed=1)
    memory.update(CORNER, box, looks(SURFACE, CELLS[:2]), 10**9)
    corner = CORNER + [2, -3, 1]  # cell (i, j, k) is now (i - 2, j + 3, k - 1)
    here = [(1, 7, 4), (13, 18, 8)]
    history = memory.history(corner, looks(SURFACE, here[:1]), 3 * 10**9)
    for old, cell in zip(CELLS, here):
        np.testing.assert_array_equal(history.features[anchor(*cell)], box.features[anchor(*old)])
    assert history.past[anchor(*here[0])].tolist() == pytest.approx(
        [1, 1, 2]
    )  # at the surface, z = D, one class: confirmed; 2 s ago
    assert history.past[anchor(*here[1])].tolist() == [1, 1, 2]  # unseen in this view, so confidence 1
    held = [anchor(*cell) for cell in here]
    assert not np.delete(history.features, held, 0).any() and not np.delete(history.past, held, 0).any()


def test_the_historys_confidence_falls_where_the_look_speaks_against_it():
    memory, cell = new_memory(), [CELLS[1]]
    memory.update(CORNER, box_of(cell, opacity=5.0), looks(SURFACE, cell), 0)
    confidence = {
        state: memory.history(CORNER, looks(state, cell), 0).past[anchor(*cell[0]), 1]
        for state in (FREE, SURFACE, HIDDEN)
    }
    assert confidence[FREE] < 0.01 and confidence[SURFACE] > 0.99 and confidence[HIDDEN] > 0.99
    assert (
        memory.history(CORNER, looks(FREE, cell), -5).past[anchor(*cell[0]), 2] == 0
    )  # the age is not negative if time goes back


def scattered(seed=0, count=12):
    """Memory of some blocks whose evidence and Gaussians encode their position."""
    memory = new_memory()
    rng = np.random.default_rng(seed)
    keys = np.unique(rng.integers(-2, 3, (count, 3)), axis=0)
    slots = memory.allocate(keys)
    for key, slot in zip(keys, slots):
        memory.evidence[slot] = key @ [1.0, 10.0, 100.0]
        memory.fields.weight[slot * 512 : (slot + 1) * 512] = key @ [1.0, 10.0, 100.0]
        memory.fields.stamp[slot * 512] = 5
    return memory, keys


def assert_sound(memory, keys):
    """Check that every block is found by its key, its neighbours are right, and the first slots are in use."""
    assert len(memory) == len(keys)
    slots = memory.slots(keys)
    assert sorted(slots.tolist()) == list(range(len(keys)))
    for key, slot in zip(keys, slots):
        assert memory.keys[slot].tolist() == key.tolist()
        assert memory.evidence[slot, 3, 4, 5] == memory.fields.weight[slot * 512 + 7] == key @ [1.0, 10.0, 100.0]
        np.testing.assert_array_equal(memory.neighbours[slot], memory.slots(key + NEIGHBOURS))
    used, ever = len(keys), 100
    assert not memory.evidence[used:ever].any() and not memory.fields.weight[used * 512 : ever * 512].any()


def test_removed_blocks_leave_the_others_as_they_were():
    memory, keys = scattered()
    rng = np.random.default_rng(1)
    while len(keys):
        assert_sound(memory, keys)
        gone = rng.random(len(keys)) < 0.4
        before = {tuple(k): s for k, s in zip(keys[~gone].tolist(), memory.slots(keys[~gone]).tolist())}
        moves = memory.remove(memory.slots(keys[gone]))
        for start, slot in moves:  # as for a caller's array by slot
            key = next(k for k, s in before.items() if s == start)
            before[key] = slot
        keys = keys[~gone]
        assert all(before[tuple(k)] == s for k, s in zip(keys.tolist(), memory.slots(keys).tolist()))
    assert_sound(memory, keys)


def test_neighbours_of_a_removed_block_are_splatted_again():
    memory = new_memory()
    memory.allocate(np.array([[0, 0, 0], [1, 0, 0], [5, 0, 0]]))
    memory.gaussians_changed[:] = False
    memory.remove(np.array([0]))
    changed = {tuple(k) for k in memory.keys[memory.gaussians_changed[: len(memory)]].tolist()}
    assert changed == {(1, 0, 0)}


def test_the_farthest_blocks_are_forgotten_first():
    memory = new_memory()
    memory.allocate(np.array([[0, 0, 0], [9, 0, 0], [4, 0, 0], [2, 0, 0]]))
    camera = np.array([0.64, 0.64, 0.64])  # in the middle of block 0; blocks are 1.28 m
    per_block = memory.nbytes / 4 / 1e6
    assert (
        blocks_to_forget(memory, camera, 0, 0).tolist()
        == blocks_to_forget(memory, camera, 0, 4.5 * per_block).tolist()
        == []
    )
    assert memory.keys[blocks_to_forget(memory, camera, 4.0, 0)].tolist() == [[9, 0, 0], [4, 0, 0]]
    assert memory.keys[blocks_to_forget(memory, camera, 0, 3.5 * per_block)].tolist() == [[9, 0, 0]]
    assert memory.keys[blocks_to_forget(memory, camera, 6.0, 1.5 * per_block)].tolist() == [
        [9, 0, 0],
        [4, 0, 0],
        [2, 0, 0],
    ]


def test_what_is_copied_into_room_made_before_is_the_same(memory_with_room):
    memory, room = memory_with_room
    assert {name: a.tobytes() for name, a in memory.arrays(room).items()} == {
        name: a.tobytes() for name, a in memory.arrays().items()
    }


@pytest.fixture(params=[0, 1000], ids=["too_little", "enough"])
def memory_with_room(request):
    memory = new_memory()
    memory.update(CORNER, box_of(CELLS, seed=1), looks(SURFACE, CELLS), 5)
    room = memory.room(request.param)
    memory.add_evidence(np.array([[40, 41, 42]]), np.full((1, 16, 16, 16), 0.5, np.float32))
    return memory, room


def spoiled(arrays, name, value):
    """Copy of saved arrays with one number changed."""
    array = arrays[name].copy()
    array.flat[7] = value
    return arrays | {name: array}


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("means", np.nan, "'means' holds values that are not finite"),
        ("logits", np.inf, "'logits' holds values that are not finite"),
        ("evidence", 4, "'evidence' holds 4.0.*between -2 and 3.5"),
        ("means", 0.17, "'means' holds 0.17.*between -0.16 and 0.16"),
        ("label", 12, "'label' holds 12; it must lie between 0 and 11"),
        ("tag", 2, "'tag' holds 2; it must lie between 0 and 1"),
        ("weight", -1.0, "'weight' holds -1.0; it must lie between 0 and 8"),
        ("rotations", 5.0, "'length of rotations' holds 5"),
        ("blocks", 80_001, "'blocks' holds 80001; it must lie between -80000 and 80000"),
    ],
)
def test_values_that_no_memory_holds_are_refused_and_nothing_is_lost(name, value, words):
    memory = new_memory()
    memory.update(CORNER, box_of(CELLS, seed=1), looks(SURFACE, CELLS), 5)
    before = memory.arrays()
    with pytest.raises(DataError, match=words):
        memory.restore(spoiled(before, name, value))
    assert {n: a.tobytes() for n, a in memory.arrays().items()} == {n: a.tobytes() for n, a in before.items()}
