"""Columns are summarised only for outputs that are wanted, with labels only for those that need them."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.gaussians.evidence import HIT
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.voxels.voxel_map import VoxelMap
from sgrocc_ros.output.columns import Feed

VALUES = {"grid_min_height": 0.0, "grid_max_height": 0.5, "floor_height": "auto", "floor_step": 0.24}


class Output:
    """An output that keeps what it is given."""

    def __init__(self, needs_labels: bool) -> None:
        self.wanted, self.needs_labels = False, needs_labels
        self.given: list[tuple[bool, int, bool]] = []

    def apply(self, whole, blocks):
        self.given.append((whole, len(blocks.keys), blocks.labels is not None))


@pytest.fixture
def parts():
    """A feed of a small map, its map, an output without labels and one with."""
    voxel_map = VoxelMap(GaussianMemory(4, 8))
    plain, labelled = Output(False), Output(True)
    return Feed(VALUES, lambda: voxel_map, [plain, labelled]), voxel_map, plain, labelled


def see(voxel_map, key):
    """Let a block hold an occupied voxel."""
    seen = np.zeros((1, 16, 16, 16), np.float32)
    seen[0, 3, 5, 2] = HIT
    voxel_map.memory.add_evidence(np.array([key]), seen)
    voxel_map.update()


def pass_on(feed):
    changes = feed.changes()
    feed.apply(changes)
    return changes


def test_nothing_is_summarised_for_outputs_that_nobody_wants(parts):
    feed, voxel_map, plain, labelled = parts
    see(voxel_map, (0, 0, 0))
    assert pass_on(feed) is None and not feed.missed and not feed.is_current
    assert plain.given == labelled.given == []


def test_an_output_that_becomes_wanted_gets_the_whole_map_and_then_what_changed(parts):
    feed, voxel_map, plain, labelled = parts
    see(voxel_map, (0, 0, 0))
    plain.wanted = True
    assert feed.missed
    see(voxel_map, (1, 0, 0))
    pass_on(feed)
    see(voxel_map, (2, 0, 0))
    pass_on(feed)
    assert plain.given == [(True, 2, False), (False, 1, False)] and labelled.given == [] and not feed.missed
    labelled.wanted = True
    assert feed.missed
    see(voxel_map, (3, 0, 0))
    pass_on(feed)
    assert labelled.given == [(True, 4, True)] and len(feed.columns) == 4
    labelled.wanted = False
    see(voxel_map, (4, 0, 0))
    pass_on(feed)
    assert plain.given[-1] == (False, 1, False) and len(labelled.given) == 1
    labelled.wanted = True
    assert feed.missed  # it lacks the block that came meanwhile


def test_after_a_time_without_anybody_the_columns_are_forgotten(parts):
    feed, voxel_map, plain, _ = parts
    plain.wanted = True
    see(voxel_map, (0, 0, 0))
    pass_on(feed)
    assert feed.is_current and len(feed.columns) == 1
    plain.wanted = False
    pass_on(feed)
    assert not feed.is_current and len(feed.columns) == 0


def test_the_slab_follows_the_floor_unless_its_height_is_given(parts):
    feed, *_ = parts
    assert feed.slab() == (0.0, (0, 5, 3))
    level = Feed(VALUES | {"floor_height": -1.0}, lambda: parts[1], [])
    assert level.slab() == (-1.0, (-13, -7, 0))
