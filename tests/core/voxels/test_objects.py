"""Things of a map: connected voxels of a class, their boxes, and where to stand to see them."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from sgrocc_core.classes import label_of
from sgrocc_core.cli import main
from sgrocc_core.errors import QueryError
from sgrocc_core.map_files.file import MapFolder
from sgrocc_core.map_files.format import MapModel, SavedMap
from sgrocc_core.voxels.objects import components, find_objects, objects_of

FLOOR, CHAIR, SOFA = (label_of(name) for name in ("floor", "chair", "sofa"))


def block(low, high):
    return np.array(list(product(*(range(a, b) for a, b in zip(low, high)))))


def little_map():
    """A floor of 4 x 4 m at the ground, a sofa of 20 x 10 x 8 voxels, a chair, a crumb of one; free air."""
    floor, sofa = block((0, 0, 0), (50, 50, 1)), block((2, 2, 1), (22, 12, 9))
    chair, crumb = block((30, 30, 1), (35, 35, 11)), block((45, 5, 1), (47, 6, 2))
    voxels = np.concatenate([floor, sofa, chair, crumb])
    labels = np.repeat([FLOOR, SOFA, CHAIR, CHAIR], [len(p) for p in (floor, sofa, chair, crumb)]).astype(np.uint8)
    probability = np.where(labels == SOFA, 0.75, 0.5).astype(np.float32)
    taken = set(map(tuple, voxels))
    free = np.array([v for v in map(tuple, block((0, 0, 1), (50, 50, 13))) if v not in taken])
    return (voxels, labels, probability), free


def neighbours_by_hand(voxels):
    """Components by growing sets of voxels that differ by at most one along at most two axes."""
    left, found = set(map(tuple, voxels.tolist())), []
    steps = [s for s in product((-1, 0, 1), repeat=3) if 0 < sum(map(abs, s)) <= 2]
    while left:
        ahead = [left.pop()]
        group = set(ahead)
        while ahead:
            v = ahead.pop()
            for s in steps:
                other = (v[0] + s[0], v[1] + s[1], v[2] + s[2])
                if other in left:
                    left.remove(other)
                    group.add(other)
                    ahead.append(other)
        found.append(frozenset(group))
    return set(found)


@pytest.mark.parametrize("seed", range(4))
def test_components_are_those_grown_by_hand(seed):
    rng = np.random.default_rng(seed)
    voxels = np.unique(rng.integers(-9, 9, (500, 3)), axis=0)
    rng.shuffle(voxels)
    numbers = components(voxels)
    groups = {frozenset(map(tuple, voxels[numbers == n].tolist())) for n in np.unique(numbers)}
    assert groups == neighbours_by_hand(voxels)


def test_a_thing_has_centre_extent_volume_and_probability():
    occupied, free = little_map()
    sofa = find_objects("sofa", occupied, free)[0]
    np.testing.assert_allclose(sofa.centre, np.array([12, 7, 5]) * 0.08)
    np.testing.assert_allclose(sofa.extent, np.array([20, 10, 8]) * 0.08)
    assert sofa.volume == pytest.approx(1600 * 0.08**3)
    assert (sofa.name, sofa.probability, len(sofa.voxels)) == ("sofa", 0.75, 1600)


def test_the_lattices_origin_moves_a_thing():
    occupied, free = little_map()
    origin = np.array([1.0, -2.0, 0.5])
    here, there = find_objects("sofa", occupied, free)[0], find_objects("sofa", occupied, free, origin)[0]
    np.testing.assert_allclose(there.centre - here.centre, origin)
    assert here.stand is not None and there.stand is not None
    np.testing.assert_allclose(there.stand - here.stand, origin)


def test_crumbs_are_no_things_and_classes_come_in_the_order_of_their_meaning():
    occupied, free = little_map()
    assert [thing.name for thing in find_objects("somewhere to sit", occupied, free)] == ["chair", "sofa"]
    assert find_objects("bed", occupied, free) == []


def test_one_stands_on_free_floor_half_a_metre_away():
    occupied, free = little_map()
    chair = find_objects("chair", occupied, free)[0]
    assert chair.stand is not None
    x, y = np.floor(chair.stand[:2] / 0.08).astype(int)
    assert (x, y, 1) in set(map(tuple, free)) and chair.stand[2] == pytest.approx(0.08)
    gap = np.maximum(0, np.abs(chair.stand[:2] - chair.centre[:2]) - chair.extent[:2] / 2)
    assert 0.5 <= np.hypot(*gap) < 0.62


def test_without_free_floor_there_is_no_place_to_stand():
    occupied, _ = little_map()
    assert objects_of(*occupied, np.zeros((0, 3), np.int32))[0].stand is None


def test_the_command_asks_a_saved_map(tmp_path, capsys):
    (voxels, labels, probability), free = little_map()
    saved = SavedMap(voxels, labels, probability, free, "map", 1, {}, MapModel("small", 1, 1))
    folder = str(tmp_path / "map")
    MapFolder(folder).save(saved)
    assert main(["find", folder, "couches", "--json", str(tmp_path / "found.json")]) == 0
    said = capsys.readouterr().out
    assert "'couches' means sofa (by synonym): 1 found" in said and "at 0.96, 0.56, 0.40" in said
    assert (tmp_path / "found.json").exists()
    assert main(["find", folder, "bed"]) == 2
    assert main(["find", folder, " "]) == 1
    assert "the phrase is empty" in capsys.readouterr().err


def test_a_phrase_without_meaning_is_an_error():
    occupied, free = little_map()
    with pytest.raises(QueryError):
        find_objects("", occupied, free)


def test_a_patch_that_is_too_small_for_its_class_is_no_thing_unless_asked_for() -> None:
    sizes = (
        ("bed", 3, 0),
        ("table", 3, 0),
        ("table", 4, 1),
        ("chair", 3, 0),
        ("tvs", 3, 0),
        ("tvs", 4, 1),
        ("objects", 3, 1),
    )
    for name, height, count in sizes:
        voxels = np.argwhere(np.ones((4, 4, height), bool)).astype(np.int32)
        label = np.full(len(voxels), label_of(name), np.uint8)
        map_of = voxels, label, np.ones(len(voxels), np.float32), np.zeros((0, 3), np.int32)
        assert len(objects_of(*map_of)) == count
        assert len(objects_of(*map_of, least=6)) == 1


def on_legs(name, bottom):
    """A floor at height 0 (voxels of layer 0) and the plate of something whose legs no voxel shows."""
    floor, plate = block((0, 0, 0), (30, 30, 1)), block((5, 5, bottom), (15, 20, bottom + 2))
    labels = np.repeat([FLOOR, label_of(name)], [len(floor), len(plate)]).astype(np.uint8)
    voxels = np.concatenate([floor, plate])
    return objects_of(voxels, labels, np.ones(len(voxels), np.float32), np.zeros((0, 3), np.int32))


@pytest.mark.parametrize(("name", "bottom", "height"), [("table", 8, 9), ("table", 14, 15), ("table", 15, 2),
                                                         ("furniture", 8, 2)])  # fmt: skip
def test_the_box_of_what_stands_on_legs_reaches_down_to_the_floor(name, bottom, height):
    thing = on_legs(name, bottom)[0]
    np.testing.assert_allclose(thing.extent, np.array([10, 15, height]) * 0.08)
    assert thing.centre[2] + thing.extent[2] / 2 == pytest.approx((bottom + 2) * 0.08)
    assert len(thing.voxels) == 10 * 15 * 2


def test_the_floor_of_another_storey_is_not_under_a_thing():
    upper, lower = block((0, 0, 40), (30, 30, 41)), block((40, 0, 0), (140, 60, 1))
    plate = block((5, 5, 48), (15, 20, 50))
    voxels = np.concatenate([upper, lower, plate])
    labels = np.where(np.arange(len(voxels)) < len(upper) + len(lower), FLOOR, label_of("table")).astype(np.uint8)
    thing = objects_of(voxels, labels, np.ones(len(voxels), np.float32), np.zeros((0, 3), np.int32))[0]
    assert thing.centre[2] - thing.extent[2] / 2 == pytest.approx(41 * 0.08)


def things(name, voxels):
    labels = np.full(len(voxels), label_of(name), np.uint8)
    return objects_of(voxels, labels, np.ones(len(voxels), np.float32), np.zeros((0, 3), np.int32))


@pytest.mark.parametrize(("name", "count"), [("chair", 3), ("sofa", 1)])
def test_chairs_that_touch_are_told_apart_by_their_footprints_and_sofas_are_not(name, count):
    """Three seats of 6 x 6 with backs, joined by a bar; each is higher above its middle than between."""
    seats = [block((10 * n, 0, 0), (10 * n + 6, 6, 6)) for n in range(3)]
    bar = block((0, 2, 3), (26, 4, 4))
    voxels = np.unique(np.concatenate([*seats, bar]), axis=0)
    if name == "sofa":
        voxels = np.unique(np.concatenate([voxels, block((0, 0, 0), (26, 6, 3))]), axis=0)
    found = things(name, voxels)
    assert len(found) == count and sum(len(thing.voxels) for thing in found) == len(voxels)
    if name == "chair":
        middles = sorted(thing.centre[0] / 0.08 for thing in found)
        np.testing.assert_allclose(middles, [3, 13, 23], atol=1.5)


def test_a_narrow_chair_is_none_and_screens_that_share_an_edge_are_two():
    assert [len(things("chair", block((0, 0, 0), (width, 12, 6)))) for width in (4, 5)] == [0, 1]
    screens = np.concatenate([block((0, 0, 0), (2, 6, 5)), block((2, 6, 0), (4, 12, 5))])
    assert len(things("tvs", screens)) == 2


def test_a_stray_voxel_does_not_spoil_the_box_of_a_screen():
    screen = np.concatenate([block((0, 0, 0), (2, 10, 6)), [(2, 5, 5), (3, 5, 5)]])
    np.testing.assert_allclose(things("tvs", screen)[0].extent, np.array([2, 10, 6]) * 0.08)
    np.testing.assert_allclose(things("objects", screen)[0].extent, np.array([4, 10, 6]) * 0.08)
