"""A small ablation from end to end, its resumption, and disturbed poses."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

torch = pytest.importorskip("torch")


from sgrocc_core.cli import main
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.errors import ConfigError
from sgrocc_core.evaluation.pose_noise import disturbed
from sgrocc_core.network import weights_file
from sgrocc_core.training.ablations import runs as ablation_runs
from sgrocc_core.training.ablations.ablation import PoseNoise, load_ablation
from sgrocc_core.training.ablations.local import LocalTask, NoisyPoses
from sgrocc_core.training.ablations.task import Options
from sgrocc_core.training.config import load_config
from sgrocc_core.training.data.packed import packed_scenes
from sgrocc_core.training.local.stage import LocalStage
from sgrocc_core.training.local.step import StepObjective
from sgrocc_core.training.stage import StepInput
from sgrocc_core.training.trainer import Trainer
from tests.samples.rooms.little_walks import two_rooms

ROOT = Path(__file__).parents[3]
EXPERT = {"channels": 4, "wide": 4, "hidden": 8, "offsets": 1, "blocks": 1, "gaussians": 1}
CONFIG = {
    "model": "own", "workers": 0, "threads": 1, "amp": False, "device": "cpu", "network": EXPERT,
    "losses": {"samples": 64},
    "stages": {"expert": {"batch": 1, "rate": 0.01}},
}  # fmt: skip
TWO = """
title: Two lifters, and two heads
variants:
  - {name: soft, paper: {sc_iou: 58.5}}
  - {name: hard, config: {network: {lifter: hard, head: dense}}, paper: {sc_iou: 53.25}}
"""


def test_noise_in_metres_and_as_a_share_of_the_step() -> None:
    assert PoseNoise(metres=0.05).length(0.3) == 0.05
    assert PoseNoise(share=0.05).length(0.3) == pytest.approx(0.015)


def test_a_disturbed_pose_is_off_by_its_length_and_the_same_again() -> None:
    move = disturbed(0.05, seed=1)
    T = np.eye(4)
    shifts = np.array([move(view, T)[:3, 3] for view in range(4000)])
    assert np.sqrt((shifts**2).sum(1).mean()) == pytest.approx(0.05, rel=0.03)
    assert np.abs(shifts.mean(0)).max() < 0.003
    assert np.array_equal(move(7, T), move(7, T)) and np.array_equal(T, np.eye(4))
    assert disturbed(0.0, seed=1) is None


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rooms of two frames each, a configuration of a tiny expert, image weights, and an ablation of two variants."""
    folder = tmp_path_factory.mktemp("ablation")
    two_rooms(folder / "rooms")
    (folder / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "two.yaml").write_text(TWO)
    torch.manual_seed(0)
    image, expert = build_networks({"image": {}, "expert": EXPERT})
    weights_file.save_model(folder / "image.safetensors", {"image.": image, "expert.": expert})
    return folder


def ablate(place: Path, out: str, *options: str, budget: int = 2, seeds: int = 2) -> int:
    rooms = str(place / "rooms")
    paths = ["--config", place / "config.yaml", "--weights", place / "image.safetensors", "--out", place / out]
    sizes = ["--budget", str(budget), "--seeds", str(seeds), "--data", rooms, "--heldout", rooms]
    return main(
        ["ablate", str(place / "two.yaml"), *sizes, *map(str, paths), "--results", str(place / out / "docs"), *options]
    )


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    assert ablate(place, "whole") == 0
    return place / "whole"


