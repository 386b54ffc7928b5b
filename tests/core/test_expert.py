"""The spatial expert: shapes and bounds, the geometric code by hand, gradients for silent Gaussians, and the local head."""

import numpy as np
import pytest
import torch

from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.lattice import voxel_centres
from sgrocc_core.network.lattice_encoder import (
    cell_centres,
    geometric_code,
    rows_to_volume,
    sub_voxel_offsets,
    unfold_cells,
    volume_to_rows,
)
from sgrocc_core.network.spatial_expert import ExpertConfig, SpatialExpert, cells_of, joint_opacity_logit, local_head

INTRINSICS = torch.tensor([[289.0, 289.0, 159.5, 119.5]])
LEVEL = torch.tensor([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 2.4], [0.0, -1.0, 0.0, 1.5], [0.0, 0.0, 0.0, 1.0]])
"""A camera at the box's near side that looks along x, 1.5 m above the box's floor."""


def inputs(batch=1, depth=2.5):
    torch.manual_seed(3)
    return (
        torch.randn(batch, 32, 30, 40), torch.full((batch, 1, 240, 320), depth), torch.full((batch, 1, 60, 80), 0.4),
        INTRINSICS.expand(batch, -1), LEVEL.expand(batch, -1, -1),
    )


@pytest.fixture(scope="module")
def expert():
    torch.manual_seed(0)
    return SpatialExpert()


def test_outputs_have_the_documented_shapes(expert):
    outputs = expert.eval()(*inputs(2))
    shapes = {name: tuple(value.shape) for name, value in outputs.items()}
    assert shapes == {
        "means": (2, 16200, 4, 3), "scales": (2, 16200, 4, 3), "rotations": (2, 16200, 4, 4), "opacities": (2, 16200, 4),
        "logits": (2, 16200, 4, 11), "features": (2, 16200, 32), "coarse": (2, 16200),
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
    _, depth, thickness, intrinsics, pose = inputs(depth=2.5)
    centres = torch.tensor([[2.62, 2.44, 1.54]])  # z = 2.62: 0.12 m behind the surface, on the axis but for 4 cm
    code = geometric_code(centres, depth, thickness, intrinsics, pose)[0, 0]
    assert code[:5].tolist() == pytest.approx([0.24, 0.048, 0.075, 1.0, 1.0], abs=1e-5)  # 2 r, 0.4 r, r / t / 4, in view, has depth
    distance = (2.62**2 + 0.04**2 + 0.04**2) ** 0.5
    assert code[5:10].tolist() == pytest.approx([0.02, distance / 4, 2.62 / distance, 0.04 / distance, 0.04 / distance], abs=1e-5)
    near, far = 0.08 / 0.24, 0.16 / 0.24  # sub-voxels at x -+ 0.04 m
    assert code[10:18].tolist() == pytest.approx([near] * 4 + [far] * 4, abs=1e-4)
    assert code[18].item() == pytest.approx(np.exp(-((0.08 / 0.06) ** 2)), abs=1e-3)


def test_the_geometric_code_without_depth_says_so():
    _, depth, thickness, intrinsics, pose = inputs(depth=0.0)
    code = geometric_code(torch.tensor([[2.5, 2.4, 1.5]]), depth, thickness, intrinsics, pose)[0, 0]
    assert code[:5].tolist() == [0.0, 0.0, 0.0, 1.0, 0.0]
    assert code[10:].abs().max() == 0


def test_the_joint_opacity_is_that_of_independent_gaussians():
    raw = torch.tensor([[-4.0, 0.3, 1.0, -8.0], [-20.0, -20.0, -20.0, -20.0], [30.0, 0.0, 0.0, 0.0]], dtype=torch.float64)
    joint = 1 - (1 - torch.sigmoid(raw[0])).prod()
    logits = joint_opacity_logit(raw)
    assert torch.sigmoid(logits[0]).item() == pytest.approx(joint.item(), rel=1e-9)
    assert torch.isfinite(logits).all()


def test_silent_gaussians_learn_from_the_coarse_logit(expert):
    expert.train().zero_grad()
    outputs = expert(*inputs())
    assert torch.sigmoid(outputs["opacities"]).max() < 0.021  # nobody is splatted at the start
    torch.nn.functional.softplus(-outputs["coarse"]).mean().backward()
    gradient = expert.refinements[1].each.weight.grad.reshape(4, 20, -1)
    assert (gradient[:, 8].abs().sum(-1) > 0).all()  # the opacity of each of the four


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
        "means": cell_centres()[None, :, None].expand(1, cells, 4, 3).clone(), "scales": torch.zeros(1, cells, 4, 3),
        "rotations": torch.tensor([1.0, 0, 0, 0]).expand(1, cells, 4, 4), "opacities": torch.full((1, cells, 4), -10.0),
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


def test_a_variant_that_does_not_exist_is_named():
    with pytest.raises(ConfigError, match=r"lifter is 'magic'; it must be one of soft, hard"):
        ExpertConfig(lifter="magic")
    with pytest.raises(ConfigError, match="gaussians is 9"):
        ExpertConfig(gaussians=9)


VARIANTS = [{"gaussians": 1}, {"blocks": 1, "offsets": 16}, {"refinement": "none", "lifter": "hard"}, {"refinement": "free"}]


@pytest.mark.parametrize("options", VARIANTS)
def test_every_variant_runs(options):
    outputs = SpatialExpert(ExpertConfig(**options)).eval()(*inputs())
    assert all(torch.isfinite(value).all() for value in outputs.values())
    assert outputs["opacities"].shape[2] == options.get("gaussians", 4)
