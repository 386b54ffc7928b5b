"""Training with few voxel labels: which scenes, that no other label is read, what learns from the rest, resumption."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.network.expert.spatial_expert import ExpertConfig
from sgrocc_core.training import checkpoint
from sgrocc_core.training.config import StageConfig, TrainConfig, load_config
from sgrocc_core.training.data.dataset import DatasetOptions, PackedViews, labelled_scenes, loader
from sgrocc_core.training.local.stage import LocalStage
from sgrocc_core.training.losses.few_labels import FewLabels
from sgrocc_core.training.losses.objectives import LocalWeights
from sgrocc_core.training.trainer import Trainer
from tests.samples.rooms.little_room import write_scene

ALL = FewLabels(
    labelled=0.3, unlabelled=0.5, confidence=0.0, heads=0.3, projection=0.3, evidence=0.5, teacher=0.5, certain=0.1,
    ramp=2, rays=64,
)  # fmt: skip
HALF = DatasetOptions(grid=True, labelled=0.3, unlabelled=0.5)


def config(steps: int, few: FewLabels = ALL, encoder: str = "context", rate: float = 3e-3) -> TrainConfig:
    """Both networks at their smallest."""
    return TrainConfig(
        image={"channels": 4, "widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]},
        network=ExpertConfig(
            channels=4, wide=4, hidden=8, feature_channels=4, offsets=1, gaussians=1, blocks=1, encoder=encoder
        ),
        losses=LocalWeights(samples=500),
        few_labels=few,
        workers=0,
        threads=1,
        amp=False,
        device="cpu",
        rescan_steps=100,
        stages=dict.fromkeys(("image", "expert", "joint"), StageConfig(steps=steps, batch=2, rate=rate)),
    )


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for k in range(3):
        write_scene(folder / f"room{k}", 2, k, size=(64, 48))
    return folder


def trainer_of(config: TrainConfig, scenes: Path, out: Path, stage: str = "expert") -> Trainer:
    local = LocalStage(config, stage, [scenes], None)
    return Trainer(config, local, out, local.watcher())


def test_a_larger_share_contains_the_scenes_of_a_smaller_one() -> None:
    names = [f"scene{k}" for k in range(100)]
    shares = {share: labelled_scenes(names, share) for share in (0.001, 0.01, 0.1, 0.3, 1.0)}
    assert [int(chosen.sum()) for chosen in shares.values()] == [1, 1, 10, 30, 100]
    for less, more in zip(list(shares.values()), list(shares.values())[1:]):
        assert (more | ~less).all()
    back = labelled_scenes(names[::-1], 0.3)[::-1]
    assert (back == shares[0.3]).all()


def test_a_batch_has_its_share_of_views_without_labels_and_those_have_none(scenes: Path) -> None:
    data = PackedViews([scenes], HALF)
    assert data.has_labels.sum() == 2  # the two views of one of three scenes
    for batch in loader(data, 4, 0, 3, 0):
        assert batch["labelled"].tolist() == [True] * 4 + [False] * 2
        assert (batch["target"][4:] == 255).all() and (batch["labels"][4:] == 255).all()
        assert (batch["thickness"][4:] == 0).all() and (batch["depth"][4:] > 0).any()
        assert (batch["target"][:4] != 255).any()


def test_views_with_labels_are_the_same_with_and_without_the_others(scenes: Path) -> None:
    alone = PackedViews([scenes], dataclasses.replace(HALF, unlabelled=0.0))
    for batch, more in zip(loader(alone, 3, 0, 3, 0), loader(PackedViews([scenes], HALF), 3, 0, 3, 0)):
        assert len(more["image"]) == 5 and all(torch.equal(batch[name], more[name][:3]) for name in batch)


def test_without_their_share_only_views_with_labels_are_drawn(scenes: Path) -> None:
    data = PackedViews([scenes], dataclasses.replace(HALF, unlabelled=0.0))
    batches = list(loader(data, 4, 0, 3, 0))
    assert all("labelled" not in batch and (batch["target"] != 255).any(-1).any() for batch in batches)
    drawn = {int(view) for keys in loader(data, 4, 0, 20, 0).batch_sampler for view, _, _ in keys}
    assert drawn <= set(np.nonzero(data.has_labels)[0].tolist())


def test_no_label_of_the_other_scenes_is_read(scenes: Path, tmp_path: Path) -> None:
    forged = tmp_path / "forged"
    shutil.copytree(scenes, forged)
    data = PackedViews([scenes], HALF)
    for scene, path in enumerate(data.scenes):
        if not data.has_labels[data.index[:, 0] == scene].any():
            for name in ("labels", "target", "counts"):
                values = np.load(forged / path.name / f"{name}.npy")
                np.save(forged / path.name / f"{name}.npy", np.full_like(values, 6))
    weights = []
    for number, folder in enumerate((scenes, forged)):
        trainer = trainer_of(config(2), folder, tmp_path / str(number))
        trainer.run()
        weights.append({name: value.clone() for name, value in trainer.average.items()})
    assert [name for name, value in weights[0].items() if not torch.equal(value, weights[1][name])] == []


@pytest.mark.parametrize("encoder", ["dual_mamba", "context"])
def test_every_part_has_its_term(scenes: Path, tmp_path: Path, encoder: str) -> None:
    trainer = trainer_of(config(1, encoder=encoder), scenes, tmp_path)
    values = trainer.train_step(next(trainer.stage.batches(trainer.stage.load_data(), 0)))
    heads = {"pixel_head", "cell_head"} if encoder == "dual_mamba" else set()
    assert {"focal", "coarse", "projection", "evidence", "teacher", *heads} <= set(values)
    assert all(np.isfinite(value) for value in values.values())
    assert ("pixel_head" in values) == (encoder == "dual_mamba")


@pytest.mark.slow
def test_depth_alone_teaches_where_matter_is(scenes: Path, tmp_path: Path) -> None:
    few = FewLabels(labelled=0.3, unlabelled=0.5, evidence=5.0, rays=256)
    trainer = trainer_of(config(30, few, rate=0.03), scenes, tmp_path)
    data = trainer.stage.load_data()
    steps = [trainer.train_step(given)["evidence"] for given in trainer.stage.batches(data, 0)]
    assert np.mean(steps[-5:]) < 0.7 * np.mean(steps[:5])


def test_the_teacher_is_the_moving_average_and_no_gradient_reaches_it(scenes: Path, tmp_path: Path) -> None:
    trainer = trainer_of(config(3), scenes, tmp_path)
    for given in trainer.stage.batches(trainer.stage.load_data(), 0):
        before = {name: value.clone() for name, value in trainer.average.items()}
        trainer.train_step(given)
    teacher = trainer.stage.teacher
    own = {f"expert.{name}": value for name, value in teacher.expert.state_dict().items()}
    own |= {f"image.to_features.{name}": value for name, value in teacher.to_features.state_dict().items()}
    assert set(before) <= set(own)
    assert [name for name in before if not torch.equal(own[name], before[name])] == []
    moved = trainer.stage.expert.state_dict()["code.0.weight"]
    assert not torch.equal(own["expert.code.0.weight"], moved)
    assert all(not p.requires_grad and p.grad is None for p in teacher.parameters())


def test_the_teachers_weight_rises() -> None:
    few = dataclasses.replace(ALL, teacher=2.0, ramp=100)
    weights = [few.ramped(step) for step in (0, 50, 100, 500)]
    assert weights == pytest.approx([2 * np.exp(-5), 2 * np.exp(-1.25), 2, 2])


def test_a_run_in_two_halves_equals_the_whole(scenes: Path, tmp_path: Path) -> None:
    whole, first = (trainer_of(config(4), scenes, tmp_path / name) for name in ("whole", "parts"))
    whole.run()
    for given, _ in zip(first.stage.batches(first.stage.load_data(), 0), range(2)):
        first.train_step(given)
    first.save()
    second = trainer_of(config(4), scenes, tmp_path / "parts")
    second.resume()
    second.run()
    one, other = (checkpoint.read(tmp_path / part / "expert.checkpoint.safetensors")[0] for part in ("whole", "parts"))
    assert [name for name in one if not torch.equal(one[name], other[name])] == []


def test_the_image_stage_and_the_defaults_know_nothing_of_it(scenes: Path, tmp_path: Path) -> None:
    trainer = trainer_of(config(1), scenes, tmp_path, "image")
    data = trainer.stage.load_data()
    assert data.views.has_labels.all() and trainer.stage.teacher is None
    plain = LocalStage(config(1, FewLabels()), "expert", [scenes], None)
    assert plain.options == dataclasses.replace(plain.options, labelled=1.0, unlabelled=0.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{labelled: 0}", "labelled is 0.0; it is a share of the scenes, above 0 to 1"),
        ("{labelled: 0.1, unlabelled: 5}", "unlabelled is 5.0"),
        ("{unlabelled: 0.5}", "labelled is 1: all scenes have labels"),
        ("{labelled: 0.1, teacher: 1}", "set unlabelled, the number of their views"),
        ("{labelled: 0.1, unlabelled: 0.5, evidence: -1}", "evidence is -1.0"),
        ("{certain: 2}", "certain is 2.0; it is a probability"),
        ("{rays: 0}", "rays is 0; at least 1 is needed"),
        ("{labels: 0.1}", "unknown key 'labels'"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "few.yaml").write_text(f"few_labels: {text}\n")
    with pytest.raises(ConfigError, match=message):
        load_config(tmp_path / "few.yaml")


def test_scenes_that_all_have_labels_are_refused(scenes: Path) -> None:
    stage = LocalStage(config(1, dataclasses.replace(ALL, labelled=0.9)), "expert", [scenes], None)
    with pytest.raises(DataError, match="a share of 0.9 of the 3 scenes under .* leaves none without labels"):
        stage.load_data()


def test_a_batch_without_other_views_and_an_engine_without_classes_are_refused(scenes: Path) -> None:
    few = dataclasses.replace(ALL, unlabelled=0.1)
    with pytest.raises(ConfigError, match="unlabelled is 0.1 and batch 2: no view without labels would be drawn"):
        LocalStage(config(1, few), "expert", [scenes], None)
    without = config(1)
    without.image["semantic_head"] = False
    with pytest.raises(ConfigError, match="the image engine has no class head"):
        LocalStage(without, "expert", [scenes], None)
