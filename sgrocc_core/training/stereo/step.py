"""One step of the training of stereo: clips through the frozen image engine, the sweep and the stereo network."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sgrocc_core.depth.cascade import STEP
from sgrocc_core.depth.sweep import FARTHEST, NEAREST
from sgrocc_core.network.stereo.network import StereoNetwork
from sgrocc_core.network.stereo.sweep_torch import run_cascade, sweep
from sgrocc_core.training.compute import Compute
from sgrocc_core.training.data.dataset import Batch
from sgrocc_core.training.local.step import run_image
from sgrocc_core.training.losses import voxels as losses
from sgrocc_core.training.losses.objectives import Terms, draws

DEPTH, LIKELIHOOD, PLANES = 1.0, 0.3, 0.3
"""Weights of the terms."""
SCALE_ERROR = 0.15
"""Standard deviation of the one-image depth's factor, natural logarithm. On real rooms that depth is off as a whole, on
rooms like those it was trained on hardly; the network must not rely on it."""


def flattened(batch: Batch) -> Batch:
    """Clips (C, n, ...) as images (C n, ...); `sources` then are numbers in the batch, -1 = none."""
    clips, views = batch["sources"].shape[:2]
    first = torch.arange(clips, device=batch["sources"].device).view(-1, 1, 1) * views
    sources = torch.where(batch["sources"] >= 0, batch["sources"] + first, -1)
    return {name: value.flatten(0, 1) for name, value in batch.items()} | {"sources": sources.flatten(0, 1)}


def run_matching(engine: nn.Module, stereo: StereoNetwork, batch: Batch, compute: Compute) -> dict[str, Tensor]:
    """The image engine's outputs, without gradients, and the features of `ImageWithMatching` with them."""
    with torch.no_grad():
        outputs = run_image(engine, batch, compute)
    with compute.autocast():
        given = batch["image"].float() / 255, batch["mask"].float(), outputs["fine"], outputs.get("early")
        found = {**outputs, "matching": stereo.matching(*given)}
        return found if stereo.cascade is None else {**found, "matching_fine": stereo.cascade.matching(*given)}


def run_stereo(
    stereo: StereoNetwork,
    outputs: dict[str, Tensor],
    batch: Batch,
    some: Tensor,
    compute: Compute,
    factor: Tensor | float = 1.0,
) -> tuple[dict[str, Tensor], dict[str, Tensor] | None]:
    """Depth of some images by the sweeps over their sources.

    Args:
        stereo: the network.
        outputs: of `run_matching`.
        batch: with `sources`, `transforms` and `bounds`.
        some: (M,) numbers of the images.
        compute: device and precision.
        factor: of the one-image depth and its spread, broadcast over (M, 1, h, w).

    Returns:
        What the first sweep found, and what the second did, each (M, ...); None without a second sweep.
    """
    numbers = batch["sources"][some].clamp(min=0)  # (M, S); bounds say which of them are there
    places, edges = batch["transforms"][some], batch["bounds"][some]
    features = outputs["matching"]
    score, count = sweep(features[some], features[numbers], places, edges, stereo.inverse_depths)
    depth, spread = (outputs[name][some].float() * factor for name in ("depth", "spread"))
    context = outputs["fine"][some]
    with compute.autocast():
        first = stereo(score, count, context, depth, spread)
    if stereo.cascade is None:
        return first, None
    fine = outputs["matching_fine"]
    with compute.autocast():
        return first, run_cascade(stereo.cascade, fine[some], fine[numbers], places, edges, context, first)


