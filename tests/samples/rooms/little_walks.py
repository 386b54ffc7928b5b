"""Small rooms that `sgrocc synth` makes, and walks through them with a configuration and weights of tiny networks."""

from pathlib import Path
from typing import Any

EXPERT = {"channels": 8, "wide": 8, "hidden": 16, "offsets": 2, "gaussians": 1, "blocks": 2}
CONFIG: dict[str, Any] = {
    "model": "own", "threads": 1, "workers": 0, "device": "cpu", "network": EXPERT, "losses": {"samples": 256},
    "validate_minutes": 60,
    "checkpoint_minutes": 0.0001, "walk": {"length": 2, "validation_walks": 1},
    "stages": {name: {"steps": 4, "batch": 2, "rate": 0.001} for name in ("manager", "everything", "end_to_end")},
}  # fmt: skip


def synthesise(folder: Path, split: str, *options: str) -> None:
    """Let `sgrocc synth` make rooms with images of 320 x 240 in one process."""
    from sgrocc_core.cli import main

    made = ["synth", "--split", split, *options, "--size", "320x240", "--jobs", "1", "--out", str(folder)]
    assert main(made) == 0


def two_rooms(folder: Path) -> None:
    """Make a room to train on and another to test on, of two frames each."""
    for split, seed in (("train", "1"), ("test", "2")):
        synthesise(folder, split, "--seed", seed, "--scenes", "1", "--frames", "2")


def make_walks(folder: Path) -> Path:
    """Make `train`, `test` and `start.safetensors` in a folder; returns it."""
    import torch

    from sgrocc_core.engines.weights import build_networks
    from sgrocc_core.network import weights_file

    synthesise(folder / "train", "train", "--seed", "1", "--scenes", "2", "--frames", "3", "--embodied")
    synthesise(folder / "test", "test", "--seed", "2", "--scenes", "1", "--frames", "3", "--embodied")
    torch.manual_seed(0)
    image, expert = build_networks({"image": {}, "expert": EXPERT})
    weights_file.save_model(folder / "start.safetensors", {"image.": image, "expert.": expert})
    return folder
