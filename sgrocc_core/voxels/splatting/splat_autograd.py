"""Differentiable splat for training: on CPUs by Numba, on other devices as `splat_gpu` chooses."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.voxels.splatting import splat_numba
from sgrocc_core.voxels.splatting.splat_gpu import splat_of


class _Splat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, means, covariances, opacities, class_probabilities, corner, shape, voxel_size):  # type: ignore[no-untyped-def, override]
        tensors = (means, covariances, opacities, class_probabilities)
        ctx.save_for_backward(*tensors)
        ctx.corner, ctx.voxel_size = corner, voxel_size
        m, c, o, p = map(_array, tensors)
        log_empty, class_weights = splat_numba.splat(m, c, o, p, corner, shape, voxel_size)
        return torch.from_numpy(log_empty), torch.from_numpy(class_weights)

    @staticmethod
    def backward(ctx: Any, grad_log_empty, grad_class_weights):  # type: ignore[no-untyped-def, override]
        m, c, o, p = map(_array, ctx.saved_tensors)
        grads = splat_numba.splat_backward(
            m, c, o, p, ctx.corner, ctx.voxel_size, _array(grad_log_empty), _array(grad_class_weights)
        )
        return (*(torch.from_numpy(g) for g in grads), None, None, None)


def _array(tensor: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(tensor.detach().numpy())


def splat(
    means: torch.Tensor,
    covariances: torch.Tensor,
    opacities: torch.Tensor,
    class_probabilities: torch.Tensor,
    corner: Any,
    shape: tuple[int, int, int],
    voxel_size: float = VOXEL_SIZE,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Splat like `splat_torch.splat`; the first four arguments are of one float type and on one device.

    Args:
        means: (N, 3) metres, in the frame of `corner`.
        covariances: (N, 3, 3) square metres.
        opacities: (N,) 0..1.
        class_probabilities: (N, C).
        corner: (3,) lowest corner of the grid, metres; array, tensor or sequence.
        shape: voxels along x, y, z.
        voxel_size: metres.

    Returns:
        log_empty: (X, Y, Z) log P(empty).
        class_weights: (X, Y, Z, C), sum of w_i p_ic.
    """
    if means.device.type != "cpu":
        return splat_of(means.device)(means, covariances, opacities, class_probabilities, corner, shape, voxel_size)
    place = np.asarray(corner, np.float64)
    log_empty, class_weights = _Splat.apply(
        means, covariances, opacities, class_probabilities, place, tuple(shape), voxel_size
    )
    return log_empty, class_weights