def test_an_ablation_runs_from_end_to_end(finished: Path) -> None:
    results: dict[tuple[str, int], dict] = {}
    for name in ("soft", "hard"):
        for seed in (1, 2):
            results[name, seed] = json.loads((finished / "results" / "two" / name / f"seed_{seed}.json").read_text())
            assert results[name, seed]["training"]["steps"] == 2 and results[name, seed]["report"]["views"] == 2
    rows = list(csv.DictReader((finished / "docs" / "two.csv").open()))
    row = next(
        r for r in rows if (r["variant"], r["depth"], r["region"], r["metric"]) == ("hard", "sensor", "all", "sc_iou")
    )
    ours = [100 * results["hard", seed]["report"]["sensor"]["sc_iou"] for seed in (1, 2)]
    soft = [100 * results["soft", seed]["report"]["sensor"]["sc_iou"] for seed in (1, 2)]
    assert float(row["mean"]) == pytest.approx(sum(ours) / 2, abs=1e-3)
    assert float(row["difference"]) == pytest.approx((ours[0] - soft[0] + ours[1] - soft[1]) / 2, abs=1e-3)
    runs = list(csv.DictReader((finished / "docs" / "two.runs.csv").open()))
    assert len(runs) == 2 * 2 * 2 * 3 * 3  # variants, seeds, depths, regions, metrics
    text = (finished / "docs" / "two.md").read_text()
    assert "53.25 (-5.25)" in text and "2 held-out views of 1 rooms" in text
    assert (finished / "docs" / "two.png").stat().st_size > 10_000


def test_all_variants_share_the_image_engine_and_none_starts_from_a_trained_expert(finished: Path, place: Path) -> None:
    shared = weights_file.read_weights(finished / "image.safetensors")
    assert not [name for name in shared if not name.startswith("image.")]
    result = json.loads((finished / "results" / "two" / "hard" / "seed_2.json").read_text())
    trained = weights_file.read_weights(Path(result["training"]["folder"]) / "expert.weights.safetensors")
    stem = next(name for name in shared if name.startswith("image.stem") and name.endswith("weight"))
    assert torch.equal(shared[stem], trained[stem])
    starts = weights_file.read_weights(place / "image.safetensors")
    assert not torch.equal(starts["expert.code.0.weight"], trained["expert.code.0.weight"])


