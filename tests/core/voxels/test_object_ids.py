"""Numbers of things stay while the things stay."""

from __future__ import annotations

from itertools import product

import numpy as np

from sgrocc_core.classes import label_of
from sgrocc_core.voxels.object_ids import KEPT, ObjectIds
from sgrocc_core.voxels.objects import objects_of

NOWHERE = np.zeros((0, 3), np.int32)


def things(*blocks):
    """Things of (class, lowest voxel, number of voxels along each axis)."""
    parts = [np.array(list(product(*(range(a, a + n) for a, n in zip(low, size))))) for _, low, size in blocks]
    labels = np.repeat([label_of(name) for name, _, _ in blocks], [len(p) for p in parts]).astype(np.uint8)
    return objects_of(np.concatenate(parts), labels, np.ones(len(labels), np.float32), NOWHERE, least=6)


def numbered(ids, *blocks):
    """The number of each thing, by its class and first coordinate."""
    found = things(*blocks)
    return {(t.name, int(t.voxels[:, 0].min())): n for t, n in zip(found, ids.assign(found))}


def test_a_thing_that_grows_keeps_its_number_and_a_new_one_gets_another():
    ids = ObjectIds()
    first = numbered(ids, ("sofa", (0, 0, 0), (10, 5, 5)), ("chair", (40, 0, 0), (4, 4, 8)))
    then = numbered(
        ids, ("sofa", (0, 0, 0), (20, 6, 5)), ("chair", (40, 0, 0), (4, 4, 8)), ("chair", (60, 0, 0), (4, 4, 4))
    )
    assert then["sofa", 0] == first["sofa", 0] and then["chair", 40] == first["chair", 40]
    assert then["chair", 60] not in first.values()


def test_a_thing_of_another_class_in_its_place_is_another_thing():
    ids = ObjectIds()
    first = numbered(ids, ("sofa", (0, 0, 0), (10, 5, 5)))
    assert numbered(ids, ("bed", (0, 0, 0), (10, 5, 5)))["bed", 0] != first["sofa", 0]


def test_a_number_outlives_a_few_looks_without_its_thing():
    ids, sofa, chair = ObjectIds(), ("sofa", (0, 0, 0), (10, 5, 5)), ("chair", (40, 0, 0), (4, 4, 8))
    first = numbered(ids, sofa, chair)
    for _ in range(KEPT - 1):
        numbered(ids, chair)
    assert numbered(ids, sofa, chair) == first
    for _ in range(KEPT):
        numbered(ids, chair)
    assert numbered(ids, sofa, chair)["sofa", 0] not in first.values()


def test_a_thing_that_splits_gives_its_number_to_one_part():
    ids = ObjectIds()
    whole = numbered(ids, ("table", (0, 0, 0), (20, 5, 5)))["table", 0]
    parts = numbered(ids, ("table", (0, 0, 0), (12, 5, 5)), ("table", (14, 0, 0), (6, 5, 5)))
    assert list(parts.values()).count(whole) == 1 and len(set(parts.values())) == 2
