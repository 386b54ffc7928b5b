"""`sgrocc ablate language` from end to end: the image engine's own features, and models that are not there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

torch = pytest.importorskip("torch")
hub = pytest.importorskip("huggingface_hub")

from sgrocc_core.cli import main
from sgrocc_core.engines.weights import build_networks
from sgrocc_core.network import weights_file
from tests.samples.rooms.little_walks import two_rooms

EXPERT = {"channels": 4, "wide": 4, "hidden": 8, "offsets": 1, "blocks": 1, "gaussians": 1}
CONFIG = {
    "model": "own", "workers": 0, "threads": 1, "amp": False, "device": "cpu", "network": EXPERT,
    "losses": {"samples": 64}, "stages": {"expert": {"batch": 1, "rate": 0.01}},
}  # fmt: skip


@pytest.mark.slow
def test_the_ablation_of_language_runs_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    rooms = tmp_path / "rooms"
    two_rooms(rooms)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    torch.manual_seed(0)
    image, expert = build_networks({"image": {}, "expert": EXPERT})
    weights_file.save_model(tmp_path / "image.safetensors", {"image.": image, "expert.": expert})
    paths = {"config": "config.yaml", "weights": "image.safetensors", "out": "runs", "results": "docs"}
    options = [text for key, name in paths.items() for text in (f"--{key}", str(tmp_path / name))]
    options += ["--budget", "2", "--seeds", "1", "--data", str(rooms), "--heldout", str(rooms)]
    assert main(["ablate", "language", *options]) == 0
    told = capfd.readouterr().out
    assert "2 variants x 1 seeds" in told and told.count("is left out: the vision-language model") == 3
    folder = tmp_path / "runs" / "results" / "language"
    assert sorted(path.name for path in folder.iterdir()) == ["none", "own"]
    result = json.loads((folder / "own" / "seed_1.json").read_text())
    weights = weights_file.read_weights(Path(result["training"]["folder"]) / "expert.weights.safetensors")
    assert "language.last.weight" in weights and result["report"]["views"] == 2
    assert "`none` | 49.89" in (tmp_path / "docs" / "language.md").read_text()
