"""The combined losses: the gradients that Gaussians receive in each state of a voxel."""

from __future__ import annotations

import pytest
import torch

from sgrocc_core.geometry.lattice import NUM_ANCHORS
from sgrocc_core.network.expert.lattice_encoder import cell_centres
from sgrocc_core.network.expert.refinement import start_state
from sgrocc_core.training.data.dataset import BEYOND, IN_VIEW, OUT_OF_VIEW, UNKNOWN_VOXEL
from sgrocc_core.training.losses.objectives import LocalWeights, class_weights, draws, local_objective, voxel_weights

CELL = (10, 10, 5)
ROW = (CELL[0] * 30 + CELL[1]) * 18 + CELL[2]
CORNER = tuple(slice(2 * c, 2 * c + 2) for c in CELL)


def outputs(opacity: torch.Tensor) -> dict[str, torch.Tensor]:
    start = start_state(cell_centres(), 4)
    rows = torch.full((1, NUM_ANCHORS, 4), -20.0)
    rows[0, ROW] = opacity
    return {
        "means": start.means,
        "scales": start.scales.expand(1, NUM_ANCHORS, 4, 3),
        "opacities": rows,
        "rotations": start.rotations.expand(1, NUM_ANCHORS, 4, 4),
        "logits": start.logits.expand(1, NUM_ANCHORS, 4, 11),
    }


def push(label: int, state: int) -> dict[str, float]:
    """Each term's gradient by the opacity of one cell's Gaussians.

    Its voxels have a label and state, the rest is empty.
    """
    target, states = (
        torch.zeros(1, 60, 60, 36, dtype=torch.uint8),
        torch.full((1, 60, 60, 36), OUT_OF_VIEW, dtype=torch.uint8),
    )
    target[0][CORNER], states[0][CORNER] = label, state
    target[0, :2, :2, :2], states[0, :2, :2, :2] = 255, BEYOND  # elsewhere, silent: something to weigh against
    states[0, 20, 20, 12] = IN_VIEW  # a neighbour that is seen, or nothing would be splatted
    weights = LocalWeights(dense=0.0)
    found = {}
    raw = torch.zeros(4, requires_grad=True)
    terms = local_objective(
        outputs(raw), {"target": target, "state": states}, torch.ones(12), weights, draws(0, 0, [0])
    )
    for name, value in terms.items():
        (gradient,) = torch.autograd.grad(value, raw, retain_graph=True, allow_unused=True)
        found[name] = 0.0 if gradient is None else gradient.sum().item()
    return found


def test_an_occupied_cell_in_view_is_filled_and_an_empty_one_emptied() -> None:
    full, empty = push(3, IN_VIEW), push(0, IN_VIEW)
    assert full["occupancy"] < -1e-3 and full["coarse"] < 0
    assert empty["occupancy"] > 1e-3 and empty["coarse"] > 0
    assert full["undefined"] == empty["undefined"] == 0


def test_space_without_truth_is_emptied_by_terms_of_its_own() -> None:
    beyond, outside = push(255, BEYOND), push(255, UNKNOWN_VOXEL)
    assert beyond["undefined"] > outside["undefined"] > 0  # outside the picture it counts less
    assert beyond["coarse"] == 0
    assert beyond["occupancy"] > outside["occupancy"]


def test_known_space_outside_the_picture_counts_less_than_in_it() -> None:
    assert 0 > push(3, OUT_OF_VIEW)["coarse"] > push(3, IN_VIEW)["coarse"]


def test_weights_of_voxels_favour_neither_empty_nor_occupied() -> None:
    counts = torch.tensor([9000, 0, 400, 300, 20, 10, 5, 40, 30, 1, 100, 60])
    weights = voxel_weights(counts)
    occupied = counts[1:].float()
    assert weights[0].item() == pytest.approx(((weights[1:] * occupied).sum() / occupied.sum()).item(), rel=1e-5)
    assert torch.equal(weights[1:], class_weights(counts)[1:])


@pytest.mark.parametrize("taught", [0, 3])
def test_distillation_pulls_the_splat_to_the_auxiliary_head_and_leaves_that_alone(taught: int) -> None:
    target, states = (
        torch.zeros(1, 60, 60, 36, dtype=torch.uint8),
        torch.full((1, 60, 60, 36), OUT_OF_VIEW, dtype=torch.uint8),
    )
    states[0][CORNER] = IN_VIEW
    raw, dense = torch.zeros(4, requires_grad=True), torch.zeros(1, NUM_ANCHORS, 8, 12, requires_grad=True)
    with torch.no_grad():
        dense[..., taught] = 8.0
    terms = local_objective(
        {**outputs(raw), "dense": dense},
        {"target": target, "state": states},
        torch.ones(12),
        LocalWeights(distill=1.0),
        draws(0, 0, [0]),
    )
    by_opacity, by_teacher = torch.autograd.grad(terms["distill"], (raw, dense), allow_unused=True)
    assert by_teacher is None
    assert (by_opacity > 0).all() if taught == 0 else (by_opacity < 0).all()
