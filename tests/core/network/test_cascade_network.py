"""The networks of the second sweep: what they change before they are trained, and that they learn to read it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.depth.cascade import STEP
from sgrocc_core.network.image.small import ImageEngine
from sgrocc_core.network.stereo.cascade import CascadeRegulariser, FineMatching
from sgrocc_core.network.stereo.network import ImageWithMatching, StereoConfig, StereoNetwork, build_stereo
from sgrocc_core.network.weights_file import load_weights, read_weights, save_model
from sgrocc_core.training.stereo.step import cascade_terms


def inputs(count: int = 16, batch: int = 2, channels: int = 48) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    depth = 1 + 4 * torch.rand(batch, 1, 60, 80, generator=generator)
    return {
        "score": torch.randn(batch, count, 60, 80, generator=generator), "count": torch.ones(batch, count, 60, 80),
        "context": torch.randn(batch, channels, 60, 80, generator=generator), "depth": depth, "spread": 0.2 * depth,
    }  # fmt: skip


def test_before_it_is_trained_it_changes_nothing() -> None:
    torch.manual_seed(0)
    given = inputs()
    found = CascadeRegulariser(48, 16).eval()(**given)
    assert torch.equal(found["depth"], given["depth"])
    assert torch.allclose(found["spread"], given["spread"], rtol=1e-5)


def test_without_a_source_the_depth_stays_whatever_was_learned() -> None:
    torch.manual_seed(0)
    network, given = CascadeRegulariser(48, 16).eval(), inputs()
    torch.nn.init.normal_(network.shape.weight)
    assert not torch.equal(network(**given)["depth"], given["depth"])
    given["count"], given["score"] = torch.zeros_like(given["count"]), torch.zeros_like(given["score"])
    found = network(**given)
    assert torch.equal(found["depth"], given["depth"]) and torch.equal(found["spread"], given["spread"])


def test_weights_with_one_sweep_are_a_start_for_two(tmp_path: Path) -> None:
    torch.manual_seed(0)
    plain = StereoNetwork(StereoConfig(), fine_channels=48)
    both = StereoNetwork(StereoConfig(cascade=16), fine_channels=48)
    save_model(tmp_path / "plain.safetensors", {"stereo.": plain})
    assert load_weights(both, read_weights(tmp_path / "plain.safetensors"), "stereo.", tmp_path / "plain.safetensors")
    assert torch.equal(both.regulariser.planes.weight, plain.regulariser.planes.weight)


def test_the_image_graph_gives_features_of_twice_the_resolution() -> None:
    torch.manual_seed(0)
    engine = ImageEngine().eval()
    both = ImageWithMatching(engine, build_stereo({"cascade": 8}, engine)).eval()
    camera = torch.tensor([[289.0, 289.0, 159.5, 119.5]])
    outputs = both(torch.rand(1, 3, 240, 320), torch.ones(1, 1, 240, 320), camera, torch.eye(3)[None])
    assert outputs["matching_fine"].shape == (1, 16, 120, 160)
    assert torch.allclose(outputs["matching_fine"].norm(dim=1), torch.ones(1, 120, 160), atol=1e-3)


def test_matching_features_take_the_early_map_where_there_is_one() -> None:
    torch.manual_seed(0)
    head = FineMatching(8, early_channels=4).eval()
    image, mask, fine = torch.rand(1, 3, 240, 320), torch.ones(1, 1, 240, 320), torch.rand(1, 8, 60, 80)
    one, other = (head(image, mask, fine, torch.full((1, 4, 120, 160), value)) for value in (0.0, 1.0))
    assert one.shape == (1, 16, 120, 160) and not torch.allclose(one, other, atol=1e-3)


def test_a_few_steps_of_training_follow_scores_that_are_right() -> None:
    """Scores peak at the true hypothesis, the depth in hand is off by up to 8 %: the answer moves to the truth."""
    torch.manual_seed(0)
    network = CascadeRegulariser(4, 16, width=16)
    optimiser = torch.optim.AdamW(network.parameters(), lr=5e-3)
    errors, starts = [], []
    for _ in range(120):
        true = 1 + 3 * torch.rand(2, 1, 12, 16)
        around = true * torch.exp(0.08 * (2 * torch.rand(true.shape) - 1))
        place = 7.5 - (true**-0.5 - around**-0.5) / STEP
        score = -((torch.arange(16.0).view(1, -1, 1, 1) - place).abs() / 4).clamp(max=1)
        given = {"score": score, "count": torch.ones_like(score), "context": torch.zeros(2, 4, 12, 16)}
        found = network(**given, depth=around, spread=0.1 * around)
        loss = sum(cascade_terms(found, around, true).values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        errors.append(float((found["depth"] / true - 1).abs().mean()))
        starts.append(float((around / true - 1).abs().mean()))
    assert np.mean(errors[-10:]) < 0.4 * np.mean(starts[-10:])


def test_pixels_outside_the_hypotheses_teach_them_nothing() -> None:
    logits = torch.zeros(1, 16, 1, 2, requires_grad=True)
    around = torch.full((1, 1, 1, 2), 2.0)
    target = torch.tensor([2.05, 4.0]).view(1, 1, 1, 2)
    found = {"depth": around, "spread": 0.1 * around, "hypothesis_logits": logits}
    cascade_terms(found, around, target)["hypotheses"].backward()
    assert logits.grad[..., 0].abs().max() > 0 and not logits.grad[..., 1].any()
