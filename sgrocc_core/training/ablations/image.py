"""The image engine's ablations: variants of the image stage, each from the start, scored by depth and 2D classes."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sgrocc_core.network import weights_file
from sgrocc_core.network.image.engine import build_image_engine
from sgrocc_core.progress import progress
from sgrocc_core.training.ablations.ablation import Ablation, Variant
from sgrocc_core.training.ablations.local import STEPS_TIMED, VIEWS_TIMED, LocalTask
from sgrocc_core.training.ablations.task import Options, Run
from sgrocc_core.training.ablations.training import StepClock
from sgrocc_core.training.compute import choose, use_threads
from sgrocc_core.training.config import TrainConfig
from sgrocc_core.training.data.dataset import DatasetOptions, PackedViews, item
from sgrocc_core.training.frozen_backbone import run_frozen_apart
from sgrocc_core.training.local.look import look_at_image
from sgrocc_core.training.local.stage import LocalStage
from sgrocc_core.training.session import begin, pack_split, packed_folder
from sgrocc_core.training.trainer import Trainer

STAGE = "image"


class ImageTask(LocalTask):
    """See `task.Task`; no weights are shared: every engine starts with random or with published weights."""

    shared, unit = "", "view"

    def __init__(self, ablation: Ablation, options: Options) -> None:
        super().__init__(ablation, options)
        self.packed_heldout = packed_folder(options.heldout, "test", options.packed, self.size)

    def is_shared(self, tensor: str) -> bool:
        """Returns False."""
        return False

    def steps(self, variant: Variant) -> dict[str, int]:
        """See `Task`."""
        return {STAGE: self.options.budget}

    def settings(self, variant: Variant) -> tuple[dict[str, Any], dict[str, Any]]:
        """See `Task`."""
        return {"stage": STAGE}, {}

    def _trainer(self, run: Run, out: Path, clock: StepClock | None = None, **changes: Any) -> Trainer:
        config = dataclasses.replace(run.config, **changes)
        use_threads(config.threads)
        trainer = Trainer(config, LocalStage(config, STAGE, [run.views], None), out, clock)
        begin(trainer, None, None, resume=True)
        return trainer

    def _engine(self, run: Run, folder: Path) -> nn.Module:
        """The image engine with a run's averaged weights."""
        path = folder / f"{STAGE}.weights.safetensors"
        engine = build_image_engine(run.config.image)
        weights_file.load_weights(engine, weights_file.read_weights(path), "image.", path)
        compute = choose(run.config.device, amp=False)
        run_frozen_apart(engine, compute.device, run.config.threads)
        return engine.to(compute.device)

    def _views(self, indices: list[int]) -> Iterator[dict[str, np.ndarray]]:
        """Held-out views, not augmented."""
        pack_split(self.options.heldout, "test", self.packed_heldout, size=self.size)
        options = DatasetOptions(augment=False)
        data = PackedViews([self.packed_heldout], options)
        return (item(data.view(i), options, np.random.default_rng(i)) for i in indices)

    def evaluate(self, run: Run) -> dict[str, Any]:
        """See `Task`."""
        use_threads(run.config.threads)
        name = f"{run.variant.name}, seed {run.seed}"
        views = progress(self._views(self.chosen), desc=name, unit="view", total=len(self.chosen))
        figures = look_at_image(self._engine(run, run.folder), views, choose(run.config.device, amp=False))
        return {STAGE: figures, "views": len(self.chosen)}

    def time(self, run: Run, folder: Path) -> tuple[float, float]:
        """See `Task`."""
        short = {**run.config.stages, STAGE: dataclasses.replace(run.config.stages[STAGE], steps=STEPS_TIMED)}
        with contextlib.redirect_stderr(io.StringIO()):
            clock = StepClock()
            self._trainer(run, folder, clock, stages=short).run()
        engine, ends = self._engine(run, folder), []
        compute = choose(run.config.device, amp=False)
        views = list(self._views(self.chosen[:VIEWS_TIMED]))
        for view in views[:1] * 2 + views:
            look_at_image(engine, [view], compute)
            ends.append(time.monotonic())
        return clock.seconds_per_step, float(np.median(np.diff(ends)[1:]))

    def facts(self, config: TrainConfig, scenes: int) -> dict[str, str]:
        """See `Task`."""
        facts = super().facts(config, scenes)
        batch = config.stages[STAGE].batch
        return {**facts, "training": f"{self.options.budget} steps of {batch} views on {scenes} rooms, from the start"}
