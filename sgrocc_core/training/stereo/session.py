"""From the command line's words to trained stereo: packs videos, finds the weights to start from, trains."""

from __future__ import annotations

from pathlib import Path

from sgrocc_core.network.image.engine import grid_of
from sgrocc_core.training import distribution
from sgrocc_core.training.compute import use_threads
from sgrocc_core.training.config import TrainConfig
from sgrocc_core.training.data.packed import view_size
from sgrocc_core.training.session import TrainingData, packed_folder, run
from sgrocc_core.training.stereo.stage import StereoStage
from sgrocc_core.training.stereo.videos import pack_videos
from sgrocc_core.training.trainer import Trainer


def train_stereo(
    config: TrainConfig, stage: str, data: TrainingData, out: Path, start: Path | None = None, resume: bool = False
) -> Path:
    """Train the stereo network; with several processes all call this, and the first one packs and writes.

    Args:
        stage: `stereo`.
        data: roots of sets of videos; scenes that appear while it trains are packed too.
        start: see `starting_weights`.
        resume: go on from the stage's checkpoint.

    Returns:
        The averaged weights' file; it holds the networks that it started from, too.
    """
    use_threads(config.threads)
    first = distribution.here().first
    out.mkdir(parents=True, exist_ok=True)
    size = view_size(grid_of(config.image))
    split = "_mini" if data.mini else ""
    folders = [packed_folder(root, f"train{split}_videos", data.packed, size) for root in data.roots]
    heldout = None
    if data.heldout is not None:
        heldout = packed_folder(data.heldout, f"test{split}_videos", data.packed, size)
        if first:
            pack_videos(data.heldout, f"test{split}", size, heldout)
    distribution.wait_for_all()

    def rescan() -> None:
        for root, folder in zip(data.roots, folders):
            pack_videos(root, f"train{split}", size, folder)

    return run(Trainer(config, StereoStage(config, folders, heldout, rescan), out), start, resume)
