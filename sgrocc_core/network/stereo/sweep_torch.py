"""The sweeps in PyTorch: the reference for depth/sweep.py and depth/cascade.py, with gradients, on any device."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sgrocc_core.depth.cascade import SCALE, SMALLEST, cascade_sweep, cascade_sweep_backward, finer
from sgrocc_core.depth.sweep import BEHIND, TOLERANCE, plane_sweep, plane_sweep_backward
from sgrocc_core.network.stereo.cascade import Cascade


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
        shared = inverse_depths.expand(len(target), -1)
        score, count = _Sweep.apply(plane_sweep, plane_sweep_backward, target, sources, transforms, bounds, shared)
        return score, count
    return sweep_reference(target, sources, transforms, bounds, inverse_depths)


def cascade(
    target: Tensor, sources: Tensor, transforms: Tensor, bounds: Tensor, inverse_depths: Tensor
) -> tuple[Tensor, Tensor]:
    """Matching scores of images at each pixel's own depths, differentiable in the features; compiled on CPUs.

    Args:
        target: (B, C, 2h, 2w) normalised features, C = 16 on a CPU.
        sources: (B, S, C, 2h, 2w), the same of the sources.
        transforms: (B, S, 3, 4), of `depth.cascade.finer`.
        bounds: (B, S, 4), of `depth.cascade.finer`.
        inverse_depths: (B, N, h, w) 1 / metres; no gradient goes through them.

    Returns:
        score, count: (B, N, h, w) float32; see `depth.cascade.cascade_sweep`.
    """
    if target.device.type == "cpu":
        ways = cascade_sweep, cascade_sweep_backward
        score, count = _Sweep.apply(*ways, target, sources, transforms, bounds, inverse_depths)
        return score, count
    return cascade_reference(target, sources, transforms, bounds, inverse_depths)


def cascade_reference(
    target: Tensor, sources: Tensor, transforms: Tensor, bounds: Tensor, inverse_depths: Tensor
) -> tuple[Tensor, Tensor]:
    """The same in plain PyTorch."""
    own = F.interpolate(inverse_depths, scale_factor=SCALE, mode="nearest")
    score, count = sweep_reference(target, sources, transforms, bounds, own)
    pairs = F.avg_pool2d(count, SCALE)
    return F.avg_pool2d(score * count, SCALE) / pairs.clamp(min=1 / SCALE**2), pairs


def sweep_reference(
    target: Tensor, sources: Tensor, transforms: Tensor, bounds: Tensor, inverse_depths: Tensor
) -> tuple[Tensor, Tensor]:
    """The same in plain PyTorch, one plane at a time; inverse depths of (B, P, H, W) are each pixel's own."""
    batch, number, channels, height, width = sources.shape
    v, u = torch.meshgrid(
        torch.arange(height, dtype=torch.float32, device=target.device),
        torch.arange(width, dtype=torch.float32, device=target.device),
        indexing="ij",
    )
    pixels = torch.stack([u, v, torch.ones_like(u)]).flatten(1)  # (3, H*W)
    with torch.autocast(target.device.type, enabled=False):  # half a pixel would be lost
        rays = transforms[..., :3] @ pixels  # (B, S, 3, H*W)
    size = torch.tensor([width - 1, height - 1], dtype=torch.float32, device=target.device)
    low, high = bounds[:, :, None, :2] - TOLERANCE, bounds[:, :, None, 2:] + TOLERANCE
    planes = inverse_depths if inverse_depths.dim() == 4 else inverse_depths.view(1, -1, 1, 1)
    scores, counts = [], []
    for w in planes.flatten(2).unbind(1):  # (B or 1, H*W or 1)
        w = w[:, None]
        points = rays + w[:, None] * transforms[..., 3:]
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


def run_cascade(
    network: Cascade,
    target: Tensor,
    sources: Tensor,
    transforms: Tensor,
    bounds: Tensor,
    context: Tensor,
    first: dict[str, Tensor],
) -> dict[str, Tensor]:
    """The second sweep and its network.

    Args:
        network: of `StereoNetwork.cascade`.
        target: (B, 16, 2h, 2w), of its `matching`.
        sources: (B, S, 16, 2h, 2w), the same of the sources.
        transforms: (B, S, 3, 4), of `depth.sweep.sweep_transform`.
        bounds: (B, S, 4), of `depth.sweep.content_bounds`.
        context: (B, C, h, w) features.
        first: of `Regulariser.forward`; its `depth` and `spread` are corrected, and no gradient goes through them.

    Returns:
        See `CascadeRegulariser.forward`.
    """
    depth, spread = first["depth"].detach().float(), first["spread"].detach().float()
    places, edges = finer(_array(transforms.cpu()), _array(bounds.cpu()))
    root = depth**-0.5 + network.regulariser.offsets
    to, within = (torch.from_numpy(array).to(target.device) for array in (places, edges))
    score, count = cascade(target, sources, to, within, root.clamp(min=SMALLEST) ** 2)
    found: dict[str, Tensor] = network(score, count, context, depth, spread)
    return found


class _Sweep(torch.autograd.Function):
    """A compiled sweep and its gradients, image by image; the depths are (P,) or (N, h, w) for each of them."""

    @staticmethod
    def forward(ctx: Any, way, back, target, sources, transforms, bounds, inverse_depths):  # type: ignore[no-untyped-def, override]
        own, others, places, edges = _last(target), _last(sources), _array(transforms), _array(bounds)
        planes = _array(inverse_depths)
        found = [way(own[b], others[b], places[b], edges[b], planes[b]) for b in range(len(own))]
        score, count = (np.stack(part) for part in zip(*found))
        ctx.way, ctx.arrays = back, (own, others, places, edges, planes, count)
        counts = torch.from_numpy(count)
        ctx.mark_non_differentiable(counts)
        return torch.from_numpy(score), counts

    @staticmethod
    def backward(ctx: Any, score_gradient, _):  # type: ignore[no-untyped-def, override]
        own, others, places, edges, planes, count = ctx.arrays
        gradient = _array(score_gradient)
        found = [
            ctx.way(own[b], others[b], places[b], edges[b], planes[b], count[b], gradient[b]) for b in range(len(own))
        ]
        to_target, to_sources = (torch.from_numpy(np.stack(part)).movedim(-1, -3) for part in zip(*found))
        return None, None, to_target, to_sources, None, None, None


def _array(tensor: Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().float().numpy())


def _last(features: Tensor) -> np.ndarray:
    """Features (..., C, H, W) with the channels last, as the compiled sweep takes them."""
    return _array(features.movedim(-3, -1))
