"""A packed copy of a data set for training: decoded once, memory-mapped after, a folder a scene.

Decoding JPEG, PNG and pickles costs more than a training step's share of an image on small machines. The packed copy is
NumPy arrays only and can be deleted at any time; scenes that appear in the data set later are added by the next call.
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

import numpy as np

from sgrocc_core.classes import EMPTY, UNKNOWN
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.camera import Letterbox, back_project
from sgrocc_core.geometry.image_grid import ImageGrid
from sgrocc_core.geometry.lattice import VOXEL_SIZE, box_pose
from sgrocc_core.progress import progress

if TYPE_CHECKING:
    from sgrocc_core.data.occ_scannet import OccScanNet, Sample

FORMAT_VERSION = 1
ARRAYS = ("image", "depth", "labels", "target", "K", "T_bc", "counts")


INTO_SURFACE = 0.02
"""How far behind a pixel's depth its voxel is looked up, metres: a surface on a voxel's border belongs to the voxel behind."""


CAMERA_SIZE = (640, 480)
"""(width, height) of the public sets' images, pixels: their aspect is that of packed views."""
SMALL_SIZE = (320, 240)
OPEN_SCENES = 64
"""Maximum number of packed scenes kept open: each takes seven of a process's files (often limited to 1,024)."""


def view_size(grid: ImageGrid) -> tuple[int, int]:
    """(width, height) of packed views, pixels: what of an engine's input a picture of CAMERA_SIZE fills."""
    _, _, width, height = Letterbox(CAMERA_SIZE, grid.image_size).content
    return width, height


@dataclass(frozen=True)
class PackedScene:
    """The views of one scene.

    Attributes:
        image (N, H, W, 3) uint8; depth (N, H, W) uint16 mm, 0 = none; labels (N, H, W) uint8; target (N, 60, 60, 36) uint8;
        K (N, 3, 3) float64; T_bc (N, 4, 4) float64, camera to grid; counts (N, 12) int64, pixels of each 2D label.
    """

    image: np.ndarray
    depth: np.ndarray
    labels: np.ndarray
    target: np.ndarray
    K: np.ndarray
    T_bc: np.ndarray
    counts: np.ndarray

    def __len__(self) -> int:
        return len(self.image)


def labels_from_grid(sample: Sample) -> np.ndarray:
    """2D labels of a set that has none: of each pixel the label of the voxel in which its surface lies.

    Returns:
        (H, W) uint8; 255 where there is no depth, where the surface lies outside the grid, and where its voxel is empty or unknown.
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
    """2D labels (H, W) uint8 of a sample: the set's own, or those of the voxels."""
    return sample.labels_2d if sample.labels_2d is not None else labels_from_grid(sample)


def millimetres(depth: np.ndarray) -> np.ndarray:
    """Depth in metres (H, W) as uint16 millimetres, 0 = none."""
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
    """Decode every scene of a data set that the packed folder does not hold yet.

    Args:
        data: the data set; its `names` are scene and frame of every sample without decoding it.
        folder: where the packed scenes are; made if missing. What is packed with `no_leak` needs a folder of its own.

    Returns:
        number of scenes added. A scene appears under its name only when it is complete.

    Raises:
        DataError: a sample cannot be read, or a packed scene holds other frames than the data set lists.
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
                f"{folder / scene} holds {_views(folder / scene)} views, but the set's list has {len(indices)} of that scene: delete it, "
                "it is made again"
            )
    return sum(
        write_scene(folder, scene, (data[i] for i in scenes[scene]))
        for scene in progress(missing, f"packing {folder}", unit="scene", delay=5)
    )


def write_scene(folder: Path, name: str, samples: Iterable[Sample]) -> bool:
    """Write one packed scene; it appears under its name when it is complete.

    Returns:
        False if another process wrote the same scene meanwhile.
    """
    arrays = _arrays(samples)
    return write_arrays(
        folder, name, arrays, "packed.json", {"format_version": FORMAT_VERSION, "views": len(arrays["image"])}
    )


def write_arrays(
    folder: Path, name: str, arrays: dict[str, np.ndarray], file: str, description: dict[str, int]
) -> bool:
    """Write arrays and a JSON description into a folder of that name, which appears when it is complete; False if another was faster."""
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
    """Number of views of a packed scene, -1 for what is none."""
    try:
        return int(json.loads((folder / "packed.json").read_text())["views"])
    except (OSError, ValueError, KeyError):
        return -1


@functools.lru_cache(OPEN_SCENES)
def open_scene(folder: Path) -> PackedScene:
    """Map one packed scene into memory; the scenes used last stay open.

    Raises:
        DataError: no packed scene, or one of another version.
    """
    try:
        version = json.loads((folder / "packed.json").read_text())["format_version"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} is not a packed scene: {error}") from error
    if version != FORMAT_VERSION:
        raise DataError(
            f"packed scene {folder} has format version {version}, not {FORMAT_VERSION}: delete it, it is made again"
        )
    return PackedScene(**{name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS})


def packed_scenes(folder: Path) -> list[Path]:
    """Folders of all complete packed scenes, in order of name."""
    return sorted(
        path for path in folder.iterdir() if not path.name.startswith(".") and (path / "packed.json").is_file()
    )
