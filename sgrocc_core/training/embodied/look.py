"""Validation on held-out walks during training of the temporal manager.

Reported figures come from `sgrocc eval embodied`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from sgrocc_core.depth.layer import sensor_spread
from sgrocc_core.network.expert.projection import count_hits
from sgrocc_core.network.expert.spatial_expert import local_head
from sgrocc_core.training.compute import Compute
from sgrocc_core.training.data.dataset import IN_VIEW, Batch
from sgrocc_core.training.data.sequences import Walks
from sgrocc_core.training.distribution import summed
from sgrocc_core.training.embodied.scene_memory import SceneMemory
from sgrocc_core.training.embodied.step import FRAME_SECONDS, looks_of
from sgrocc_core.training.local.step import run_image
from sgrocc_core.training.validation import collate, confusion, mean_iou, occupancy_iou
from sgrocc_core.voxels.splatting.equations import labels_from


@dataclass
class WalkCounts:
    """Confusion matrices (12, 12) in view of the frames, rows truth.

    Attributes:
        fused: of the fused predictions.
        memory: of the memory's content in the box after each update.
    """

    fused: np.ndarray = field(default_factory=lambda: np.zeros((12, 12)))
    memory: np.ndarray = field(default_factory=lambda: np.zeros((12, 12)))

    def figures(self) -> dict[str, float]:
        """Returns sc_iou and miou of both, over the walks of all processes."""
        out = {}
        for name, own in (("fused", self.fused), ("memory", self.memory)):
            matrix = summed(own)
            out[f"{name}_sc_iou"] = occupancy_iou(matrix)
            out[f"{name}_miou"] = mean_iou(matrix)
        return out


@torch.no_grad()
def look_at_walks(
    engine: nn.Module,
    expert: nn.Module,
    walks: Walks,
    chosen: Iterable[int],
    memories: dict[int, SceneMemory],
    compute: Compute,
) -> WalkCounts:
    """Count over the first frames of some walks, with the memory carried along.

    Args:
        engine: image engine.
        expert: spatial expert.
        walks: not augmented.
        chosen: this process's scenes.
        memories: an empty memory for each of them.
        compute: device and precision.
    """
    engine.eval()
    expert.eval()
    counts = WalkCounts()
    for scene in chosen:
        for number in range(walks.length):
            sample = walks[(scene, number, False, 0, 0, number, 0)]
            _look(engine, expert, compute, collate([sample]), memories[scene], number, counts)
    return counts


def _look(
    engine: nn.Module,
    expert: nn.Module,
    compute: Compute,
    batch: Batch,
    memory: SceneMemory,
    number: int,
    counts: WalkCounts,
) -> None:
    target, valid = batch["target"][0].numpy(), ((batch["state"] == IN_VIEW) & (batch["target"] < 12))[0].numpy()
    batch = compute.move(batch)
    image = run_image(engine, batch, compute)
    image["features"] = engine.get_submodule("to_features")(image["pyramid"].float())
    depth, spread = batch["prior"], sensor_spread(batch["prior"])
    if not depth.any():
        size = depth.shape[-2:]
        depth, spread = (
            nn.functional.interpolate(image[key], size=size, mode="nearest") for key in ("depth", "spread")
        )
        depth = depth * batch["mask"]
    (look,) = looks_of(depth, spread, batch["prior"], batch["intrinsics"], batch["pose"])
    rows, stamp = memory.rows(batch["corner"][0].cpu().numpy()), number * FRAME_SECONDS
    history, past = memory.history(rows, look, stamp)
    hits = count_hits(depth, batch["intrinsics"], batch["pose"])
    with compute.autocast():
        found = expert(
            image["features"],
            depth,
            spread,
            hits,
            image["thickness"],
            batch["intrinsics"],
            batch["pose"],
            history[None],
            past[None],
        )
    counts.fused += confusion(target, _labels(found), valid)
    counts.memory += confusion(target, _labels(memory.splattable(memory.update(rows, found, 0, look, stamp))), valid)


def _labels(outputs: dict[str, torch.Tensor]) -> np.ndarray:
    log_empty, weights = (value.cpu().numpy() for value in local_head(outputs, 0))
    return labels_from(log_empty, weights)
