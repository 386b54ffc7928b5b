"""Training and sampling of the joint framework at a tiny size, and its errors."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from sgrocc_core.cli import main
from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.generation.config import load_generation
from sgrocc_core.generation.joint import Framework, JointObjective, damaged, shapes
from sgrocc_core.generation.network.diffusion import Noise
from sgrocc_core.generation.network.perception import one_hot
from sgrocc_core.generation.sampling import imagine, look_around
from sgrocc_core.generation.stage import GenerationStage, open_framework, open_perception, train_generation
from sgrocc_core.generation.views import pack_groups
from sgrocc_core.network.weights_file import read_weights
from tests.samples.rooms.painted_room import SIZE, grid, tiny, write_set

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("rooms"))


def test_the_clean_latents_are_found_from_the_right_prediction():
    for noise in (Noise(), Noise(pretrained=True)):
        latents, added = torch.randn(3, 4, 6, 8), torch.randn(3, 4, 6, 8)
        levels = torch.tensor([10, 400, 900])
        noisy = noise.add(latents, added, levels)
        assert torch.allclose(noise.clean(noisy, noise.target(latents, added, levels), levels), latents, atol=1e-3)


def test_damage_empties_whole_cells_and_no_more_than_its_share():
    truth = one_hot(torch.from_numpy(grid())[None].repeat(8, 1, 1, 1))
    lost = damaged(truth, torch.Generator().manual_seed(0)) != truth
    share = lost.any(1).float().mean() / (truth[:, 0] == 0).float().mean()
    assert 0.03 < share < 0.3


@pytest.mark.slow
def test_a_run_in_two_halves_equals_the_whole(rooms, tmp_path):
    whole, halves = tmp_path / "whole", tmp_path / "halves"
    config = tiny(steps=4)
    for out in (whole, halves):
        train_generation(tiny(steps=1), "autoencoder", [rooms], out)
    train_generation(config, "alignment", [rooms], whole)
    stage = GenerationStage(config, "alignment", [pack_groups(rooms, "train", SIZE)])
    from sgrocc_core.training.trainer import Trainer

    trainer = Trainer(config, stage, halves)
    trainer.warm_start(halves / "autoencoder.weights.safetensors")
    for given in stage.batches(stage.load_data(), 0):
        trainer.train_step(given)
        if trainer.step == 2:
            break
    trainer.save()
    train_generation(config, "alignment", [rooms], halves, resume=True)
    first, second = (read_weights(out / "alignment.weights.safetensors") for out in (whole, halves))
    assert first.keys() == second.keys()
    gaps = {name: (first[name] - second[name]).abs().max().item() for name in first}
    # Sums of a CPU depend in their last digit on where memory begins, and AdamW turns the sign of a tiny gradient into
    # a step of the learning rate, 4e-4: two steps may differ by that much in single weights, but not in most.
    assert max(gaps.values()) < 2e-3 and np.median(list(gaps.values())) < 1e-6


@pytest.mark.parametrize("name", ["autoencoder", "alignment"])
def test_the_loss_of_a_batch_falls_when_it_is_learned(rooms, name):
    stage = GenerationStage(tiny(no_occupancy=0.0), name, [pack_groups(rooms, "train", SIZE)])
    objective, batch = stage.objective(), next(stage.batches(stage.load_data(), 0)).values
    optimizer = torch.optim.AdamW([p for part in stage.trained.values() for p in part.module.parameters()], 0.01)
    values = []
    for _ in range(8):
        loss = sum(stage.loss(objective, batch, 0).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        values.append(loss.item())
    assert values[-1] < 0.85 * values[0]


def test_the_same_seed_imagines_the_same_room():
    torch.manual_seed(0)
    framework, perception = Framework(tiny()), open_perception("small")
    torch.nn.init.normal_(framework.autoencoder.net.decoder.conv_out.weight)  # 0 at the start, where images are flat
    views = look_around(1, SIZE)
    done = []
    first, again = (imagine(framework, perception, "a bed", views, 3, after=done.append) for _ in range(2))
    other = imagine(framework, perception, "a bed", views, 4, 1)
    assert np.array_equal(first.images, again.images) and np.array_equal(first.probabilities, again.probabilities)
    assert not np.array_equal(first.images, other.images) and done == [1, 2, 1, 2]
    assert np.allclose(first.probabilities.sum(0), 1, atol=1e-3) and first.depth.min() > 0


@pytest.mark.slow
def test_the_joint_stage_trains_the_expert_and_the_generation_together(rooms, tmp_path):
    for stage in ("autoencoder", "alignment", "joint"):
        train_generation(tiny(steps=2), stage, [rooms], tmp_path)
    before = read_weights(tmp_path / "alignment.weights.safetensors")
    after, own = (
        read_weights(tmp_path / "joint.weights.safetensors"),
        read_weights(ROOT / "models/small/weights.safetensors"),
    )
    assert any(not torch.equal(before[name], after[name]) for name in before if name.startswith("unet."))
    assert any(not torch.equal(own[name], after[name]) for name in own if name.startswith("expert.code"))
    assert all(torch.equal(own[name], after[name]) for name in own if name.startswith("image."))
    framework, _ = open_framework(tiny(), tmp_path / "imagine.safetensors")
    assert torch.allclose(framework.unet.conv_in.weight, after["unet.conv_in.weight"], atol=1e-3)


@pytest.mark.slow
def test_the_perception_losses_reach_the_u_net(rooms):
    stage = GenerationStage(tiny(steps=1), "joint", [pack_groups(rooms, "train", SIZE)])
    batch = next(stage.batches(stage.load_data(), 0)).values
    objective = JointObjective(stage.framework, stage.perception, "joint", torch.ones(12))
    objective.perception.engine.eval()
    torch.nn.init.normal_(stage.framework.autoencoder.net.decoder.conv_out.weight, std=0.1)  # 0 before it is trained
    terms = objective(batch, 0, 0)
    sum(value for name, value in terms.items() if name != "generation").backward()
    assert stage.framework.unet.conv_in.weight.grad.abs().max() > 0


def test_the_large_configuration_has_the_shapes_of_stable_diffusion():
    config = load_generation(ROOT / "config/generation/base.yaml")
    with torch.device("meta"):
        framework = Framework(config)
        found = shapes(framework)
    assert sum(p.numel() for p in framework.unet.parameters()) == 859_520_964  # of Stable Diffusion 1.5
    assert found["latents"] == [2, 4, 48, 64] and found["prediction"] == found["latents"]
    assert found["tokens"] == [1, 77, 768] and found["alignment level 3"] == [2, 1280, 6, 8]


@pytest.mark.slow
def test_the_large_configuration_takes_a_step_at_random_weights(rooms, tmp_path):
    config = dataclasses.replace(
        load_generation(ROOT / "config/generation/base.yaml"), size=(64, 64), threads=1, workers=0
    )
    stages = {name: dataclasses.replace(stage, steps=1, batch=1) for name, stage in config.stages.items()}
    config = dataclasses.replace(config, stages=stages, views=1)
    stage = GenerationStage(config, "alignment", [pack_groups(rooms, "train", (64, 64))])
    batch = next(stage.batches(stage.load_data(), 0)).values
    terms = stage.loss(stage.objective(), batch, 0)
    terms["generation"].backward()
    assert torch.isfinite(terms["generation"]) and stage.framework.unet.conv_in.weight.grad is None
    assert stage.framework.alignment.zeros[0].weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("size", "[100, 96]", "multiples of 32"),
        ("size", "128x96", "list of whole numbers"),
        ("text", "bert", "sentence, words, clip"),
        ("groups", "7", "cannot be divided"),
        ("views", "0", "from 1 to 16"),
        ("colour", "1", "unknown key 'colour'"),
        ("stages", "{image: {}}", "autoencoder, alignment, joint"),
    ],
)
def test_a_wrong_configuration_is_refused(tmp_path, key, value, words):
    (tmp_path / "c.yaml").write_text(f"{key}: {value}\n")
    with pytest.raises(ConfigError, match=words):
        load_generation(tmp_path / "c.yaml")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([" "], "the prompt is empty"),
        (["a bed " * 400], "2399 characters"),
        (["a bedroom with a bed and without a bed"], "it asks for a bed and for none"),
        (["a big small bedroom"], "both small and large"),
        (["ein Zimmer mit einem Bett und zwei Stühlen"], "only English is read"),
        (["a bed", "--views", "0"], "--views is 0"),
        (["a bed", "--weights", "no.safetensors"], "there are no weights no.safetensors"),
    ],
)
def test_bad_input_is_answered_by_a_sentence(capsys, arguments, words):
    assert main(["imagine", *arguments]) == 1
    assert words in capsys.readouterr().err


def test_a_pretrained_model_that_is_not_in_the_cache_is_named_with_its_command(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    config = dataclasses.replace(load_generation(ROOT / "config/generation/base.yaml"), pretrained="nobody/nothing")
    with pytest.raises(ModelError, match="hf download nobody/nothing"):
        Framework(config, pretrained=True)
