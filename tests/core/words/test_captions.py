"""Captions say what was placed, and pieces own the solids that they were made of."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.classes import label_of
from sgrocc_core.data.synthetic.furniture import beds, seating
from sgrocc_core.data.synthetic.rendering.camera_effects import draw_style
from sgrocc_core.data.synthetic.rendering.render import Renderer
from sgrocc_core.data.synthetic.rooms.layouts import Layout
from sgrocc_core.data.synthetic.rooms.placement import FloorPlan
from sgrocc_core.data.synthetic.rooms.rooms import Scene, make_scene
from sgrocc_core.data.synthetic.solids.materials import PLAIN, WOOD, Materials
from sgrocc_core.data.synthetic.solids.pieces import LABEL_OF
from sgrocc_core.data.synthetic.solids.primitives import Builder
from sgrocc_core.data.synthetic.trajectories import camera_pose
from sgrocc_core.data.synthetic.words.captions import caption_of, seen_pieces
from sgrocc_core.data.synthetic.words.colours import HUES, colour_name

CHAIR, BED = label_of("chair"), label_of("bed")
RED, OAK = 0, 1


def little_scene() -> Scene:
    """A bedroom of 9 square metres: a red bed and a red cushion on it at the west, two wooden chairs at the east."""
    m, b = Materials(np.random.default_rng(0)), Builder()
    m.add(PLAIN, (0.8, 0.1, 0.1))
    m.add(WOOD, (0.6, 0.4, 0.2))
    bed = b.at(0.8, 1.5).piece("double bed", (1.6, 2.0, 0.5))
    bed.box((0, 0, 0.25), (1.6, 2.0, 0.5), BED, RED)
    bed.at(0, 0, 0.5).piece("cushion").box((0, 0, 0.1), (0.5, 0.4, 0.2), label_of("objects"), RED)
    for y in (0.6, 2.4):
        b.at(2.5, y).piece("chair").box((0, 0, 0.4), (0.4, 0.4, 0.8), CHAIR, OAK)
    layout = Layout([(0.0, 0.0, 3.0, 3.0)], 1, 2.4, 0.12)
    lights = np.array([[1.5, 1.5, 2.2, 1.0, 1.0, 1.0, 2.0, 0.1]])
    zeros, plan = np.zeros(3), FloorPlan(layout)
    none = (np.ones(3) * 0.3, np.zeros(6), np.zeros((0, 11)))
    return Scene(b.solids(), m.table(), lights, layout, plan, 0.0, zeros, *none, "bedroom", (), b.pieces)


def test_a_caption_says_kind_size_number_colour_and_what_lies_on_it():
    assert caption_of(little_scene()) == "A small bedroom with a red double bed with a cushion and two wooden chairs."


def test_a_caption_of_a_view_speaks_of_what_is_in_it_alone():
    scene = little_scene()
    K = np.array([[60.0, 0, 47.5], [0, 60.0, 35.5], [0, 0, 1]])
    T_wc = camera_pose(np.array([1.7, 1.5, 1.2]), 0.0, 0.4, 0.0)  # looks to +x, where the chairs are
    renderer = Renderer(scene, draw_style(np.random.default_rng(0)))
    seen = seen_pieces(scene, renderer.depth_and_solids(T_wc, K, (96, 72))[1])
    assert caption_of(scene, seen) == "A small bedroom with two wooden chairs."
    assert caption_of(scene, []) == "A small bedroom."


def test_captions_of_one_room_vary_with_a_generator_and_repeat_with_its_seed():
    scene = make_scene(np.random.default_rng(3))
    told = [caption_of(scene, rng=np.random.default_rng(seed)) for seed in (0, 1, 2, 3, 0)]
    assert len(set(told[:4])) > 1 and told[0] == told[4]


@pytest.mark.parametrize("edition", [1, 2])
@pytest.mark.parametrize("seed", [1, 2])
def test_every_solid_of_a_class_of_furniture_belongs_to_a_piece(edition, seed):
    scene = make_scene(np.random.default_rng(seed), edition=edition)
    furniture = np.isin(scene.solids.labels, [label_of(n) for n in ("chair", "bed", "sofa", "table", "tvs")])
    owners = scene.solids.pieces[furniture]
    assert furniture.any() and (owners >= 0).all() and owners.max() < len(scene.pieces)
    # a class of furniture is in the scene if and only if a piece of that class is
    held = {piece.label for piece in scene.pieces if piece.name in LABEL_OF} & set(range(5, 10))
    assert held == set(np.unique(scene.solids.labels[furniture]))


@pytest.mark.parametrize(
    ("maker", "label"), [(seating.office_chair, CHAIR), (seating.sofa, label_of("sofa")), (beds.bed, BED)]
)
def test_the_name_of_an_item_has_the_class_of_its_solids(maker, label):
    m = Materials(np.random.default_rng(4))
    for _ in range(8):
        assert LABEL_OF[maker(m).name] == label


@pytest.mark.parametrize("name", HUES)
def test_a_named_colour_is_called_by_its_name(name):
    import colorsys

    assert colour_name(np.array(colorsys.hsv_to_rgb(*HUES[name])) ** 2.2) == name
