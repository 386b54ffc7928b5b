"""The training configuration: errors name the key, the value and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("torch")

from sgrocc_core.errors import ConfigError
from sgrocc_core.network.expert.spatial_expert import ExpertConfig
from sgrocc_core.training.config import TrainConfig, load_config, model_sections
from sgrocc_core.training.losses.objectives import LocalWeights

ROOT = Path(__file__).parents[3]


def read(tmp_path: Path, text: str) -> TrainConfig:
    path = tmp_path / "train.yaml"
    path.write_text(text)
    return load_config(path)


def test_the_committed_configuration_is_read() -> None:
    found = load_config(ROOT / "config" / "train" / "small_local.yaml")
    assert found.model == "small" and found.stages["joint"].image_rate < 1
    assert found.network == ExpertConfig(**model_sections("small")["expert"])


def test_keys_of_the_network_are_laid_over_the_models(tmp_path: Path) -> None:
    found = read(tmp_path, "model: base\nnetwork: {lifter: hard, sigma: 1}\nimage: {size: base}\n")
    model = model_sections("base")
    assert found.network == ExpertConfig(**{**model["expert"], "lifter": "hard", "sigma": 1.0})
    assert found.image == {**model["image"], "size": "base"}


def test_losses_device_and_precision_are_read(tmp_path: Path) -> None:
    found = read(tmp_path, "device: cpu\namp: false\nlosses: {jaccard: 0, regularisation_kind: uniform}\n")
    assert (found.device, found.amp) == ("cpu", False)
    assert found.losses == LocalWeights(jaccard=0.0, regularisation_kind="uniform")


def test_what_is_not_said_is_the_default(tmp_path: Path) -> None:
    assert read(tmp_path, "seed: 3\nstages:\nlosses:\n") == TrainConfig(
        seed=3,
        image=model_sections("small")["image"],
        network=ExpertConfig(**model_sections("small")["expert"]),
        stereo=model_sections("small")["stereo"],
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tempo: 3", "unknown key 'tempo'; the keys are model, image, network, losses, seed"),
        ("model: huge", "model is 'huge'.*known are base, own, small"),
        ("device: tpu", "device is 'tpu'; it must be one of auto, cpu, cuda"),
        ("amp: bf16", "amp is 'bf16'; it must be true or false"),
        ("threads: 1.5", "threads is 1.5; it must be a whole number"),
        ("seed: -1", "seed is -1"),
        ("sensor_share: 2", "sensor_share is 2"),
        ("motion_share: -1", "motion_share is -1"),
        ("average: .nan", "average is nan; it must be a finite number"),
        ("checkpoint_minutes: 0", "checkpoint_minutes is 0"),
        ("network: {lifter: magic}", "network: lifter is 'magic'; it must be one of"),
        ("network: {depth: 3}", "network: unknown key 'depth'; the keys are channels"),
        ("network: [1]", r"network is \[1\]; it must be a mapping"),
        ("losses: {focal: -1}", "losses: focal is -1.0; it must be a finite number of 0 or more"),
        ("losses: {focus: 1}", "losses: unknown key 'focus'; the keys are focal"),
        (
            "losses: {regularisation_kind: some}",
            "regularisation_kind is 'some'; it must be one of none, uniform, semantic",
        ),
        ("losses: {dense_share: 2}", "dense_share is 2"),
        ("stages: {image: {batch: 0}}", "stages.image: batch is 0"),
        ("stages: {image: {rate: fast}}", "stages.image: rate is 'fast'"),
        ("stages: {image: {clip: 0}}", "stages.image: clip is 0"),
        ("stages: {image: {image_rate: 3}}", "stages.image: image_rate is 3"),
        ("stages: {image: {weight_decay: -1}}", "stages.image: weight_decay is -1"),
        ("stages: {image: 3}", "stages.image is 3; it must be a mapping"),
        ("stages: {depth: {}}", "unknown stage 'depth' in stages; the stages are image, expert, joint"),
        ("[1, 2]", "mapping"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_key_and_value(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, text)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the configuration .*none.yaml"):
        load_config(tmp_path / "none.yaml")
