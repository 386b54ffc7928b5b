"""The stereo network: what it says without sources, what it is made of, and that it learns to read the sweep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.depth.sweep import plane_depths
from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.network.image.small import ImageEngine
from sgrocc_core.network.stereo.network import ImageWithMatching, StereoConfig, StereoNetwork, build_stereo
from sgrocc_core.network.weights_file import load_weights, read_weights, save_model

TINY = StereoConfig(planes=16, fine=8, half=8, quarter=8)


def inputs(planes: int = 64, batch: int = 2, channels: int = 48) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    depth = 1 + 4 * torch.rand(batch, 1, 60, 80, generator=generator)
    return {
        "score": torch.randn(batch, planes, 60, 80, generator=generator), "count": torch.ones(batch, planes, 60, 80),
        "context": torch.randn(batch, channels, 60, 80, generator=generator), "depth": depth, "spread": 0.2 * depth,
    }  # fmt: skip


def stereo(**changes: int) -> StereoNetwork:
    torch.manual_seed(0)
    return StereoNetwork(StereoConfig(**changes), fine_channels=48)


def test_without_a_source_the_answer_is_exactly_the_one_image_depth() -> None:
    network, given = stereo().eval(), inputs()
    given["count"], given["score"] = torch.zeros_like(given["count"]), torch.zeros_like(given["score"])
    found = network(**given)
    assert torch.equal(found["depth"], given["depth"]) and torch.equal(found["spread"], given["spread"])


def test_one_image_of_a_batch_without_sources_does_not_touch_the_others() -> None:
    network, given = stereo().eval(), inputs()
    both = network(**given)
    given["count"] = given["count"].clone()
    given["count"][1] = 0
    found = network(**given)
    assert torch.equal(found["depth"][1], given["depth"][1])
    assert torch.equal(found["depth"][0], both["depth"][0])


def test_matching_features_are_of_unit_length_and_feel_the_picture() -> None:
    torch.manual_seed(0)
    engine = ImageEngine().eval()
    network = build_stereo({}, engine).eval()
    both = ImageWithMatching(engine, network).eval()
    images = torch.rand(2, 3, 240, 320, generator=torch.Generator().manual_seed(2))
    camera = torch.tensor([[289.0, 289.0, 159.5, 119.5]]).expand(2, 4)
    outputs = both(images, torch.ones(2, 1, 240, 320), camera, torch.eye(3).expand(2, 3, 3))
    assert outputs["matching"].shape == (2, 16, 60, 80) and outputs["context"].shape == (2, 48, 60, 80)
    assert torch.allclose(outputs["matching"].norm(dim=1), torch.ones(2, 60, 80), atol=1e-3)
    assert not torch.allclose(outputs["matching"][0], outputs["matching"][1], atol=1e-2)
    assert set(outputs) >= {"features", "depth", "spread", "thickness"}


def test_an_early_map_takes_the_place_of_the_pixels() -> None:
    network = StereoNetwork(TINY, fine_channels=8, early_channels=16)
    fine, early = torch.rand(1, 8, 60, 80), torch.rand(1, 16, 120, 160)
    images = [torch.rand(1, 3, 240, 320) for _ in range(2)]
    found = [network.matching.eval()(image, torch.ones(1, 1, 240, 320), fine, early) for image in images]
    assert torch.equal(*found)


def test_further_blocks_begin_as_the_identity_and_are_no_part_of_a_smaller_network(tmp_path: Path) -> None:
    plain, deeper, given = stereo().eval(), stereo(blocks=2).eval(), inputs()
    save_model(tmp_path / "plain.safetensors", {"stereo.": plain})
    tensors = read_weights(tmp_path / "plain.safetensors")
    assert load_weights(deeper, tensors, "stereo.", tmp_path / "plain.safetensors")
    assert torch.equal(deeper(**given)["depth"], plain(**given)["depth"])
    save_model(tmp_path / "deeper.safetensors", {"stereo.": deeper})
    tensors = read_weights(tmp_path / "deeper.safetensors")
    with pytest.raises(ModelError, match=r"foreign or of another shape \['regulariser\.more"):
        load_weights(plain, tensors, "stereo.", tmp_path / "deeper.safetensors")


def test_an_image_engine_without_fine_features_has_no_stereo() -> None:
    with pytest.raises(ConfigError, match="gives no fine features for stereo"):
        build_stereo({}, torch.nn.Identity())


@pytest.mark.parametrize("options,message", [
    ({"planes": 4}, "planes is 4; it must be a whole number from 8 to 256"),
    ({"fine": 2.5}, "fine is 2.5; it must be a whole number"),
    ({"breadth": 3}, "does not take these arguments"),
])  # fmt: skip
def test_sizes_that_are_not_allowed_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_stereo(options, ImageEngine())


def test_spread_and_depth_are_positive_and_bounded_whatever_goes_in() -> None:
    network, given = stereo().eval(), inputs()
    given = {name: 50 * value if name in ("score", "context") else value for name, value in given.items()}
    found = network(**given)
    assert (found["spread"] >= 0.02).all() and (found["spread"] <= 3.0).all()
    assert (found["depth"] > 0.1).all() and (found["depth"] < 20).all()


def test_the_network_costs_less_than_one_gmac() -> None:
    network, macs = stereo().eval(), [0]

    def count(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
        macs[0] += output.numel() * module.weight[0].numel()

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    network(**inputs(batch=1))
    network.matching(torch.rand(1, 3, 240, 320), torch.ones(1, 1, 240, 320), torch.rand(1, 48, 60, 80))
    assert 0.2e9 < macs[0] < 1e9


def test_a_few_steps_of_training_trust_scores_that_are_right() -> None:
    """Scores peak at the true plane, the one-image depth is off by half: the answer moves to the truth."""
    torch.manual_seed(0)
    network = StereoNetwork(TINY, fine_channels=4)
    planes = torch.from_numpy(np.log(plane_depths(16))).float().view(1, -1, 1, 1)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    errors = []
    for _ in range(40):
        truth = torch.exp(torch.empty(4, 1, 6, 8).uniform_(0.0, 1.6)).repeat_interleave(4, 2).repeat_interleave(4, 3)
        score = torch.exp(-((planes - truth.log()) ** 2) / 0.05)
        off = torch.exp(torch.empty(4, 1, 1, 1).uniform_(-0.5, 0.5))
        found = network(score, torch.ones_like(score), torch.zeros(4, 4, 24, 32), truth * off, truth * off * 0.2)
        error = (found["depth"].log() - truth.log()).abs().mean()
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        errors.append(error.item())
    assert np.mean(errors[-10:]) < 0.08 < np.mean(errors[:3])  # the one-image depth is off by 0.25
