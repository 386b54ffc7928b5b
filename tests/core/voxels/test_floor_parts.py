"""Parts that are kept tile by tile are those of a search through all voxels."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.voxels.floors.parts import NOWHERE, TileParts

BASE = 0b110
LAYERS = 12


def parts_of(tiles, near, step):
    """Parts of all voxels by a plain search: a list of sets of (x, y, layer); those of the base in a column join."""
    voxels = {
        (16 * tx + int(x), 16 * ty + int(y), k)
        for (tx, ty), masks in tiles.items()
        for x, y in zip(*np.nonzero(masks))
        for k in range(LAYERS)
        if int(masks[x, y]) >> k & 1
    }
    parts = []
    while voxels:
        part, waiting = set(), [voxels.pop()]
        while waiting:
            x, y, k = waiting.pop()
            part.add((x, y, k))
            beside = {
                (x + i, y + j, k + n)
                for i in range(-near, near + 1)
                for j in range(-near, near + 1)
                for n in range(-step, step + 1)
            }
            if BASE >> k & 1:
                beside |= {(x, y, 1), (x, y, 2)}
            found = beside & voxels
            voxels -= found
            waiting += found
        parts.append(part)
    return parts


def large_at_the_base(sizes, places):
    """Parts of at least 20 columns with voxels of the base."""
    return (sizes >= 20) & (places != NOWHERE)


@pytest.mark.parametrize(("near", "step", "density"), [(2, 3, 0.03), (2, 1, 0.04), (1, 0, 0.25)])
def test_after_every_change_the_chosen_parts_are_those_of_a_search_through_all_voxels(near, step, density):
    draw = np.random.default_rng(near + 7 * step)
    parts, tiles, different = TileParts(near, step, BASE), {}, 0
    heights = {}
    for _ in range(10):
        for _ in range(3):
            tile = tuple(int(n) for n in draw.integers(-1, 2, 2))
            masks = np.zeros((16, 16), np.uint64)
            for k in range(LAYERS):
                some = draw.random((16, 16)) < draw.choice([0.0, density / 2, density])
                masks |= some.astype(np.uint64) << np.uint64(k)
            tiles[tile] = masks
            parts.put(tile, masks)
        changed = sorted(parts.update(large_at_the_base))
        for tile, found in zip(changed, parts.highest(changed)):
            heights[tile] = found
        expected = {tile: np.full((16, 16), -1) for tile in tiles}
        for part in parts_of(tiles, near, step):
            if len({(x, y) for x, y, _ in part}) >= 20 and any(BASE >> k & 1 for _, _, k in part):
                for x, y, k in part:
                    own = expected[x // 16, y // 16]
                    own[x % 16, y % 16] = max(own[x % 16, y % 16], k)
        assert all(np.array_equal(heights[tile], expected[tile]) for tile in tiles)
        different += any((own >= 0).any() for own in expected.values()) and any(
            ((own < 0) & (tiles[tile] != 0)).any() for tile, own in expected.items()
        )
    assert different > 3, "some parts are chosen and others not"


def test_the_place_of_a_part_is_its_first_column_in_the_base():
    seen = {}

    def note(sizes, places):
        seen.update({(int(place) >> 31, int(place) & (2**31 - 1)): int(n) for n, place in zip(sizes, places) if n})
        return sizes > 0

    parts = TileParts(2, 3, BASE)
    masks = np.zeros((16, 16), np.uint64)
    masks[3, 4], masks[5, 6], masks[14, 2] = 1 << 2, 1 << 1, 1 << 1
    parts.put((2, 1), masks)
    parts.update(note)
    assert seen == {(35, 20): 2, (46, 18): 1}


def test_numbers_of_parts_that_are_gone_are_used_again():
    parts, masks = TileParts(2, 3, BASE), np.full((16, 16), 2, np.uint64)
    for _ in range(1500):
        parts.put((0, 0), masks)
        parts.update(large_at_the_base)
    assert len(parts._owners) < 1100
    assert (parts.highest([(0, 0)]) == 1).all()