def test_a_finished_ablation_is_not_run_again(finished: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*.safetensors") if path.parent != finished}

    def refuse(*_: object) -> None:
        raise AssertionError("a finished run was trained again")

    monkeypatch.setattr(Trainer, "train_step", refuse)
    (finished / "docs" / "two.md").unlink()
    assert ablate(place, "whole") == 0
    assert (finished / "docs" / "two.md").is_file()
    assert before == {path: path.stat().st_mtime_ns for path in before}


def runs_of(place: Path, out: str, text: str, budget: int = 2, data: str = "rooms") -> ablation_runs.AblationRuns:
    """An ablation's runs, none of them begun."""
    (place / f"{out}.yaml").write_text(text)
    options = Options(
        budget,
        1,
        place / "config.yaml",
        (place / data,),
        place / "rooms",
        place / out,
        weights=place / "image.safetensors",
    )
    ablation = load_ablation(str(place / f"{out}.yaml"))
    return ablation_runs.AblationRuns(ablation, options, LocalTask(ablation, options))


def folders(runs: ablation_runs.AblationRuns) -> dict[str, Path]:
    return {variant.name: runs._folder(variant.name, 1) for variant in runs.ablation.variants}


def test_runs_that_differ_in_name_or_evaluation_only_are_trained_once(finished: Path, place: Path) -> None:
    text = """
    variants:
      - {name: default}
      - {name: noisy_evaluation, evaluation_noise: {metres: 0.05}}
      - {name: the_same_in_words, config: {network: {lifter: soft}}}
      - {name: noisy, training_noise: {metres: 0.05}, evaluation_noise: {metres: 0.05}}
    """
    runs = runs_of(place, "whole", text)
    where = folders(runs)
    assert where["default"] == where["noisy_evaluation"] == where["the_same_in_words"] != where["noisy"]
    assert where["default"] == folders(runs_of(place, "whole", TWO))["soft"]  # another ablation's
    assert runs.trained(runs.ablation.variants[1], 1) and not runs.trained(runs.ablation.variants[3], 1)
    assert folders(runs_of(place, "whole", TWO, budget=3))["soft"] != where["default"]


def test_runs_on_other_data_are_not_mixed(finished: Path, place: Path) -> None:
    with pytest.raises(ConfigError, match="whole holds runs on .*rooms, not on .*elsewhere; give another --out"):
        runs_of(place, "whole", TWO, data="elsewhere")


@pytest.mark.slow
def test_an_interrupted_ablation_goes_on_from_its_checkpoint(
    finished: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, stopped = Trainer.train_step, []

    def interrupted(self: Trainer, given: StepInput) -> dict[str, float]:
        values = step(self, given)
        if "trained" in self.out.parts and not stopped:
            self.save()
            stopped.append(self.step)
            raise KeyboardInterrupt
        return values

    monkeypatch.setattr(Trainer, "train_step", interrupted)
    assert ablate(place, "parts", seeds=1) == 130
    assert stopped == [1] and not (place / "parts" / "results").exists()
    assert ablate(place, "parts", seeds=1) == 0
    for name in ("soft", "hard"):
        files = [
            json.loads((place / out / "results" / "two" / name / "seed_1.json").read_text())
            for out in ("whole", "parts")
        ]
        whole, parts = (
            weights_file.read_weights(Path(f["training"]["folder"]) / "expert.weights.safetensors") for f in files
        )
        assert files[0]["training"]["folder"] != files[1]["training"]["folder"]
        assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.slow
def test_a_run_that_another_process_is_at_is_left_to_it(place: Path) -> None:
    runs = runs_of(place, "shared", TWO)
    soft, hard = runs.ablation.variants
    with runs.claimed(soft, 1) as mine, runs.claimed(soft, 1) as again, runs.claimed(hard, 1) as other:
        assert (mine, again, other) == (True, False, True)
    options = [f"{value!s}" for value in (
        "--budget", 2, "--seeds", 1, "--config", place / "config.yaml", "--weights", place / "image.safetensors",
        "--data", place / "rooms", "--threads", 1, "--heldout", place / "rooms", "--out", place / "shared",
        "--results", place / "shared/docs",
    )]  # fmt: skip
    command = [sys.executable, "-m", "sgrocc_core.cli", "ablate", str(place / "two.yaml"), *options]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=600) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    begun = [line.split(";")[0] for text, _ in outputs for line in text.splitlines() if "left for one process" in line]
    assert sorted(begun) == ["hard, seed 1", "soft, seed 1"]  # each once, whoever did it
    assert all("two.md" in text for text, _ in outputs)


def test_packed_scenes_do_for_a_training_set(finished: Path, place: Path) -> None:
    options = Options(
        2,
        1,
        place / "config.yaml",
        (finished / "views",),
        place / "rooms",
        place / "packed",
        weights=place / "image.safetensors",
    )
    ablation = load_ablation(str(place / "two.yaml"))
    runs = ablation_runs.AblationRuns(ablation, options, LocalTask(ablation, options))
    linked, known = packed_scenes(runs.views), packed_scenes(finished / "views")
    assert [path.resolve() for path in linked] == [path.resolve() for path in known] and linked[
        0
    ].name == f"00_{known[0].name}"
    assert len(runs.open_runs()) == 2 and runs.open_runs()[0][0].name == "soft"


def test_the_estimate_is_given_without_training(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ablate(place, "estimate", "--estimate") == 0
    out = capsys.readouterr().out
    assert "2 variants x 2 seeds, 2 steps each" in out and "s per step" in out and "about" in out
    assert not list((place / "estimate").rglob("*.checkpoint.safetensors"))


def test_training_under_pose_noise_gives_the_network_disturbed_poses(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poses: list[torch.Tensor] = []
    config = load_config(min(finished.glob("trained/*/config.yaml")))
    forward = StepObjective.forward
    monkeypatch.setattr(
        StepObjective, "forward", lambda self, batch, *rest: poses.append(batch["pose"]) or forward(self, batch, *rest)
    )
    for noise in (0.0, 0.5):
        stage = LocalStage(config, "expert", [finished / "views"], None, transform=NoisyPoses(noise, config.seed))
        Trainer(config, stage, tmp_path / str(noise)).run()
    steps = len(poses) // 2  # how many depends on which of the trained runs' configurations was found
    shifts = [moved - true for true, moved in zip(poses[:steps], poses[steps:], strict=True)]
    assert all(0.01 < shift[0, :3, 3].norm() < 2 and not shift[0, :3, :3].any() for shift in shifts)
    assert not torch.allclose(shifts[0], shifts[1])
