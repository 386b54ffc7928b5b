"""Eq. 3 by hand, the bound of a mean, and the degrees of freedom of each kind of refinement."""

import torch

from sgrocc_core.network.expert.refinement import Refinement, bound_to_cell, move_along_ray, start_offsets, start_state

CENTRES = torch.tensor([[1.0, 2.0, 0.5], [3.0, 0.2, 1.5]])
ORIGIN = torch.tensor([[0.1, 0.2, 1.4]])


def refine(kind, scale=1.0, max_step=0.1):
    torch.manual_seed(0)
    head = Refinement(6, 16, 4, kind, max_step, dropout=0.0)
    torch.nn.init.normal_(head.each.weight, std=scale)
    state = start_state(CENTRES, 4)
    refined, hidden = head(torch.randn(1, 2, 6), state, CENTRES, ORIGIN)
    return state, refined, hidden


def test_the_first_gaussians_are_the_corners_of_a_tetrahedron():
    offsets = start_offsets(4)
    assert torch.equal(offsets.abs(), torch.full((4, 3), 0.04))
    edges = torch.cdist(offsets, offsets)[~torch.eye(4, dtype=torch.bool)]
    assert torch.allclose(edges, torch.full_like(edges, 0.08 * 2**0.5))


def test_a_single_gaussian_starts_at_the_centre():
    assert start_offsets(1).tolist() == [[0.0, 0.0, 0.0]]


def test_equation_3_moves_by_delta_along_the_ray():
    means = torch.tensor([[[[3.0, 4.0, 0.0]]]])
    moved = move_along_ray(means, torch.tensor([[[[0.5]]]]), torch.zeros(1, 3), 0.1)
    step = 0.1 * 0.46211716  # tanh(0.5)
    assert torch.allclose(moved, means + step * torch.tensor([0.6, 0.8, 0.0]), atol=1e-6)


def test_ray_refinement_moves_along_the_ray_only():
    state, refined, _ = refine("ray", scale=0.05)
    ray = state.means - ORIGIN[:, None, None]
    step = refined.means - state.means
    assert step.norm(dim=-1).max() > 1e-3
    assert torch.linalg.cross(ray.expand_as(step), step).norm(dim=-1).max() < 1e-5
    assert step.norm(dim=-1).max() <= 0.1 + 1e-6


def test_free_refinement_leaves_the_ray():
    state, refined, _ = refine("free")
    ray = state.means - ORIGIN[:, None, None]
    step = refined.means - state.means
    assert torch.linalg.cross(ray.expand_as(step), step).norm(dim=-1).max() > 1e-3


def test_without_refinement_means_stay():
    state, refined, _ = refine("none")
    assert torch.equal(refined.means, state.means)
    assert not torch.equal(refined.opacities, state.opacities.expand_as(refined.opacities))


def test_a_mean_never_leaves_its_widened_cell():
    _, refined, _ = refine("free", scale=50.0, max_step=1.0)
    away = (refined.means - CENTRES[None, :, None]).abs().max()
    assert away <= 0.16 + 1e-6  # half a cell and 0.08 m
    inside = CENTRES[None, :, None] + 0.1
    assert torch.equal(bound_to_cell(inside, CENTRES), inside)


def test_refinement_adds_to_the_unconstrained_values():
    state, refined, hidden = refine("ray")
    torch.manual_seed(0)
    head = Refinement(6, 16, 4, "ray", 0.1, dropout=0.0)
    torch.nn.init.normal_(head.each.weight, std=1.0)
    raw = head.each(hidden).reshape(1, 2, 4, 20)
    assert hidden.shape == (1, 2, 16)
    assert torch.allclose(refined.scales, state.scales + raw[..., 1:4])
    assert torch.allclose(refined.opacities, raw[..., 8] - 4.0, atol=1e-6)


def test_dropout_drops_whole_channels_and_only_in_training():
    torch.manual_seed(0)
    head = Refinement(6, 64, 4, "ray", 0.1, dropout=0.5)
    inputs = torch.randn(1, 2, 6).abs()
    _, hidden = head.train()(inputs, start_state(CENTRES, 4), CENTRES, ORIGIN)
    _, plain = head.eval()(inputs, start_state(CENTRES, 4), CENTRES, ORIGIN)
    live = (plain > 0).all(1)[0]
    dropped = (hidden == 0).all(1)[0] & live
    assert 0 < dropped.sum() < live.sum()
    kept = live & ~dropped
    assert torch.allclose(hidden[0, :, kept], 2 * plain[0, :, kept])
