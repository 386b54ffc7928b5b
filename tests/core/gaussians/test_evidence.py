"""Evidence for voxels from the depth of a frame."""

import numpy as np
import pytest

from sgrocc_core.depth.layer import DepthLayer
from sgrocc_core.errors import FrameError
from sgrocc_core.gaussians.evidence import HIT, MISS, observe
from sgrocc_core.gaussians.memory import GaussianMemory
from tests.samples.recordings.streams import K, camera_at, sensor, wall_depth

CAMERA = camera_at(0.0, 0.04, 0.04)
"""Pose on the axis of the voxels (i, 0, 0), looking along x."""


def increments_of(layers, T_lc=CAMERA, max_distance=4.8):
    """Increments by voxel, {(i, j, k): increment}, without zeros."""
    keys, increments = observe(layers, T_lc, max_distance)
    b, x, y, z = np.nonzero(increments)
    voxels = keys[b] * 16 + np.stack([x, y, z], 1)
    return dict(zip(map(tuple, voxels.tolist()), increments[b, x, y, z].tolist(), strict=True))


def test_a_walls_voxels_gain_and_those_before_it_lose():
    found = increments_of([sensor(wall_depth(2.0 + 0.01))])  # in voxel 25: 2.00 to 2.08 m
    assert found[25, 0, 0] == pytest.approx(HIT)
    assert all(found[i, 0, 0] == pytest.approx(-MISS) for i in range(1, 24))
    assert not [v for v in found if v[0] > 25]


def test_a_voxel_just_in_front_of_the_surface_is_left_alone():
    """The centre of voxel 24 at 1.96 m is 0.05 m in front of 2.01 m; a free voxel needs more than that."""
    assert (24, 0, 0) not in increments_of([sensor(wall_depth(2.009))])
    assert increments_of([sensor(wall_depth(2.03))])[24, 0, 0] == pytest.approx(-MISS)


@pytest.mark.parametrize(("focal", "fits"), [(0.289, True), (0.15, False)], ids=["120 degrees", "147 degrees"])
def test_a_view_that_spans_too_much_is_refused_before_memory_is_taken_for_it(focal, fits):
    wide = np.array([[focal * 160, 0, 79.5], [0, focal * 160, 59.5], [0, 0, 1]])
    layer = DepthLayer.sensor(np.full((120, 160), 20.0, np.float32), wide)
    if fits:
        assert 14_000 < len(observe([layer], CAMERA, 20.0)[0]) < 15_000
        return
    with pytest.raises(FrameError, match=r"51,220 blocks .* at most 20,000") as raised:
        observe([layer], CAMERA, 20.0)
    assert raised.value.cause == "view_too_large"
    assert len(observe([layer], CAMERA, 4.8)[0]) < 1500


def test_one_pixel_is_no_hit():
    depth = np.zeros((120, 160), np.float32)
    depth[59, 79] = 2.01
    assert (25, 0, 0) not in increments_of([sensor(depth)])
    depth[60, 79] = 2.01
    assert increments_of([sensor(depth)])[25, 0, 0] == pytest.approx(HIT)


def test_a_stray_few_of_many_pixels_are_no_hit():
    """At 0.5 m a voxel's face covers 237 pixels: 3 hits are noise, 15 are not, and 3 are not if readings are sparse."""
    for columns, rows, sparse, hit in ((3, 1, 1, False), (5, 3, 1, True), (3, 1, 10, True)):
        depth = np.zeros((120, 160), np.float32)
        depth[:: 3 * sparse, 100::2] = depth[1 :: 3 * sparse, 100::2] = 3.0
        depth[55 : 55 + rows, 76 : 76 + columns] = 0.52  # in voxel 6
        if sparse == 1:
            depth[:, 90:] = 3.0
            depth[:, :40] = 3.0
        assert (increments_of([sensor(depth)]).get((6, 0, 0), 0.0) > 0) is hit


def test_what_is_outside_the_image_or_too_far_is_not_judged():
    found = increments_of([sensor(wall_depth(4.0))], max_distance=2.0)
    assert max(v[0] for v in found) == 24  # centre at 1.96 m
    x, y = np.array([v[0] for v in found]) + 0.5, np.array([v[1] for v in found]) + 0.5
    assert (np.abs(y - 0.5) <= 0.8 * x + 1e-6).all()  # 80 of 160 pixels at f = 100


def test_a_leg_thinner_than_a_voxel_is_not_carved_away():
    """At 1 m a voxel is 8 pixels wide; the leg is one pixel wide, 3 pixels beside the centre of the voxel."""
    depth = wall_depth(3.0)
    assert increments_of([sensor(depth)])[12, 0, 0] == pytest.approx(-MISS)
    depth[:, 76] = 1.0
    assert increments_of([sensor(depth)]).get((12, 0, 0), 0.0) >= 0


def test_voxels_that_rays_graze_are_free():
    """Floor just below the voxels (i, 0, 0): it is in their footprints, but rays through their centres end beyond."""
    v = np.indices((120, 160))[0]
    depth = np.where(v > 70, 1.045 * 100 / np.maximum(v - 59.5, 1), 0).astype(np.float32)
    found = increments_of([sensor(depth)], camera_at(0.0, 0.04, 1.04))  # the floor is at z = -0.005
    assert [found.get((i, 0, 0), 0.0) for i in range(30, 50)] == pytest.approx([-MISS] * 20)
    assert max(found.get((i, 0, -1), 0.0) for i in range(30, 50)) == pytest.approx(HIT)


