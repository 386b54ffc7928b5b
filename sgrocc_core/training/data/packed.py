"""A packed copy of a data set for training: decoded once, memory-mapped afterwards, one folder per scene.

On small machines decoding JPEG, PNG and pickles takes longer than an image's share of a training step. The packed copy
consists of NumPy arrays only and can be deleted at any time; scenes added to the data set later are packed by the
next call.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from sgrocc_core.classes import EMPTY, UNKNOWN
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.camera import Letterbox, back_project
from sgrocc_core.geometry.image_grid import ImageGrid
from sgrocc_core.geometry.lattice import VOXEL_SIZE, box_pose
from sgrocc_core.progress import progress
from sgrocc_core.training.data.augmentation import View

if TYPE_CHECKING:
    from sgrocc_core.data.occ_scannet import OccScanNet, Sample

FORMAT_VERSION = 1
ARRAYS = ("image", "depth", "labels", "target", "K", "T_bc", "counts")
MOTION = "motion"
"""Name of the array that a scene may have besides."""


INTO_SURFACE = 0.02
"""Distance behind a pixel's depth at which its voxel is looked up, metres.

A surface on a voxel's border belongs to the voxel behind.
"""


CAMERA_SIZE = (640, 480)
"""(width, height) of the public sets' images, pixels; packed views have the same aspect ratio."""
SMALL_SIZE = (320, 240)
OPEN_SCENES = 64
"""Maximum number of packed scenes kept open: each takes seven of a process's files (often limited to 1,024)."""


def view_size(grid: ImageGrid) -> tuple[int, int]:
    """Returns (width, height) of packed views, pixels.

    This is the area that an image of CAMERA_SIZE fills in an engine's input.
    """
    _, _, width, height = Letterbox(CAMERA_SIZE, grid.image_size).content
    return width, height


@dataclass(frozen=True)
class PackedScene:
    """The views of one scene, memory-mapped.

    Attributes:
        image: (N, H, W, 3) uint8 RGB.
        depth: (N, H, W) uint16, millimetres, 0 = none.
        labels: (N, H, W) uint8, 255 = unknown.
        target: (N, 60, 60, 36) uint8 labels of the grid, 255 = unknown.
        K: (N, 3, 3) float64 intrinsics, pixels.
        T_bc: (N, 4, 4) float64, camera to grid, metres.
        counts: (N, 12) int64, pixels of each 2D label.
        complete: see `augmentation.View`.
        motion: (N, 2, h, w) float16, stereo's depth and spread at the heads' resolution, metres, 0 = none; None: not
            written (see `motion_depths`).
    """

    image: np.ndarray
    depth: np.ndarray
    labels: np.ndarray
    target: np.ndarray
    K: np.ndarray
    T_bc: np.ndarray
    counts: np.ndarray
    complete: bool = True
    motion: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.image)

    def view(self, k: int, motion: bool = False) -> View:
        """View k, with stereo's depth if that is wanted and there is one."""
        shape, stereo = self.image.shape[1:3], None
        if motion and self.motion is not None:
            values, nearest = self.motion[k].astype(np.float32), cv2.INTER_NEAREST
            stereo = np.stack([cv2.resize(x, shape[::-1], interpolation=nearest) for x in values])
        return View(
            image=np.array(self.image[k]),
            mask=np.ones(shape, np.uint8),
            depth=self.depth[k].astype(np.float32) / 1000,
            labels=np.array(self.labels[k]),
            K=np.array(self.K[k]),
            T_bc=np.array(self.T_bc[k]),
            target=np.array(self.target[k]),
            complete=self.complete,
            motion=stereo,
        )


def labels_from_grid(sample: Sample) -> np.ndarray:
    """Returns 2D labels for a set that has none: each pixel has the label of the voxel in which its surface lies.

    Args:
        sample: with depth and a labelled grid.

    Returns:
        (H, W) uint8; 255 where there is no depth, where the surface is outside the grid, and where its voxel is empty
        or unknown.
    """
    deeper = np.where(sample.depth > 0, sample.depth + INTO_SURFACE, 0)
    index = np.floor((back_project(deeper, sample.K, sample.T_wc) - sample.voxel_origin) / VOXEL_SIZE)
    inside = ((index >= 0) & (index < sample.target.shape)).all(1)
    found = np.full(len(index), UNKNOWN, np.uint8)
    found[inside] = sample.target[tuple(index[inside].astype(np.int64).T)]
    labels = np.full(sample.depth.shape, UNKNOWN, np.uint8)
    labels[sample.depth > 0] = np.where(found == EMPTY, UNKNOWN, found)
    return labels


