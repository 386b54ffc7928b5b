"""The plane sweep in PyTorch: the reference for depth/sweep.py, with gradients, on any device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sgrocc_core.depth.sweep import BEHIND, TOLERANCE, plane_sweep, plane_sweep_backward


def sweep(
    target: Tensor, sources: Tensor, transforms: Tensor, bounds: Tensor, inverse_depths: Tensor
) -> tuple[Tensor, Tensor]:
    """Matching scores of images against their sources, differentiable in the features; compiled on CPUs.

    Args:
        target: (B, C, H, W) normalised features, C = 16 on a CPU.
        sources: (B, S, C, H, W), the same of the sources.
        transforms: (B, S, 3, 4), of `depth.sweep.sweep_transform`.
        bounds: (B, S, 4), of `depth.sweep.content_bounds`; a source that is not there has a last column before its
            first.
        inverse_depths: (P,) 1 / metres.

    Returns:
        score, count: (B, P, H, W) float32; see `depth.sweep.plane_sweep`.
    """
    if target.device.type == "cpu":
        score, count = _Sweep.apply(target, sources, transforms, bounds, inverse_depths)
        return score, count
    return sweep_reference(target, sources, transforms, bounds, inverse_depths)


def sweep_reference(
    target: Tensor, sources: Tensor, transforms: Tensor, bounds: Tensor, inverse_depths: Tensor
) -> tuple[Tensor, Tensor]:
    """The same in plain PyTorch, one plane at a time."""
    batch, number, channels, height, width = sources.shape
    v, u = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=target.device),
        torch.arange(width, dtype=torch.float32, device=target.device),
        indexing="ij",
    )
    pixels = torch.stack([u, v, torch.ones_like(u)]).flatten(1)  # (3, H*W)
    rays = transforms[..., :3] @ pixels  # (B, S, 3, H*W)
    size = torch.tensor([width - 1, height - 1], dtype=torch.float32, device=target.device)
    low, high = bounds[:, :, None, :2] - TOLERANCE, bounds[:, :, None, 2:] + TOLERANCE
    scores, counts = [], []
    for w in inverse_depths:
        points = rays + w * transforms[..., 3:]
        seen = points[:, :, 2] > BEHIND * w  # (B, S, H*W)
        at = (points[:, :, :2] / torch.where(seen, points[:, :, 2], 1.0)[:, :, None]).transpose(2, 3)  # (B, S, H*W, 2)
        seen = seen & ((at >= low) & (at <= high)).all(-1)
        at = torch.minimum(at.clamp(min=0), size)
        grid = (2 * at / size - 1).view(batch * number, height, width, 2)
        sampled = F.grid_sample(sources.flatten(0, 1), grid, mode="bilinear", padding_mode="border", align_corners=True)
        match = (sampled.view(batch, number, channels, height, width) * target[:, None]).sum(2)
        inside = seen.view(batch, number, height, width)
        counts.append(inside.sum(1))
        scores.append((match * inside).sum(1) / counts[-1].clamp(min=1))
    return torch.stack(scores, 1), torch.stack(counts, 1).float()


class _Sweep(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, target, sources, transforms, bounds, inverse_depths):  # type: ignore[no-untyped-def, override]
        own, others, places, edges = _last(target), _last(sources), _array(transforms), _array(bounds)
        planes = _array(inverse_depths)
        found = [plane_sweep(own[b], others[b], places[b], edges[b], planes) for b in range(len(own))]
        score, count = (np.stack(part) for part in zip(*found))
        ctx.arrays = own, others, places, edges, planes, count
        counts = torch.from_numpy(count)
        ctx.mark_non_differentiable(counts)
        return torch.from_numpy(score), counts

    @staticmethod
    def backward(ctx: Any, score_gradient, _):  # type: ignore[no-untyped-def, override]
        own, others, places, edges, planes, count = ctx.arrays
        gradient = _array(score_gradient)
        found = [
            plane_sweep_backward(own[b], others[b], places[b], edges[b], planes, count[b], gradient[b])
            for b in range(len(own))
        ]
        to_target, to_sources = (torch.from_numpy(np.stack(part)).movedim(-1, -3) for part in zip(*found))
        return to_target, to_sources, None, None, None


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().numpy())


def _last(features: Tensor) -> np.ndarray:
    """Features (..., C, H, W) with the channels last, as the compiled sweep takes them."""
    return _array(features.movedim(-3, -1))
