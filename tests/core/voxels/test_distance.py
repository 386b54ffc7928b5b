"""Distances to the nearest occupied voxel equal a dense transform after every change, by class and unknown space."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sgrocc_core.classes import label_of
from sgrocc_core.errors import QueryError
from sgrocc_core.map_files.format import SavedMap
from sgrocc_core.mapping.mapper import OccupancyMapper
from sgrocc_core.voxels.distances import field as distance_module
from sgrocc_core.voxels.distances.field import DistanceField, Distances
from sgrocc_core.voxels.listed import ListedVoxels
from tests.samples.engines import small_engine
from tests.samples.rooms import scene

CHAIR, WALL = label_of("chair"), label_of("wall")
ORIGIN = (0.05, -0.03, 0.02)


def listed(occupied: dict, free=()) -> ListedVoxels:
    """Voxels with their labels, and free ones."""
    voxels = np.array(list(occupied), np.int32).reshape(-1, 3)
    labels = np.array(list(occupied.values()), np.uint8)
    return ListedVoxels(voxels, labels, np.ones(len(voxels), np.float32), np.array(list(free), np.int32).reshape(-1, 3))


def centres(voxels) -> np.ndarray:
    return (np.asarray(voxels, float) + 0.5) * 0.08


def grid_of(low, high) -> np.ndarray:
    axes = [np.arange(a, b) for a, b in zip(low, high)]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)


def squared(found) -> np.ndarray:
    """Squared distances in voxels, which are whole numbers at centres."""
    numbers = (found.distance.astype(np.float64) / 0.08) ** 2
    assert np.abs(numbers - np.rint(numbers)).max(initial=0) < 1e-3
    return np.rint(numbers).astype(int)


def by_edt(obstacles, low, high, outside_is_obstacle=False) -> np.ndarray:
    """Squared distances of the voxels of a box, at most 25^2, by the package edt over a dense array with a margin."""
    edt = pytest.importorskip("edt")
    margin = 26
    dense = np.full(np.array(high) - low + 2 * margin, not outside_is_obstacle, np.uint8)
    at = np.asarray(list(obstacles)).reshape(-1, 3) - low + margin
    if outside_is_obstacle:  # `obstacles` are then the voxels that are none
        dense[tuple(at.T)] = 1
    else:
        inside = ((at >= 0) & (at < dense.shape)).all(1)
        dense[tuple(at[inside].T)] = 0
    found = edt.edtsq(dense)[margin:-margin, margin:-margin, margin:-margin]
    return np.minimum(np.rint(found), 625).astype(int).reshape(-1)


class Changing:
    """A map whose voxels change, as a source of distances."""

    def __init__(self) -> None:
        self.labels = {}
        self.free = set()
        self.asked = 0

    def blocks(self):
        return np.unique(np.array([*self.labels, *self.free], np.int64).reshape(-1, 3) // 16, axis=0)

    def block_voxels(self, keys, with_free):
        self.asked += 1
        return listed(self.labels, self.free).block_voxels(keys, with_free)

    def read(self, voxels):
        return listed(self.labels, self.free).read(voxels)


class Box:
    """A box of voxels that change, as a source of distances: labels and whether observed free, by voxel from `low`."""

    def __init__(self, low: np.ndarray, labels: np.ndarray, free: np.ndarray) -> None:
        self.low, self.labels, self.free = low, labels, free

    def blocks(self):
        return grid_of(self.low // 16, (self.low + self.labels.shape - 1) // 16 + 1)

    def block_voxels(self, keys, with_free):
        return self._listed().block_voxels(keys, with_free)

    def read(self, voxels):
        return self._listed().read(voxels)

    def _listed(self):
        occupied = np.argwhere(self.labels)
        voxels, free = (occupied + self.low).astype(np.int32), (np.argwhere(self.free) + self.low).astype(np.int32)
        labels = self.labels[tuple(occupied.T)]
        return ListedVoxels(voxels, labels, np.ones(len(labels), np.float32), free)


@pytest.mark.parametrize("unknown", ["free", "occupied"])
@pytest.mark.parametrize("classes", [None, ["chair"]])
def test_after_every_change_the_field_equals_a_dense_transform(unknown, classes):
    rng = np.random.default_rng(4)
    low, high = np.array([-40, -35, -20]), np.array([40, 35, 20])
    world = Box(low, np.zeros(high - low, np.uint8), rng.random(high - low) < 0.98)
    distances, points = Distances(world), centres(grid_of(low, high))
    for step in range(4):
        touched = set()
        for at in map(tuple, rng.integers(0, high - low, (60, 3)).tolist()):
            if rng.random() < 0.3 and world.labels.any():
                at = tuple(rng.choice(np.argwhere(world.labels)).tolist())
                world.labels[at], world.free[at] = 0, True
            else:
                world.labels[at], world.free[at] = CHAIR if rng.random() < 0.5 else WALL, False
            touched.add(tuple((low + at) // 16))
        distances.change(np.array(list(touched)))
        found = distances.query(points, classes, unknown, 2.0)
        wanted = world.labels != 0 if classes is None else world.labels == CHAIR
        if unknown == "free":
            expected = by_edt(np.argwhere(wanted) + low, low, high)
        else:
            clear = ~wanted & (world.free | (world.labels != 0))
            expected = by_edt(np.argwhere(clear) + low, low, high, outside_is_obstacle=True)
        assert (squared(found) != expected).sum() == 0, step
        assert len(np.unique(expected)) > 20
        anew = Distances(world).query(points, classes, unknown, 2.0)  # of several obstacles at one distance the same
        assert np.array_equal(found.gradient, anew.gradient) and np.array_equal(found.labels, anew.labels)


def test_the_obstacle_that_a_gradient_leads_away_from_is_the_nearest():
    """By a search of all obstacles, which shows that the ways of the three passes end where the distance says."""
    rng = np.random.default_rng(6)
    obstacles, voxels = rng.integers(-30, 30, (200, 3)), rng.integers(-30, 30, (3000, 3))
    found = Distances(listed({tuple(at): WALL for at in obstacles.tolist()})).query(centres(voxels), None, "free", 2.0)
    apart = ((voxels[:, None] - obstacles) ** 2).sum(2)
    near = (apart.min(1) > 0) & (apart.min(1) <= 625)
    assert near.sum() > 2000
    obstacle = np.rint(voxels - found.gradient * np.sqrt(apart.min(1))[:, None]).astype(int)
    nearest = [set(map(tuple, obstacles[row == row.min()].tolist())) for row in apart]
    assert all(tuple(obstacle[n].tolist()) in nearest[n] for n in np.flatnonzero(near))


def test_a_blocks_distances_change_across_its_borders_and_only_there():
    """An obstacle that appears and vanishes changes what lies within 2 m of it, also blocks away, and nothing else."""
    world = Changing()
    world.labels = {(-60, 0, 0): WALL}
    distances, points = Distances(world), grid_of([-40, -8, -8], [40, 8, 8])
    before = squared(distances.query(centres(points), None, "free", 2.0))
    assert (before == 625).sum() > 10_000
    world.labels[0, 0, 0] = CHAIR
    distances.change(np.array([[0, 0, 0]]))
    during = squared(distances.query(centres(points), None, "free", 2.0))
    expected = np.minimum(np.minimum((points**2).sum(1), ((points - [-60, 0, 0]) ** 2).sum(1)), 625)
    assert np.array_equal(during, expected)
    del world.labels[0, 0, 0]
    distances.change(np.array([[0, 0, 0]]))
    assert np.array_equal(squared(distances.query(centres(points), None, "free", 2.0)), before)


def test_between_centres_the_distance_is_interpolated_and_the_gradient_points_away():
    distances = Distances(listed({(0, 0, 0): CHAIR}))
    found = distances.query([[0.04 + 0.2, 0.04, 0.04], [0.04, 0.04 - 0.36, 0.04]], None, "free", 2.0)
    assert found.distance == pytest.approx([0.2, 0.36], abs=1e-6)
    assert found.gradient == pytest.approx(np.array([[1, 0, 0], [0, -1, 0]]), abs=1e-6)
    assert found.labels.tolist() == [CHAIR, CHAIR]
    [far, inside] = distances.query([[0.04 + 0.8, 0.04 + 0.6, 0.04], [0.05, 0.05, 0.04]], None, "free", 2.0).gradient
    assert far == pytest.approx([0.8, 0.6, 0.0]) and inside.tolist() == [0, 0, 0]


def test_the_class_is_that_of_the_nearest_obstacle():
    distances = Distances(listed({(0, 0, 0): CHAIR, (20, 0, 0): WALL, (40, 0, 0): 255}))
    points = centres([(4, 0, 0), (13, 0, 0), (31, 1, 0), (70, 0, 0)])
    found = distances.query(points, None, "free", 2.0)
    assert found.labels.tolist() == [CHAIR, WALL, 255, 0]
    assert found.distance == pytest.approx([0.32, 0.56, 0.08 * math.sqrt(82), 2.0])
    only = distances.query(points, ["chair"], "free", 2.0)
    assert only.labels.tolist() == [CHAIR, CHAIR, 0, 0]
    assert only.distance == pytest.approx([0.32, 1.04, 2.0, 2.0])
    assert distances.query(points, ["unlabelled", "wall"], "free", 2.0).labels.tolist() == [WALL, WALL, 255, 0]


def test_a_shorter_limit_caps_distance_and_class():
    distances = Distances(listed({(0, 0, 0): CHAIR}))
    found = distances.query(centres([(5, 0, 0), (6, 0, 0), (9, 0, 0)]), None, "free", 0.4)
    assert found.distance == pytest.approx([0.4, 0.4, 0.4]) and found.labels.tolist() == [CHAIR, 0, 0]
    assert found.gradient[2] == pytest.approx([0, 0, 0])


def test_unknown_space_is_an_obstacle_without_a_class_where_asked():
    free = [(x, 0, 0) for x in range(-3, 4)]
    distances = Distances(listed({(4, 0, 0): WALL}, free))
    points = centres([(3, 0, 0), (0, 0, 0), (0, 30, 0), (4000, 0, 0)])
    assert distances.query(points, None, "free", 2.0).distance == pytest.approx([0.08, 0.32, 2.0, 2.0], abs=0.5)
    found = distances.query(points, None, "occupied", 2.0)
    assert found.distance == pytest.approx([0.08, 0.08, 0, 0]) and found.labels.tolist()[1:] == [0, 0, 0]


@pytest.fixture(scope="module")
def walked():
    """A mapper with the lattice origin ORIGIN after three frames, and its map as a saved one."""
    mapper = OccupancyMapper(small_engine(), origin=ORIGIN)
    for frame in scene.walk(3):
        mapper.step(frame)
    return mapper


def test_a_live_map_equals_the_dense_transform_after_each_frame_and_a_saved_one_equals_it():
    mapper = OccupancyMapper(small_engine(), origin=ORIGIN)
    for frame in scene.walk(3):
        mapper.step(frame)
        voxels = mapper.map.occupied()[0]
        low, high = voxels.min(0) - 4, voxels.max(0) + 5
        points = centres(grid_of(low, high)) + ORIGIN
        found = mapper.map.distance(points)
        assert (squared(found) != by_edt(voxels, low, high)).sum() == 0
    saved = SavedMap.of(mapper.map, "map", 0).distance(points - ORIGIN)
    assert np.array_equal(saved.distance, found.distance) and np.array_equal(saved.labels, found.labels)


def test_a_reset_or_forgotten_map_has_no_obstacles(walked):
    arrays = walked.map.arrays()
    assert walked.map.distance([[3.0, 0.0, 1.3]]).distance[0] < 1.0
    walked.map.voxel_map.forget(np.arange(len(walked.map.memory)))
    walked.map.update(1, scene_clock(), np.zeros((0, 0), np.float32))
    assert walked.map.distance([[3.0, 0.0, 1.3]]).distance.tolist() == [2.0]
    walked.map.restore(arrays)
    assert walked.map.distance([[3.0, 0.0, 1.3]]).distance[0] < 1.0
    walked.map.reset()
    assert walked.map.distance([[3.0, 0.0, 1.3]]).distance.tolist() == [2.0]
    walked.map.restore(arrays)


def scene_clock():
    from sgrocc_core.mapping.types import Stopwatch

    return Stopwatch()


def test_a_map_that_nobody_asks_reads_nothing_and_stops_following_after_a_while():
    world = Changing()
    world.labels = {(0, 0, 0): CHAIR}
    distances = Distances(world)
    distances.change(np.array([[0, 0, 0]]))
    assert world.asked == 0
    distances.query([[0.0, 0.0, 0.0]], None, "free", 2.0)
    assert world.asked == 1
    for _ in range(distance_module.MOST_UNASKED + 2):
        distances.change(np.array([[0, 0, 0]]))
    assert world.asked == 1 and not distances._fields


def test_no_more_fields_are_kept_than_the_bound():
    distances = Distances(listed({(0, 0, 0): CHAIR}))
    for name in ("chair", "wall", "bed", "sofa", "table", "floor"):
        distances.query([[0.5, 0.0, 0.0]], [name], "free", 2.0)
    assert len(distances._fields) == distance_module.MOST_FIELDS


def test_a_single_far_point_computes_a_block_and_not_the_map():
    world = {(x, y, 0): WALL for x in range(0, 320, 4) for y in range(0, 320, 4)}
    field = DistanceField(listed(world), None, False)
    field.query(np.array([[8.5, 8.5, 0.5]]), 2.0)
    assert field._plane._count == 1 < len(field._held)


def test_no_point_an_empty_map_and_points_beyond_every_map_are_answered(walked):
    assert walked.map.distance(np.zeros((0, 3))).distance.shape == (0,)
    far = walked.map.distance([[1e300, 0, 0], [-1e9, 1e9, 0]])
    assert far.distance.tolist() == [2.0, 2.0] and far.labels.tolist() == [0, 0]
    assert walked.map.distance([[1e300, 0, 0]], unknown="occupied").distance.tolist() == [0.0]
    assert Distances(listed({})).query([[0, 0, 0]], None, "free", 2.0).distance.tolist() == [2.0]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"points": [[0, 0]]}, r"points are of shape \(1, 2\)"),
        ({"points": [[0, 0, float("nan")]]}, r"points\[0\] is \[0.0, 0.0, nan\]; its coordinates must be finite"),
        ({"classes": ["chairs"]}, "classes holds 'chairs'; a class must be one of ceiling, floor, wall"),
        ({"classes": 5}, "classes is 5; it must be a list of names of classes, or None"),
        ({"classes": [["chair"]]}, r"classes holds \['chair'\]; a class must be one of ceiling"),
        ({"classes": []}, "classes is empty; give the names of classes, or None"),
        ({"unknown": "maybe"}, "unknown is 'maybe'; unknown space must count as 'free' or as 'occupied'"),
        ({"max_distance": 2.5}, "max_distance is 2.5; it must be above 0 and at most 2 m"),
        ({"max_distance": float("nan")}, "max_distance is nan"),
        ({"max_distance": None}, "max_distance is None; it must be above 0 and at most 2 m"),
        ({"max_distance": "2"}, "max_distance is '2'; it must be above 0 and at most 2 m"),
    ],
)
def test_a_wrong_question_is_refused_with_what_is_allowed(walked, arguments, words):
    with pytest.raises(QueryError, match=words):
        walked.map.distance(**({"points": [[0, 0, 0]]} | arguments))
