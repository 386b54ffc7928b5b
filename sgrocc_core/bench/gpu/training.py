"""Training steps on a GPU, on one made-up view: no data set and no generator of rooms is needed."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from sgrocc_core.classes import EMPTY, NAMES, UNKNOWN
from sgrocc_core.engines.example import ROOM
from sgrocc_core.errors import ModelError
from sgrocc_core.geometry.camera import back_project
from sgrocc_core.geometry.lattice import BOX_VOXELS, VOXEL_SIZE
from sgrocc_core.report import figure

BATCH = 4
"""Views in a batch."""
RATE = 3e-4
"""Learning rate of the steps."""


def training_step(model: str, steps: int, device: str = "cuda") -> dict[str, Any]:
    """Train image engine and expert together for some steps on copies of one view.

    Args:
        model: of config/models; its weights are loaded where it has any.
        steps: number of steps.
        device: `cuda` or `cpu`.

    Returns:
        figures: milliseconds of a step, the loss before and after, the precision, and the GPU's memory, MB.

    Raises:
        ModelError: a loss is not finite, or the last is not below the first.
    """
    import torch

    from sgrocc_core.engines.model import find_weights
    from sgrocc_core.engines.weights import build_networks, load_weights, read_networks
    from sgrocc_core.training.compute import choose
    from sgrocc_core.training.local.step import StepObjective
    from sgrocc_core.training.losses.objectives import LocalWeights

    torch.manual_seed(0)
    image, expert = build_networks(read_networks(model)[1])
    if find_weights(model).is_file():
        load_weights(find_weights(model), image, expert)
    compute = choose(device, True)
    objective = StepObjective(image, expert, True, LocalWeights(), compute).to(compute.device)
    batch = compute.move(made_up_batch(image.grid, BATCH))
    weights = torch.ones(12, device=compute.device)
    optimiser = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], RATE)
    scaler = compute.scaler()
    losses, seconds = [], []
    for _ in range(steps):
        started = perf_counter()
        optimiser.zero_grad(set_to_none=True)
        # The same draws in every step, so that the loss falls unless something is wrong.
        loss = torch.stack(list(objective(batch, (weights, weights), 1, 0, range(BATCH)).values())).sum()
        scaler.scale(loss).backward()
        scaler.step(optimiser)
        scaler.update()
        losses.append(float(loss.detach()))  # waits for the GPU
        seconds.append(perf_counter() - started)
    if not np.isfinite(losses).all() or not losses[-1] < losses[0]:
        raise ModelError(f"the loss went from {losses[0]:.4g} to {losses[-1]:.4g} in {steps} steps on one batch")
    used = torch.cuda.max_memory_allocated() / 1e6 if compute.device.type == "cuda" else 0
    return {
        "runs_on": compute.description,
        "step": figure(round(1000 * float(np.median(seconds[2:] or seconds)), 1), "ms"),
        "views": figure(BATCH, "views in a batch"),
        "loss_first": figure(losses[0], "loss"),
        "loss_last": figure(losses[-1], "loss"),
        "memory": figure(round(used), "MB"),
    }


def made_up_batch(grid: Any, count: int) -> dict[str, Any]:
    """Copies of the made-up view of an empty room as a batch of training.

    Args:
        grid: sizes of the image engine.
        count: number of copies.
    """
    import torch

    from sgrocc_core.engines.example import example_views
    from sgrocc_core.engines.model import ModelSpec
    from sgrocc_core.training.data.augmentation import View
    from sgrocc_core.training.data.dataset import DatasetOptions, item

    seen, _ = example_views(ModelSpec("made up", Path(), image_size=grid.image_size))
    target = shell()
    points = back_project(seen.depth, seen.K, seen.T_bc)
    voxels = np.clip(np.floor(points / VOXEL_SIZE).astype(np.int64), 0, np.array(target.shape) - 1)
    labels = target[tuple(voxels.T)].reshape(seen.depth.shape)
    view = View(seen.image, seen.mask.astype(np.uint8), seen.depth, labels, seen.K, seen.T_bc, target)
    options = DatasetOptions(augment=False, sensor_share=1.0, grid=True, head_stride=grid.head_stride)
    arrays = item(view, options, np.random.default_rng(0))
    return {name: torch.from_numpy(np.stack([array] * count)) for name, array in arrays.items()}


def shell() -> np.ndarray:
    """(60, 60, 36) uint8 labels of the made-up room: floor, walls and ceiling one voxel thick, unknown above."""
    labels = np.full(BOX_VOXELS, EMPTY, np.uint8)
    labels[[0, -1]] = labels[:, [0, -1]] = NAMES.index("wall")
    labels[:, :, 0] = NAMES.index("floor")
    top = round(ROOM[2] / VOXEL_SIZE)
    labels[:, :, top] = NAMES.index("ceiling")
    labels[:, :, top + 1 :] = UNKNOWN
    return labels
