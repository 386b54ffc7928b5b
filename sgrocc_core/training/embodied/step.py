"""The loss of one step of embodied training: the next frames of several walks through the networks and their memories.

For each frame: image engine, depth prior, visibility of the box's cells, history from the memory, expert with fusion,
and the losses of its prediction. Then the memory is updated as in the mapper, and its content in the box is splatted
and scored too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from sgrocc_core.depth.layer import DepthLayer
from sgrocc_core.errors import ConfigError
from sgrocc_core.gaussians.confidence import CONFIDENCES, view_cells
from sgrocc_core.gaussians.update_torch import Look
from sgrocc_core.mapping.types import MapperConfig
from sgrocc_core.network.expert.projection import count_hits
from sgrocc_core.training.compute import Compute
from sgrocc_core.training.data.dataset import Batch
from sgrocc_core.training.embodied.scene_memory import SceneMemory, look_of
from sgrocc_core.training.local.step import run_image
from sgrocc_core.training.losses.depth_input import depth_prior
from sgrocc_core.training.losses.objectives import LocalWeights, Terms, draws, local_objective

MAX_DISTANCE = MapperConfig.max_distance
"""Maximum distance of seen cells along the optical axis, metres: the mapper's default."""
UNHELD = ("coarse", "undefined", "dense", "distill", "regularisation")
"""Loss terms that are not computed on the memory: they need all cells, or outputs that only the network has."""
FRAME_SECONDS = 0.1
"""Time between the frames of a walk, seconds: the sets have no time stamps."""


@dataclasses.dataclass(frozen=True)
class WalkConfig:
    """Settings of training on walks.

    Attributes:
        length: frames per walk; memories are empty at its first frame.
        unroll: frames per step; gradients flow back through that many frames.
        memory: weight of the losses of the memory's content after an update.
        confidence: confidence of the memory's update, one of CONFIDENCES.
        validation_walks: number of held-out scenes in a validation.

    Raises:
        ConfigError: a value is not allowed.
    """

    length: int = 16
    unroll: int = 1
    memory: float = 0.5
    confidence: str = "hybrid"
    validation_walks: int = 6

    def __post_init__(self) -> None:
        if self.length < 1 or self.validation_walks < 1:
            raise ConfigError(
                f"length is {self.length} and validation_walks {self.validation_walks}; at least 1 is needed of both"
            )
        if not 1 <= self.unroll <= self.length or self.length % self.unroll:
            raise ConfigError(f"unroll is {self.unroll}; it must be a divisor of length, which is {self.length}")
        if self.memory < 0:
            raise ConfigError(f"memory is {self.memory}; it must be 0 or more")
        if self.confidence not in CONFIDENCES:
            raise ConfigError(f"confidence is {self.confidence!r}; it must be one of {', '.join(CONFIDENCES)}")


def looks_of(prior: Tensor, spread: Tensor, sensor: Tensor, intrinsics: Tensor, pose: Tensor) -> list[Look]:
    """Compute how the depth priors of a batch see the cells of their boxes, as the mapper does.

    Args:
        prior: (B, 1, H, W) of `depth_prior`, metres.
        spread: (B, 1, H, W) of `depth_prior`, metres.
        sensor: (B, 1, H, W), the part of the prior that a sensor measured, metres, 0 = none.
        intrinsics: (B, 4) fx, fy, cx, cy, pixels.
        pose: (B, 4, 4) camera to box, metres.

    Returns:
        a Look for each sample, on the prior's device.
    """
    found = []
    arrays = (value.detach().cpu().numpy() for value in (prior[:, 0], spread[:, 0], sensor[:, 0], intrinsics, pose))
    for depth, off, measured, (fx, fy, cx, cy), T_bc in zip(*arrays, strict=True):
        K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)
        learned = np.where(measured > 0, 0, depth).astype(np.float32)
        layers = [DepthLayer.sensor(np.ascontiguousarray(measured), K)] if measured.any() else []
        if learned.any():
            layers.append(DepthLayer.learned(learned, off, K))
        found.append(look_of(view_cells(layers, T_bc.astype(np.float64), MAX_DISTANCE), prior.device))
    return found


