"""The classes of a cell in memory are an average of many looks, not of the last two."""

import numpy as np
import pytest

from sgrocc_core.errors import DataError
from sgrocc_core.gaussians.confidence import FREE, HIDDEN, SURFACE
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.gaussians.update import MAX_CLASS_WEIGHT
from tests.samples.recordings.streams import anchor, box_of, looks

CORNER = np.array([0, 0, 0])
CELL = (10, 12, 8)
CHAIR, SOFA = 5, 7
BESIDE = {"residual": 0.08, "sigma": 0.05}
"""The surface lies beside the cell's centre, as in most cells."""


def seen(*steps):
    """Memory with one cell after views, and the row of the cell; a step is (state, class, opacity)."""
    memory = GaussianMemory(4, 8)
    for stamp, (state, label, opacity) in enumerate(steps):
        gaussians = box_of([CELL], opacity=opacity, label=label)
        memory.update(CORNER, gaussians, looks(state, [CELL], **BESIDE), stamp)
    return memory, memory.box(CORNER)[anchor(*CELL)]


@pytest.mark.parametrize("state", [SURFACE, HIDDEN])
def test_two_wrong_looks_do_not_outweigh_ten_right_ones(state):
    memory, row = seen(*[(state, CHAIR, 3.0)] * 10, *[(state, SOFA, 3.0)] * 2)
    assert memory.fields.label[row] == CHAIR
    memory, row = seen(*[(state, CHAIR, 3.0)] * 10, *[(state, SOFA, 3.0)] * 11)
    assert memory.fields.label[row] == SOFA


def test_a_look_that_finds_nothing_there_says_nothing_of_the_class():
    memory, row = seen((SURFACE, CHAIR, 3.0), *[(SURFACE, SOFA, -6.0)] * 10)
    certainty = memory.fields.logits[row].mean(0)
    assert certainty[CHAIR - 1] > 4 * certainty[SOFA - 1]


def test_what_takes_the_place_of_a_thing_that_was_carried_away_has_its_own_class():
    steps = [(SURFACE, CHAIR, 4.0)] * 20 + [(FREE, CHAIR, -8.0)] * 3 + [(SURFACE, SOFA, 4.0)] * 2
    memory, row = seen(*steps)
    assert memory.fields.label[row] == SOFA


def test_the_weight_stops_at_its_bound():
    memory, row = seen(*[(SURFACE, CHAIR, 4.0)] * 60)
    assert memory.fields.class_weight[row] == pytest.approx(MAX_CLASS_WEIGHT)
    memory, row = seen((SURFACE, CHAIR, 9.0))
    assert memory.fields.class_weight[row] == pytest.approx(1.0, rel=1e-3)


def test_a_map_of_before_has_one_weight_for_all():
    memory, _ = seen(*[(SURFACE, CHAIR, 3.0)] * 5)
    arrays = memory.arrays()
    del arrays["class_weight"]
    other = GaussianMemory(4, 8)
    other.restore(arrays)
    np.testing.assert_array_equal(other.fields.class_weight, other.fields.weight)
    with pytest.raises(DataError, match="'class_weight' holds 31.0; it must lie between 0 and 30"):
        other.restore(arrays | {"class_weight": np.full_like(arrays["weight"], 31.0)})
