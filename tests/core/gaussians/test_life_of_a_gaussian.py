"""States of a Gaussian in memory (method, section 4): new, confirmed, contradicted, hidden, unseen, removed."""

import numpy as np
import pytest

from sgrocc_core.gaussians import confidence as c
from sgrocc_core.gaussians.confidence import FREE, HIDDEN, SURFACE, UNSEEN
from sgrocc_core.gaussians.gaussians import sigmoid
from sgrocc_core.gaussians.memory import GaussianMemory
from tests.samples.recordings.streams import anchor, box_of, camera_at, looks, sensor, wall_depth

CORNER = np.array([0, 0, 0])
CELL = (10, 12, 8)


def looked_at(*steps):
    """Memory with one cell after views, and the row of the cell; a step is (state, opacity, options of `looks`)."""
    memory = GaussianMemory(4, 8)
    for stamp, (state, opacity, options) in enumerate(steps):
        memory.update(CORNER, box_of([CELL], opacity=opacity), looks(state, [CELL], **options), stamp)
    return memory, memory.box(CORNER)[anchor(*CELL)]


def occupancy(memory, row):
    return 1 - np.prod(1 - sigmoid(memory.fields.opacities[row].astype(float)))


def test_a_cell_that_was_never_seen_takes_the_whole_of_its_first_look():
    """lambda = 1 for any weight of the view: at the border of the image, or hidden and far away."""
    for weight in (1.0, 0.01):
        memory, row = looked_at((HIDDEN, 2.5, {"weight": weight}))
        assert memory.fields.opacities[row] == pytest.approx(2.5)
        assert memory.fields.weight[row] == pytest.approx(weight)


def test_the_first_look_sets_the_tag_of_the_cells_in_view_and_of_no_other():
    memory, row = looked_at((SURFACE, 2.0, {}))
    assert memory.fields.tag[row] == 1 and memory.fields.tag.sum() == 1


@pytest.mark.parametrize("state", [FREE, SURFACE, HIDDEN])
def test_a_look_in_any_state_but_unseen_tags(state):
    memory, row = looked_at((state, 2.0, {}))
    assert memory.fields.tag[row] == 1


def test_an_unseen_cell_keeps_every_field_tag_weight_stamp_and_count():
    memory, row = looked_at((SURFACE, 2.0, {}), (FREE, 2.0, {"weight": 0.3}))
    before = {name: field[row].copy() for name, field in memory.fields._asdict().items()}
    memory.gaussians_changed[:] = False
    other = (3, 3, 3)
    view = looks(SURFACE, [other])
    assert view.state[anchor(*CELL)] == UNSEEN
    memory.update(CORNER, box_of([CELL, other], opacity=-5.0, seed=3), view, 99)
    for name, value in before.items():
        np.testing.assert_array_equal(memory.fields._asdict()[name][row], value, err_msg=name)


def test_the_weight_is_c_w_plus_w_and_stops_at_eight():
    """W <- min(C W + w, 8) with C = exp(-1/2) at one sigma and a certain class, computed by hand for 40 views."""
    confidence, expected = np.exp(-0.5), [0.9]
    for _ in range(39):
        expected.append(min(confidence * expected[-1] + 0.9, 8.0))
    at_sigma = (SURFACE, 4.0, {"residual": 0.06, "sigma": 0.06, "weight": 0.9})
    for count in (2, 5, 40):
        memory, row = looked_at(*[at_sigma] * count)
        assert memory.fields.weight[row] == pytest.approx(expected[count - 1], rel=1e-3)
    certain = (SURFACE, 4.0, {"residual": 0.0, "weight": 0.9})
    for count, weight in ((8, 7.2), (9, 8.0), (12, 8.0)):
        memory, row = looked_at(*[certain] * count)
        assert memory.fields.weight[row] == pytest.approx(weight, rel=1e-3)


