"""Dual Mamba: the scan against a sequential one, orders, planes and points by hand, the expert with it."""

import numpy as np
import pytest
import torch
from torch import nn

from sgrocc_core.engines.export import example_inputs, export_model
from sgrocc_core.engines.model import load_spec
from sgrocc_core.engines.split.pieces import can_be_cut
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.lattice import NUM_ANCHORS
from sgrocc_core.network.expert.dual_mamba.branches import CrossPlanes, SemanticBranch
from sgrocc_core.network.expert.dual_mamba.scan import scan_orders, selective_scan
from sgrocc_core.network.expert.dual_mamba.stages import DualStage, LatticeScan
from sgrocc_core.network.expert.lattice_encoder import cell_centres
from sgrocc_core.network.expert.lifter import SoftGatedLifter
from sgrocc_core.network.expert.spatial_expert import ExpertConfig, SpatialExpert

SMALL = {"channels": 8, "wide": 8, "hidden": 16, "offsets": 2, "gaussians": 1, "blocks": 2, "encoder": "dual_mamba"}


def expert_inputs(count=1, seed=0):
    given = example_inputs(seed=seed)[1]
    names = ("features", "depth", "spread", "hits", "thickness", "intrinsics", "pose")
    return tuple(given[name].repeat(count, *[1] * (given[name].dim() - 1)) for name in names)


def drawn(length, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, length, 3, 4, generator=generator, dtype=torch.float64)
    log_decay = -2 * torch.rand(2, length, 3, generator=generator, dtype=torch.float64)
    b, c = (torch.randn(2, length, 5, generator=generator, dtype=torch.float64) for _ in range(2))
    return tuple(value.to(dtype) for value in (x, log_decay, b, c))


def one_after_the_other(x, log_decay, b, c):
    state, read = x.new_zeros(*x.shape[:1], *x.shape[2:], b.shape[-1]), []
    for t in range(x.shape[1]):
        state = torch.exp(log_decay[:, t])[..., None, None] * state + x[:, t, ..., None] * b[:, t, None, None]
        read.append((state * c[:, t, None, None]).sum(-1))
    return torch.stack(read, 1)


@pytest.mark.parametrize(("length", "chunk"), [(2025, 25), (2025, 45), (100, 45), (7, 45), (90, 45), (5, 1)])
def test_the_scan_equals_one_element_after_the_other(length, chunk):
    given = drawn(length)
    expected = one_after_the_other(*given)
    assert torch.allclose(selective_scan(*given, chunk=chunk), expected, rtol=0, atol=1e-10)
    single = selective_scan(*(value.float() for value in given), chunk=chunk).double()
    assert (single - expected).abs().max() < 1e-5 * expected.abs().max()


def test_gradients_of_the_scan_are_those_of_the_sequential_one():
    given = [value.requires_grad_() for value in drawn(23)]
    weights = torch.randn(2, 23, 3, 4, dtype=torch.float64)
    ours = torch.autograd.grad((selective_scan(*given, chunk=5) * weights).sum(), given)
    expected = torch.autograd.grad((one_after_the_other(*given) * weights).sum(), given)
    for got, wanted in zip(ours, expected, strict=True):
        assert torch.allclose(got, wanted, atol=1e-10)


def test_long_memory_and_quick_forgetting_stay_finite():
    x, _, b, c = drawn(2025, torch.float32)
    for decay in (0.0, -60.0):
        found = selective_scan(x, torch.full((2, 2025, 3), decay), b, c)
        assert torch.isfinite(found).all()
    alone = x * (b * c).sum(-1)[..., None, None]  # nothing is remembered
    assert torch.allclose(found, alone, atol=1e-4)


def test_every_order_visits_every_cell_once():
    orders = scan_orders((3, 4, 5))
    assert orders.shape == (6, 60)
    assert all(sorted(order.tolist()) == list(range(60)) for order in orders)
    assert orders[0].tolist() == list(range(60)) and orders[3].tolist() == list(range(59, -1, -1))
    assert orders[1, :4].tolist() == [0, 20, 40, 1]  # x runs fastest, then z
    assert orders[2, :4].tolist() == [0, 5, 10, 15]  # y runs fastest


def test_a_cell_hears_of_every_other_cell():
    torch.manual_seed(0)
    scan = LatticeScan(4, (3, 4, 5))
    rows = torch.randn(1, 60, 4, requires_grad=True)
    scan(rows)[0][0, 31].sum().backward()
    assert (rows.grad.abs().sum(-1) > 0).all()


def test_without_scans_in_sight_cells_return_to_their_places():
    """With a state that is never read, only the skip is left: every cell keeps its own value."""
    scan = LatticeScan(4, (3, 4, 5))
    x = torch.randn(2, 60, 4)
    selected = torch.zeros(2, 60, 6 * (2 * 8 + 4))
    assert torch.equal(scan._scan(x, selected), torch.zeros(2, 60, 4))
    # A state that is forgotten at once and read by the cell that wrote it: six times the cell's own value, by the step.
    nn.init.constant_(scan.log_rate, 20.0)
    selected = selected.reshape(2, 60, 6, 20)
    selected[..., 0] = selected[..., 8] = 1.0
    steps = nn.functional.softplus(scan.raw_step).sum(0)
    assert torch.allclose(scan._scan(x, selected.flatten(2)), x * steps, atol=1e-5)


