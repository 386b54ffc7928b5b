"""The spatial expert: shapes and bounds, the geometric code by hand, gradients of faint Gaussians, the local head."""

import numpy as np
import pytest
import torch

from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.lattice import voxel_centres
from sgrocc_core.network.expert.lattice_encoder import (
    cell_centres,
    geometric_code,
    rows_to_volume,
    sub_voxel_offsets,
    unfold_cells,
    volume_to_rows,
)
from sgrocc_core.network.expert.projection import count_hits
from sgrocc_core.network.expert.spatial_expert import ExpertConfig, SpatialExpert, cells_of, local_head, voxels_of

INTRINSICS = torch.tensor([[289.0, 289.0, 159.5, 119.5]])
LEVEL = torch.tensor([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 2.4], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]])
"""A camera at the box's near side that looks along x, 1.5 m above the box's floor."""


def inputs(batch=1, depth=2.5):
    torch.manual_seed(3)
    prior, camera = torch.full((batch, 1, 240, 320), depth), (INTRINSICS.expand(batch, -1), LEVEL.expand(batch, -1, -1))
    return (
        torch.randn(batch, 32, 30, 40),
        prior,
        torch.full((batch, 1, 240, 320), 0.2),
        count_hits(prior, *camera),
        torch.full((batch, 1, 60, 80), 0.4),
        *camera,
    )


@pytest.fixture(scope="module")
def expert():
    torch.manual_seed(0)
    return SpatialExpert()


def test_outputs_have_the_documented_shapes(expert):
    outputs = expert.eval()(*inputs(2))
    shapes = {name: tuple(value.shape) for name, value in outputs.items()}
    assert shapes == {
        "means": (2, 16200, 4, 3),
        "scales": (2, 16200, 4, 3),
        "rotations": (2, 16200, 4, 4),
        "opacities": (2, 16200, 4),
        "logits": (2, 16200, 4, 11),
        "features": (2, 16200, 32),
    }
    assert torch.allclose(outputs["rotations"].norm(dim=-1), torch.ones(2, 16200, 4), atol=1e-5)
    assert expert.train()(*inputs())["dense"].shape == (1, 16200, 8, 12)


def test_samples_of_a_batch_do_not_mix(expert):
    expert.eval()
    one, two = inputs(depth=2.0), inputs(depth=3.0)
    both = tuple(torch.cat([a, b]) for a, b in zip(one, two))
    together, alone = expert(*both), expert(*two)
    for name in alone:
        assert torch.allclose(together[name][1:], alone[name], atol=1e-4), name


def test_cells_are_in_c_order_of_x_y_z():
    centres = cell_centres().reshape(30, 30, 18, 3)
    assert torch.allclose(centres[2, 1, 4], torch.tensor([0.4, 0.24, 0.72]))


def test_sub_voxels_are_the_voxels_of_their_cell():
    voxels = torch.from_numpy(voxel_centres(np.zeros(3))).float()
    grouped = torch.stack([cells_of(voxels[None, ..., axis])[0] for axis in range(3)], -1)
    assert torch.allclose(grouped, cell_centres()[:, None] + sub_voxel_offsets(), atol=1e-5)


def test_rows_and_volume_are_inverse_and_share_memory():
    rows = torch.randn(2, 16200, 5)
    volume = rows_to_volume(rows)
    assert volume[1, :, 3, 4, 5].tolist() == rows[1, (3 * 30 + 4) * 18 + 5].tolist()
    assert volume.data_ptr() == rows.data_ptr()
    assert torch.equal(volume_to_rows(volume), rows)


def test_half_resolution_cells_unfold_to_their_eight_children():
    low = torch.arange(15 * 15 * 9 * 8, dtype=torch.float32).reshape(1, 15, 15, 9, 8)
    fine = rows_to_volume(unfold_cells(low))[0, 0]
    assert fine[2 * 3 + 1, 2 * 4, 2 * 5 + 1] == low[0, 3, 4, 5, 0b101]


def test_the_geometric_code_says_how_far_behind_the_surface_a_cell_is():
    _, depth, spread, _, thickness, intrinsics, pose = inputs(depth=2.5)
    centres = torch.tensor([[2.62, 2.44, 1.54]])  # z = 2.62: 0.12 m behind the surface, on the axis but for 4 cm
    hits = torch.tensor([0.0, 1, 40, 400, 0, 0, 0, 0]).view(1, 1, 8)
    code = geometric_code(centres, depth, spread, hits, thickness, intrinsics, pose)[0, 0]
    assert code[:5].tolist() == pytest.approx(
        [0.24, 0.048, 0.075, 1.0, 1.0], abs=1e-5
    )  # 2 r, 0.4 r, r / t / 4, in view, has depth
    distance = (2.62**2 + 0.04**2 + 0.04**2) ** 0.5
    assert code[5:10].tolist() == pytest.approx(
        [0.02, distance / 4, 2.62 / distance, 0.04 / distance, 0.04 / distance], abs=1e-5
    )
    near, far = 0.08 / 0.24, 0.16 / 0.24  # sub-voxels at x -+ 0.04 m
    assert code[10:18].tolist() == pytest.approx([near] * 4 + [far] * 4, abs=1e-4)
    assert code[18].item() == pytest.approx(np.exp(-((0.08 / 0.06) ** 2)), abs=1e-3)
    assert code[26:28].tolist() == pytest.approx(
        [np.log(2) / 2, 0.12 / 0.2 / 4], abs=1e-4
    )  # log of spread / 0.1 m, halved; r / spread / 4
    assert code[28:36].tolist() == [0, 1, 1, 1, 0, 0, 0, 0]
    pixels = (289 * 0.08 / 2.58) ** 2  # what a voxel covers at z = 2.62 - 0.04
    assert code[36:].tolist() == pytest.approx([0, 1 / pixels, 40 / pixels, 1, 0, 0, 0, 0], abs=1e-4)


