"""Queries of points and boxes agree with the lists of voxels, and unknown space is never free."""

import math

import numpy as np
import pytest

from sgrocc_core.errors import QueryError, SgroccError
from sgrocc_core.map_files.format import SavedMap
from sgrocc_core.mapping.mapper import OccupancyMapper
from sgrocc_core.voxels.query import VoxelState
from tests.samples.engines import small_engine
from tests.samples.rooms import scene

ORIGIN = (0.05, -0.03, 0.02)


@pytest.fixture(scope="module")
def mapper():
    """Mapper with the lattice origin ORIGIN, after three frames."""
    mapper = OccupancyMapper(small_engine(), origin=ORIGIN)
    for frame in scene.walk(3):
        mapper.step(frame)
    return mapper


@pytest.fixture(scope="module")
def saved(mapper):
    return SavedMap.of(mapper.map, "map", 0)


@pytest.fixture(params=["live", "saved"])
def queried(request, mapper, saved):
    """Each kind of map, with the origin of its lattice."""
    return (mapper.map, np.array(ORIGIN)) if request.param == "live" else (saved, np.zeros(3))


def listed(saved):
    """Label, probability and state by voxel, from the lists of the map."""
    occupied = zip(map(tuple, saved.voxels.tolist()), saved.labels.tolist(), saved.probability.tolist())
    known = {voxel: (label, p, VoxelState.OCCUPIED) for voxel, label, p in occupied}
    return known | {tuple(voxel): (0, 0.0, VoxelState.FREE) for voxel in saved.free.tolist()}


def voxel_of(point, origin):
    return tuple(math.floor(float(x - o) / 0.08) for x, o in zip(point, origin))


def test_points_have_what_the_lists_of_voxels_say(queried, saved):
    asked, origin = queried
    points = np.random.default_rng(0).uniform([-2, -3, -1], [5, 3, 4], (20000, 3))
    found, known = asked.query(points), listed(saved)
    expected = [known.get(voxel_of(point, origin), (0, 0.0, VoxelState.UNKNOWN)) for point in points]
    assert list(zip(found.labels.tolist(), found.probability.tolist(), found.state.tolist())) == expected
    assert found.labels.dtype == np.uint8 and found.probability.dtype == np.float32 and found.state.dtype == np.uint8
    assert all((found.state == state).sum() > 100 for state in VoxelState)
    assert np.array_equal(found.is_free, found.state == VoxelState.FREE)
    assert np.array_equal(found.is_occupied, found.labels > 0)


def test_the_room_is_free_before_the_camera_occupied_at_its_wall_and_unknown_behind(mapper):
    air, wall, behind = (1.0, 0.0, 1.4), (3.63, 0.0, 1.3), (4.6, 0.0, 1.3)
    states = mapper.map.query(np.array([air, wall, behind])).state.tolist()
    assert states[0] == VoxelState.FREE and states[2] == VoxelState.UNKNOWN
    beside = mapper.map.query(np.array([wall, (3.55, 0.0, 1.3)])).is_occupied
    assert beside.any()


def test_no_point_and_points_beyond_every_map_are_answered(queried):
    asked, _ = queried
    assert len(asked.query(np.zeros((0, 3))).state) == 0
    far = asked.query([[1e300, 0, 0], [-1e300, -1e9, 1e9], [0, 1.7e6, 0]])
    assert far.state.tolist() == [VoxelState.UNKNOWN] * 3


def test_a_map_without_anything_knows_nothing():
    mapper = OccupancyMapper(small_engine())
    for asked in (mapper.map, SavedMap.of(mapper.map, "map", 0)):
        assert asked.query([[0.0, 0.0, 0.0]]).state.tolist() == [VoxelState.UNKNOWN]
        box = asked.query_box([0, 0, 0], [0.16, 0.16, 0.16])
        assert box.unknown == 8 and not box.is_free and len(box.voxels) == 0


def test_a_box_holds_every_voxel_that_it_touches(queried, saved):
    asked, origin = queried
    known = listed(saved)
    low, high = (10, -3, 8), (40, 5, 20)
    box = asked.query_box(origin + np.array(low) * 0.08 + 0.01, origin + (np.array(high) + 1) * 0.08 - 0.01)
    inside = [(i, j, k) for i in range(10, 41) for j in range(-3, 6) for k in range(8, 21)]
    expected = {voxel: known[voxel] for voxel in inside if voxel in known}
    found = {
        tuple(v): (label, p, VoxelState.OCCUPIED)
        for v, label, p in zip(box.voxels.tolist(), box.labels, box.probability)
    }
    found |= {tuple(v): (0, 0.0, VoxelState.FREE) for v in box.free.tolist()}
    assert found == expected and len(found) == len(box.voxels) + len(box.free) > 500
    assert box.unknown == len(inside) - len(expected)
    assert len(box.voxels) and not box.is_free


def test_a_box_of_seen_air_is_free_and_one_that_reaches_into_the_unknown_is_not(mapper):
    assert mapper.map.query_box([0.9, -0.2, 1.3], [1.1, 0.2, 1.5]).is_free
    beyond = mapper.map.query_box([5.0, -0.2, 1.3], [5.2, 0.2, 1.5])
    assert not beyond.is_free and len(beyond.voxels) == 0 and beyond.unknown > 0


def test_a_box_that_ends_at_a_voxels_face_does_not_touch_the_next(saved):
    assert saved.query_box([800.24, 0.24, 0.24], [800.32, 0.32, 0.48]).unknown == 3
    assert saved.query_box([800.24, 0.24, 0.24], [800.33, 0.32, 0.48]).unknown == 6
    assert saved.query_box([800.0, 0.1, 0.1], [800.0, 0.1, 0.1]).unknown == 1


def test_a_box_larger_than_any_map_is_answered(queried, saved):
    box = queried[0].query_box([-1e9] * 3, [1e9] * 3)
    assert len(box.voxels) == len(saved.voxels) and len(box.free) == len(saved.free) and box.unknown > 1e20


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (np.zeros(3), r"points are of shape \(3,\); it must be \(N, 3\), metres"),
        (np.zeros((4, 2)), r"points are of shape \(4, 2\)"),
        ([[0, 0, 0], [1, NAN, 2]], r"points\[1\] is \[1.0, nan, 2.0\]; its coordinates must be finite"),
        ([[INF, 0, 0]], r"points\[0\] is \[inf"),
        ([["a", "b", "c"]], "points cannot be read as an array of numbers"),
        ([[1, 2, 3], [4]], "points cannot be read as an array of numbers"),
    ],
)
def test_wrong_points_are_refused_with_what_is_wrong(queried, points, words):
    with pytest.raises(QueryError, match=words):
        queried[0].query(points)


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        ([0, 0], [1, 1, 1], r"low is of shape \(2,\); it must be \(3,\), metres"),
        ([0, 0, 0], [[1, 1, 1]], r"high is of shape \(1, 3\)"),
        ([0, 0, 0], [1, INF, 1], r"high is \[1.0, inf, 1.0\]; its coordinates must be finite"),
        ([0, 2, 0], [1, 1, 1], "the box's low y is 2, above its high y, 1; low must be at most high"),
    ],
)
def test_a_wrong_box_is_refused_with_what_is_wrong(queried, low, high, words):
    with pytest.raises(QueryError, match=words):
        queried[0].query_box(low, high)


def test_a_refusal_is_both_an_error_of_ours_and_a_value_error():
    assert issubclass(QueryError, SgroccError) and issubclass(QueryError, ValueError)