def test_every_field_moves_by_the_same_lambda():
    """Hidden means C_geo = 1; the class is certain, so lambda = 1 - 2 / (2 + 0.5) = 0.2."""
    memory = GaussianMemory(4, 8)
    old, new = box_of([CELL], opacity=2.0, seed=1), box_of([CELL], opacity=3.0, seed=2)
    for box in (old, new):  # certain of one class
        box.logits[:] = 0
        box.logits[..., 2] = 12.0
    memory.update(CORNER, old, looks(SURFACE, [CELL], weight=2.0), 0)
    row, a = memory.box(CORNER)[anchor(*CELL)], anchor(*CELL)
    start = memory.fields.means[row].copy()
    memory.update(CORNER, new, looks(HIDDEN, [CELL], weight=0.5), 1)
    for name in ("scales", "opacities", "logits", "features"):
        blended = 0.8 * getattr(old, name)[a] + 0.2 * getattr(new, name)[a]
        np.testing.assert_allclose(getattr(memory.fields, name)[row], blended, atol=1e-4, err_msg=name)
    offset = new.means[a] - (np.array(CELL) + 0.5) * 0.16
    np.testing.assert_allclose(memory.fields.means[row], 0.8 * start + 0.2 * offset, atol=1e-5)
    q, p = old.rotations[a], new.rotations[a]
    q = q + 0.2 * (np.where((q * p).sum(-1, keepdims=True) < 0, -p, p) - q)
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    same = np.abs((memory.fields.rotations[row] * q).sum(-1))  # a quaternion and its negative are one rotation
    np.testing.assert_allclose(same, 1.0, atol=1e-6)


def test_a_look_at_a_hidden_cell_weighs_a_tenth():
    """Walls at 0.8 m and 2 m: the centre of cell 12 at z = 2.00 m is hidden by the first, at the second's surface."""
    cell, weights = anchor(12, 15, 9), {}
    for distance, state in ((0.8, HIDDEN), (2.0, SURFACE)):
        view = c.view_cells([sensor(wall_depth(distance))], camera_at(0.0, 2.4, 1.44), 4.8)
        assert view.state[cell] == state
        weights[state] = view.weight[cell]
    assert weights[HIDDEN] == pytest.approx(0.1 * weights[SURFACE], rel=1e-6)


def test_a_leg_at_the_edge_of_the_footprint_counts_and_one_beside_it_does_not():
    """Cell (6, 15, 9) projects to column 71.8 at z = 1.04 m; its footprint is +-100 * 0.08 / 1.04 = 7.7 pixels."""
    cell, camera = anchor(6, 15, 9), camera_at(0.0, 2.4, 1.44)
    for column, state in ((65, SURFACE), (62, FREE)):
        depth = wall_depth(4.0)
        depth[:, column] = 1.04
        assert c.view_cells([sensor(depth)], camera, 4.8).state[cell] == state


def test_pixels_without_a_reading_do_not_make_a_cell_nearer():
    cell, depth = anchor(6, 15, 9), wall_depth(4.0)
    depth[::2] = 0.0
    assert c.view_cells([sensor(depth)], camera_at(0.0, 2.4, 1.44), 4.8).state[cell] == FREE


def test_geometric_confidence_by_hand():
    """g = exp(-(0.1)^2 / (2 * 0.08^2)) = exp(-0.78125) = 0.457833."""
    full, empty = {SURFACE: 0.457833, FREE: 0.3, HIDDEN: 1.0}, {SURFACE: 0.542167, FREE: 0.8, HIDDEN: 1.0}
    for state, occupied, expected in [(s, 0.7, x) for s, x in full.items()] + [(s, 0.2, x) for s, x in empty.items()]:
        assert c.geometric_confidence(state, occupied, 0.1, 0.08) == pytest.approx(expected, abs=1e-6)