def labels_of(sample: Sample) -> np.ndarray:
    """Returns the 2D labels (H, W) uint8 of a sample: its own, or those of the voxels."""
    return sample.labels_2d if sample.labels_2d is not None else labels_from_grid(sample)


def millimetres(depth: np.ndarray) -> np.ndarray:
    """Returns depth (H, W) in metres as uint16 millimetres, 0 = none."""
    return np.clip(np.nan_to_num(depth) * 1000 + 0.5, 0, 65535).astype(np.uint16)


def _arrays(samples: Iterable[Sample]) -> dict[str, np.ndarray]:
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS}
    for sample in samples:
        labels = labels_of(sample)
        columns["image"].append(sample.image)
        columns["depth"].append(millimetres(sample.depth))
        columns["labels"].append(labels)
        columns["target"].append(sample.target)
        columns["K"].append(np.asarray(sample.K, np.float64))
        columns["T_bc"].append(box_pose(sample.T_wc, sample.voxel_origin))
        columns["counts"].append(np.bincount(labels.ravel(), minlength=256)[:12])
    return {name: np.stack(values) for name, values in columns.items()}


def pack(data: OccScanNet, folder: Path) -> int:
    """Decode all scenes of a data set that are not in the packed folder yet.

    Args:
        data: the data set; its `names` list scene and frame of each sample.
        folder: of packed scenes; created if necessary. A split packed with `no_leak` needs its own folder.

    Returns:
        number of scenes added. A scene appears under its name only when it is complete.

    Raises:
        DataError: a sample cannot be read, or a packed scene contains other frames than the data set lists.
    """
    folder.mkdir(parents=True, exist_ok=True)
    scenes: dict[str, list[int]] = {}
    for index, (scene, _) in enumerate(data.names):
        scenes.setdefault(scene, []).append(index)
    missing = []
    for scene, indices in scenes.items():
        if not (folder / scene).exists():
            missing.append(scene)
        elif _views(folder / scene) != len(indices):
            raise DataError(
                f"{folder / scene} holds {_views(folder / scene)} views, but the set's list has {len(indices)} of "
                "that scene: delete it, it is made again"
            )
    return sum(
        write_scene(folder, scene, (data[i] for i in scenes[scene]))
        for scene in progress(missing, f"packing {folder}", unit="scene", delay=5)
    )


def write_scene(folder: Path, name: str, samples: Iterable[Sample]) -> bool:
    """Write one packed scene; it appears under its name when it is complete.

    Args:
        folder: of packed scenes.
        name: of the scene.
        samples: its views.

    Returns:
        False if another process has written the same scene meanwhile.
    """
    arrays = _arrays(samples)
    return write_arrays(
        folder, name, arrays, "packed.json", {"format_version": FORMAT_VERSION, "views": len(arrays["image"])}
    )


def write_arrays(
    folder: Path, name: str, arrays: dict[str, np.ndarray], file: str, description: dict[str, int]
) -> bool:
    """Write arrays and a JSON description into a new folder, which appears when it is complete.

    Args:
        folder: parent folder.
        name: of the new folder.
        arrays: by name; each is written to NAME.npy.
        file: name of the JSON file.
        description: its content.

    Returns:
        False if another process has written the same folder meanwhile.
    """
    part = folder / f".{name}.{os.getpid()}"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for key, values in arrays.items():
        np.save(part / f"{key}.npy", values)
    (part / file).write_text(json.dumps(description))
    try:
        part.rename(folder / name)
    except OSError:
        shutil.rmtree(part)
        return False
    return True


def _views(folder: Path) -> int:
    """Number of views of a packed scene; -1 if the folder is not one."""
    try:
        return int(json.loads((folder / "packed.json").read_text())["views"])
    except (OSError, ValueError, KeyError):
        return -1


@functools.lru_cache(OPEN_SCENES)
def open_scene(folder: Path) -> PackedScene:
    """Map one packed scene into memory; the most recently used scenes stay open.

    Args:
        folder: of the scene.

    Raises:
        DataError: the folder is not a packed scene, or one of another version.
    """
    try:
        description = json.loads((folder / "packed.json").read_text())
        version = description["format_version"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} is not a packed scene: {error}") from error
    if version != FORMAT_VERSION:
        raise DataError(
            f"packed scene {folder} has format version {version}, not {FORMAT_VERSION}: delete it, it is made again"
        )
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}
    file = folder / f"{MOTION}.npy"
    motion = np.load(file, mmap_mode="r", allow_pickle=False) if file.is_file() else None
    return PackedScene(**arrays, complete=bool(description.get("complete", True)), motion=motion)


def packed_scenes(folder: Path) -> list[Path]:
    """Returns the folders of all complete packed scenes, ordered by name."""
    return sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and (path / "packed.json").is_file()
    )
