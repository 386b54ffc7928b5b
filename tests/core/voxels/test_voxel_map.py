"""The published voxels: splat with evidence, exact updates, classes."""

import numpy as np
import pytest

from sgrocc_core.gaussians.confidence import FREE, HIDDEN, SURFACE
from sgrocc_core.gaussians.evidence import HIT, MISS
from sgrocc_core.gaussians.gaussians import constrain_scales, covariance, sigmoid, softmax
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.voxels.judgement import probability
from sgrocc_core.voxels.splatting import splat_numba
from sgrocc_core.voxels.splatting.equations import labels_from, probability_from
from sgrocc_core.voxels.voxel_map import VoxelMap
from tests.samples.recordings.streams import anchor, box_of, looks

CORNER = np.array([-5, 3, -7])


def new_map():
    memory = GaussianMemory(4, 8)
    return memory, VoxelMap(memory)


def as_dict(voxels, labels, probability):
    return dict(zip(map(tuple, voxels.tolist()), zip(labels.tolist(), probability.tolist(), strict=True), strict=True))


def evidence_at(memory, voxel, value):
    key = np.array([voxel]) // 16
    increments = np.zeros((1, 16, 16, 16), np.float32)
    increments[0][tuple(np.array(voxel) % 16)] = value
    memory.add_evidence(key, increments)


def sparse_evidence(rng, blocks):
    shape = (blocks, 16, 16, 16)
    return (rng.normal(size=shape) * (rng.random(shape) < 0.1)).astype(np.float32)


def random_cells(rng, count):
    return [tuple(c) for c in rng.integers(0, [30, 30, 18], (count, 3)).tolist()]


def test_blocks_are_splatted_as_one_dense_grid_would_be():
    memory, voxel_map = new_map()
    rng = np.random.default_rng(0)
    cells = random_cells(rng, 2500)
    box = box_of(cells, opacity=0.0, label=6, seed=1)
    box.opacities[:] += rng.normal(size=box.opacities.shape)
    everywhere = [tuple(c) for c in np.argwhere(np.ones((30, 30, 18)))]
    memory.update(CORNER, box, looks(SURFACE, everywhere), 0)
    voxel_map.update()
    flat = [a.reshape(-1, *a.shape[2:]) for a in (box.means, box.scales, box.rotations, box.opacities, box.logits)]
    means, scales, rotations, opacities, logits = flat
    Sigma = covariance(constrain_scales(scales), rotations)
    log_empty, weights = splat_numba.splat(means, Sigma, sigmoid(opacities), softmax(logits), np.zeros(3), (60, 60, 36))
    expected, dense = labels_from(log_empty, weights), probability_from(log_empty)
    voxels, labels, p = voxel_map.occupied()
    got, got_p = np.zeros((60, 60, 36), np.uint8), np.zeros((60, 60, 36))
    inside = ((voxels - 2 * CORNER >= 0) & (voxels - 2 * CORNER < [60, 60, 36])).all(1)
    assert inside.all()  # cells outside the box have tag 0, so their splat is not published
    got[tuple((voxels - 2 * CORNER).T)], got_p[tuple((voxels - 2 * CORNER).T)] = labels, p
    clear = np.abs(dense - 0.5) > 1e-4
    assert (expected > 0).sum() > 1000
    assert (got == expected)[clear].mean() > 0.9999
    assert np.abs(got_p - dense)[clear & (expected > 0)].max() <= 1 / 32 + 1e-4


