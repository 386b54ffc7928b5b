"""The lifter: gates by hand, bilinear samples against grid_sample, holes and borders, the two sums of rows."""

import math

import pytest
import torch
import torch.nn.functional as F

from sgrocc_core.network.expert.lifter import (
    MAX_OFFSET,
    SoftGatedLifter,
    corner_rows,
    gate_value,
    residual,
    start_samples,
    weighted_rows,
)
from sgrocc_core.network.expert.projection import Projection, project, sample_nearest, to_camera

K = torch.tensor([[289.0, 289.0, 159.5, 119.5]])
AHEAD = torch.eye(4)[None]  # the camera looks along the box's z axis, so its depth is z
CAMERA_SIZE = (240, 320)


def lifter(kind="soft", gate="one_sided", **options):
    torch.manual_seed(1)
    return SoftGatedLifter(8, 6, 5, 4, gate, kind, **options)


def lift(module, centres, depth, thickness=0.3):
    torch.manual_seed(2)
    features, query = torch.randn(1, 8, 30, 40), torch.randn(1, len(centres), 5)
    d = torch.full((1, 1, 240, 320), float(depth)) if not torch.is_tensor(depth) else depth
    return module(features, query, torch.tensor(centres), d, torch.full((1, 1, 60, 80), thickness), K, AHEAD)


def test_the_symmetric_residual_is_the_papers():
    z = torch.tensor([1.0, 2.0, 3.5])
    assert residual(z, torch.tensor(2.0), torch.tensor(1.0), "symmetric").tolist() == [-1.0, 0.0, 1.5]


def test_the_one_sided_residual_is_zero_inside_the_matter():
    z = torch.tensor([1.0, 2.0, 2.9, 3.5])
    r = residual(z, torch.tensor(2.0), torch.tensor(1.0), "one_sided")
    assert torch.allclose(r, torch.tensor([-1.0, 0.0, 0.0, 0.5]))


def test_the_gate_follows_equation_2():
    value = gate_value(torch.tensor(0.5), torch.tensor(2.0), torch.tensor(0.4))
    assert value.item() == pytest.approx(math.exp(-2.0 * 0.25 / (2 * 0.16)))


def test_alpha_and_sigma_start_as_documented():
    module = lifter(sigma=0.7)
    assert F.softplus(module.raw_alpha).item() == pytest.approx(1.0)
    assert F.softplus(module.raw_sigma).item() == pytest.approx(0.7)


def test_projection_is_that_of_the_pinhole():
    pose = torch.eye(4)[None].clone()
    pose[0, :3, 3] = torch.tensor([0.1, 0.2, 0.3])
    where = project(to_camera(torch.tensor([[0.6, 0.2, 2.3]]), pose), K, CAMERA_SIZE)
    assert where.z.item() == pytest.approx(2.0)
    assert where.u.item() == pytest.approx(289 * 0.25 + 159.5, rel=1e-6)
    assert where.v.item() == pytest.approx(119.5)
    assert where.inside.item()


def test_points_behind_the_camera_are_not_inside():
    where = project(torch.tensor([[[0.0, 0.0, -1.0], [0.0, 0.0, 0.01]]]), K, CAMERA_SIZE)
    assert not where.inside.any()


def test_nearest_samples_take_the_pixel_whose_area_holds_the_point():
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    ones = torch.ones(1, 3)
    where = Projection(torch.tensor([[0.49, 0.51, 3.4]]), torch.tensor([[0.0, 1.6, -0.4]]), ones, ones > 0)
    assert sample_nearest(image, where).tolist() == [[0.0, 9.0, 3.0]]
    coarse = Projection(torch.tensor([[3.4, 3.6, 15.4]]), torch.tensor([[0.0, 4.2, 11.0]]), ones, ones > 0)
    assert sample_nearest(image, coarse, stride=4).tolist() == [[0.0, 5.0, 11.0]]


@pytest.mark.parametrize("height, width, stride", [(30, 40, 8), (70, 92, 7)])
def test_weighted_rows_of_one_sample_are_bilinear_interpolation(height, width, stride):
    torch.manual_seed(0)
    features = torch.randn(2, 7, height, width)
    u, v = torch.rand(2, 50) * (width * stride + 5) - 3, torch.rand(2, 50) * (height * stride + 5) - 3
    where = Projection(u, v, torch.ones_like(u), torch.ones_like(u, dtype=torch.bool))
    index, weights = corner_rows(where, height, width, stride)
    found = weighted_rows(features.flatten(2).transpose(1, 2), index[..., None], weights[..., None, :], width)
    grid = torch.stack([(u + 0.5) / (width * stride / 2) - 1, (v + 0.5) / (height * stride / 2) - 1], -1)[:, :, None]
    expected = F.grid_sample(features, grid, padding_mode="border", align_corners=False)[..., 0].transpose(1, 2)
    assert torch.allclose(found, expected, atol=1e-4)


def test_the_exported_sum_of_rows_equals_the_trained_one(monkeypatch):
    torch.manual_seed(0)
    table = torch.randn(1, 1200, 6)
    index = torch.randint(0, 1200 - 41, (1, 30, 4))
    weights = torch.rand(1, 30, 4, 4) * (torch.rand(1, 30, 1, 1) > 0.5)
    trained = weighted_rows(table, index, weights, 40)
    monkeypatch.setattr(torch.onnx, "is_in_onnx_export", lambda: True)
    assert torch.allclose(weighted_rows(table, index, weights, 40), trained, atol=1e-5)


