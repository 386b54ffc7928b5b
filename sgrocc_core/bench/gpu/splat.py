"""The splats of GPUs, in PyTorch and in Triton, against the kernel of the CPU: values, gradients, time, memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from sgrocc_core.bench.gpu.timing import milliseconds, times_in_turn
from sgrocc_core.errors import ModelError
from sgrocc_core.geometry.lattice import BOX_VOXELS
from sgrocc_core.report import figure

SPLAT_ERROR = 1e-4
"""Largest difference from the CPU's values and gradients, of the largest of each, that is not a failure."""
CORNER = np.zeros(3)


def measure_splat(device: str, count: int, runs: int) -> dict[str, Any]:
    """Compare the splats of a box of Gaussians, and time them in turn.

    Args:
        device: `cuda`, or `cpu`, where Triton takes part through its interpreter (`TRITON_INTERPRET=1`).
        count: number of Gaussians.
        runs: number of timed runs.

    Returns:
        figures: of PyTorch and of Triton (`triton_`), and the ratios of their times, pair by pair; where Triton is
        missing, `triton` has the reason, and where it fails or differs, `failed`.

    Raises:
        ModelError: a value or gradient of PyTorch's differs by more than SPLAT_ERROR.
    """
    from sgrocc_core.voxels.splatting import splat_pairs

    why_not = _why_no_triton(device)
    splats: dict[str, Any] = {"": splat_pairs.splat}
    if why_not is None:
        from sgrocc_core.voxels.splatting import splat_triton

        splats["triton_"] = splat_triton.splat
    arrays, upstream = _gaussians(count)
    expected = _on_cpu(arrays, upstream)
    forward: dict[str, Any] = {}
    both: dict[str, Any] = {}
    figures: dict[str, Any] = {}
    for name, splat in splats.items():
        calls = _calls(splat, device, arrays, upstream)
        try:
            worst, memory = _compare(calls[1], expected)
        except Exception as error:  # whatever Triton's compiler raises
            if not name:
                raise
            figures["failed"] = " ".join(f"in Triton: {type(error).__name__}: {error}".split())[:600]
            continue
        forward[name], both[name] = calls
        figures |= {f"{name}error": figure(worst, "of the largest value"), f"{name}memory": figure(memory, "MB")}
    alone, with_gradient = times_in_turn(forward, runs), times_in_turn(both, runs)
    for name in forward:
        figures[f"{name}forward"] = milliseconds(alone[name])
        figures[f"{name}forward_and_backward"] = milliseconds(with_gradient[name])
    if why_not is not None:
        figures["triton"] = f"not run: {why_not}"
    if "triton_" not in forward:
        return figures
    for stage, seconds in (("forward", alone), ("forward_and_backward", with_gradient)):
        ratio = float(np.median(np.array(seconds["triton_"]) / np.array(seconds[""])))
        figures[f"triton_over_pytorch_{stage}"] = figure(round(ratio, 3), "times")
    return figures


def _why_no_triton(device: str) -> str | None:
    import torch

    from sgrocc_core.voxels.splatting.splat_gpu import why_no_triton

    on = "cuda" if os.environ.get("TRITON_INTERPRET") == "1" else device
    return why_no_triton(torch.device(on))


def _gaussians(count: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Means, covariances, opacities and classes of Gaussians in a box, and gradients of the grid's two arrays."""
    rng = np.random.default_rng(0)
    means = rng.uniform(0, np.array(BOX_VOXELS) * 0.08, (count, 3))
    covariances = np.tile(np.diag([0.0025, 0.0036, 0.0016]), (count, 1, 1))
    opacities, classes = rng.uniform(0.02, 0.9, count), rng.dirichlet(np.ones(11), count)
    upstream = [rng.normal(size=BOX_VOXELS), rng.normal(size=(*BOX_VOXELS, 11))]
    gaussians = [means, covariances, opacities, classes]
    return [a.astype(np.float32) for a in gaussians], [a.astype(np.float32) for a in upstream]


def _on_cpu(arrays: list[np.ndarray], upstream: list[np.ndarray]) -> list[np.ndarray]:
    """Values and gradients of the CPU's kernel."""
    from sgrocc_core.geometry.lattice import VOXEL_SIZE
    from sgrocc_core.voxels.splatting.splat_numba import splat, splat_backward

    means, covariances, opacities, classes = arrays
    values = splat(means, covariances, opacities, classes, CORNER, BOX_VOXELS)
    grads = splat_backward(means, covariances, opacities, classes, CORNER, VOXEL_SIZE, upstream[0], upstream[1])
    return [*values, *grads]


def _calls(
    splat: Callable[..., Any], device: str, arrays: list[np.ndarray], upstream: list[np.ndarray]
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Calls of a splat on a device: without gradients, and with them; the second returns values and gradients."""
    import torch

    leaves = [torch.from_numpy(array).to(device).requires_grad_() for array in arrays]
    down = [torch.from_numpy(array).to(device) for array in upstream]

    def forward() -> Any:
        with torch.no_grad():
            return splat(*leaves, CORNER, BOX_VOXELS)

    def both() -> Any:
        values = splat(*leaves, CORNER, BOX_VOXELS)
        return [*values, *torch.autograd.grad(values, leaves, down)]

    return forward, both


def _compare(call: Callable[[], Any], expected: list[np.ndarray]) -> tuple[float, int]:
    """Largest difference of a splat's values and gradients, of the largest of each, and the memory it took, MB."""
    import torch

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    found = [value.detach().cpu().numpy() for value in call()]
    memory = round(torch.cuda.max_memory_allocated() / 1e6) if cuda else 0
    worst = max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in zip(found, expected, strict=True))
    if not worst <= SPLAT_ERROR:
        raise ModelError(f"the splat differs from the CPU's by {worst:.1e} of the largest value")
    return worst, memory
