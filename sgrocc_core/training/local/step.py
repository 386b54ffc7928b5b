"""The loss of one training step on single views: forward pass through the networks, and its terms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sgrocc_core.network.expert.projection import count_hits
from sgrocc_core.network.expert.spatial_expert import local_head
from sgrocc_core.training.compute import Compute
from sgrocc_core.training.data.dataset import BEYOND, Batch
from sgrocc_core.training.language.prior import LanguagePrior
from sgrocc_core.training.local.teacher import SlowCopy
from sgrocc_core.training.losses.depth_input import depth_prior
from sgrocc_core.training.losses.few_labels import (
    FewLabels,
    head_terms,
    teacher_loss,
    unlabelled_terms,
    voxels_in_image,
)
from sgrocc_core.training.losses.objectives import (
    ImageWeights,
    LocalWeights,
    Terms,
    draws,
    image_objective,
    local_objective,
)
from sgrocc_core.training.losses.pseudo_labels import pixel_labels
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
        few_labels: losses of views without labels, and of the heads of pseudo labels; None: neither.
        teacher: what views without labels learn from; None where nothing is learned from one.
        language: the language-aware prior of the regularisation; None: none.
        motion_share: see `depth_input.depth_prior`.
    """

    def __init__(
        self,
        engine: nn.Module,
        expert: nn.Module | None,
        learn_image: bool,
        losses: LocalWeights,
        compute: Compute,
        few_labels: FewLabels | None = None,
        teacher: SlowCopy | None = None,
        language: LanguagePrior | None = None,
        motion_share: float = 0.0,
    ) -> None:
        super().__init__()
        self.engine, self.expert, self.learn_image = engine, expert, learn_image
        self.losses, self.compute = losses, compute
        self.few_labels, self.teacher = few_labels or FewLabels(), teacher
        self.language, self.motion_share = language, motion_share

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
            depth, spread = depth_prior(batch, outputs, generators, self.motion_share)
            with self.compute.autocast():
                thickness = outputs["thickness"].detach()
                hits = count_hits(depth, batch["intrinsics"], batch["pose"])
                given = (depth, spread, hits, thickness, batch["intrinsics"], batch["pose"])
                found = self.expert(outputs["features"], *given)
            if self.language is not None:
                kind, centres = self.losses.regularisation_kind, self.expert.get_buffer("centres")
                found["attributes"] = self.language(found, outputs, batch, centres, kind)
            terms |= self._expert_terms(found, outputs, batch, given, label_weights, generators, step)
        return terms

    def _expert_terms(
        self,
        found: dict[str, Tensor],
        outputs: dict[str, Tensor],
        batch: Batch,
        given: tuple[Tensor, ...],
        label_weights: tuple[Tensor, Tensor],
        generators: list[torch.Generator],
        step: int,
    ) -> Terms:
        """Terms of the expert: those of labels for the views that have some, others for the rest.

        Args:
            found: outputs of the expert.
            outputs: of the image engine.
            batch: the views.
            given: inputs of the expert besides the features.
            label_weights: see `forward`.
            generators: one per view.
            step: number of steps taken.
        """
        terms: Terms = {}
        few = self.few_labels
        pseudo = pixel_labels(outputs, batch, few.confidence) if few.heads or few.unlabelled else None
        if pseudo is not None:
            terms |= head_terms(found, pseudo, batch, label_weights[0], few.heads)
        if "labelled" not in batch:
            surface = self._surface(batch, *given[:2])
            return terms | local_objective(found, batch, label_weights[1], self.losses, generators, surface)
        groups = [batch["labelled"].nonzero()[:, 0], (~batch["labelled"]).nonzero()[:, 0]]
        (views, own, some), (others, theirs, rest) = (
            (_rows(batch, rows), _rows(found, rows), [generators[b] for b in rows.tolist()]) for rows in groups
        )
        if some:
            surface = self._surface(views, given[0][groups[0]], given[1][groups[0]])
            terms |= local_objective(own, views, label_weights[1], self.losses, some, surface)
        if rest and pseudo is not None:
            voxels = voxels_in_image(theirs, others["state"])
            labels = pseudo[groups[1]]
            terms |= unlabelled_terms(voxels, theirs["opacities"], labels, others, label_weights[0], few, rest)
            if self.teacher is not None:
                taught = self.teacher(outputs["pyramid"][groups[1]], tuple(value[groups[1]] for value in given))
                agreement = [
                    teacher_loss(voxel, local_head(taught, b), others["state"][b] == BEYOND, few.certain)
                    for b, voxel in enumerate(voxels)
                ]
                terms["teacher"] = few.ramped(step) * torch.stack(agreement).mean()
        return terms

    def _surface(self, batch: Batch, depth: Tensor, spread: Tensor) -> Surface | None:
        if self.losses.regularisation_kind == "none" or not self.losses.regularisation:
            return None
        return surface_of(depth, spread, batch["intrinsics"], batch["pose"])


def _rows(values: dict[str, Tensor], rows: Tensor) -> dict[str, Tensor]:
    """Some samples of a batch."""
    return {name: value[rows] for name, value in values.items()}
