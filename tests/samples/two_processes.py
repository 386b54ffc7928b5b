"""Program of each process in test_distribution.py.

A short training run that records all that must not depend on their number.

Usage: two_processes.py local|embodied PACKED OUT STEPS, alone or under torchrun; the first process writes
OUT/found.json and OUT/found.safetensors.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from sgrocc_core.network.expert.spatial_expert import ExpertConfig
from sgrocc_core.training import distribution
from sgrocc_core.training.config import StageConfig, TrainConfig
from sgrocc_core.training.embodied.stage import WalkStage
from sgrocc_core.training.embodied.step import WalkConfig
from sgrocc_core.training.local.stage import LocalStage
from sgrocc_core.training.losses.objectives import LocalWeights
from sgrocc_core.training.stage import Stage
from sgrocc_core.training.trainer import Trainer, Watcher


class Recorder(Watcher):
    """Keeps the figures of every step and the gradients of the first."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.gradients: dict[str, torch.Tensor] = {}

    def after_step(self, trainer: Trainer, values: dict[str, float]) -> None:
        """See `Watcher`."""
        if trainer.step == 1:
            self.gradients = {name: p.grad.clone() for p, name in trainer.names.items() if p.grad is not None}
        self.steps.append(values)


def configuration(steps: int) -> TrainConfig:
    """Both networks at their smallest, in float32 and without dropout, whose masks every process draws for itself."""
    return TrainConfig(
        image={"channels": 4, "widths": [8, 8, 8, 8], "blocks": [1, 1, 1, 1]},
        network=ExpertConfig(
            channels=4, wide=4, hidden=8, feature_channels=4, offsets=1, gaussians=2, blocks=1, dropout=0.0
        ),
        losses=LocalWeights(regularisation_kind="semantic", samples=500),
        device="cpu",
        amp=False,
        threads=1,
        workers=0,
        average=0.5,
        validation_views=5,
        walk=WalkConfig(length=2, validation_walks=2),
        stages={
            "joint": StageConfig(steps=steps, batch=4, rate=1e-3),
            "end_to_end": StageConfig(steps=steps, batch=2, rate=1e-3),
        },
    )


def main(kind: str, packed: Path, out: Path, steps: int) -> None:
    """Run."""
    torch.set_num_threads(1)
    with distribution.joined() as processes:
        config, recorder = configuration(steps), Recorder()
        stage: Stage
        if kind == "local":
            stage = LocalStage(config, "joint", [packed], packed)
        else:
            stage = WalkStage(config, "end_to_end", [packed], packed)
        trainer = Trainer(config, stage, out / f"process{processes.rank}", recorder)
        found: dict[str, Any] = {"count": processes.count, "before": trainer.validate()}
        found["same"] = distribution.same_everywhere([1, "two"])
        found["different"] = distribution.same_everywhere([processes.rank, "two"])
        found["other_length"] = distribution.same_everywhere("a" * processes.rank)
        trainer.run()
        found |= {"steps": recorder.steps, "after": trainer.figures}
        if processes.first:
            (out / "found.json").write_text(json.dumps(found))
            save_file(
                {name: value.contiguous() for name, value in recorder.gradients.items()}, out / "found.safetensors"
            )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
