"""The splat of devices other than the CPU: Triton's kernels where they work, else plain PyTorch."""

from __future__ import annotations

import importlib.util
import logging
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from sgrocc_core.voxels.splatting import splat_pairs
from sgrocc_core.voxels.splatting.splat_pairs import Splat

TRIAL_ERROR = 1e-4
"""Largest difference of values and gradients from PyTorch's, of the largest one, with which Triton is believed."""


@lru_cache
def splat_of(device: torch.device) -> Splat:
    """The splat for a device, `splat_triton.splat` or `splat_pairs.splat`; it is chosen once in a process.

    Triton is believed after it has splatted a few Gaussians as `splat_pairs` does. Where it is installed and does not
    work, e.g. without a C compiler, which it needs, a warning has the reason.

    Args:
        device: not the CPU.
    """
    missing = why_no_triton(device)
    if missing is not None:
        return splat_pairs.splat
    try:
        from sgrocc_core.voxels.splatting import splat_triton

        worst = largest_difference(splat_triton.splat, splat_pairs.splat, device)
    except Exception as error:  # whatever a compiler or a driver raises
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:400]
    else:
        if worst <= TRIAL_ERROR:
            return splat_triton.splat
        reason = f"it differs from PyTorch's by {worst:.1e} of the largest value"
    logging.getLogger("sgrocc").warning("the splat in Triton is not used on %s: %s", device, reason)
    return splat_pairs.splat


def why_no_triton(device: torch.device) -> str | None:
    """One line on why Triton cannot run on a device; None if it may. It is not imported."""
    if importlib.util.find_spec("triton") is None:
        return "Triton is not installed; pip install -r requirements/gpu.txt"
    if device.type != "cuda":
        return f"Triton runs on CUDA devices, not on {device}"
    return None


def largest_difference(splat: Splat, reference: Splat, device: torch.device) -> float:
    """Largest difference of two splats' values and gradients, of the largest value of each; NaN if one is not finite.

    Args:
        splat: to compare.
        reference: to compare with.
        device: where both run, with the same few Gaussians in float32.
    """
    found = []
    # The first splat of a process may be one without gradients, or among layers in half precision.
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        inputs, upstream = _few_gaussians()
        for one in (splat, reference):
            leaves = [tensor.to(device).requires_grad_() for tensor in inputs]
            values = one(*leaves, (0.0, 0.0, 0.0), tuple(upstream[0].shape))
            torch.autograd.backward(values, [tensor.to(device) for tensor in upstream])
            found.append([*(value.detach() for value in values), *(leaf.grad for leaf in leaves)])
    shares = [(a - b).abs().max() / b.abs().max() for a, b in zip(*found, strict=True)]
    return float(torch.stack(shares).max())


def _few_gaussians() -> tuple[list[Tensor], tuple[Any, Any]]:
    """Turned Gaussians in and around a small grid, one of them too transparent to count, and gradients to pass down."""
    draw, count, classes = torch.Generator().manual_seed(0), 40, 11
    means = torch.rand(count, 3, generator=draw) * 0.9 - 0.1
    root = torch.randn(count, 3, 3, generator=draw) * 0.03
    covariances = root @ root.transpose(1, 2) + 0.001 * torch.eye(3)
    opacities = torch.linspace(0.005, 0.9, count)
    shares = torch.softmax(torch.randn(count, classes, generator=draw), 1)
    upstream = torch.randn(9, 8, 7, generator=draw), torch.randn(9, 8, 7, classes, generator=draw)
    return [means, covariances, opacities, shares], upstream
