"""Training runs: schedule, configuration, exact resume, stages, and that the whole thing learns."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.errors import ConfigError, DataError, ModelError  # noqa: E402
from sgrocc_core.training import checkpoint  # noqa: E402
from sgrocc_core.training.config import StageConfig, TrainConfig, load_config  # noqa: E402
from sgrocc_core.training.dataset import PackedViews, loader  # noqa: E402
from sgrocc_core.training.schedule import Schedule  # noqa: E402
from sgrocc_core.training.session import packed_folder, starting_weights  # noqa: E402
from sgrocc_core.training.trainer import Trainer  # noqa: E402
from tests.core.little_room import write_scene  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    write_scene(folder / "room", 4, 1)
    return folder


def config(steps: int, batch: int = 2, **changes: object) -> TrainConfig:
    stage = StageConfig(steps=steps, batch=batch, rate=1e-3)
    base = TrainConfig(workers=0, amp=False, validation_views=1, rescan_steps=3, stages=dict.fromkeys(("image", "expert", "joint"), stage))
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def test_the_rate_warms_up_then_falls_to_its_floor() -> None:
    schedule = Schedule(rate=1.0, steps=100, warmup=0.1, floor=0.01)
    rates = [schedule.rate_at(step, 0.0) for step in range(101)]
    assert 0 < rates[0] < 0.1 and rates[10] == pytest.approx(1.0)
    assert rates[:11] == sorted(rates[:11]) and rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[55] == pytest.approx(0.01 + 0.99 / 2) and rates[100] == pytest.approx(0.01)


def test_a_run_bounded_by_the_clock_is_over_when_the_clock_says_so() -> None:
    schedule = Schedule(rate=1.0, steps=10**6, minutes=2.0)
    assert schedule.progress(5, 60.0) == pytest.approx(0.5)
    assert schedule.rate_at(5, 120.0) == pytest.approx(0.01)


def test_the_committed_configuration_is_read() -> None:
    read = load_config(ROOT / "config" / "train" / "small_local.yaml")
    assert read.model == "small" and read.stages["joint"].image_rate < 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tempo: 3", "unknown key 'tempo'"),
        ("stages: {image: {batch: 0}}", "batch is 0"),
        ("stages: {image: {rate: fast}}", "rate is 'fast'"),
        ("sensor_share: 2", "sensor_share is 2"),
        ("[1, 2]", "mapping"),
    ],
)
def test_a_wrong_configuration_is_refused_with_its_key_and_value(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_a_resumed_run_equals_an_uninterrupted_one(packed: Path, tmp_path: Path) -> None:
    whole = Trainer(config(4), "image", [packed], None, tmp_path / "whole")
    whole.run()
    first = Trainer(config(4), "image", [packed], None, tmp_path / "parts")
    data = PackedViews([packed], first.options)
    weights = first.label_weights(data)
    for batch in loader(data, 2, 0, 2, 0):
        first.train_step(batch, weights)
    first.save()
    second = Trainer(config(4), "image", [packed], None, tmp_path / "parts")
    second.resume()
    assert second.step == 2
    second.run()
    for (name, a), b in zip(whole.engine.state_dict().items(), second.engine.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert all(torch.equal(whole.average[name], second.average[name]) for name in whole.average)


def test_the_expert_stage_moves_the_expert_and_of_the_image_engine_only_the_features_projection(packed: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(2, batch=1), "expert", [packed], packed, tmp_path)
    image = {name: value.clone() for name, value in trainer.engine.state_dict().items()}
    expert = {name: value.clone() for name, value in trainer.expert.named_parameters()}  # type: ignore[union-attr]
    figures = trainer.run()
    moved = {name for name, value in trainer.engine.state_dict().items() if not torch.equal(value, image[name])}
    assert moved == {"to_features.weight", "to_features.bias"}
    still = [name for name, value in trainer.expert.named_parameters() if torch.equal(value, expert[name])]  # type: ignore[union-attr]
    # Gaussians start too faint to be splatted, so the first steps say nothing of their classes.
    assert [name for name in still if "cell_logits" not in name] == []
    assert {"predicted_sc_iou", "sensor_miou"} <= set(figures)
    lines = [json.loads(line) for line in (tmp_path / "expert.jsonl").read_text().splitlines()]
    assert lines[-1]["kind"] == "heldout" and lines[-1]["step"] == 2
    names = checkpoint.read_weights(tmp_path / "expert.weights.safetensors")
    assert any(name.startswith("image.") for name in names) and any(name.startswith("expert.") for name in names)


def test_a_later_stage_starts_from_the_weights_of_an_earlier_one(packed: Path, tmp_path: Path) -> None:
    image = Trainer(config(1), "image", [packed], None, tmp_path)
    image.save()
    joint = Trainer(config(1, seed=9), "joint", [packed], None, tmp_path)
    assert joint.warm_start(tmp_path / "image.weights.safetensors") == ["image"]
    for name, value in image.engine.state_dict().items():
        assert torch.equal(value, joint.engine.state_dict()[name])
    slow = [group["share"] for group in joint.optimizer.param_groups]
    assert slow == [0.25, 0.25, 1.0, 1.0]


def test_the_joint_stage_moves_both_networks_with_the_losses_of_both(packed: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(1, batch=1), "joint", [packed], None, tmp_path)
    image, expert = trainer.engine.stem[0][0].weight.clone(), trainer.expert.code[0].weight.clone()  # type: ignore[union-attr]
    data = PackedViews([packed], trainer.options)
    values = trainer.train_step(next(iter(loader(data, 1, 0, 1, 0))), trainer.label_weights(data))
    assert not torch.equal(image, trainer.engine.stem[0][0].weight)
    assert not torch.equal(expert, trainer.expert.code[0].weight)  # type: ignore[union-attr]
    assert {"depth", "semantics", "focal", "coarse", "loss"} <= set(values)


def test_a_stage_starts_from_the_models_own_weights_unless_told_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert starting_weights(config(1), None) is None
    own = tmp_path / "models" / "small" / "weights.safetensors"
    own.parent.mkdir(parents=True)
    own.touch()
    assert starting_weights(config(1), None) == Path("models/small/weights.safetensors")
    assert starting_weights(config(1), Path("none")) is None
    with pytest.raises(DataError, match="no weights at elsewhere"):
        starting_weights(config(1), Path("elsewhere"))


def test_sets_of_the_same_name_are_packed_apart(tmp_path: Path) -> None:
    one, other = (packed_folder(tmp_path / parent / "train", "train", tmp_path / "packed") for parent in "ab")
    assert one != other
    assert packed_folder(tmp_path / "a", "test", None) == tmp_path / "a" / "packed" / "test"


def test_weights_of_another_network_are_refused_by_name(tmp_path: Path, packed: Path) -> None:
    from safetensors.torch import save_file

    save_file({"image.stem.0.0.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="does not fit"):
        Trainer(config(1), "image", [packed], None, tmp_path).warm_start(tmp_path / "other.safetensors")


def test_a_checkpoint_that_is_no_checkpoint_is_refused(packed: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(1), "image", [packed], None, tmp_path)
    trainer.checkpoint_path.write_bytes(b"not safetensors at all")
    with pytest.raises(DataError, match="cannot read the checkpoint"):
        trainer.resume()


@pytest.mark.slow
def test_the_image_engine_learns_a_few_views_by_heart(packed: Path, tmp_path: Path) -> None:
    trainer = Trainer(config(60, batch=4, amp=True, average=0.9), "image", [packed], packed, tmp_path)
    trainer.options = dataclasses.replace(trainer.options, augment=False)
    before = trainer.validate()
    after = trainer.run()
    assert after["abs_rel"] < 0.4 * before["abs_rel"] and after["miou_2d"] > 0.6
