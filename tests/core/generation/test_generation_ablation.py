"""`sgrocc ablate generation` from end to end at a tiny size: it trains, scores, and writes both reports."""

import csv
import dataclasses
import shutil
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from sgrocc_core.cli import main
from sgrocc_core.errors import ConfigError
from sgrocc_core.generation import ablation
from sgrocc_core.generation.stage import train_generation
from sgrocc_core.training.ablations.ablation import load_ablation
from sgrocc_core.training.ablations.task import Options
from tests.samples.rooms.painted_room import tiny, write_set

PROMPTS = Path(__file__).resolve().parents[3] / "config/generation/prompts.yaml"


@pytest.mark.slow
@pytest.mark.skipif(not PROMPTS.is_file(), reason="there is no list of prompts yet")
def test_generation_and_perception_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(ablation, "ROOMS", 2)
    rooms, held = write_set(tmp_path / "rooms"), write_set(tmp_path / "held", rooms=3, views=2)
    shutil.copy(held / "occscannet/train_final.txt", held / "occscannet/test_final.txt")
    train_generation(tiny(steps=1), "autoencoder", [rooms], tmp_path / "start")
    values = dataclasses.asdict(tiny())
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(values))
    arguments = ["--budget", "2", "--seeds", "1", "--limit", "2", "--threads", "1", "--config", tmp_path / "tiny.yaml"]
    arguments += ["--data", rooms, "--heldout", held, "--out", tmp_path / "out", "--results", tmp_path / "results"]
    arguments += ["--weights", tmp_path / "start/imagine.safetensors"]
    assert main(["ablate", "generation", *map(str, arguments)]) == 0
    rows = list(csv.DictReader((tmp_path / "results/generation.csv").open()))
    assert {row["variant"] for row in rows} == {"joint", "no_joint", "no_alignment"}
    assert all(0 <= float(row["mean"]) <= 100 for row in rows if row["metric"] in ("present", "agreement"))
    rows = list(csv.DictReader((tmp_path / "results/imagined.csv").open()))
    assert {row["variant"] for row in rows} == {"imagined_0", "imagined_25", "imagined_50"}
    assert {"bed", "chair", "miou"} <= {row["metric"] for row in rows}
    written = (tmp_path / "out/generation/joint/seed_1/report.json").stat().st_mtime_ns
    assert main(["ablate", "generation", *map(str, arguments)]) == 0  # finished runs are not repeated
    assert (tmp_path / "out/generation/joint/seed_1/report.json").stat().st_mtime_ns == written


def test_the_variants_need_an_autoencoder(tmp_path):
    options = Options(1, 1, Path("config/generation/small.yaml"), (tmp_path,), tmp_path, tmp_path / "out")
    with pytest.raises(ConfigError, match="give its weights with --weights"):
        ablation.run_generation(load_ablation("generation"), options, ["a bed"])
