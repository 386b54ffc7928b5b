"""Runs a phase of embodied training: packs walks, finds the initial weights, trains and writes the result."""

from __future__ import annotations

from pathlib import Path

from sgrocc_core.data.embodied_scannet import EmbodiedScanNet
from sgrocc_core.network.image.engine import grid_of
from sgrocc_core.training import distribution
from sgrocc_core.training.compute import use_threads
from sgrocc_core.training.config import TrainConfig
from sgrocc_core.training.data.packed import view_size
from sgrocc_core.training.data.sequences import pack_walks
from sgrocc_core.training.embodied.stage import WalkStage
from sgrocc_core.training.session import TrainingData, packed_folder, run
from sgrocc_core.training.trainer import Trainer


def train_phase(
    config: TrainConfig, phase: str, data: TrainingData, out: Path, start: Path | None = None, resume: bool = False
) -> Path:
    """Train one phase on walks.

    With several processes (`distribution.joined`) all call this; only the first packs, writes and prints.

    Args:
        config: of the run.
        phase: `manager`, `everything` or `end_to_end`.
        data: of the run, with roots of embodied sets; rooms are not rendered.
        out: folder of the run.
        start: see `session.starting_weights`.
        resume: continue from the phase's checkpoint.

    Returns:
        path of the averaged weights.
    """
    use_threads(config.threads)
    first = distribution.here().first
    out.mkdir(parents=True, exist_ok=True)
    size = view_size(grid_of(config.image))
    split = "_mini" if data.mini else ""
    folders = [_packed(root, f"train{split}", data.packed, size, first) for root in data.roots]
    heldout = None if data.heldout is None else _packed(data.heldout, f"test{split}", data.packed, size, first)
    distribution.wait_for_all()
    return run(Trainer(config, WalkStage(config, phase, folders, heldout), out), start, resume)


def _packed(root: Path, split: str, packed: Path | None, size: tuple[int, int], first: bool) -> Path:
    folder = packed_folder(root, f"{split}_walks", packed, size)
    if first:
        pack_walks(EmbodiedScanNet(root, split, size), folder)
    return folder
