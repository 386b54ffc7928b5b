"""The grid follows a floor of two levels over stairs and ramps, and takes no table top for one."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.voxels.columns import ColumnMap, Columns, slab_layers, step_layers
from tests.samples.rooms import split_level as sample

STEP = step_layers(0.24)


def values_of(columns: ColumnMap, step: int = STEP, low: float = 0.15, high: float = 1.8) -> np.ndarray:
    """Grid (150, 50) of the room, by x and y."""
    grid = columns.grid(*slab_layers(columns.floor_height(), low, high), step)
    x, y = sample.CORNER[0] - grid.corner[0], sample.CORNER[1] - grid.corner[1]
    return grid.values[y : y + sample.WIDTH, x : x + sample.LENGTH].T


def test_a_step_of_24_cm_is_three_layers():
    assert [step_layers(s) for s in (0.0, 0.07, 0.08, 0.24, 0.25, 1.0)] == [0, 0, 1, 3, 3, 12]


@pytest.mark.parametrize("start", [80, 40])
@pytest.mark.parametrize("kind", ["stairs", "ramp"])
def test_the_upper_level_and_the_way_up_are_free_and_things_on_both_levels_are_not(kind, start):
    """From column 40 on the upper level has more floor, and with it the table top of its height."""
    labels, things = sample.room(kind, start)
    values = values_of(sample.columns_of(labels))
    solid = things["table"] | things["low_box"] | things["high_box"] | things["walls"]
    assert (values[solid] == 100).all()
    clear = values[~solid]
    assert (clear == 0).all(), f"{(clear == 100).sum()} of {clear.size} cells of the floor are occupied"


def test_a_level_floor_takes_the_upper_level_for_an_obstacle():
    values = values_of(sample.columns_of(sample.room("stairs")[0]), step=0)
    assert (values[100:, 2:20] == 100).all() and (values[2:9, 2:20] == 0).all()


def test_a_level_without_a_way_up_is_no_floor():
    labels, _ = sample.room("cliff")
    values = values_of(sample.columns_of(labels))
    assert (values[80:, 2:20] == 100).all()
    assert (values_of(sample.columns_of(sample.room("stairs")[0]), step=1)[100:, 2:20] == 100).all()


def test_under_a_hole_in_the_upper_floor_its_height_goes_on():
    labels, things = sample.room("ramp")
    labels[124:130, 10:16] = 0  # not seen: neither floor nor air below it
    columns = sample.columns_of(labels)
    values = values_of(columns)
    assert (values[124:130, 10:16] == 0).all() and (values[things["high_box"]] == 100).all()


def test_a_few_wrong_labels_on_a_low_thing_do_not_raise_the_floor():
    labels, _ = sample.room("cliff")
    labels[20:23, 40:42, 1:3] = sample.OBJECTS
    labels[20:23, 40:42, 3] = sample.FLOOR  # six columns at 0.24 m
    assert (values_of(sample.columns_of(labels))[20:23, 40:42] == 100).all()


def test_a_room_of_one_level_has_the_same_grid_with_and_without_steps():
    labels, _ = sample.room("cliff")
    level = labels[:78]
    assert np.array_equal(values_of_level(level, STEP), values_of_level(level, 0))


def values_of_level(labels, step):
    columns = sample.columns_of(labels)
    return columns.grid(*slab_layers(columns.floor_height(), 0.15, 1.8), step).values.copy()


def test_the_grid_follows_when_the_way_up_appears_and_when_it_goes():
    """Blocks that change are applied one after the other; the result is that of the whole map at once."""
    with_stairs, _ = sample.room("stairs")
    without = with_stairs.copy()
    without[78:100] = 0
    columns, cut = sample.columns_of(with_stairs), sample.columns_of(without)
    before, expected = values_of(columns).copy(), values_of(cut).copy()
    for target, wanted in ((without, expected), (with_stairs, before)):
        columns.apply(summary_of(target))
        found = values_of(columns)
        assert np.array_equal(found[100:], wanted[100:])
    assert not np.array_equal(before[100:], expected[100:])


def test_after_any_changes_the_floor_is_that_of_the_whole_map_at_once():
    """Boxes are taken out, filled with floor at any height, or put back, near the stairs and far from them."""
    draw = np.random.default_rng(8)
    whole, _ = sample.room("stairs")
    labels, columns, shifted = whole.copy(), sample.columns_of(whole), set()
    for _ in range(16):
        x, y, z = (int(draw.integers(0, length - 8)) for length in (sample.LENGTH, sample.WIDTH, 16))
        box = np.s_[
            x : x + int(draw.integers(2, 30)), y : y + int(draw.integers(2, 30)), z : z + int(draw.integers(1, 8))
        ]
        kind = draw.integers(3)
        labels[box] = whole[box] if kind == 0 else (0, sample.FLOOR)[kind - 1]
        columns.apply(summary_of(labels))
        found, expected = values_of(columns, low=0.0), values_of(fresh := sample.columns_of(labels), low=0.0)
        assert np.array_equal(found, expected)
        tiles = {at: columns._floors.shift(at) for at in fresh._tiles}
        assert all(_same(shift, fresh._floors.shift(at)) for at, shift in tiles.items())
        shifted.add(b"".join(b"" if shift is None else shift.tobytes() for shift in tiles.values()))
    assert len(shifted) > 2, "the changes raise and lower other columns each time"


def _same(one, other):
    return (one is None and other is None) or np.array_equal(one, other)


def summary_of(labels) -> Columns:
    """Columns of all blocks of a room, in the order of its map."""
    source = sample.columns_of(labels)
    keys = [(x, y, z) for (x, y), stack in source._stacks.items() for z in stack]
    blocks = [source._stacks[x, y][z] for x, y, z in keys]
    found = Columns.empty(np.array(keys), with_labels=True)
    for n, block in enumerate(blocks):
        found.occupied[n], found.free[n], found.floor[n] = block.occupied, block.free, block.floor
        found.labels[n] = block.labels
        floor = block.labels == sample.FLOOR
        found.floor_voxels[n] = (floor * (1 << np.arange(16)).astype(np.uint16)).sum(2).astype(np.uint16)
    return found
