"""The dual alignment: the occupancy is resampled where the camera sees it, and at the start it changes nothing."""

import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from sgrocc_core.generation.joint import Framework
from sgrocc_core.generation.network.alignment import (
    FARTHEST,
    NEAREST,
    STEEPNESS,
    BidirectionalMamba,
    Cameras,
    DualAlignment,
    Frustum,
    sample,
)
from sgrocc_core.generation.sampling import look_around
from tests.samples.rooms.painted_room import SIZE, WALL, grid, probabilities, tiny


def cameras(count=1):
    batch = look_around(count, SIZE).batch(torch.device("cpu"))
    return Cameras(batch["K"], batch["pose"])


def room():
    return torch.from_numpy(probabilities(grid()))[None]


def test_a_grid_is_read_at_the_voxel_that_holds_the_point():
    values = torch.arange(60.0)[None, None, :, None, None].expand(1, 1, 60, 60, 36)
    points = torch.tensor([[[10.5 * 0.08, 1.0, 1.0], [11.0 * 0.08, 2.0, 0.5], [-1.0, 1.0, 1.0]]])
    assert torch.allclose(sample(values, points).flatten(), torch.tensor([10.0, 10.5, 0.0]), atol=1e-4)


def test_light_ends_where_the_ray_meets_matter():
    block = np.zeros((60, 60, 36), np.uint8)
    block[40:] = WALL  # from 3.2 m ahead of the camera on
    light = Frustum(4, (6, 8), 4, 60, 1)(torch.from_numpy(probabilities(block))[None], cameras())
    ends = light[0].unflatten(0, (60, 6))[:, 5, 3, 4]  # (D,), the share that ends at each plane
    planes = NEAREST + (FARTHEST - NEAREST) * (torch.arange(60) + 0.5) / 60
    # The ray of row 13.5 is 2 pixels below the middle; the camera looks down 14 degrees, its focal length is 28.8.
    ahead = math.cos(math.radians(14)) - 2 / 28.8 * math.sin(math.radians(14))
    assert (ends * planes).sum().item() == pytest.approx(3.2 / ahead + 1 / STEEPNESS, abs=0.05)
    assert ends.sum().item() == pytest.approx(1, abs=0.01)


def test_nothing_is_seen_by_a_camera_that_looks_away():
    K, pose = cameras()
    turned = pose.clone()
    turned[..., :2, :3] *= -1  # half a turn about the vertical axis: it looks out of the box
    volume = Frustum(4, (6, 8), 4, 12, 1)(room(), Cameras(K, turned)).unflatten(1, (12, 6))
    assert volume[0, :, 5].abs().max() < 1e-3


def test_both_ends_of_the_sequence_reach_each_other():
    block = BidirectionalMamba(16)
    tokens = torch.randn(1, 40, 16, requires_grad=True)
    out = block(tokens)
    for read, written in ((0, 39), (39, 0)):
        (gradient,) = torch.autograd.grad(out[0, read].sum(), tokens, retain_graph=True)
        assert gradient[0, written].abs().max() > 0


def test_at_the_start_the_alignment_adds_nothing_and_afterwards_only_where_there_is_occupancy():
    torch.manual_seed(0)
    framework = Framework(tiny()).eval()
    views = cameras(2)
    noisy, levels = torch.randn(2, 4, 6, 8), torch.tensor([500, 500])
    tokens = torch.randn(1, 6, 16)
    with torch.no_grad():
        without = framework.predict(noisy, levels, tokens, None, views)
        assert torch.equal(framework.predict(noisy, levels, tokens, room(), views), without)
        for layer in framework.alignment.zeros:
            torch.nn.init.ones_(layer.weight)
        changed = framework.predict(noisy, levels, tokens, room(), views)
        unknown = framework.predict(noisy, levels, tokens, room(), views, torch.zeros(1))
    assert (changed - without).abs().max() > 1e-3
    assert torch.allclose(unknown, without, atol=1e-6)


def test_a_view_is_told_what_the_other_view_sees():
    torch.manual_seed(0)
    alignment = DualAlignment(4, (6, 8), 4, (8, 16), 4, 16, 12, 2)
    torch.nn.init.normal_(alignment.zeros[0].weight)
    K, pose = cameras(2)
    noisy = torch.randn(2, 4, 6, 8)
    known = torch.ones(1)
    before = alignment(noisy, room(), Cameras(K, pose), known)[0]
    after = alignment(torch.stack([noisy[0], noisy[1] + 1]), room(), Cameras(K, pose), known)[0]
    assert (after[0] - before[0]).abs().max() > 1e-5
