"""Reads scenes that change during the recording (`sgrocc synth --dynamic`): frames, labels at every frame, and events.

Frames are stored in the layout of Occ-ScanNet. The labels are in `changes/SCENE.npz`: the grid at the first frame and
all later changes to it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sgrocc_core.data.occ_scannet import Sample, checked_labels, read_sample
from sgrocc_core.errors import DataError

CHAIR_TAKEN, CHAIR_PUT, DOOR_OPENS, PERSON_PASSES = KINDS = ("chair_taken", "chair_put", "door_opens", "person_passes")
FORMAT_VERSION = 1
SEES = 0.9
"""Minimum share of an event's voxels in view and unoccluded for a frame to count as seeing the event.

It is below 1 because a moving object may occlude part of itself.
"""
REMEDY = "delete the scene's file and its folder in gathered_data and run `sgrocc synth --dynamic` again"


@dataclass(frozen=True)
class SceneEvent:
    """One change of the scene.

    Attributes:
        kind: one of KINDS.
        first: first frame that shows the change.
        last: first frame that shows the final state; equal to `first` for an instantaneous change.
        emptied: (N, 3) int, voxels that become free; for a passing person, all voxels passed through.
        filled: (N, 3) int, voxels that become occupied; for a passing person, the same voxels as `emptied`.
        seen: (frames,) share of these voxels that each frame sees.
    """

    kind: str
    first: int
    last: int
    emptied: np.ndarray
    filled: np.ndarray
    seen: np.ndarray

    def looks(self, start: int) -> np.ndarray:
        """Frames from `start` on that see the event."""
        return np.flatnonzero(self.seen[start:] >= SEES) + start


@dataclass(frozen=True)
class ChangingScene:
    """A scene and its ground truth.

    Attributes:
        name: name of the scene.
        origin: (3,) lowest corner of the grid, metres.
        events: events in order of time.
        frames: number of frames.
        thin: (X, Y, Z) bool, voxels of chairs and tables that contain only rods thinner than 6 cm.
    """

    name: str
    origin: np.ndarray
    events: tuple[SceneEvent, ...]
    frames: int
    thin: np.ndarray
    _first_labels: np.ndarray
    _voxels: np.ndarray
    _history: np.ndarray

    def labels(self, frame: int) -> np.ndarray:
        """(X, Y, Z) uint8 labels at a frame, 255 = unknown.

        Raises:
            IndexError: there is no such frame.
        """
        labels = self._first_labels.copy()
        labels[tuple(self._voxels.T)] = self._history[frame]
        return labels


class DynamicScenes:
    """The changing scenes of a folder.

    Args:
        root: folder that holds `changes` and `occscannet`.
        size: (width, height) of the returned images, pixels; None keeps the stored size.

    Attributes:
        names: names of the scenes.

    Raises:
        DataError: the folder has no scenes.
    """

    def __init__(self, root: str | Path, size: tuple[int, int] | None = None) -> None:
        self.root, self.size = Path(root), size
        self.names = sorted(path.stem for path in (self.root / "changes").glob("*.npz"))
        if not self.names:
            raise DataError(
                f"{self.root / 'changes'} holds no scenes that change; "
                f"make some with `sgrocc synth --dynamic --out {root}`"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> ChangingScene:
        """Scene `index`.

        Raises:
            DataError: its file is missing, damaged or inconsistent.
        """
        name = self.names[index]
        path = self.root / "changes" / f"{name}.npz"
        try:
            with np.load(path, allow_pickle=False) as stored:
                return _scene(name, path, {key: stored[key] for key in stored.files})
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"scene {name}: {path} cannot be read ({error}): {REMEDY}") from error

    def frames(self, scene: ChangingScene) -> Iterator[Sample]:
        """Frames of a scene in order.

        Raises:
            DataError: a file is missing or damaged.
        """
        for frame in range(scene.frames):
            yield read_sample(self.root / "occscannet", scene.name, f"{frame:05d}", self.size)


def _scene(name: str, path: Path, stored: dict[str, Any]) -> ChangingScene:
    if int(stored["format_version"]) != FORMAT_VERSION:
        raise DataError(
            f"{path} is of format {stored['format_version']}; this version reads {FORMAT_VERSION}: {REMEDY}"
        )
    labels, history = (checked_labels(stored[key], key, path) for key in ("labels", "history"))
    voxels = stored["voxels"].astype(np.int64)
    frames, kinds = len(history), [str(kind) for kind in stored["kinds"]]
    shapes = {
        "history": (history.shape, (frames, len(voxels))), "thin": (stored["thin"].shape, labels.shape),
        "origin": (stored["origin"].shape, (3,)),
        "seen": (stored["seen"].shape, (len(kinds), frames)), "first": (stored["first"].shape, (len(kinds),)),
        "last": (stored["last"].shape, (len(kinds),)), "voxels": (voxels.shape[1:], (3,)),
    }  # fmt: skip
    for key, (found, wanted) in shapes.items():
        if found != wanted:
            raise DataError(f"{path}: {key} is of shape {found}; it must be {wanted}: {REMEDY}")
    events = []
    for k, kind in enumerate(kinds):
        emptied, filled = (stored[f"{key}_{k}"].astype(np.int64) for key in ("emptied", "filled"))
        first, last = int(stored["first"][k]), int(stored["last"][k])
        if kind not in KINDS or not 0 < first <= last < frames:
            raise DataError(
                f"{path}: event {k} is {kind!r} of frames {first} to {last} of {frames}; "
                f"it must be one of {', '.join(KINDS)}"
            )
        if any(((p < 0) | (p >= labels.shape)).any() for p in (emptied, filled, voxels)):
            raise DataError(f"{path}: event {k} has voxels outside the grid of {labels.shape}: {REMEDY}")
        events.append(SceneEvent(kind, first, last, emptied, filled, stored["seen"][k]))
    return ChangingScene(name, stored["origin"], tuple(events), frames, stored["thin"], labels, voxels, history)
