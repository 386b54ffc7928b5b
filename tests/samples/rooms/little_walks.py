"""Rooms of three frames to train on and one to validate on, with a configuration and weights of tiny networks."""

from pathlib import Path
from typing import Any

EXPERT = {"channels": 8, "wide": 8, "hidden": 16, "offsets": 2, "gaussians": 1, "blocks": 2}
CONFIG: dict[str, Any] = {
    "model": "own", "threads": 1, "workers": 0, "device": "cpu", "network": EXPERT, "losses": {"samples": 256},
    "validate_minutes": 60,
    "checkpoint_minutes": 0.0001, "walk": {"length": 2, "validation_walks": 1},
    "stages": {name: {"steps": 4, "batch": 2, "rate": 0.001} for name in ("manager", "everything", "end_to_end")},
}  # fmt: skip


def make_walks(folder: Path) -> Path:
    """Make `train`, `test` and `start.safetensors` in a folder; returns it."""
    import torch

    from sgrocc_core.cli import main
    from sgrocc_core.engines.weights import build_networks
    from sgrocc_core.network import weights_file

    for split, seed, scenes in (("train", 1, 2), ("test", 2, 1)):
        arguments = [
            "--scenes",
            str(scenes),
            "--frames",
            "3",
            "--size",
            "320x240",
            "--seed",
            str(seed),
            "--split",
            split,
            "--jobs",
            "1",
        ]
        assert main(["synth", *arguments, "--embodied", "--out", str(folder / split)]) == 0
    torch.manual_seed(0)
    image, expert = build_networks({"image": {}, "expert": EXPERT})
    weights_file.save_model(folder / "start.safetensors", {"image.": image, "expert.": expert})
    return folder
