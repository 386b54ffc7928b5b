"""One training step's forward pass: a batch through the networks that a stage trains, to the terms of its loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sgrocc_core.network.expert.projection import count_hits
from sgrocc_core.training.compute import Compute
from sgrocc_core.training.data.dataset import Batch
from sgrocc_core.training.losses.objectives import (
    ImageWeights,
    LocalWeights,
    Terms,
    depth_prior,
    draws,
    image_objective,
    local_objective,
)
from sgrocc_core.training.losses.regularisation import Surface, surface_of


def run_image(engine: nn.Module, batch: Batch, compute: Compute) -> dict[str, Tensor]:
    """Forward pass of the image engine over a batch of `dataset.loader`, which lies on the device."""
    image = (batch["image"].float() / 255).contiguous(memory_format=torch.channels_last)
    with compute.autocast():
        outputs: dict[str, Tensor] = engine(image, batch["mask"].float(), batch["intrinsics"], batch["gravity"])
    return outputs


class StepObjective(nn.Module):
    """The networks of a stage with their loss: what DistributedDataParallel wraps, and what one process calls as it is.

    Args:
        engine: image engine. expert: spatial expert; None in the image stage. learn_image: whether the whole engine learns; else only
            its projection to features does, with the expert that reads them.
        losses: weights of the local head's losses. compute: device and precision.
    """

    def __init__(
        self, engine: nn.Module, expert: nn.Module | None, learn_image: bool, losses: LocalWeights, compute: Compute
    ) -> None:
        super().__init__()
        self.engine, self.expert, self.learn_image = engine, expert, learn_image
        self.losses, self.compute = losses, compute

    def forward(
        self, batch: Batch, label_weights: tuple[Tensor, Tensor], seed: int, step: int, places: Sequence[int]
    ) -> Terms:
        """Terms of the loss.

        Args:
            batch: of `dataset.loader`, on the device. label_weights: (12,) of labels in the image and in the grid, on the device.
            seed, step: of the run. places: of the batch's views in the whole batch of all processes.
        """
        self.engine.train(self.learn_image)
        with torch.set_grad_enabled(self.learn_image):
            outputs = run_image(self.engine, batch, self.compute)
        terms: Terms = {}
        if self.learn_image:
            terms |= image_objective(outputs, batch, label_weights[0], ImageWeights())
        else:
            outputs["features"] = self.engine.get_submodule("to_features")(outputs["pyramid"].float())
        if self.expert is not None:
            self.expert.train()
            generators = draws(seed, step, places)
            depth, spread = depth_prior(batch, outputs, generators)
            with self.compute.autocast():
                thickness = outputs["thickness"].detach()
                hits = count_hits(depth, batch["intrinsics"], batch["pose"])
                found = self.expert(
                    outputs["features"], depth, spread, hits, thickness, batch["intrinsics"], batch["pose"]
                )
            surface = self._surface(batch, depth, spread)
            terms |= local_objective(found, batch, label_weights[1], self.losses, generators, surface)
        return terms

    def _surface(self, batch: Batch, depth: Tensor, spread: Tensor) -> Surface | None:
        if self.losses.regularisation_kind == "none" or not self.losses.regularisation:
            return None
        return surface_of(depth, spread, batch["intrinsics"], batch["pose"])