def test_the_geometric_code_without_depth_says_so():
    _, depth, spread, hits, thickness, intrinsics, pose = inputs(depth=0.0)
    code = geometric_code(
        torch.tensor([[2.5, 2.4, 1.5]]), depth, spread, cells_of(hits)[:, :1], thickness, intrinsics, pose
    )[0, 0]
    assert code[:5].tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]
    assert code[10:].abs().max() == 0


@pytest.mark.slow
def test_autocast_changes_little(expert):
    expert.eval()
    plain = expert(*inputs())
    with torch.autocast("cpu", torch.bfloat16):
        cast = expert(*inputs())
    assert torch.allclose(plain["means"], cast["means"], atol=2e-3)
    assert torch.allclose(plain["opacities"], cast["opacities"], atol=0.05)


def test_the_local_head_puts_a_gaussian_where_it_is():
    cells = 16200
    outputs = {
        "means": cell_centres()[None, :, None].expand(1, cells, 4, 3).clone(),
        "scales": torch.zeros(1, cells, 4, 3),
        "rotations": torch.tensor([1.0, 0, 0, 0]).expand(1, cells, 4, 4),
        "opacities": torch.full((1, cells, 4), -10.0),
        "logits": torch.zeros(1, cells, 4, 11),
    }
    cell = (10 * 30 + 12) * 18 + 3
    outputs["means"][0, cell, 0] += 0.04
    outputs["opacities"][0, cell, 0] = 3.0
    outputs["logits"][0, cell, 0, 6] = 5.0
    outputs["opacities"].requires_grad_(True)
    log_empty, class_weights = local_head(outputs, 0)
    occupied = (1 - log_empty.exp()) > 0.5
    assert occupied.nonzero().tolist() == [[21, 25, 7]]
    assert class_weights[21, 25, 7].argmax() == 6
    log_empty.sum().backward()
    assert outputs["opacities"].grad[0, cell, 0] < 0


def test_grouping_voxels_by_cell_and_back_is_the_identity():
    voxels = torch.arange(60 * 60 * 36).reshape(1, 60, 60, 36)
    assert torch.equal(voxels_of(cells_of(voxels)[0]), voxels[0])
    logits = torch.stack([voxels, -voxels], -1)
    grouped = torch.stack([cells_of(logits[..., c]) for c in range(2)], -1)
    assert torch.equal(voxels_of(grouped[0]), logits[0])


def test_the_dense_head_says_its_softmax_voxel_by_voxel():
    torch.manual_seed(1)
    expert = SpatialExpert(ExpertConfig(channels=4, wide=4, hidden=8, offsets=1, blocks=1, head="dense"))
    outputs = expert.eval()(*inputs())
    assert set(outputs) == {"opacities", "voxel_logits", "features"}
    trained = expert.train()(*inputs())
    assert {"dense", "opacities", "voxel_logits"} <= set(trained)
    p = torch.softmax(trained["dense"][0], -1)
    log_empty, class_weights = local_head(trained, 0)
    voxel, cell, place = (21, 25, 7), (10 * 30 + 12) * 18 + 3, 0b111
    assert log_empty.shape == (60, 60, 36) and class_weights.shape == (60, 60, 36, 11)
    assert torch.allclose(log_empty[voxel].exp(), p[cell, place, 0], atol=1e-5)
    assert torch.allclose(class_weights[voxel], p[cell, place, 1:], atol=1e-5)
    log_empty.sum().backward()
    assert expert.dense.weight.grad.abs().sum() > 0 and expert.refinements[0].each.weight.grad is None


def test_the_heads_differ_in_nothing_but_the_head():
    names = {head: set(SpatialExpert(ExpertConfig(head=head)).state_dict()) for head in ("gaussians", "dense")}
    assert names["gaussians"] == names["dense"]


def test_a_fixed_gate_is_not_learned():
    fixed = SpatialExpert(ExpertConfig(sigma=0.1, gate_sigma_fixed=True))
    still = {name for name, value in fixed.named_parameters() if not value.requires_grad}
    assert still == {f"lifters.{i}.raw_{what}" for i in range(2) for what in ("alpha", "sigma")}
    assert torch.nn.functional.softplus(fixed.lifters[0].raw_sigma).item() == pytest.approx(0.1)
    assert torch.nn.functional.softplus(fixed.lifters[1].raw_alpha).item() == pytest.approx(1.0)


def test_a_variant_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match=r"lifter is 'magic'; it must be one of soft, hard"):
        ExpertConfig(lifter="magic")
    with pytest.raises(ConfigError, match="head is 'tail'; it must be one of gaussians, dense"):
        ExpertConfig(head="tail")
    with pytest.raises(ConfigError, match="gaussians is 9"):
        ExpertConfig(gaussians=9)


VARIANTS = [
    {"gaussians": 1},
    {"blocks": 1, "offsets": 16},
    {"refinement": "none", "lifter": "hard"},
    {"refinement": "free"},
]


@pytest.mark.parametrize("options", VARIANTS)
def test_every_variant_runs(options):
    outputs = SpatialExpert(ExpertConfig(**options)).eval()(*inputs())
    assert all(torch.isfinite(value).all() for value in outputs.values())
    assert outputs["opacities"].shape[2] == options.get("gaussians", 4)
