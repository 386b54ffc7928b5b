"""The spatial expert's ablations: variants trained on single views from one image engine, scored on held-out views."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sgrocc_core.data.occ_scannet import OccScanNet
from sgrocc_core.evaluation.local import evaluate_local, spread_evenly
from sgrocc_core.evaluation.models import LocalModel, open_weights
from sgrocc_core.evaluation.pose_noise import disturbed, frame_step
from sgrocc_core.network.image.engine import grid_of
from sgrocc_core.progress import progress
from sgrocc_core.training.ablations.ablation import Ablation, Variant
from sgrocc_core.training.ablations.task import Options, Run
from sgrocc_core.training.ablations.training import StepClock, begin
from sgrocc_core.training.compute import use_threads
from sgrocc_core.training.config import TrainConfig, load_config, network_sections
from sgrocc_core.training.data.dataset import Batch
from sgrocc_core.training.data.packed import packed_scenes, view_size
from sgrocc_core.training.local.stage import LocalStage
from sgrocc_core.training.session import pack_split, packed_folder
from sgrocc_core.training.trainer import Trainer

STAGE = "expert"
STEPS_TIMED, VIEWS_TIMED = 4, 3


@dataclasses.dataclass(frozen=True)
class NoisyPoses:
    """Adds noise to the poses of training batches; a `transform` of `LocalStage`.

    Attributes:
        length: root mean square length of the noise, metres.
        seed: of the run.
    """

    length: float
    seed: int

    def __call__(self, batch: Batch, step: int) -> Batch:
        """Returns the batch with every camera shifted by a normal draw that depends on seed and step."""
        if self.length == 0:
            return batch
        generator = torch.Generator().manual_seed(self.seed * 104_729 + step)
        pose = batch["pose"].clone()
        shift = torch.randn(len(pose), 3, generator=generator) * (self.length / 3**0.5)
        pose[:, :3, 3] += shift.to(pose)
        return {**batch, "pose": pose}


class LocalTask:
    """See `task.Task`."""

    shared, unit = "image.safetensors", "view"

    def __init__(self, ablation: Ablation, options: Options) -> None:
        self.options = options
        self.size = view_size(grid_of(load_config(options.config).image))
        self.heldout = OccScanNet(options.heldout, "test", self.size)
        self.chosen = spread_evenly(list(range(len(self.heldout))), options.limit)
        noisy = any(n.share for v in ablation.variants for n in (v.training_noise, v.evaluation_noise))
        self.frame_step = frame_step(self.heldout) if noisy else 0.0

    def is_shared(self, tensor: str) -> bool:
        """Returns whether the tensor belongs to the image engine; no variant starts from a trained expert."""
        return tensor.startswith("image.")

    def steps(self, variant: Variant) -> dict[str, int]:
        """See `Task`."""
        return {STAGE: self.options.budget}

    def scenes(self, folder: Path) -> list[Path]:
        """See `Task`."""
        return packed_scenes(folder)

    def pack(self, root: Path) -> Path:
        """See `Task`."""
        packed = packed_folder(root, "train", self.options.packed, self.size)
        pack_split(root, "train", packed, size=self.size)
        return packed

    def settings(self, variant: Variant) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `Task`."""
        training, evaluation = (
            noise.length(self.frame_step) for noise in (variant.training_noise, variant.evaluation_noise)
        )
        return {"pose_noise": training}, {"pose_noise": evaluation}

    def train(self, run: Run) -> None:
        """See `Task`."""
        self._trainer(run, run.folder).run()

    def _trainer(self, run: Run, out: Path, clock: StepClock | None = None, **changes: Any) -> Trainer:
        config = dataclasses.replace(run.config, **changes)
        use_threads(config.threads)
        noise = NoisyPoses(run.variant.training_noise.length(self.frame_step), config.seed)
        stage = LocalStage(config, STAGE, [run.views], None, transform=noise)
        trainer = Trainer(config, stage, out, stage.watcher(clock))
        begin(trainer, run.start)
        return trainer

    def _open(self, run: Run, folder: Path) -> LocalModel:
        weights, config = folder / f"{STAGE}.weights.safetensors", run.config
        use_threads(config.threads)
        return open_weights(weights, *network_sections(config.model, run.folder / "config.yaml"), config.device)

    def evaluate(self, run: Run) -> dict[str, Any]:
        """See `Task`."""
        noise = disturbed(run.variant.evaluation_noise.length(self.frame_step), run.seed)
        samples = (
            self.heldout[i] for i in progress(self.chosen, desc=f"{run.variant.name}, seed {run.seed}", unit="view")
        )
        return evaluate_local(self._open(run, run.folder), samples, None, pose_noise=noise)

    def time(self, run: Run, folder: Path) -> tuple[float, float]:
        """See `Task`."""
        short = {**run.config.stages, STAGE: dataclasses.replace(run.config.stages[STAGE], steps=STEPS_TIMED)}
        with contextlib.redirect_stderr(io.StringIO()):
            clock = StepClock()
            self._trainer(run, folder, clock, stages=short).run()
        model, ends = self._open(run, folder), []
        samples = [self.heldout[i] for i in spread_evenly(self.chosen, VIEWS_TIMED)]
        for sample in samples[:1] * 2 + samples:
            evaluate_local(model, [sample], None)
            ends.append(time.monotonic())
        return clock.seconds_per_step, float(np.median(np.diff(ends)[1:]))

    def facts(self, config: TrainConfig, scenes: int) -> dict[str, str]:
        """See `Task`."""
        rooms = len({self.heldout.names[i][0] for i in self.chosen})
        facts = {
            "training": f"{self.options.budget} steps of {config.stages[STAGE].batch} views on {scenes} rooms, "
            "from one image engine",
            "evaluation": f"{len(self.chosen)} held-out views of {rooms} rooms",
        }
        return facts | (
            {"median translation from frame to frame": f"{self.frame_step:.3f} m"} if self.frame_step else {}
        )