def test_learned_depth_counts_by_its_spread():
    found = increments_of([DepthLayer.learned(wall_depth(2.01), wall_depth(0.1), K)])
    assert found[25, 0, 0] == pytest.approx(HIT * (1 - np.exp(-0.7)), rel=1e-5)  # 7 cm at a spread of 10
    assert found[10, 0, 0] == pytest.approx(-MISS / 2, rel=1e-3)  # more than a metre in front, halved
    gap = 2.01 - 0.05 - 22.5 * 0.08  # of the centre of voxel 22 from where the wall could be, nearer by MARGIN
    assert found[22, 0, 0] == pytest.approx(-MISS / 2 * (1 - np.exp(-gap / 0.1)), rel=1e-3)
    certain = increments_of([DepthLayer.learned(wall_depth(2.01), wall_depth(0.01), K)])
    assert certain[25, 0, 0] == pytest.approx(HIT)


def test_learned_depth_does_not_contradict_a_sensor():
    learned = DepthLayer.learned(wall_depth(3.01), wall_depth(0.05), K)
    found = increments_of([sensor(wall_depth(2.01)), learned])
    assert found[25, 0, 0] == pytest.approx(HIT) and (30, 0, 0) not in found
    half = wall_depth(2.01)
    half[:, :80] = 0  # the image's left half is the world's +y
    found = increments_of([sensor(half), learned])
    assert found[25, -5, 0] == pytest.approx(HIT) and (30, -5, 0) not in found
    assert found[30, 9, 0] == pytest.approx(-MISS)


def test_a_frame_without_depth_says_nothing():
    keys, increments = observe([sensor(np.zeros((120, 160), np.float32))], CAMERA, 4.8)
    assert keys.shape == (0, 3) and increments.shape == (0, 16, 16, 16)


def test_no_evidence_at_all_changes_nothing():
    memory = GaussianMemory(4, 32)
    memory.add_evidence(np.zeros((0, 3), np.int32), np.zeros((0, 16, 16, 16), np.float32))
    assert len(memory) == 0


def test_evidence_is_the_same_anywhere_in_the_world():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 4, (120, 160)).astype(np.float32)
    near = increments_of([sensor(depth)], camera_at(0.0123, 0.0271, 0.0314))
    shift = np.array([-70_000, 300, 12])
    far = increments_of([sensor(depth)], camera_at(*(shift * 0.08 + [0.0123, 0.0271, 0.0314])))
    moved = {tuple(np.add(v, shift).tolist()): e for v, e in near.items()}
    assert len(near) > 3000 and moved == far


def test_the_kernels_agree_with_a_plain_reference():
    """Reference per voxel in NumPy: count its points, project its centre, compare every pixel of its footprint."""
    rng = np.random.default_rng(1)
    depth = np.repeat(np.repeat(rng.uniform(0.8, 3, (12, 16)), 10, 0), 10, 1).astype(np.float32)
    depth[rng.random(depth.shape) < 0.3] = 0
    turn = np.array([[np.cos(0.4), -np.sin(0.4), 0], [np.sin(0.4), np.cos(0.4), 0], [0, 0, 1]])
    T = camera_at(0.3, -0.2, 0.1)
    T[:3, :3] = turn @ T[:3, :3]
    found = increments_of([sensor(depth)], T)

    v, u = np.nonzero(depth)
    z = depth[v, u].astype(float)
    points = np.stack([(u - K[0, 2]) / K[0, 0] * z, (v - K[1, 2]) / K[1, 1] * z, z], 1) @ T[:3, :3].T + T[:3, 3]
    hit, count = np.unique(np.floor(points / 0.08).astype(int), axis=0, return_counts=True)
    away = ((hit + 0.5) * 0.08 - T[:3, 3]) @ T[:3, 2]
    enough = count >= np.maximum(2, 0.05 * (depth > 0).mean() * (100 * 0.08 / np.maximum(away, 0.05)) ** 2)
    hits = set(map(tuple, hit[enough].tolist()))
    assert {voxel for voxel, e in found.items() if e > 0} == hits
    checked = 0
    for voxel in rng.integers([-5, -25, -15], [40, 30, 15], (4000, 3)):
        centre = ((voxel + 0.5) * 0.08 - T[:3, 3]) @ T[:3, :3]
        if tuple(voxel.tolist()) in hits or centre[2] < 0.05:
            continue
        pu, pv = K[0, 0] * centre[0] / centre[2] + K[0, 2], K[1, 1] * centre[1] / centre[2] + K[1, 2]
        half = 0.04 * K[0, 0] / centre[2]
        if not (half < pu < 159 - half and half < pv < 119 - half):
            continue
        window = depth[int(pv - half + 0.5) : int(pv + half + 0.5) + 1, int(pu - half + 0.5) : int(pu + half + 0.5) + 1]
        whole = (window > 0).any() and centre[2] < window[window > 0].min() - 0.05
        free = whole or ((window > 0).any() and centre[2] < depth[int(pv + 0.5), int(pu + 0.5)] - 0.07)
        assert found.get(tuple(voxel.tolist()), 0.0) == pytest.approx(-MISS if free else 0.0)
        checked += 1
    assert checked > 300


def test_log_odds_stay_within_their_bounds_and_blocks_without_evidence_are_not_made():
    memory = GaussianMemory(4, 8)
    keys = np.array([[0, 0, 0], [5, 0, 0]], np.int32)
    increments = np.zeros((2, 16, 16, 16), np.float32)
    increments[0, 0, 0, 0], increments[0, 1, 0, 0] = HIT, -MISS
    for _ in range(20):
        memory.add_evidence(keys, increments)
    assert memory.keys.tolist() == [[0, 0, 0]]
    assert memory.evidence[0, 0, 0, 0] == 3.5 and memory.evidence[0, 1, 0, 0] == -2 and not memory.evidence[0, 2:].any()