def test_each_branch_is_gated_by_the_other():
    torch.manual_seed(0)
    stage = DualStage(8, (3, 4, 5))
    semantic, geometric = torch.randn(1, 60, 8, requires_grad=True), torch.randn(1, 60, 8, requires_grad=True)
    for found in stage(semantic, geometric):
        both = torch.autograd.grad(found[0, 7].sum(), (semantic, geometric), retain_graph=True)
        assert all(gradient.abs().sum() > 0 for gradient in both)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_planes_along_the_ray_hold_depth_and_planes_across_it_the_image(axis):
    torch.manual_seed(0)
    planes = CrossPlanes(4).eval()
    depth, image = (torch.randn(1, NUM_ANCHORS, 4, requires_grad=True) for _ in range(2))
    ray = torch.zeros(1, NUM_ANCHORS, 3)
    ray[..., axis] = 1.0
    for normal, plane in enumerate(planes.planes):
        for other in planes.planes:
            nn.init.constant_(other[3].weight, 1.0 if other is plane else 0.0)
        by_depth, by_image = torch.autograd.grad(planes(depth, image, ray).sum(), (depth, image))
        across = normal == axis
        assert (by_depth.abs().sum() == 0) == across and (by_image.abs().sum() == 0) == (not across)


def test_a_cell_without_points_has_no_point_feature_and_one_with_them_their_pixels():
    torch.manual_seed(0)
    branch = SemanticBranch(6, 4, SoftGatedLifter(6, 4, 4, 1, "one_sided", "soft"))
    features, depth, _, _, thickness, intrinsics, pose = expert_inputs()
    features = torch.arange(40.0).expand(1, 6, 30, 40)  # every channel is the column
    hits, cell = torch.zeros(1, NUM_ANCHORS, 8), (15 * 30 + 15) * 18 + 8
    hits[0, cell, [0, 3]] = torch.tensor([1.0, 50.0])
    with torch.no_grad():
        branch.value.weight.copy_(torch.eye(6)[:4])
        branch.value.bias.zero_()
        seen = []
        branch.points.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
        points = branch._points(features, cell_centres(), hits, (depth, thickness, intrinsics, pose))
    assert (points[0].abs().sum(-1) > 0).nonzero().flatten().tolist() == [cell]
    corner = np.array([15, 15, 8]) * 0.16 + 0.04
    columns = []
    for offset in ((0, 0, 0), (0, 0.08, 0.08)):
        x, _, z = (corner + offset - pose[0, :3, 3].numpy()) @ pose[0, :3, :3].numpy()
        columns.append((x / z * float(intrinsics[0, 0]) + float(intrinsics[0, 2]) + 0.5) / 8 - 0.5)
    assert seen[0][0, cell, :4].tolist() == pytest.approx([np.mean(columns)] * 4, abs=1e-3)
    assert seen[0][0, cell, 4:].tolist() == [1, 0, 0, 1, 0, 0, 0, 0]


def test_the_expert_has_the_documented_shapes_and_a_gradient_everywhere():
    torch.manual_seed(0)
    expert = SpatialExpert(ExpertConfig(encoder="dual_mamba"))
    with torch.no_grad():
        assert {name: tuple(value.shape) for name, value in expert.eval()(*expert_inputs()).items()} == {
            "means": (1, 16200, 4, 3),
            "scales": (1, 16200, 4, 3),
            "rotations": (1, 16200, 4, 4),
            "opacities": (1, 16200, 4),
            "logits": (1, 16200, 4, 11),
            "features": (1, 16200, 32),
        }
    for smooth in expert.dual_mamba.smooth:  # starts at zero, as the residual branches of the other encoder
        nn.init.ones_(smooth[1].weight)
    found = expert.train()(*expert_inputs())
    assert found["pixel_logits"].shape == (1, 11, 30, 40) and found["cell_logits"].shape == (1, 16200, 11)
    sum(value.square().mean() for value in found.values()).backward()
    silent = {name for name, p in expert.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0}
    assert {name for name in silent if not name.startswith("fusion.")} == set()


def test_samples_of_a_batch_do_not_mix_and_history_changes_nothing_at_the_start():
    torch.manual_seed(0)
    expert = SpatialExpert(ExpertConfig(**SMALL)).eval()
    one, two = expert_inputs(seed=1), expert_inputs(seed=2)
    with torch.no_grad():
        alone = expert(*two)
        together = expert(*(torch.cat([a, b]) for a, b in zip(one, two)))
        remembered = expert(*two, torch.randn(1, NUM_ANCHORS, 8), torch.rand(1, NUM_ANCHORS, 3))
    for name in alone:
        assert torch.allclose(together[name][1:], alone[name], atol=1e-4), name
        assert torch.equal(remembered[name], alone[name]), name


def test_what_the_encoder_cannot_do_is_said():
    with pytest.raises(ConfigError, match="encoder is 'mamba'; it must be one of context, dual_mamba"):
        ExpertConfig(encoder="mamba")
    with pytest.raises(ConfigError, match="blocks is 5 and wide 66; with encoder: dual_mamba there are at most 4"):
        ExpertConfig(encoder="dual_mamba", blocks=5, wide=66)


@pytest.mark.slow
def test_the_exported_graph_has_no_loop_and_says_the_same(tmp_path):
    torch.manual_seed(0)
    networks = {"image": {}, "expert": {"encoder": "dual_mamba"}}
    image, expert = build_networks(networks)
    for module in expert.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
    nn.init.normal_(expert.refinements[0].each.weight, std=0.3)
    differences = export_model(image, expert, networks, "mamba", tmp_path / "mamba")  # refuses Loop and Scan
    assert max(differences.values()) < 1e-4
    assert not can_be_cut(load_spec(tmp_path / "mamba"))
