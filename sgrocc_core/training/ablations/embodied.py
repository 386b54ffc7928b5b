"""Ablations of the temporal manager.

Variants are trained on walks from one spatial expert and scored on maps of held-out walks. During training the current
weights, not their average, are evaluated on some held-out walks at regular steps. `curve.json` of a run thus shows
the course of training, above all a dip after a cold start.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import json
import time
from pathlib import Path
from typing import Any

from sgrocc_core.data.embodied_scannet import EmbodiedScanNet
from sgrocc_core.engines.model import ModelSpec
from sgrocc_core.engines.runtimes.torch_engine import TorchEngine
from sgrocc_core.evaluation.embodied import evaluate_embodied
from sgrocc_core.evaluation.local import spread_evenly
from sgrocc_core.mapping.mapper import MapperConfig
from sgrocc_core.network.image.engine import grid_of
from sgrocc_core.progress import progress
from sgrocc_core.training.ablations.ablation import Ablation, Variant
from sgrocc_core.training.ablations.task import Options, Run
from sgrocc_core.training.ablations.training import StepClock, begin
from sgrocc_core.training.compute import use_threads
from sgrocc_core.training.config import TrainConfig, load_config
from sgrocc_core.training.data.packed import view_size
from sgrocc_core.training.data.sequences import pack_walks, walk_lengths
from sgrocc_core.training.embodied.stage import WalkStage
from sgrocc_core.training.session import packed_folder
from sgrocc_core.training.trainer import Trainer, Watcher

POINTS = 8
"""Number of intervals between the points of the curve; a round guess."""
FRAMES_TIMED = 2
CURVE = "curve.json"


class CurveWriter(Watcher):
    """Evaluates the current weights on held-out walks at regular steps and writes OUT/curve.json.

    Args:
        stage: of the run.
        before: steps of the phases before this one.
        every: steps from one evaluation to the next.
    """

    def __init__(self, stage: WalkStage, before: int, every: int) -> None:
        self.stage, self.before, self.every = stage, before, every

    def before_step(self, trainer: Trainer) -> None:
        """See `Watcher`."""
        if (self.before + trainer.step) % self.every == 0:
            self.add_point(trainer)

    def add_point(self, trainer: Trainer) -> None:
        """Add the figures of the current weights to the curve.

        Points of later steps, which a run that is resumed may have left, are dropped.
        """
        path, step = trainer.out / CURVE, self.before + trainer.step
        earlier = [point for point in json.loads(path.read_text()) if point["step"] < step] if path.is_file() else []
        path.write_text(json.dumps([*earlier, {"step": step, **self.stage.figures(0.0)}], indent=1) + "\n")


class EmbodiedTask:
    """See `task.Task`."""

    shared, unit = "expert.safetensors", "scene"

    def __init__(self, ablation: Ablation, options: Options) -> None:
        self.options = options
        self.size = view_size(grid_of(load_config(options.config).image))
        self.heldout = EmbodiedScanNet(options.heldout, "test", self.size)
        self.chosen = spread_evenly(list(range(len(self.heldout))), options.limit)

    def is_shared(self, tensor: str) -> bool:
        """Returns whether the tensor is shared: all variants start from the spatial expert without its fusion."""
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
        """See `Task`; each phase starts from the averaged weights of the previous one."""
        heldout = self._packed(self.options.heldout, "test")
        use_threads(run.config.threads)
        start, before, every = run.start, 0, max(1, self.options.budget // POINTS)
        for phase, steps in self.steps(run.variant).items():
            weights = run.folder / f"{phase}.weights.safetensors"
            if not (run.folder / f"{phase}.over").is_file():
                stage = WalkStage(run.config, phase, [run.views], heldout)
                curve = CurveWriter(stage, before, every)
                trainer = Trainer(run.config, stage, run.folder, curve)
                begin(trainer, start)
                trainer.run()
                if before + steps == self.options.budget:
                    curve.add_point(trainer)
                (run.folder / f"{phase}.over").touch()
            start, before = weights, before + steps

    def _engine(self, run: Run, folder: Path) -> TorchEngine:
        """An engine with the last phase's weights."""
        config, grid = run.config, grid_of(run.config.image)
        phase = list(self.steps(run.variant))[-1]
        spec = ModelSpec(
            run.variant.name,
            folder,
            image_size=grid.image_size,
            feature_stride=grid.feature_stride,
            head_stride=grid.head_stride,
            feature_channels=config.network.channels,
            gaussians_per_cell=config.network.gaussians,
            offsets=config.network.offsets,
            files={f"{phase}.weights.safetensors": ""},
            networks={"image": config.image, "expert": dataclasses.asdict(config.network)},
        )
        return TorchEngine(spec, config.device, config.threads, f"{phase}.weights.safetensors")

    def evaluate(self, run: Run) -> dict[str, Any]:
        """See `Task`; scores the map after the last frame and adds the training curve."""
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
        config, clock = dataclasses.replace(run.config, stages=short, walk=walk), StepClock()
        use_threads(config.threads)
        with contextlib.redirect_stderr(io.StringIO()):
            trainer = Trainer(config, WalkStage(config, phase, [run.views], heldout), folder, clock)
            begin(trainer, run.start)
            trainer.run()
        begun, scene = time.monotonic(), self.chosen[0]
        frames = len(self.heldout[scene].frames)
        evaluate_embodied(self._engine(run, folder), self.heldout, [scene], None, None, FRAMES_TIMED)
        return clock.seconds_per_step, (time.monotonic() - begun) * frames / min(FRAMES_TIMED, frames)

    def facts(self, config: TrainConfig, scenes: int) -> dict[str, str]:
        """See `Task`."""
        batch = max(
            stage.batch for name, stage in config.stages.items() if name in ("manager", "everything", "end_to_end")
        )
        walk = config.walk
        return {
            "training": f"{self.options.budget} steps of {walk.unroll} frames of {batch} walks on {scenes} scenes, "
            "from one spatial expert",
            "evaluation": f"the maps of {len(self.chosen)} held-out scenes after their last frame "
            "(`sgrocc eval embodied`)",
        }
