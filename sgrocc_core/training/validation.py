"""A quick look at held-out views while a model trains; the figures that are reported come from `sgrocc eval`."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.network.spatial_expert import local_head
from sgrocc_core.training.dataset import IN_VIEW, DatasetOptions, PackedViews, item
from sgrocc_core.voxels.splat import labels_from

Batch = dict[str, Tensor]


def fixed_views(data: PackedViews, count: int, options: DatasetOptions) -> list[dict[str, np.ndarray]]:
    """`count` views spread evenly over a data set, never augmented, the same at every call."""
    chosen = np.unique(np.linspace(0, len(data) - 1, min(count, len(data))).round().astype(int))
    return [item(data.view(int(i)), options, np.random.default_rng((options.seed, int(i)))) for i in chosen]


def collate(views: list[dict[str, np.ndarray]]) -> Batch:
    """Views to a batch of tensors."""
    return {key: torch.from_numpy(np.stack([view[key] for view in views])) for key in views[0]}


def confusion(truth: np.ndarray, found: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """(12, 12) counts, rows truth, columns found."""
    return np.bincount(truth[valid].astype(np.int64) * 12 + found[valid], minlength=144).reshape(12, 12)


def mean_iou(matrix: np.ndarray) -> float:
    """Mean over the labels 1..11 that occur of TP / (TP + FP + FN)."""
    hit = np.diag(matrix).astype(float)
    union = matrix.sum(0) + matrix.sum(1) - hit
    present = matrix.sum(1) > 0
    present[0] = False
    return float((hit[present] / np.maximum(union[present], 1)).mean()) if present.any() else 0.0


@torch.no_grad()
def validate_image(engine: nn.Module, views: list[dict[str, np.ndarray]], bf16: bool, batch: int = 16) -> dict[str, float]:
    """Depth and 2D class figures of the image engine.

    Returns:
        abs_rel: mean |d - d*| / d*. delta1: share within a factor of 1.25. abs_rel_scaled: after the median ratio of each view.
        miou_2d: over the views together. thickness: mean |t - t*|, m.
    """
    engine.eval()
    errors, close, scaled, thick = [], [], [], []
    matrix = np.zeros((12, 12), np.int64)
    for start in range(0, len(views), batch):
        part = collate(views[start : start + batch])
        outputs = run_image(engine, part, bf16)
        for b in range(len(part["depth"])):
            valid = part["depth"][b] > 0
            truth, found = part["depth"][b][valid], outputs["depth"][b][valid]
            if not len(truth):
                continue
            errors.append(((found - truth).abs() / truth).mean().item())
            close.append((torch.maximum(found / truth, truth / found) < 1.25).float().mean().item())
            scaled.append(((found * (truth / found).median() - truth).abs() / truth).mean().item())
            behind = part["thickness"][b] > 0
            if behind.any():
                thick.append((outputs["thickness"][b][behind] - part["thickness"][b][behind]).abs().mean().item())
        labels = part["labels"].numpy()
        matrix += confusion(labels, outputs["semantics"].argmax(1).numpy(), labels < 12)
    mean = lambda values: float(np.mean(values)) if values else float("nan")  # noqa: E731
    figures = {"abs_rel": mean(errors), "delta1": mean(close), "abs_rel_scaled": mean(scaled), "thickness": mean(thick)}
    return {**figures, "miou_2d": mean_iou(matrix)}


def run_image(engine: nn.Module, batch: Batch, bf16: bool) -> dict[str, Tensor]:
    """Forward pass of the image engine over a batch of `dataset.loader`."""
    image = (batch["image"].float() / 255).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        outputs: dict[str, Tensor] = engine(image, batch["mask"].float(), batch["intrinsics"], batch["gravity"])
    return outputs


@torch.no_grad()
def validate_local(engine: nn.Module, expert: nn.Module, views: list[dict[str, np.ndarray]], bf16: bool) -> dict[str, float]:
    """Voxel figures in view, with the head's depth (`predicted_...`) and with simulated sensor depth (`sensor_...`).

    Args:
        views: with a grid and a sensor share of 1.

    Returns:
        sc_iou and miou of both, over all views together.
    """
    engine.eval()
    expert.eval()
    matrices = {name: np.zeros((12, 12), np.int64) for name in ("predicted", "sensor")}
    for view in views:
        batch = collate([view])
        image = run_image(engine, batch, bf16)
        head = F.interpolate(image["depth"], scale_factor=4.0, mode="nearest") * batch["mask"]
        for name, depth in (("predicted", head), ("sensor", batch["prior"])):
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                outputs = expert(image["features"], depth, image["thickness"], batch["intrinsics"], batch["pose"])
            log_empty, weights = local_head(outputs, 0)
            found = labels_from(log_empty.numpy(), weights.numpy())
            matrices[name] += confusion(view["target"], found, (view["state"] == IN_VIEW) & (view["target"] < 12))
    figures = {}
    for name, matrix in matrices.items():
        hit = matrix[1:, 1:].sum()
        figures[f"{name}_sc_iou"] = float(hit / max(1, hit + matrix[0, 1:].sum() + matrix[1:, 0].sum()))
        figures[f"{name}_miou"] = mean_iou(matrix)
    return figures
