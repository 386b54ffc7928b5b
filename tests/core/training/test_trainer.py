"""Training runs: schedule, exact resume, stages, and that the networks learn."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.errors import DataError, ModelError
from sgrocc_core.network import weights_file
from sgrocc_core.network.expert.spatial_expert import ExpertConfig
from sgrocc_core.training import checkpoint
from sgrocc_core.training.compute import Compute
from sgrocc_core.training.config import StageConfig, TrainConfig
from sgrocc_core.training.local.stage import LocalStage
from sgrocc_core.training.losses.objectives import LocalWeights
from sgrocc_core.training.run_log import RunLog
from sgrocc_core.training.schedule import Schedule
from sgrocc_core.training.session import packed_folder, starting_weights
from sgrocc_core.training.stage import StepInput
from sgrocc_core.training.trainer import Trainer
from tests.samples.rooms.little_room import write_scene


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed")
    write_scene(folder / "room", 4, 1)
    return folder


ROOT = Path(__file__).resolve().parents[3]


def config(steps: int, batch: int = 2, **changes: object) -> TrainConfig:
    stage = StageConfig(steps=steps, batch=batch, rate=1e-3)
    base = TrainConfig(
        workers=0,
        amp=False,
        validation_views=1,
        rescan_steps=3,
        stages=dict.fromkeys(("image", "expert", "joint"), stage),
    )
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


def trainer_of(config: TrainConfig, stage: str, packed: Path, heldout: Path | None, out: Path) -> Trainer:
    """A trainer on single views."""
    return Trainer(config, LocalStage(config, stage, [packed], heldout), out)


def next_input(trainer: Trainer) -> StepInput:
    """The input of the trainer's next step."""
    return next(trainer.stage.batches(trainer.stage.load_data(), trainer.step))


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