def test_an_anchor_a_metre_before_the_surface_weighs_what_its_gate_says():
    module = lifter(sigma=0.5)
    flat, depth, thickness = (
        torch.ones(1, 8, 30, 40),
        torch.full((1, 1, 240, 320), 2.0),
        torch.full((1, 1, 60, 80), 0.3),
    )
    out = module(
        flat, torch.zeros(1, 2, 5), torch.tensor([[0.0, 0.0, 2.0], [0.0, 0.0, 1.0]]), depth, thickness, K, AHEAD
    )[0]
    assert torch.allclose(out[0], module.value(torch.ones(8)), atol=1e-5)  # weights A add up to 1, G is 1
    assert torch.allclose(out[1], math.exp(-1.0 / (2 * 0.25)) * out[0], atol=1e-5)


def test_hidden_matter_gets_evidence_from_the_one_sided_gate_only():
    behind = [[0.0, 0.0, 3.5]]
    one_sided = lift(lifter(), behind, depth=2.0, thickness=1.6)
    symmetric = lift(lifter(gate="symmetric"), behind, depth=2.0, thickness=1.6)
    assert symmetric.abs().max() < 0.02 * one_sided.abs().max()  # e^(-1.5^2 / 0.5) = 0.011


def test_a_camera_of_the_base_models_size_lifts_what_lies_at_its_pixel():
    """644 x 490, stride 7: one pixel of the feature map is set, and only the anchor that projects to it is not 0."""
    module = lifter("hard", gate="symmetric")
    features = torch.zeros(1, 8, 70, 92)
    features[0, :, 20, 60] = 1.0
    depth, thickness = torch.full((1, 1, 490, 644), 2.0), torch.full((1, 1, 70, 92), 0.3)
    camera = torch.tensor([[581.0, 581.0, 321.5, 244.5]])
    u, v = 60 * 7 + 3, 20 * 7 + 3  # the middle of that pixel
    at = [[2 * (u + du - 321.5) / 581, 2 * (v - 244.5) / 581, 2.0] for du in (0, 7, 14)]
    out = module(features, torch.zeros(1, 3, 5), torch.tensor(at), depth, thickness, camera, AHEAD)[0]
    dark = module.value(torch.zeros(8))
    assert torch.allclose(out[0], module.value(torch.ones(8)), atol=1e-4)
    assert torch.allclose(out[1], dark, atol=1e-3) and torch.allclose(out[2], dark, atol=1e-4)


def test_samples_start_at_places_of_their_own_within_the_bound():
    places = start_samples(64)
    assert torch.allclose(places[:8].abs(), torch.full((8, 3), 0.08))
    assert len({tuple(place.tolist()) for place in places}) == 64
    assert places.abs().max() < MAX_OFFSET


def test_without_depth_an_anchor_gets_nothing():
    for kind in ("soft", "hard", "deformable", "threshold"):
        assert lift(lifter(kind), [[0.0, 0.0, 2.0]], depth=0.0).abs().max() == 0


def test_outside_the_image_an_anchor_gets_nothing():
    assert lift(lifter(), [[5.0, 0.0, 2.0], [0.0, 0.0, -2.0]], depth=2.0).abs().max() == 0


def test_the_hard_lifter_takes_only_cells_at_the_surface():
    out = (
        lift(lifter("hard", gate="symmetric"), [[0.0, 0.0, 2.0], [0.0, 0.0, 2.1], [0.0, 0.0, 2.2]], depth=2.0)[0]
        .abs()
        .sum(-1)
    )
    assert out[0] > 0 and out[1] > 0 and out[2] == 0  # half a cell's diagonal is 0.139 m


def test_the_threshold_lifter_is_cut_at_tau():
    out = (
        lift(lifter("threshold", gate="symmetric", tau=0.25), [[0.0, 0.0, 1.8], [0.0, 0.0, 1.7]], depth=2.0)[0]
        .abs()
        .sum(-1)
    )
    assert out[0] > 0 and out[1] == 0


def test_the_deformable_lifter_does_not_look_at_the_distance():
    near, far = (lift(lifter("deformable"), [[0.0, 0.0, 2.0]], depth=d) for d in (2.0, 0.5))
    assert torch.equal(near, far)


def test_gradients_reach_offsets_weights_gate_and_features():
    module = lifter()
    features, query = torch.randn(1, 8, 30, 40, requires_grad=True), torch.randn(1, 1, 5)
    depth, thickness = torch.full((1, 1, 240, 320), 2.0), torch.full((1, 1, 60, 80), 0.3)
    out = module(features, query, torch.tensor([[0.05, 0.02, 1.7]]), depth, thickness, K, AHEAD)
    out.square().sum().backward()
    assert features.grad is not None and features.grad.abs().sum() > 0
    offsets, attention = module.query.weight.grad[:12], module.query.weight.grad[12:]
    assert offsets.abs().sum() > 0 and attention.abs().sum() > 0
    assert module.raw_sigma.grad.abs() > 0