def test_semantic_confidence_by_hand():
    """One of eleven classes has a logit above 0, and T = 0.5.

    At logit 0.5 its probability is e / (e + 10) = 0.213736, below t_lo. At logit 1.5 it is
    e^3 / (e^3 + 10) = 0.667617, so C_sem = (0.667617 - 0.3) / 0.5 = 0.735234.
    """
    out = np.empty((2, 11), np.float32)
    for logit, expected in ((0.5, 0.0), (1.5, 0.735234), (3.0, 1.0)):
        logits = np.zeros((1, 11), np.float32)
        logits[0, 4] = logit
        c.class_distribution(logits, np.array([3.0], np.float32), c.TEMPERATURE, out)
        assert c.semantic_confidence(out[0], 0.95) == pytest.approx(expected, abs=1e-5)


def test_the_confidence_of_a_stored_cell_is_the_product_of_tag_geometry_and_class():
    """With one Gaussian, the others silent, C = 1 * 0.457833 * 0.735234 = 0.336614, and 0 while the tag is 0."""
    memory = GaussianMemory(4, 8)
    box = box_of([CELL], opacity=3.0)
    a = anchor(*CELL)
    box.opacities[a, 1:] = -30.0
    box.logits[a] = 0.0
    box.logits[a, :, 4] = 1.5
    memory.update(CORNER, box, looks(SURFACE, [CELL]), 0)
    look = looks(SURFACE, [CELL], residual=0.1, sigma=0.08)
    assert memory.history(CORNER, look, 0).past[a, 1] == pytest.approx(0.336614, abs=1e-4)
    memory.fields.tag[memory.box(CORNER)[a]] = 0
    assert memory.history(CORNER, look, 0).past[a, 1] == 0


@pytest.mark.parametrize("insists", [4.0, 20.0])
def test_what_left_is_removed_within_three_looks_through_it(insists):
    """This holds for any stored weight and any prediction of the network."""
    stood = [(SURFACE, insists, {})] * 30
    memory, row = looked_at(*stood, *[(FREE, insists, {})] * 2)
    assert occupancy(memory, row) > 0.5
    memory, row = looked_at(*stood, *[(FREE, insists, {})] * 3)
    assert occupancy(memory, row) < 0.02


def test_one_look_suffices_where_the_network_agrees_that_it_is_gone():
    """C = 1 - o is almost 0, so the view replaces the stored Gaussians, with its full weight."""
    memory, row = looked_at(*[(SURFACE, 6.0, {})] * 10, (FREE, -6.0, {"weight": 0.5}))
    assert occupancy(memory, row) < 0.02 and memory.fields.weight[row] == pytest.approx(0.5, abs=0.01)


def test_what_came_appears_at_once_where_space_was_known_to_be_empty():
    """An empty surface cell at z = D: C = 1 - g = 0."""
    memory, row = looked_at(*[(FREE, -6.0, {})] * 20, (SURFACE, 3.0, {}))
    assert memory.fields.opacities[row] == pytest.approx(3.0, abs=1e-4)


def test_what_is_covered_stays_through_many_looks_past_it():
    memory, row = looked_at(*[(SURFACE, 3.0, {})] * 5, *[(HIDDEN, 3.0, {"weight": 0.1})] * 50)
    assert memory.fields.opacities[row] == pytest.approx(3.0) and memory.fields.seen_through[row] == 0


def test_means_blended_to_the_end_of_their_reach_do_not_round_past_it():
    """A map with a mean beyond its bound would be refused when it is loaded."""
    rng, memory = np.random.default_rng(5), GaussianMemory(4, 8)
    cells = [(i, j, 8) for i in range(30) for j in range(30)]
    for stamp in range(6):
        box = box_of(cells)
        far = np.where(rng.random(box.means.shape) < 0.5, 0.5, -0.5)
        box.means[:] += np.where(rng.random(box.means.shape) < 0.5, rng.uniform(-0.16, 0.16, box.means.shape), far)
        memory.update(CORNER, box, looks(SURFACE, cells, weight=float(rng.uniform(0.05, 1.0))), stamp)
        memory.fields.tag[:: 2 + stamp] = 0
    assert np.abs(memory.fields.means[: len(memory) * 512]).max() == np.float32(0.16)
    GaussianMemory(4, 8).restore(memory.arrays())