def tiny(steps: int, **changes: object) -> TrainConfig:
    """Both networks at their smallest: a step takes hundredths of a second."""
    return config(
        steps,
        image={"channels": 4, "widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]},
        network=ExpertConfig(channels=4, wide=4, hidden=8, feature_channels=4, offsets=1, gaussians=1, blocks=1),
        losses=LocalWeights(regularisation_kind="semantic", samples=500),
        rescan_steps=30,
        device="cpu",
        **changes,
    )


@pytest.fixture(scope="module")
def small_packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    write_scene(folder / "room", 4, 2, size=(64, 48))
    return folder


@pytest.mark.parametrize(
    ("stage", "steps", "amp"),
    [("image", 20, False), ("joint", 4, True), pytest.param("joint", 100, False, marks=pytest.mark.slow)],
)
def test_a_run_in_two_halves_equals_the_whole(
    small_packed: Path, tmp_path: Path, stage: str, steps: int, amp: bool
) -> None:
    def begin(folder: str) -> Trainer:
        return trainer_of(tiny(steps, amp=amp), stage, small_packed, None, tmp_path / folder)

    whole, first = begin("whole"), begin("parts")
    whole.run()
    data = first.stage.load_data()
    while first.step < steps // 2:
        for given in itertools.islice(first.stage.batches(data, first.step), steps // 2 - first.step):
            first.train_step(given)
    first.save()
    second = begin("parts")
    second.resume()
    assert second.step == steps // 2
    second.run()
    assert second.step == whole.step == steps
    one, other = (
        checkpoint.read(tmp_path / part / f"{stage}.checkpoint.safetensors")[0] for part in ("whole", "parts")
    )
    assert one.keys() == other.keys() and any(name.startswith("optimizer.") for name in one)
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_a_resumed_log_forgets_the_steps_that_are_taken_again(tmp_path: Path) -> None:
    with RunLog(tmp_path, "joint") as log:
        for step in (20, 40, 60):
            log.note("train", step, 1.0, {"loss": 1.0})
    with (tmp_path / "joint.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    with RunLog(tmp_path, "joint", 40) as log:
        log.note("train", 60, 2.0, {"loss": 2.0})
    lines = [json.loads(line) for line in (tmp_path / "joint.jsonl").read_text().splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(20, 1.0), (40, 1.0), (60, 2.0)]


def test_in_fp16_a_step_that_overflows_is_left_out_and_the_scale_is_kept_over_a_resume(
    small_packed: Path, tmp_path: Path
) -> None:
    def begin() -> Trainer:
        run, half = tiny(4), Compute(torch.device("cpu"), torch.float16)
        return Trainer(run, LocalStage(run, "image", [small_packed], None, compute=half), tmp_path)

    trainer = begin()
    engine = trainer.stage.networks["image."]
    trainer.scaler._init_scale = 1e37  # no gradient survives that
    before = {name: value.clone() for name, value in engine.named_parameters()}
    trainer.train_step(next_input(trainer))
    assert all(torch.equal(value, before[name]) for name, value in engine.named_parameters())
    assert trainer.scaler.get_scale() == pytest.approx(0.5e37)
    trainer.scaler.update(256.0)
    values = trainer.train_step(next_input(trainer))
    assert math.isfinite(values["gradient"])
    assert not torch.equal(before["stem.0.0.weight"], engine.get_parameter("stem.0.0.weight"))
    trainer.save()
    resumed = begin()
    resumed.resume()
    assert resumed.scaler.get_scale() == 256.0


def test_a_batch_without_2d_labels_trains_without_their_loss(small_packed: Path, tmp_path: Path) -> None:
    trainer = trainer_of(tiny(1), "image", small_packed, None, tmp_path)
    given = next_input(trainer)
    given.values.batch["labels"].fill_(255)
    stem = trainer.stage.networks["image."].get_parameter("stem.0.0.weight")
    before = stem.clone()
    values = trainer.train_step(given)
    assert values["semantics"] == 0 and values["loss"] > 0
    assert not torch.equal(before, stem)


def test_the_expert_stage_moves_the_expert_and_of_the_image_engine_only_the_features_projection(
    packed: Path, tmp_path: Path
) -> None:
    trainer = trainer_of(config(2, batch=1), "expert", packed, packed, tmp_path)
    networks = trainer.stage.networks
    image = {name: value.clone() for name, value in networks["image."].state_dict().items()}
    expert = {name: value.clone() for name, value in networks["expert."].named_parameters()}
    figures = trainer.run()
    moved = {name for name, value in networks["image."].state_dict().items() if not torch.equal(value, image[name])}
    assert moved == {"to_features.weight", "to_features.bias"}
    still = [name for name, value in networks["expert."].named_parameters() if torch.equal(value, expert[name])]
    # Gaussians start too faint to be splatted, so the first steps say nothing of their classes.
    # Fusion has no history to learn from here.
    assert [name for name in still if "cell_logits" not in name and not name.startswith("fusion.")] == []
    assert {"predicted_sc_iou", "sensor_miou"} <= set(figures)
    lines = [json.loads(line) for line in (tmp_path / "expert.jsonl").read_text().splitlines()]
    assert lines[-1]["kind"] == "heldout" and lines[-1]["step"] == 2
    names = weights_file.read_weights(tmp_path / "expert.weights.safetensors")
    assert any(name.startswith("image.") for name in names) and any(name.startswith("expert.") for name in names)


def test_a_later_stage_starts_from_the_weights_of_an_earlier_one(packed: Path, tmp_path: Path) -> None:
    image = trainer_of(config(1), "image", packed, None, tmp_path)
    image.save()
    joint = trainer_of(config(1, seed=9), "joint", packed, None, tmp_path)
    assert joint.warm_start(tmp_path / "image.weights.safetensors") == ["image"]
    for name, value in image.stage.networks["image."].state_dict().items():
        assert torch.equal(value, joint.stage.networks["image."].state_dict()[name])
    slow = [group["share"] for group in joint.optimizer.param_groups]
    assert slow == [0.25, 0.25, 1.0, 1.0]


def test_the_joint_stage_moves_both_networks_with_the_losses_of_both(packed: Path, tmp_path: Path) -> None:
    trainer = trainer_of(config(1, batch=1), "joint", packed, None, tmp_path)
    networks = trainer.stage.networks
    weights = [networks["image."].get_parameter("stem.0.0.weight"), networks["expert."].get_parameter("code.0.weight")]
    before = [value.clone() for value in weights]
    values = trainer.train_step(next_input(trainer))
    assert not any(torch.equal(old, new) for old, new in zip(before, weights, strict=True))
    assert {"depth", "semantics", "focal", "coarse", "loss"} <= set(values)


def test_a_stage_starts_from_the_models_own_weights_in_every_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert starting_weights(config(1), None) == ROOT / "models" / "small" / "weights.safetensors"
    assert starting_weights(config(1, model="nobody"), None) is None
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
        trainer_of(config(1), "image", packed, None, tmp_path).warm_start(tmp_path / "other.safetensors")


def test_a_checkpoint_that_is_no_checkpoint_is_refused(packed: Path, tmp_path: Path) -> None:
    trainer = trainer_of(config(1), "image", packed, None, tmp_path)
    trainer.checkpoint_path.write_bytes(b"not safetensors at all")
    with pytest.raises(DataError, match="cannot read the checkpoint"):
        trainer.resume()


@pytest.mark.slow
def test_the_image_engine_learns_a_few_views_by_heart(packed: Path, tmp_path: Path) -> None:
    run = config(60, batch=4, amp=True, average=0.9)
    stage = LocalStage(run, "image", [packed], packed)
    stage.options = dataclasses.replace(stage.options, augment=False)
    trainer = Trainer(run, stage, tmp_path)
    before = trainer.validate()
    after = trainer.run()
    assert after["abs_rel"] < 0.4 * before["abs_rel"] and after["miou_2d"] > 0.6
