"""The loss of one training step on single views: forward pass through the networks, and its terms."""

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
    """Run the image engine on a batch.

    Args:
        engine: image engine.
        batch: of `dataset.loader`, on the device.
        compute: device and precision.

    Returns:
        the image engine's outputs, by name.
    """
    image = (batch["image"].float() / 255).contiguous(memory_format=torch.channels_last)
    with compute.autocast():
        outputs: dict[str, Tensor] = engine(image, batch["mask"].float(), batch["intrinsics"], batch["gravity"])
    return outputs


class StepObjective(nn.Module):
    """The networks of a stage with their loss.

    Args:
        engine: image engine.
        expert: spatial expert; None in the image stage.
        learn_image: train the whole image engine; otherwise only its projection to features, together with the expert.
        losses: weights of the local head's losses.
        compute: device and precision.
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
        """Compute the terms of the loss.

        Args:
            batch: of `dataset.loader`, on the device.
            label_weights: (12,) weights of the labels in the image and in the grid, on the device.
            seed: of the run.
            step: number of steps taken.
            places: places of the batch's views in the batch of all processes.
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
