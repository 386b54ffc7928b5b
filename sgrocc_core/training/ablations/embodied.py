"""The temporal manager's ablations: variants trained on walks from one spatial expert, scored on the maps of held-out walks.

While they train they look at some held-out walks again and again with the weights as they are then, not averaged: `curve.json` of a run
shows what training did on its way, a dip at a cold start above all.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from sgrocc_core.data.embodied_scannet import EmbodiedScanNet
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.engines.torch_engine import TorchEngine
from sgrocc_core.evaluation.embodied import evaluate_embodied
from sgrocc_core.evaluation.local import spread_evenly
from sgrocc_core.mapping.mapper import MapperConfig
from sgrocc_core.network.image.engine import grid_of
from sgrocc_core.progress import progress
from sgrocc_core.training.ablations.ablation import Ablation, Variant
from sgrocc_core.training.ablations.runs import Options, Run
from sgrocc_core.training.compute import use_threads
from sgrocc_core.training.config import TrainConfig, load_config
from sgrocc_core.training.data.packed import view_size
from sgrocc_core.training.data.sequences import pack_walks, walk_lengths
from sgrocc_core.training.embodied.trainer import EmbodiedTrainer
from sgrocc_core.training.session import packed_folder

LOOKS = 8
"""Points of the curve from the first step to the last."""
FRAMES_TIMED = 2
CURVE = "curve.json"


class WatchedTrainer(EmbodiedTrainer):
    """An embodied trainer that notes what its weights do on held-out walks, and when each step ended.

    Args:
        before: steps of the phases before this one. every: steps from one look to the next; 0 for none. Others as of `EmbodiedTrainer`.
    """

    def __init__(
        self, config: TrainConfig, stage: str, folder: Path, heldout: Path, out: Path, before: int = 0, every: int = 0
    ) -> None:
        super().__init__(config, stage, [folder], heldout, out)
        self.before, self.every = before, every
        self.step_ends: list[float] = []

    def train_step(self, batch: Any, label_weights: tuple[Tensor, Tensor]) -> dict[str, float]:
        """One step, with a look before it where one is due; see `Trainer.train_step`."""
        if self.every and (self.before + self.step) % self.every == 0:
            self.note()
        values = super().train_step(batch, label_weights)
        self.step_ends.append(time.monotonic())
        return values

    def note(self) -> None:
        """Look at the held-out walks with the weights as they are, and write it down; what was noted later, before a resume, is gone."""
        path, step = self.out / CURVE, self.before + self.step
        earlier = [point for point in json.loads(path.read_text()) if point["step"] < step] if path.is_file() else []
        path.write_text(json.dumps([*earlier, {"step": step, **self.look(0.0)}], indent=1) + "\n")


class EmbodiedTask:
    """See `ablation_runs.Task`."""

    shared, unit = "expert.safetensors", "scene"

    def __init__(self, ablation: Ablation, options: Options) -> None:
        self.options = options
        self.size = view_size(grid_of(load_config(options.config).image))
        self.heldout = EmbodiedScanNet(options.heldout, "test", self.size)
        self.chosen = spread_evenly(list(range(len(self.heldout))), options.limit)

    def is_shared(self, tensor: str) -> bool:
        """All start from the whole spatial expert, but from no trained fusion."""
        return not tensor.startswith("expert.fusion.")

    def steps(self, variant: Variant) -> dict[str, int]:
        """See `Task`."""
        found, left = {}, self.options.budget
        for number, (phase, share) in enumerate(variant.phases.items(), 1):
            found[phase] = (
                left if number == len(variant.phases) else min(max(1, round(share * self.options.budget)), left)
            )
            left -= found[phase]
        return found

    def scenes(self, folder: Path) -> list[Path]:
        """See `Task`."""
        return list(walk_lengths([folder]))

    def pack(self, root: Path) -> Path:
        """See `Task`."""
        return self._packed(root, "train")

    def _packed(self, root: Path, split: str) -> Path:
        folder = packed_folder(root, f"{split}_walks", self.options.packed, self.size)
        pack_walks(EmbodiedScanNet(root, split, self.size), folder)
        return folder

    def settings(self, variant: Variant) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `Task`."""
        return {"steps": self.steps(variant)}, {}

    def train(self, run: Run) -> None:
        """See `Task`; a phase starts from the averaged weights of the one before."""
        heldout = self._packed(self.options.heldout, "test")
        start, before, last = run.start, 0, None
        for phase, steps in self.steps(run.variant).items():
            weights = run.folder / f"{phase}.weights.safetensors"
            if not (run.folder / f"{phase}.over").is_file():
                last = self._trainer(run, phase, start, heldout, run.folder, before)
                last.run()
                (run.folder / f"{phase}.over").touch()
            start, before = weights, before + steps
        if last is not None:
            last.note()

    def _trainer(
        self, run: Run, phase: str, start: Path, heldout: Path, out: Path, before: int = 0, **changes: Any
    ) -> WatchedTrainer:
        config = dataclasses.replace(run.config, **changes)
        use_threads(config.threads)
        every = 0 if changes else max(1, self.options.budget // LOOKS)
        trainer = WatchedTrainer(config, phase, run.views, heldout, out, before, every)
        if trainer.checkpoint_path.is_file():
            trainer.resume()
        else:
            trainer.warm_start(start)
        return trainer

    def _engine(self, run: Run, folder: Path) -> TorchEngine:
        """The last phase's weights as an engine."""
        config, grid = run.config, grid_of(run.config.image)
        phase = list(self.steps(run.variant))[-1]
        spec = ModelSpec(
            run.variant.name, folder, image_size=grid.image_size, feature_stride=grid.feature_stride, head_stride=grid.head_stride,
            feature_channels=config.network.channels, gaussians_per_cell=config.network.gaussians, offsets=config.network.offsets,
            files={f"{phase}.weights.safetensors": ""}, networks={"image": config.image, "expert": dataclasses.asdict(config.network)},
        )  # fmt: skip
        return TorchEngine(spec, config.device, config.threads, f"{phase}.weights.safetensors")

    def evaluate(self, run: Run) -> dict[str, Any]:
        """See `Task`: the map after the last frame, as `sgrocc eval embodied` scores it, with the curve of the training."""
        config = MapperConfig(confidence=run.config.walk.confidence)
        with progress(None, desc=f"{run.variant.name}, seed {run.seed}", unit="frame") as bar:
            report = evaluate_embodied(
                self._engine(run, run.folder), self.heldout, self.chosen, None, config, 0, bar.update
            )
        return {**report, "training_curve": json.loads((run.folder / CURVE).read_text())}

    def time(self, run: Run, folder: Path) -> tuple[float, float]:
        """See `Task`."""
        phase = list(self.steps(run.variant))[-1]
        short = {**run.config.stages, phase: dataclasses.replace(run.config.stages[phase], steps=1)}
        heldout = self._packed(self.options.heldout, "test")
        walk = dataclasses.replace(run.config.walk, validation_walks=1)
        with contextlib.redirect_stderr(io.StringIO()):
            trainer = self._trainer(run, phase, run.start, heldout, folder, stages=short, walk=walk)
            trainer.run()
        begun, scene = time.monotonic(), self.chosen[0]
        frames = len(self.heldout[scene].frames)
        evaluate_embodied(self._engine(run, folder), self.heldout, [scene], None, None, FRAMES_TIMED)
        return float(np.median(np.diff(trainer.step_ends))), (time.monotonic() - begun) * frames / min(
            FRAMES_TIMED, frames
        )

    def facts(self, config: TrainConfig, scenes: int) -> dict[str, str]:
        """See `Task`."""
        batch = max(
            stage.batch for name, stage in config.stages.items() if name in ("manager", "everything", "end_to_end")
        )
        walk = config.walk
        return {
            "training": f"{self.options.budget} steps of {walk.unroll} frames of {batch} walks on {scenes} scenes, from one spatial expert",
            "evaluation": f"the maps of {len(self.chosen)} held-out scenes after their last frame (`sgrocc eval embodied`)",
        }