class StereoObjective(nn.Module):
    """The networks with their loss.

    Args:
        engine: image engine, frozen.
        stereo: learns.
        compute: device and precision.
    """

    def __init__(self, engine: nn.Module, stereo: StereoNetwork, compute: Compute) -> None:
        super().__init__()
        self.engine, self.stereo, self.compute = engine, stereo, compute

    def forward(self, batch: Batch, seed: int, step: int, places: Sequence[int]) -> Terms:
        """Terms of the loss.

        Args:
            batch: of `clips.clip_loader`, on the device.
            seed: of the run.
            step: of the run.
            places: of the clips in the whole batch.
        """
        views = batch["sources"].shape[1]
        errors = torch.cat([scale_errors(views, generator) for generator in draws(seed, step, places)])
        batch = flattened(batch)
        self.engine.eval()
        self.stereo.train()
        outputs = run_matching(self.engine, self.stereo, batch, self.compute)
        some = (batch["sources"] >= 0).any(1).nonzero()[:, 0]
        if not len(some):  # no view of these clips has moved: a loss that teaches nothing
            return {"depth": sum((p.sum() * 0 for p in self.stereo.parameters()), torch.zeros(()))}
        factor = errors.to(some.device)[some].view(-1, 1, 1, 1)
        first, second = run_stereo(self.stereo, outputs, batch, some, self.compute, factor)
        terms = stereo_terms(first, batch["depth"][some])
        return terms if second is None else terms | cascade_terms(second, first["depth"], batch["depth"][some])


def scale_errors(number: int, generator: torch.Generator) -> Tensor:
    """(number,) factors of the one-image depth of a clip's views: the clip's own, times a little of each view's."""
    normal = torch.randn(number + 1, generator=generator, device=generator.device)
    on = float(torch.rand((), generator=generator, device=generator.device) < 0.7)
    return torch.exp(on * (SCALE_ERROR * normal[0] + 0.3 * SCALE_ERROR * normal[1:]))


def plane_coordinate(depth: Tensor, planes: int) -> Tensor:
    """Depth in metres as a position among the planes of `depth.sweep.plane_depths`, 0 for the first."""
    first, last = 1 / math.sqrt(NEAREST), 1 / math.sqrt(FARTHEST)
    return (depth.clamp(min=NEAREST, max=FARTHEST) ** -0.5 - first) / (last - first) * (planes - 1)


def stereo_terms(found: dict[str, Tensor], target: Tensor) -> Terms:
    """Weighted terms of the loss; `found`: of `Regulariser.forward`, target: (B, 1, h, w) m, 0 = unknown."""
    valid = (target > 0) & (target < 1.5 * FARTHEST)
    logits = found["plane_logits"]
    coordinates = torch.arange(logits.shape[1], dtype=torch.float32, device=logits.device)
    place = plane_coordinate(target, logits.shape[1])
    return {
        "depth": DEPTH * losses.log_depth_error(found["depth"], target, valid),
        "likelihood": LIKELIHOOD * losses.laplace_nll(found["depth"], found["spread"], target, valid),
        "planes": PLANES * losses.depth_bins(logits, coordinates, place, valid & (target < FARTHEST)),
    }


def cascade_terms(found: dict[str, Tensor], around: Tensor, target: Tensor) -> Terms:
    """Weighted terms of the second sweep.

    Args:
        found: of `CascadeRegulariser.forward`.
        around: (B, 1, h, w) m, the depth that the hypotheses lie around.
        target: (B, 1, h, w) m, 0 = unknown.
    """
    valid = (target > 0) & (target < 1.5 * FARTHEST)
    logits = found["hypothesis_logits"]
    number = logits.shape[1]
    coordinates = torch.arange(number, dtype=torch.float32, device=logits.device)
    place = (number - 1) / 2 - (target.clamp(min=0.1) ** -0.5 - around.detach().clamp(min=0.1) ** -0.5) / STEP
    within = valid & (place > -0.5) & (place < number - 0.5)
    return {
        "fine_depth": DEPTH * losses.log_depth_error(found["depth"], target, valid),
        "fine_likelihood": LIKELIHOOD * losses.laplace_nll(found["depth"], found["spread"], target, valid),
        "hypotheses": PLANES * losses.depth_bins(logits, coordinates, place.clamp(0, number - 1), within),
    }
