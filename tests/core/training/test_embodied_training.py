"""Embodied training on small walks: trained modules, exact resume, several frames per step, and errors."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

import yaml

from sgrocc_core.cli import main
from sgrocc_core.errors import ConfigError
from sgrocc_core.network import weights_file
from sgrocc_core.training import checkpoint
from sgrocc_core.training.config import load_config
from sgrocc_core.training.embodied.stage import WalkStage
from sgrocc_core.training.embodied.step import WalkConfig
from sgrocc_core.training.stage import StepInput
from sgrocc_core.training.trainer import Trainer
from tests.samples.rooms.little_walks import CONFIG, make_walks


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_walks(tmp_path_factory.mktemp("embodied"))


def train(place: Path, out: Path, stage: str, *options: str, **changes: object) -> Path:
    config = {**CONFIG, **changes}
    out.mkdir(exist_ok=True)
    (out / "config.yaml").write_text(yaml.safe_dump(config))
    paths = ["--data", place / "train", "--heldout", place / "test", "--packed", place / "packed", "--out", out]
    arguments = [
        "--config",
        out / "config.yaml",
        "--stage",
        stage,
        "--start",
        place / "start.safetensors",
        *paths,
        *options,
    ]
    assert main(["train", "embodied", *map(str, arguments)]) == 0
    return out / f"{stage}.weights.safetensors"


def changed(before: Path, after: Path) -> set[str]:
    """Second and third part of the names of the weights that differ."""
    old, new = weights_file.read_weights(before), weights_file.read_weights(after)
    return {".".join(name.split(".")[:2]) for name in old if not torch.equal(old[name], new[name])}


def test_the_first_phase_trains_fusion_alone_and_writes_down_how_it_went(place: Path, tmp_path: Path) -> None:
    weights = train(place, tmp_path / "run", "manager")
    assert changed(place / "start.safetensors", weights) == {"expert.fusion"}
    result = json.loads((tmp_path / "run" / "manager.result.json").read_text())
    assert result["step"] == 4 and {"predicted_fused_miou", "sensor_memory_sc_iou"} <= set(result["figures"])
    lines = [json.loads(line) for line in (tmp_path / "run" / "manager.jsonl").read_text().splitlines()]
    assert any(line["kind"] == "heldout" for line in lines)


@pytest.mark.slow
def test_the_predicted_depth_of_a_walk_is_corrected_as_if_by_motion_where_that_is_asked(
    place: Path, tmp_path: Path
) -> None:
    shares = (0.0, 1.0)
    runs = [train(place, tmp_path / str(s), "manager", sensor_share=0.0, motion_share=s, seed=3) for s in shares]
    assert changed(*runs) == {"expert.fusion"}


@pytest.mark.slow
def test_the_second_phase_trains_all_but_the_depth_backbone(place: Path, tmp_path: Path) -> None:
    found = changed(
        place / "start.safetensors", train(place, tmp_path / "run", "everything", walk={"length": 2, "unroll": 2})
    )
    assert found == {
        "image.to_features",
        *(f"expert.{name}" for name in ("code", "lifters", "encoders", "refinements", "dense", "fusion")),
    }


def test_the_second_phase_gives_the_spatial_expert_a_tenth_of_the_rate(place: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    shares = {}
    for stage in ("everything", "end_to_end"):
        trained = WalkStage(load_config(tmp_path / "config.yaml"), stage, [place / "packed"], None).trained
        shares[stage] = {prefix.split(".")[-2]: each.rate for prefix, each in trained.items()}
    slow = {"to_features": 0.1, "code": 0.1, "lifters": 0.1, "encoders": 0.1}
    assert shares["everything"] == {**slow, "refinements": 1.0, "dense": 1.0, "fusion": 1.0}
    assert set(shares["end_to_end"].values()) == {1.0}


@pytest.mark.slow
def test_a_run_in_two_halves_is_the_run(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(place, tmp_path / "whole", "everything")
    step = Trainer.train_step

    def killed_in_the_third_walk(self: Trainer, given: StepInput) -> dict[str, float]:
        if self.step == 3:
            raise RuntimeError("killed")
        return step(self, given)

    monkeypatch.setattr(Trainer, "train_step", killed_in_the_third_walk)
    with pytest.raises(RuntimeError, match="killed"):
        train(place, tmp_path / "halves", "everything")
    monkeypatch.undo()
    assert (
        checkpoint.read(tmp_path / "halves" / "everything.checkpoint.safetensors")[1]["step"] == 2
    )  # the last end of a walk
    halves = train(place, tmp_path / "halves", "everything", "--resume")
    first, second = weights_file.read_weights(whole), weights_file.read_weights(halves)
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    "values,message",
    [
        ({"length": 0}, "length is 0"),
        ({"unroll": 3}, "unroll is 3; it must be a divisor of length, which is 16"),
        ({"memory": -1.0}, "memory is -1"),
        ({"confidence": "some"}, "confidence is 'some'; it must be one of none, geometric"),
    ],
)  # fmt: skip
def test_wrong_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        WalkConfig(**values)  # type: ignore[arg-type]


def test_the_command_says_which_stages_there_are(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "embodied", "--stage", "expert", "--data", str(place)]) == 1
    assert "the stages of embodied training are manager, everything, end_to_end, all" in capsys.readouterr().err
    assert main(["train", "local", "--stage", "manager", "--data", str(place)]) == 1
    assert main(["train", "embodied", "--render", "3"]) == 1
