"""Training with a language-aware prior: off it costs and changes nothing, on it trains, is saved and resumed."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.network.expert.spatial_expert import ExpertConfig
from sgrocc_core.training.config import StageConfig, TrainConfig, load_config
from sgrocc_core.training.data.augmentation import View
from sgrocc_core.training.data.dataset import DatasetOptions, item
from sgrocc_core.training.language.config import LanguageConfig
from sgrocc_core.training.local.stage import LocalStage
from sgrocc_core.training.losses.objectives import LocalWeights
from sgrocc_core.training.trainer import Trainer
from tests.samples.rooms.little_room import write_scene
from tests.samples.tiny_vlm import write_model

OWN = LanguageConfig("vlm", "own")


def config(language: LanguageConfig, steps: int = 2) -> TrainConfig:
    """Both networks at their smallest."""
    return TrainConfig(
        image={"channels": 4, "widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]},
        network=ExpertConfig(channels=4, wide=4, hidden=8, feature_channels=4, offsets=1, gaussians=1, blocks=1),
        losses=LocalWeights(samples=500),
        language=language,
        workers=0,
        threads=1,
        amp=False,
        device="cpu",
        rescan_steps=100,
        stages=dict.fromkeys(("image", "expert", "joint"), StageConfig(steps=steps, batch=2, rate=3e-3)),
    )


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_scene(folder / "room", 3, 1, size=(64, 48))
    return folder


def trainer_of(config: TrainConfig, scenes: Path, out: Path, stage: str = "expert") -> Trainer:
    return Trainer(config, LocalStage(config, stage, [scenes], None), out)


def terms_of(trainer: Trainer) -> dict[str, torch.Tensor]:
    """Terms of the loss of the first step."""
    stage = trainer.stage
    torch.manual_seed(0)
    given = next(stage.batches(stage.load_data(), 0))
    return {name: value.detach() for name, value in stage.loss(trainer.objective, given.values, 0).items()}


def test_off_nothing_is_imported_or_made() -> None:
    code = (
        "import sys; from sgrocc_core.training.config import TrainConfig; "
        "from sgrocc_core.training.local.stage import LocalStage; "
        "stage = LocalStage(TrainConfig(), 'expert', [], None); objective = stage.objective(); "
        "assert objective.language is None and list(stage.networks) == ['image.', 'expert.']; "
        "assert not stage.options.plain and 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_other_losses_are_the_same_bit_for_bit(scenes: Path, tmp_path: Path) -> None:
    off, on = (terms_of(trainer_of(config(kind), scenes, tmp_path / kind.kind)) for kind in (LanguageConfig(), OWN))
    assert set(off) == set(on) and off["regularisation"] > 0
    assert all(torch.equal(off[name], on[name]) for name in off if name != "regularisation")
    assert not torch.equal(off["regularisation"], on["regularisation"])


def test_a_language_part_that_is_off_leaves_the_regularisation_as_it_was(scenes: Path, tmp_path: Path) -> None:
    """The regularisation with coefficients of exactly 1 is the one without any."""
    trainer = trainer_of(config(OWN), scenes, tmp_path / "on")
    torch.nn.init.constant_(trainer.stage.language.mlp.last.bias, 200.0)
    off = terms_of(trainer_of(config(LanguageConfig()), scenes, tmp_path / "off"))
    on = terms_of(trainer)
    cells = on["regularisation"] - off["regularisation"]
    assert cells.abs() < 0.05 * off["regularisation"].abs() + 1e-6  # the anchors outside the image keep 0.88


@pytest.mark.parametrize("stage", ["expert", pytest.param("joint", marks=pytest.mark.slow)])
def test_the_mlp_learns_with_the_networks_and_is_resumed(scenes: Path, tmp_path: Path, stage: str) -> None:
    whole = trainer_of(config(OWN, 2), scenes, tmp_path / "whole", stage)
    before = {name: value.clone() for name, value in whole.stage.language.mlp.state_dict().items()}
    whole.run()
    assert not torch.equal(whole.stage.language.mlp.state_dict()["last.weight"], before["last.weight"])
    first = trainer_of(config(OWN, 2), scenes, tmp_path / "halves", stage)
    first.train_step(next(first.stage.batches(first.stage.load_data(), 0)))
    first.save()
    second = trainer_of(config(OWN, 2), scenes, tmp_path / "halves", stage)
    second.resume()
    assert second.step == 1
    for given in second.stage.batches(second.stage.load_data(), 1):
        second.train_step(given)
    assert all(torch.equal(value, second.average[name]) for name, value in whole.average.items())
    assert any(name.startswith("language.") for name in whole.average)


def test_a_result_with_the_mlp_opens_like_any_other(scenes: Path, tmp_path: Path) -> None:
    trainer_of(config(OWN, 1), scenes, tmp_path).run()
    plain = trainer_of(config(LanguageConfig(), 1), scenes, tmp_path / "plain")
    assert plain.warm_start(tmp_path / "expert.weights.safetensors") == ["image", "expert"]
    assert trainer_of(config(OWN, 1), scenes, tmp_path / "more").warm_start(
        tmp_path / "expert.weights.safetensors"
    ) == ["image", "expert", "language"]  # fmt: skip


def test_a_published_model_sees_each_view_once_and_trains_the_same_from_what_is_kept(
    scenes: Path, tmp_path: Path
) -> None:
    pytest.importorskip("transformers")
    write_model(tmp_path / "model", "siglip")
    language = LanguageConfig("vlm", str(tmp_path / "model"), str(tmp_path / "cache"))
    first = trainer_of(config(language, 2), scenes, tmp_path / "1")
    first.run()
    kept = {path: path.stat().st_ino for path in (tmp_path / "cache").rglob("*.safetensors")}
    assert 1 <= len(kept) <= 3  # of four views that were drawn and augmented, from three images
    second = trainer_of(config(language, 2), scenes, tmp_path / "2")
    second.stage.language.model._tower.look = None
    second.run()
    assert all(torch.equal(value, second.average[name]) for name, value in first.average.items())
    assert {path: path.stat().st_ino for path in (tmp_path / "cache").rglob("*.safetensors")} == kept
    names = set(first.average)
    assert not any("encoder.layers" in name for name in names)  # the model is no part of the result


def test_points_of_an_augmented_view_are_found_in_the_plain_image() -> None:
    """An image whose colour tells the column and the row: both cameras see the same colours in the same places."""
    height, width = 48, 64
    v, u = np.mgrid[:height, :width]
    picture = np.stack([4 * u, 5 * v, np.zeros_like(u)], -1).astype(np.uint8)
    K = np.array([[50.0, 0, 30.0], [0, 52.0, 25.0], [0, 0, 1]])
    view = View(
        picture, np.ones((height, width), np.uint8), np.full((height, width), 2, np.float32),
        np.zeros((height, width), np.uint8), K, np.eye(4), np.zeros((60, 60, 36), np.uint8),
    )  # fmt: skip
    mirrored = 0
    for seed in range(12):
        found = item(view, DatasetOptions(grid=True, plain=True), np.random.default_rng(seed))
        assert (found["plain"] == picture.transpose(2, 0, 1)).all()
        fx, fy, cx, cy = found["intrinsics"]
        plain = found["plain_intrinsics"]
        mirrored += plain[0] < 0
        for column, row in ((10.0, 9.0), (31.0, 24.0), (50.0, 40.0)):
            x, y = (column - cx) / fx, (row - cy) / fy
            before = plain[0] * x + plain[2], plain[1] * y + plain[3]
            shown = geometry_of(view, seed)[int(row), int(column)]
            assert abs(shown[0] - 4 * before[0]) <= 4 and abs(shown[1] - 5 * before[1]) <= 5
    assert 0 < mirrored < 12
    assert "plain" not in item(view, DatasetOptions(grid=True), np.random.default_rng(0))


def geometry_of(view: View, seed: int) -> np.ndarray:
    """The augmented image without changes of its light, as floats."""
    from sgrocc_core.training.data.augmentation import geometry

    return geometry(view, np.random.default_rng(seed)).image.astype(float)


def test_the_configuration_names_the_model(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("language: {kind: vlm, model: clip, cache_gb: 2}\n")
    assert load_config(path).language == LanguageConfig("vlm", "clip", "", 2.0)
    path.write_text("seed: 2\n")
    assert load_config(path).language == LanguageConfig("none") and not load_config(path).language.on


@pytest.mark.parametrize(
    "text, message",
    [
        ("language: {kind: llm}", "language: kind is 'llm'; it must be one of none, vlm"),
        ("language: {kind: vlm, model: ''}", "language: model is empty; it must be own, a folder"),
        ("language: {kind: vlm, cache_gb: -1}", "cache_gb is -1.0; it must be a finite number of 0 or more"),
        ("language: {sort: vlm}", "language: unknown key 'sort'; the keys are kind, model, cache, cache_gb"),
        ("language: vlm", "language is 'vlm'; it must be a mapping"),
        ("language: {kind: vlm}\nlosses: {regularisation_kind: none}", "there is no regularisation for it to weigh"),
        ("language: {kind: vlm}\nlosses: {regularisation: 0}", "there is no regularisation for it to weigh"),
        ("language: {kind: vlm}\nnetwork: {head: dense}", "network.head must be gaussians"),
    ],
)
def test_bad_settings_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(text + "\n")
    with pytest.raises(ConfigError, match=message):
        load_config(path)


def test_an_absent_model_ends_the_run_before_it_begins(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "siglip"}))
    missing = dataclasses.replace(config(OWN), language=LanguageConfig("vlm", str(tmp_path)))
    with pytest.raises(ModelError, match="has no model.safetensors: a vision-language model's folder holds both"):
        LocalStage(missing, "expert", [scenes], None)
    assert LocalStage(missing, "image", [scenes], None).language is None  # that stage has no regularisation


def test_an_ablation_leaves_out_models_that_are_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    from sgrocc_core.training.ablations.ablation import at_hand, load_ablation

    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    whole = load_ablation("language")
    assert [variant.name for variant in whole.variants] == ["none", "own", "siglip", "clip", "qwen"]
    kept, reasons = at_hand(whole)
    assert [variant.name for variant in kept.variants] == ["none", "own"]
    assert reasons[2].startswith("qwen is left out: the vision-language model Qwen/Qwen2.5-VL-3B-Instruct is not in")
    write_model(tmp_path / "model", "clip")
    text = "variants:\n  - name: none\n  - {name: mine, optional: true, config: {language: {kind: vlm, model: %s}}}\n"
    (tmp_path / "mine.yaml").write_text(text % (tmp_path / "model"))
    mine = load_ablation(str(tmp_path / "mine.yaml"))
    assert at_hand(mine) == (mine, [])
    (tmp_path / "bad.yaml").write_text("variants:\n  - name: none\n  - {name: mine, optional: true}\n")
    with pytest.raises(ConfigError, match="optional is True; it must be true or false, and true only beside config"):
        load_ablation(str(tmp_path / "bad.yaml"))
