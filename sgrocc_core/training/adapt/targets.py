"""Training targets of a recording: evidence of its depth in a grid, named by teachers, as packed scenes.

A voxel is free where depth looked through it and occupied where depth ended in it; all else is unknown and takes no
part in any loss. Held-out frames are scored against the evidence of all frames, but only the training frames' evidence
is learned from.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sgrocc_core.classes import EMPTY, UNKNOWN
from sgrocc_core.depth.layer import DepthLayer
from sgrocc_core.errors import DataError
from sgrocc_core.gaussians.evidence import observe
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.geometry.lattice import BLOCK_VOXELS, BOX_VOXELS, CELL_SIZE, CELL_VOXELS, box_corner, box_pose
from sgrocc_core.progress import progress
from sgrocc_core.training.adapt.recording import RecordedView, Recording
from sgrocc_core.training.data.packed import FORMAT_VERSION, millimetres, write_arrays
from sgrocc_core.training.teachers.opinion import Opinion, Teacher, merge, ranked
from sgrocc_core.training.teachers.votes import VotedLabels, VoxelVotes

MAX_DISTANCE = 4.8
"""Depth up to which evidence is collected, metres: the reach of the local box."""
OCCUPIED, FREE = 0.8, -0.8
"""Log-odds from which a voxel is known: about one hit, or two misses more than hits (`gaussians.evidence`)."""


def evidence_of(views: Iterable[RecordedView]) -> GaussianMemory:
    """Returns a memory with the depth evidence of views; it holds no Gaussians."""
    memory = GaussianMemory(1, 1)
    for view in views:
        if view.depth.any():
            layer = DepthLayer.sensor(view.depth, view.K)
            memory.add_evidence(*observe([layer], view.T_wc, MAX_DISTANCE))
    return memory


def grid_of_evidence(memory: GaussianMemory, first: np.ndarray) -> np.ndarray:
    """Returns what is known of the voxels of a box: (60, 60, 36) uint8, 0 free, 1 occupied, 255 unknown.

    Args:
        memory: of `evidence_of`.
        first: (3,) int, lowest voxel of the box.
    """
    low, high = first // BLOCK_VOXELS, (first + BOX_VOXELS - 1) // BLOCK_VOXELS
    axes = [np.arange(a, b + 1) for a, b in zip(low, high, strict=True)]
    keys = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    slots = memory.slots(keys.reshape(-1, 3))
    blocks = np.where((slots >= 0)[:, None, None, None], memory.evidence[np.maximum(slots, 0)], 0)
    shape = keys.shape[:3]
    whole = blocks.reshape(*shape, *(BLOCK_VOXELS,) * 3).transpose(0, 3, 1, 4, 2, 5)
    whole = whole.reshape([n * BLOCK_VOXELS for n in shape])
    start = first - low * BLOCK_VOXELS
    box = whole[tuple(slice(int(s), int(s) + n) for s, n in zip(start, BOX_VOXELS, strict=True))]
    return np.where(box >= OCCUPIED, 1, np.where(box <= FREE, EMPTY, UNKNOWN)).astype(np.uint8)


@dataclass(frozen=True)
class Naming:
    """What the teachers said of a recording.

    Attributes:
        votes: labels of its voxels, after all training views voted.
        opinions: of each frame, at the size of packed views, by its number; the vote where there is one, else the
            teachers' own.
    """

    votes: VotedLabels
    opinions: dict[int, Opinion]


def name_views(
    recording: Recording,
    train: Sequence[int],
    teachers: Sequence[Teacher],
    own: Sequence[VotedLabels] = (),
) -> Naming:
    """Let teachers look at all frames, and the training views vote.

    Args:
        recording: the frames.
        train: numbers of the frames that vote.
        teachers: of equal rank, merged for every image; may be empty.
        own: labels of maps, merged with the teachers' in every image.
    """
    opinions: dict[int, Opinion] = {}
    votes, voting = VoxelVotes(), set(train)
    for number, frame in enumerate(progress(recording.frames, desc="teachers", unit="frame")):
        view = recording.views[number]
        height, width = view.depth.shape
        said = [_resized(teacher.look(frame), (width, height)) for teacher in teachers]
        said += [labels.look(view.depth, view.K, view.T_wc) for labels in own]
        nothing = Opinion(np.full((height, width), UNKNOWN, np.uint8), np.zeros((height, width), np.float32))
        opinions[number] = merge(said) if said else nothing
        if number in voting:
            votes.add(opinions[number], view.depth, view.K, view.T_wc)
    counted = votes.counted()
    for number, view in enumerate(recording.views):
        opinions[number] = ranked(counted.look(view.depth, view.K, view.T_wc), opinions[number])
    return Naming(counted, opinions)


def _resized(opinion: Opinion, size: tuple[int, int]) -> Opinion:
    nearest = cv2.INTER_NEAREST
    return Opinion(
        cv2.resize(opinion.labels, size, interpolation=nearest),
        cv2.resize(opinion.confidence, size, interpolation=nearest),
    )


def write_views(
    folder: Path,
    name: str,
    views: Sequence[RecordedView],
    numbers: Sequence[int],
    evidence: GaussianMemory,
    naming: Naming,
) -> None:
    """Write views as a packed scene whose grids hold what the depth saw.

    Args:
        folder: of packed scenes; created if necessary.
        name: of the scene.
        views: of the whole recording.
        numbers: of those that are written, at least one.
        evidence: of `evidence_of`.
        naming: of the recording.

    Raises:
        DataError: none of these views has depth.
    """
    if not any(views[number].depth.any() for number in numbers):
        raise DataError(f"no depth in the {len(numbers)} frames of {name}")
    columns: dict[str, list[np.ndarray]] = {
        key: [] for key in ("image", "depth", "labels", "target", "K", "T_bc", "counts")
    }
    for number in numbers:
        view = views[number]
        corner = box_corner(view.T_wc)
        first = corner.astype(np.int64) * CELL_VOXELS
        opinion = naming.opinions[number]
        labels = np.where(opinion.sure, opinion.labels, UNKNOWN).astype(np.uint8)
        columns["image"].append(view.image)
        columns["depth"].append(millimetres(view.depth))
        columns["labels"].append(labels)
        columns["target"].append(naming.votes.name(grid_of_evidence(evidence, first), first))
        columns["K"].append(view.K)
        columns["T_bc"].append(box_pose(view.T_wc, corner * CELL_SIZE))
        columns["counts"].append(np.bincount(labels.ravel(), minlength=256)[:12])
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {key: np.stack(values) for key, values in columns.items()}
    description = {"format_version": FORMAT_VERSION, "views": len(numbers), "complete": 0}
    write_arrays(folder, name, arrays, "packed.json", description)
