"""Tests of the depth that the expert gets in training."""

from __future__ import annotations

import torch

from sgrocc_core.training.losses.depth_input import as_from_motion, depth_prior
from sgrocc_core.training.losses.objectives import draws


def image_of(depth: float, spread: float) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.full((2, 1, 60, 80), depth), torch.full((2, 1, 60, 80), spread)


def test_motion_leaves_a_part_of_the_error_and_the_same_part_of_the_relative_spread() -> None:
    depth, spread = image_of(2.0, 0.4)
    true = torch.full((1, 60, 80), 2.5)
    corrected, narrower = as_from_motion(depth[0], spread[0], true, torch.Generator().manual_seed(3))
    left = torch.log(true / corrected) / torch.log(true / depth[0])
    torch.testing.assert_close(narrower / corrected, 0.2 * left, rtol=1e-4, atol=1e-6)
    assert 0.099 < left.min() < 0.3
    assert 0.7 < left.max() < 1.001
    assert 0.3 < left.mean() < 0.7


def test_where_the_truth_is_unknown_depth_gets_the_image_s_scale_and_keeps_its_relative_spread() -> None:
    depth, spread = image_of(2.0, 0.4)
    true = torch.full((1, 60, 80), 3.0)
    true[:, :20] = 0
    corrected, wider = as_from_motion(depth[0], spread[0], true, torch.Generator().manual_seed(3))
    torch.testing.assert_close(corrected[:, :20], torch.full((1, 20, 80), 3.0))
    torch.testing.assert_close(wider[:, :20], torch.full((1, 20, 80), 0.6))


def test_an_image_without_any_truth_stays_as_it_is() -> None:
    depth, spread = image_of(2.0, 0.4)
    corrected, same = as_from_motion(depth[0], spread[0], torch.zeros(1, 60, 80), torch.Generator().manual_seed(3))
    assert torch.equal(corrected, depth[0])
    assert torch.equal(same, spread[0])


def test_only_views_without_a_sensor_are_corrected_and_only_if_asked() -> None:
    depth, spread = image_of(2.0, 0.4)
    sensor = torch.zeros(2, 1, 240, 320)
    sensor[1] = 2.5
    batch = {"prior": sensor, "mask": torch.ones(2, 1, 240, 320), "depth": torch.full((2, 1, 60, 80), 2.5)}
    image = {"depth": depth, "spread": spread}
    as_it_is, _ = depth_prior(batch, image, draws(1, 0, (0, 1)))
    corrected, _ = depth_prior(batch, image, draws(1, 0, (0, 1)), motion_share=1.0)
    assert (as_it_is[0] == 2.0).all()
    assert (corrected[0] >= 2.0).all() and (corrected[0] < 2.5).all() and corrected[0].mean() > 2.1
    assert (corrected[1] == 2.5).all()


def test_holes_of_a_sensor_are_filled_with_the_predicted_depth_that_motion_did_not_correct() -> None:
    depth, spread = image_of(2.0, 0.4)
    sensor = torch.full((2, 1, 240, 320), 2.5)
    sensor[:, :, :120] = 0
    true = torch.cat([torch.full((2, 1, 60, 40), 2.5), torch.full((2, 1, 60, 40), 4.0)], -1)
    batch = {"prior": sensor, "mask": torch.ones(2, 1, 240, 320), "depth": true}
    image = {"depth": depth, "spread": spread}
    filled = 0
    for step in range(8):
        as_it_is = depth_prior(batch, image, draws(1, step, (0, 1)))
        asked = depth_prior(batch, image, draws(1, step, (0, 1)), motion_share=1.0)
        assert all(torch.equal(a, b) for a, b in zip(as_it_is, asked))
        filled += int((as_it_is[0][:, :, :120] == 2.5).flatten(1).all(1).sum())
    assert 0 < filled < 16  # in about half of the views holes are filled
