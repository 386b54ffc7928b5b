"""The depth that the expert gets in training: of a simulated sensor, of the image engine, or as if from motion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sgrocc_core.depth.layer import sensor_spread

MOTION_FIELD = (4, 5)
"""Rows and columns of the random field that says how much of an error motion leaves (round guess)."""
LEFT_BY_MOTION = (0.1, 1.0)
"""Smallest and largest part of an error that motion leaves. The mean is a half: on held-out videos stereo leaves two
thirds of the error of the one-image depth, on real footage a third to a half."""


def depth_prior(
    batch: dict[str, Tensor], image: dict[str, Tensor], generators: list[torch.Generator], motion_share: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Choose the expert's depth input and its spread: the sensor's where the batch has one, else the image engine's.

    In half of the views with a sensor, holes are filled with the predicted depth scaled by the median ratio to the
    sensor's, as the mapper's `fused` does; the others keep them, as `topic` does. In a share of the views without a
    sensor the depth is that which stereo gave, or stands for it where none is known; see `as_from_motion`.

    Args:
        batch: with `prior` (B, 1, H, W), metres, and `mask`; with `depth` (B, 1, h, w), metres, if there is a
            `motion_share`, and perhaps `motion` (B, 2, h, w), depth and spread of stereo, metres, 0 = none.
        image: the engine's `depth` and `spread`, (B, 1, h, w), metres.
        generators: one per view; they decide which views are filled, and which are corrected by motion.
        motion_share: share of the views without a sensor whose predicted depth is corrected as if by motion, 0 to 1.

    Returns:
        depth (B, 1, H, W), metres, 0 = none; spread, the same shape.
    """
    sensor = batch["prior"]
    predicted, spread_of = image["depth"].detach().float(), image["spread"].detach().float()
    if motion_share:
        predicted, spread_of = predicted.clone(), spread_of.clone()
        for b, generator in enumerate(generators):
            if not sensor[b].any() and torch.rand((), generator=generator, device=generator.device) < motion_share:
                given = batch["motion"][b] if "motion" in batch else None
                if given is None or not given.any():
                    given = torch.stack(as_from_motion(predicted[b], spread_of[b], batch["depth"][b], generator))
                predicted[b], spread_of[b] = given.reshape(2, *predicted[b].shape)
    head, off = (F.interpolate(value, size=sensor.shape[-2:], mode="nearest") for value in (predicted, spread_of))
    depths, spreads = [], []
    for b, generator in enumerate(generators):
        fill = torch.rand((), generator=generator, device=generator.device).item() < 0.5
        have = sensor[b] > 0
        depth, spread = sensor[b], sensor_spread(sensor[b])
        if not have.any():
            depth, spread = head[b], off[b]
        elif fill:
            ratio = (sensor[b][have] / head[b][have]).median().clamp(0.25, 4.0)
            depth, spread = torch.where(have, depth, head[b] * ratio), torch.where(have, spread, off[b] * ratio)
        depths.append(depth)
        spreads.append(spread)
    return torch.stack(depths) * batch["mask"], torch.stack(spreads)


def as_from_motion(depth: Tensor, spread: Tensor, true: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Correct one image's depth by the truth, about as well as stereo from motion corrects it.

    Stereo leaves a part of the error of the one-image depth, and leaves more of it where the image has no texture. The
    part that is left is therefore a smooth random field over the image, from a tenth to all of the logarithm of the
    ratio to the true depth. The spread shrinks by the same part, so that it stays calibrated.

    Args:
        depth: (1, h, w), metres, predicted.
        spread: (1, h, w), metres, of it.
        true: (1, h, w), metres; 0 = unknown, there depth and spread are multiplied by the median ratio of the image.
        generator: draws the field.

    Returns:
        depth and spread, (1, h, w), metres.
    """
    known = (true > 0) & (depth > 0)
    if not known.any():
        return depth, spread
    off = torch.where(known, torch.log(true.clamp(min=0.01) / depth.clamp(min=0.01)), 0.0)
    coarse = torch.rand((1, 1, *MOTION_FIELD), generator=generator, device=generator.device).to(depth.device)
    left = F.interpolate(coarse, size=depth.shape[-2:], mode="bicubic", align_corners=False)[0].clamp(*LEFT_BY_MOTION)
    factor = torch.exp(torch.where(known, off * (1 - left), off[known].median()))
    return depth * factor, spread * factor * torch.where(known, left, 1.0)
