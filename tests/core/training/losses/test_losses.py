"""The losses against values computed by hand."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.training.losses import voxels as losses


def test_probabilities_of_the_labels_add_up_to_one_where_something_was_splatted() -> None:
    weights = torch.zeros(1, 11)
    weights[0, 2], weights[0, 4] = 0.3, 0.1
    p = losses.label_probabilities(torch.tensor([math.log(0.2)]), weights)
    assert p[0, 0].item() == pytest.approx(0.2)
    assert p[0, 3].item() == pytest.approx(0.8 * 0.75, rel=1e-4)
    assert p.sum().item() == pytest.approx(1.0, rel=1e-4)


def test_the_log_probability_of_the_target_is_that_of_its_column() -> None:
    torch.manual_seed(0)
    log_empty, weights = -torch.rand(50) * 3 - 0.01, torch.rand(50, 11)
    target = torch.arange(50) % 12
    p = losses.label_probabilities(log_empty, weights).gather(1, target[:, None])[:, 0]
    assert torch.allclose(losses.target_log_probability(log_empty, weights, target), torch.log(p), atol=1e-4)


def test_focal_loss_of_two_voxels() -> None:
    # 0.25 -> 2 * 0.75^2 * ln 4; 0.9 -> 0.1^2 * ln(1/0.9)
    expected = (2 * 0.5625 * math.log(4) + 0.01 * -math.log(0.9)) / 2
    found = losses.focal(torch.log(torch.tensor([0.25, 0.9])), torch.tensor([1, 0]), torch.tensor([1.0, 2.0]))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_occupancy_is_the_cross_entropy_of_the_voxels() -> None:
    log_empty = torch.log(torch.tensor([0.9, 0.2, 0.5]))
    expected = -(math.log(0.9) + math.log(0.8) + math.log(0.5)) / 3
    assert losses.occupancy(log_empty, torch.tensor([0, 4, 11])).item() == pytest.approx(expected, rel=1e-5)


def test_lovasz_of_hard_predictions_is_one_minus_mean_iou() -> None:
    target = torch.tensor([0, 0, 1, 1, 1, 2])
    found = torch.tensor([0, 1, 1, 1, 0, 2])
    p = torch.nn.functional.one_hot(found, 3).float()
    # IoU: class 0: 1/3, class 1: 2/4, class 2: 1
    assert losses.lovasz_softmax(p, target).item() == pytest.approx(1 - (1 / 3 + 1 / 2 + 1) / 3, rel=1e-5)


def test_lovasz_of_soft_errors_weighs_them_by_the_jaccard_steps() -> None:
    # Only class 1 counts: errors 0.4 (true), 0.3 (false); sorted 0.4, 0.3; jaccard 1 after the first, 1 after both.
    p = torch.tensor([[0.4, 0.6], [0.7, 0.3]])
    target = torch.tensor([1, 1])
    # both true: errors 0.4 and 0.7, sorted 0.7, 0.4; jaccard 1 - 1/2 = 0.5, then 1 - 0/2 = 1 -> 0.7 * 0.5 + 0.4 * 0.5
    assert losses.lovasz_softmax(p, target).item() == pytest.approx(0.55, rel=1e-5)


def test_lovasz_of_no_voxels_is_zero() -> None:
    assert losses.lovasz_softmax(torch.zeros(0, 12), torch.zeros(0, dtype=torch.int64)).item() == 0.0


def test_geometric_affinity_is_minus_log_of_precision_recall_and_specificity() -> None:
    p = torch.tensor([0.8, 0.6, 0.2, 0.1])
    target = torch.tensor([3, 0, 0, 5])
    hit = 0.9
    expected = -math.log(hit / 1.7) - math.log(hit / 2) - math.log((0.4 + 0.8) / 2)
    assert losses.geometric_affinity(p, target).item() == pytest.approx(expected, rel=1e-5)


def test_semantic_affinity_averages_the_classes_present_and_leaves_empty_out() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0], [0.1, 0.7, 0.2], [0.9, 0.1, 0.0]])
    target = torch.tensor([1, 1, 0])
    hit, score = 1.2, 1.3
    expected = -math.log(hit / score) - math.log(hit / 2) - math.log(0.9 / 1)
    assert losses.semantic_affinity(p, target).item() == pytest.approx(expected, rel=1e-5)


def test_semantic_affinity_without_an_occupied_voxel_is_zero() -> None:
    assert losses.semantic_affinity(torch.full((4, 12), 1 / 12), torch.zeros(4, dtype=torch.int64)).item() == 0.0


def test_a_cell_is_known_when_something_is_in_it_or_all_of_it_is_known_empty() -> None:
    target = torch.zeros(2, 2, 6, dtype=torch.uint8)
    target[0, 0, 0], target[1, 1, 1] = 4, 255  # first cell: occupied, part unknown
    target[0, 1, 3] = 255  # second: empty, part unknown; third: empty
    occupied, known = losses.coarse_targets(target)
    assert occupied.flatten().tolist() == [1, 0, 0]
    assert known.flatten().tolist() == [1, 0, 1]


def test_coarse_occupancy_is_the_cross_entropy_of_the_joint_opacity() -> None:
    raw = torch.tensor([[0.0, 0.0], [math.log(1 / 3), -30.0], [5.0, 5.0]])
    # joint: 1 - 0.5 * 0.5 = 0.75; 0.25; the third is unknown
    loss = losses.weighted_mean(
        losses.cell_occupancy(raw, torch.tensor([1.0, 0.0, 0.0])), torch.tensor([1.0, 1.0, 0.0])
    )
    assert loss.item() == pytest.approx((-math.log(0.75) - math.log(0.75)) / 2, rel=1e-4)


def test_silent_gaussians_get_gradient_from_an_occupied_cell() -> None:
    raw = torch.full((1, 4), -4.0, requires_grad=True)
    losses.cell_occupancy(raw, torch.ones(1)).sum().backward()
    assert raw.grad is not None and (raw.grad < -0.1).all()


def test_laplace_likelihood_counts_valid_pixels_only() -> None:
    depth, spread = torch.tensor([2.0, 9.0]), torch.tensor([0.5, 0.1])
    loss = losses.laplace_nll(depth, spread, torch.tensor([2.5, 0.0]), torch.tensor([True, False]))
    assert loss.item() == pytest.approx(1.0 + math.log(1.0), rel=1e-5)


def test_depth_bins_share_a_depth_between_two_neighbours() -> None:
    logits = torch.tensor([1.0, 2.0, 0.0]).view(1, 3, 1, 1)
    centres = torch.tensor([0.0, 1.0, 2.0])
    log_p = torch.log_softmax(torch.tensor([1.0, 2.0, 0.0]), 0)
    loss = losses.depth_bins(logits, centres, torch.full((1, 1, 1, 1), 0.25), torch.ones(1, 1, 1, 1, dtype=torch.bool))
    assert loss.item() == pytest.approx(-(0.75 * log_p[0] + 0.25 * log_p[1]).item(), rel=1e-5)


def test_thickness_error_is_of_the_logarithm() -> None:
    valid = torch.tensor([True, True, False])
    loss = losses.thickness_error(torch.tensor([0.2, 0.5, 1.0]), torch.tensor([0.1, 0.5, 2.0]), valid)
    assert loss.item() == pytest.approx(math.log(2) / 2, rel=1e-5)


def test_soft_cross_entropy_is_the_teachers_mean_of_minus_log_p():
    p = torch.tensor([[0.5, 0.5], [0.9, 0.1]])
    soft = torch.tensor([[1.0, 0.0], [0.25, 0.75]])
    expected = (-math.log(0.5) - 0.25 * math.log(0.9) - 0.75 * math.log(0.1)) / 2
    assert losses.soft_cross_entropy(p, soft).item() == pytest.approx(expected, rel=1e-6)
    assert losses.soft_cross_entropy(p[:0], soft[:0]).item() == 0