def test_a_snapshot_and_the_updates_after_it_give_the_map_exactly():
    memory, voxel_map = new_map()
    rng = np.random.default_rng(2)
    mirror = None
    freed = 0
    for step in range(12):
        corner = CORNER + rng.integers(-4, 5, 3)
        cells = random_cells(rng, 300)
        memory.update(
            corner, box_of(cells[:150], label=int(rng.integers(1, 12)), seed=step), looks(SURFACE, cells), step
        )
        keys = np.unique(rng.integers(-1, 3, (6, 3)), axis=0)
        memory.add_evidence(keys, sparse_evidence(rng, len(keys)))
        voxels, labels, p, blocks = voxel_map.update()
        assert {tuple(b) for b in (voxels // 16).tolist()} == {tuple(b) for b in blocks.tolist()}
        assert len(np.unique(voxels, axis=0)) == len(voxels) and ((p * 16) % 1 == 0).all()
        if step == 3:
            mirror = as_dict(*voxel_map.occupied())
        elif mirror is not None:
            for voxel, (label, q) in as_dict(voxels, labels, p).items():
                assert mirror.get(voxel) != (label, q)  # an update contains only what changed
                if label == 0:
                    del mirror[voxel]
                    freed += 1
                else:
                    mirror[voxel] = (label, q)
    assert mirror == as_dict(*voxel_map.occupied()) and freed > 20


@pytest.mark.parametrize("between", [True, False], ids=["splatted_in_between", "at_once"])
def test_a_block_that_evidence_made_shows_what_its_neighbours_gaussians_reach_into(between):
    """Gaussians at the end of block 0; then evidence adds block 1; then its cells are refined, but silent."""
    memory, voxel_map = new_map()
    box = box_of([(7, 4, 4)], opacity=6.0)
    box.means[anchor(7, 4, 4), :, 0] += 0.08  # to the cell's face
    memory.update(np.zeros(3, int), box, looks(SURFACE, [(7, 4, 4)]), 0)
    voxel_map.update()
    evidence_at(memory, (31, 0, 0), HIT)
    if between:
        voxel_map.update()
    memory.update(np.zeros(3, int), box_of(), looks(HIDDEN, [(8, 4, 4)]), 1)
    voxel_map.update()
    again, fresh = new_map()
    again.restore(memory.arrays())
    fresh.update()
    spilled = {voxel for voxel in as_dict(*fresh.occupied()) if 16 <= voxel[0] < 31}
    assert spilled and as_dict(*voxel_map.occupied()) == as_dict(*fresh.occupied())


def test_the_map_is_a_function_of_the_memory():
    """Updates frame by frame and one computation from the saved memory agree."""
    memory, voxel_map = new_map()
    rng = np.random.default_rng(3)
    for step in range(6):
        cells = random_cells(rng, 400)
        corner = CORNER + rng.integers(-4, 5, 3)
        memory.update(corner, box_of(cells[:200], label=step + 1, seed=step), looks(SURFACE, cells), step)
        keys = np.unique(rng.integers(-1, 3, (6, 3)), axis=0)
        memory.add_evidence(keys, sparse_evidence(rng, len(keys)))
        voxel_map.update()
    again, fresh = new_map()
    again.restore(memory.arrays())
    fresh.update()
    assert as_dict(*fresh.occupied()) == as_dict(*voxel_map.occupied())
    assert np.array_equal(fresh.free(), voxel_map.free()) and fresh.unlabelled == voxel_map.unlabelled > 0


def test_a_block_reads_as_the_list_of_voxels_does():
    memory, voxel_map = new_map()
    memory.update(CORNER, box_of([(9, 9, 9)]), looks(SURFACE, [(9, 9, 9)]), 0)
    voxel_map.update()
    listed = {}
    for key in voxel_map.blocks().tolist():
        labels, sixteenths = voxel_map.block(tuple(key))
        at = np.argwhere(labels)
        listed |= as_dict(at + np.array(key) * 16, labels[labels > 0], sixteenths[labels > 0] / 16)
    assert listed == as_dict(*voxel_map.occupied()) and listed
    assert not voxel_map.block((100, 0, 0))[0].any()


def test_confident_gaussians_are_carved_away_where_depth_sees_free_space():
    """The certainty of twelve Gaussians against the bounded evidence of a few views."""
    memory, voxel_map = new_map()
    cells = [(i, 9, 9) for i in range(8, 11)]
    memory.update(CORNER, box_of(cells, opacity=9.0), looks(HIDDEN, cells), 0)
    voxel_map.update()
    voxel = tuple((2 * (CORNER + [9, 9, 9])).tolist())
    assert voxel in as_dict(*voxel_map.occupied())
    looks_needed = 0
    while voxel in as_dict(*voxel_map.occupied()):
        evidence_at(memory, voxel, -MISS)
        voxel_map.update()
        looks_needed += 1
        assert looks_needed < 9
    assert looks_needed > 1  # one view is not enough
    assert voxel in {tuple(v) for v in voxel_map.free().tolist()}


def test_hits_fill_what_the_network_calls_empty():
    memory, voxel_map = new_map()
    memory.update(CORNER, box_of(), looks(SURFACE, [(9, 9, 9)]), 0)
    voxel = tuple((2 * (CORNER + [9, 9, 9])).tolist())
    evidence_at(memory, voxel, HIT)
    voxel_map.update()
    assert as_dict(*voxel_map.occupied())[voxel][0] == 255 and voxel_map.unlabelled == 1


def test_without_evidence_a_voxels_probability_is_the_splats():
    for p in (0.03, 0.5, 0.8, 0.99):
        assert probability(np.log(1 - p), 0.0) == pytest.approx(p)


@pytest.mark.parametrize("splatted", [0.0, 0.3, 0.999, 1.0])
def test_one_hit_or_two_looks_through_decide_whatever_the_network_says(splatted):
    log_empty = np.log(1 - splatted) if splatted < 1 else -100.0
    assert probability(log_empty, -2 * MISS) < 0.5 < probability(log_empty, HIT)


def test_one_look_through_outvotes_a_doubtful_network_but_not_a_sure_one():
    assert probability(np.log(1 - 0.58), -MISS) < 0.5 < probability(np.log(1 - 0.95), -MISS)


def test_more_evidence_always_means_more_probability():
    for log_empty in (0.0, -0.01, -0.7, -3.0, -30.0):
        assert (np.diff([probability(log_empty, e) for e in np.linspace(-2.0, 3.5, 100)]) > 0).all()


def test_an_evidence_filled_voxel_takes_the_nearest_cells_class():
    memory, voxel_map = new_map()
    cell = (9, 9, 9)
    memory.update(CORNER, box_of([cell], opacity=-1.5, label=7), looks(SURFACE, [cell]), 0)
    first = 2 * (CORNER + cell)
    beside, away, far = (tuple((first + [d, 0, 0]).tolist()) for d in (1, 6, 9))
    for voxel in (beside, away, far):
        evidence_at(memory, voxel, 3.0)
    voxel_map.update()
    found = as_dict(*voxel_map.occupied())
    assert found[beside][0] == 7 and found[away][0] == 7 and found[far][0] == 255
    assert voxel_map.unlabelled == 1


def test_only_cells_refined_in_view_are_published():
    """A Gaussian at the border of its cell reaches into the next cell, which was never in view."""
    memory, voxel_map = new_map()
    box = box_of([(9, 9, 9)], opacity=6.0)
    box.means[...] += np.array([0.12, 0, 0], np.float32)
    memory.update(CORNER, box, looks(SURFACE, [(9, 9, 9)]), 0)
    voxel_map.update()
    cells = {tuple(c) for c in (voxel_map.occupied()[0] // 2).tolist()}
    assert cells == {tuple((CORNER + [9, 9, 9]).tolist())}
    memory.update(CORNER, box, looks(SURFACE, [(9, 9, 9), (10, 9, 9)]), 1)
    voxel_map.update()
    assert len({tuple(c) for c in (voxel_map.occupied()[0] // 2).tolist()}) == 2


def test_free_space_is_what_depth_saw_free():
    memory, voxel_map = new_map()
    memory.update(CORNER, box_of(), looks(FREE, [(9, 9, 9)]), 0)
    evidence_at(memory, (3, 3, 3), -MISS)
    evidence_at(memory, (4, 3, 3), -MISS / 10)  # uncertain learned depth
    evidence_at(memory, (5, 3, 3), 2.0)
    voxel_map.update()
    assert voxel_map.free().tolist() == [[3, 3, 3]]


def test_a_new_threshold_counts_for_the_whole_map():
    memory, voxel_map = new_map()
    cells = random_cells(np.random.default_rng(4), 40)
    memory.update(CORNER, box_of(cells, opacity=1.5, seed=5), looks(SURFACE, cells), 0)
    voxel_map.update()
    before = as_dict(*voxel_map.occupied())
    voxel_map.occupancy_threshold = 0.65
    voxel_map.refresh()
    voxels, labels, _, _ = voxel_map.update()
    expected = {v: x for v, x in before.items() if x[1] >= 11 / 16}  # rounded from 0.656 or more
    after = as_dict(*voxel_map.occupied())
    assert 0 < len(after) < len(before) and set(expected) <= set(after) <= set(before)
    assert {tuple(v) for v in voxels[labels == 0].tolist()} == set(before) - set(after)


def test_forgotten_blocks_are_told_as_freed_and_the_rest_is_what_the_memory_still_gives():
    """Updates keep a copy exact while blocks are removed and added again."""
    memory, voxel_map = new_map()
    rng = np.random.default_rng(5)
    mirror, lost = {}, 0
    for step in range(14):
        cells = random_cells(rng, 300)
        corner = CORNER + rng.integers(-8, 9, 3)
        memory.update(
            corner, box_of(cells[:150], label=int(rng.integers(1, 12)), seed=step), looks(SURFACE, cells), step
        )
        keys = np.unique(rng.integers(-1, 3, (6, 3)), axis=0)
        memory.add_evidence(keys, sparse_evidence(rng, len(keys)))
        if step % 3 == 2:
            gone = np.flatnonzero(rng.random(len(memory)) < 0.4)
            voxel_map.forget(gone)
        voxels, labels, p, blocks = voxel_map.update()
        assert len(np.unique(voxels, axis=0)) == len(voxels)
        assert {tuple(b) for b in (voxels // 16).tolist()} == {tuple(b) for b in blocks.tolist()}
        for voxel, (label, q) in as_dict(voxels, labels, p).items():
            if label == 0:
                mirror.pop(voxel)
                lost += 1
            else:
                mirror[voxel] = (label, q)
        assert mirror == as_dict(*voxel_map.occupied())
    assert lost > 100
    again, fresh = new_map()
    again.restore(memory.arrays())
    fresh.update()
    assert as_dict(*fresh.occupied()) == mirror