class WalkObjective(nn.Module):
    """The networks with the loss of a few frames of several walks.

    Args:
        engine: image engine; frozen, except its projection to the features if `projection`.
        expert: spatial expert.
        frozen: modules of the expert that stay in eval mode.
        projection: train the image engine's projection to the features.
        losses: weights of the losses of the local prediction.
        walk: see WalkConfig.
        compute: device and precision.
        motion_share: see `depth_input.depth_prior`; drawn once for a walk.
    """

    def __init__(
        self,
        engine: nn.Module,
        expert: nn.Module,
        frozen: Sequence[nn.Module],
        projection: bool,
        losses: LocalWeights,
        walk: WalkConfig,
        compute: Compute,
        motion_share: float = 0.0,
    ) -> None:
        super().__init__()
        self.engine, self.expert, self.projection = engine, expert, projection
        self._frozen = tuple(frozen)
        self.losses, self.walk, self.compute, self.motion_share = losses, walk, compute, motion_share
        self.memory_losses = dataclasses.replace(
            losses, coarse=0.0, undefined=0.0, dense=0.0, distill=0.0, regularisation=0.0
        )

    def forward(
        self,
        frames: list[Batch],
        memories: list[SceneMemory],
        label_weights: tuple[Tensor, Tensor],
        draw: tuple[int, int],
        first: int,
        places: Sequence[int],
    ) -> Terms:
        """Compute the terms of the loss, averaged over the frames, and update the memories.

        Args:
            frames: consecutive batches of `sequences.episodes`, on the device.
            memories: one for each walk.
            label_weights: (12,) weights of the labels in the image (unused) and in the grid, on the device.
            draw: seed and episode.
            first: number of the first frame in its walk.
            places: places of the walks in the batch of all processes.
        """
        self.engine.eval()
        self.expert.train()
        for module in self._frozen:
            module.eval()
        total: dict[str, list[Tensor]] = {}
        for number, batch in enumerate(frames, first):
            for name, value in self._frame(batch, memories, label_weights[1], (*draw, number), places).items():
                total.setdefault(name, []).append(value)
        return {name: torch.stack(values).mean() for name, values in total.items()}

    def _frame(
        self,
        batch: Batch,
        memories: list[SceneMemory],
        label_weights: Tensor,
        draw: tuple[int, int, int],
        places: Sequence[int],
    ) -> Terms:
        seed, episode, number = draw
        stamp, at_frame = number * FRAME_SECONDS, draws(seed, episode * 10_007 + number, places)
        with torch.no_grad():
            image = run_image(self.engine, batch, self.compute)
        if self.projection:
            image["features"] = self.engine.get_submodule("to_features")(image["pyramid"].float())
        # One draw for the whole walk: whether holes of the sensor's depth are filled, and what motion corrects.
        depth, spread = depth_prior(batch, image, draws(seed, episode, places), self.motion_share)
        looks = looks_of(depth, spread, batch["prior"], batch["intrinsics"], batch["pose"])
        rows = [memory.rows(corner) for memory, corner in zip(memories, batch["corner"].cpu().numpy(), strict=True)]
        pairs = [memory.history(r, look, stamp) for memory, r, look in zip(memories, rows, looks, strict=True)]
        history, past = (torch.stack(parts) for parts in zip(*pairs, strict=True))
        hits = count_hits(depth, batch["intrinsics"], batch["pose"])
        with self.compute.autocast():
            found = self.expert(
                image["features"],
                depth,
                spread,
                hits,
                image["thickness"],
                batch["intrinsics"],
                batch["pose"],
                history,
                past,
            )
        terms = local_objective(found, batch, label_weights, self.losses, at_frame)
        triples = zip(memories, rows, looks, strict=True)
        held = [
            memory.splattable(memory.update(r, found, b, look, stamp)) for b, (memory, r, look) in enumerate(triples)
        ]
        if self.walk.memory:
            whole = {name: torch.cat([part[name] for part in held]) for name in held[0]}
            after = local_objective(whole, batch, label_weights, self.memory_losses, at_frame)
            terms |= {f"memory_{name}": self.walk.memory * value for name, value in after.items() if name not in UNHELD}
        return terms
