"""A model before and after adaptation: figures on held-out frames and rooms, the table, and whether it is worse."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sgrocc_core.engines.open import open_engine
from sgrocc_core.engines.weights import load_weights
from sgrocc_core.evaluation.depth import DepthEvaluation, DepthVariant
from sgrocc_core.training.adapt.recording import Recording
from sgrocc_core.training.compute import Compute
from sgrocc_core.training.config import TrainConfig
from sgrocc_core.training.data.dataset import PackedViews
from sgrocc_core.training.local.look import look_at_image, look_at_voxels
from sgrocc_core.training.local.stage import dataset_options
from sgrocc_core.training.stage import make_networks, on_device
from sgrocc_core.training.validation import fixed_views

MOST_VIEWS = 64
"""Most views of a set that are scored."""


@dataclass(frozen=True)
class Row:
    """A figure of the table.

    Attributes:
        key: its key among the scores.
        text: what it is.
        lower: whether lower is better.
        allowed: by how much it may get worse before the adapted model is refused; None: it is told only.
    """

    key: str
    text: str
    lower: bool = False
    allowed: float | None = None


ROWS = (
    Row("recording/abs_rel", "held-out tenth: AbsRel of one colour image", True, 0.0),
    Row("recording/delta1", "held-out tenth: depth within a factor of 1.25"),
    Row("recording/abs_rel_scaled", "held-out tenth: AbsRel after scaling each image", True),
    Row("recording/motion_abs_rel", "held-out tenth: AbsRel with the camera's motion", True, 0.01),
    Row("recording/predicted_sc_iou", "held-out tenth: SC-IoU, colour alone", False, 0.01),
    Row("recording/sensor_sc_iou", "held-out tenth: SC-IoU, with its depth", False, 0.01),
    Row("recording/miou_2d", "held-out tenth: agreement with the teachers, 2D mIoU"),
    Row("rooms/abs_rel", "held-out rooms: AbsRel of one colour image", True),
    Row("rooms/predicted_sc_iou", "held-out rooms: SC-IoU, colour alone"),
    Row("rooms/predicted_miou", "held-out rooms: mIoU, colour alone", False, 0.01),
    Row("rooms/sensor_sc_iou", "held-out rooms: SC-IoU, sensor depth"),
    Row("rooms/sensor_miou", "held-out rooms: mIoU, sensor depth", False, 0.01),
)
"""What is compared. Depth of the recording's own tenth may not get worse, and occupancy there and the rooms' classes by
one point at most."""
Scores = dict[str, float]


def score(
    config: TrainConfig, compute: Compute, weights: Path, model: str | Path, sets: dict[str, Path],
    recording: Recording, blocks: Sequence[Sequence[int]],
) -> Scores:  # fmt: skip
    """Score a model on held-out data.

    Args:
        config: with the model's networks.
        compute: device and precision.
        weights: file of the model.
        model: its exported folder, or its name.
        sets: folders of packed scenes by name (`recording`, `rooms`).
        recording: frames with depth.
        blocks: numbers of its held-out frames, in blocks without gaps.

    Returns:
        figures by `SET/NAME`; those that the set does not have are left out.
    """
    engine, expert = make_networks(config, compute)
    expert = on_device(expert, compute)
    load_weights(weights, engine, expert)  # type: ignore[arg-type]
    found: Scores = {}
    for name, folder in sets.items():
        options = dataclasses.replace(dataset_options(config, grid=True), augment=False, sensor_share=1.0, seed=0)
        views = fixed_views(PackedViews([folder], options), MOST_VIEWS, options)
        figures = {**look_at_image(engine, views, compute), **look_at_voxels(engine, expert, views, compute)}
        found |= {f"{name}/{key}": value for key, value in figures.items() if math.isfinite(value)}
    motion = motion_error(model, recording, blocks, config.threads)
    return found if motion is None else {**found, "recording/motion_abs_rel": motion}


def motion_error(
    model: str | Path, recording: Recording, blocks: Sequence[Sequence[int]], threads: int
) -> float | None:
    """AbsRel of the depth that the mapper has online without a sensor; None for a model without stereo.

    Args:
        model: name or folder.
        recording: frames with depth.
        blocks: numbers of frames; each block is mapped as a video of its own.
        threads: of the engine.
    """
    engine = open_engine(model, "onnxruntime", "cpu", threads)
    if not engine.spec.has_stereo:
        return None
    evaluation = DepthEvaluation(engine, [DepthVariant("stereo")])
    for block in blocks:
        evaluation.add(recording.views[number].as_frame() for number in block)
    figures = evaluation.report()["stereo"]["moving"]
    return None if figures["abs_rel"] is None else float(figures["abs_rel"])


def worse(before: Scores, after: Scores) -> list[str]:
    """Returns a sentence for each figure that got worse by more than is allowed."""
    said = []
    for row in ROWS:
        if row.allowed is None or row.key not in before:
            continue
        loss = (after[row.key] - before[row.key]) * (1 if row.lower else -1)
        if not loss <= row.allowed:
            said.append(f"{row.text} went from {before[row.key]:.3f} to {after[row.key]:.3f}")
    return said


def table(before: Scores, after: Scores) -> str:
    """Returns the figures as text, a line each."""
    lines = [f"{'':52}{'before':>9}{'after':>9}"]
    for row in ROWS:
        if row.key in before and row.key in after:
            change = (after[row.key] - before[row.key]) * (-1 if row.lower else 1)
            told = "better" if change > 0.0005 else "worse" if change < -0.0005 else "level"
            lines.append(f"{row.text:52}{before[row.key]:9.3f}{after[row.key]:9.3f}  {told}")
    return "\n".join(lines)


def markdown(before: Scores, after: Scores) -> str:
    """Returns the figures as a table for the card."""
    rows = [f"| {row.text} | {before[row.key]:.3f} | {after[row.key]:.3f} |"
            for row in ROWS if row.key in before and row.key in after]  # fmt: skip
    return "\n".join(["| | before | after |", "|---|---|---|", *rows])
