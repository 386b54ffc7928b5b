"""Reads the EmbodiedOcc-ScanNet layout: whole scenes with their frames in order. Works for generated and real sets.

The boxes of single frames and the grid of the scene have different lattices. A map is compared with a scene on the
scene's lattice: create the mapper with `origin=scene.origin`, and voxel (i, j, k) of the map is voxel (i, j, k) of
`scene.labels`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from sgrocc_core.data.occ_scannet import SPLITS, Sample, checked_labels, read_sample, remedy, stored_target
from sgrocc_core.data.plain_pickle import load_plain_pickle, wanted
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.lattice import VOXEL_SIZE, voxel_centres


@dataclass(frozen=True)
class EmbodiedScene:
    """Ground truth of a scene.

    Attributes:
        name: name of the scene.
        labels: (X, Y, Z) uint8, 255 = unknown.
        origin: (3,) lowest corner of the grid, metres.
        mask: (X, Y, Z) bool, voxels seen by at least one frame.
        frames: names of the frames in numeric order.
    """

    name: str
    labels: np.ndarray
    origin: np.ndarray
    mask: np.ndarray
    frames: tuple[str, ...]


class EmbodiedScanNet:
    """The scenes of a split.

    Args:
        root: folder that holds `scene_occ` and `occscannet`.
        split: `train`, `test`, `train_mini` or `test_mini`.
        size: (width, height) of the returned images, pixels; None keeps the stored size.

    Attributes:
        names: names of the scenes.

    Raises:
        DataError: no such folder or list, or an empty list.
    """

    def __init__(self, root: str | Path, split: str = "train", size: tuple[int, int] | None = (320, 240)) -> None:
        self.root, self.size = Path(root), size
        self.part = split.removesuffix("_mini")
        listed = self.root / "scene_occ" / f"{split}_online.txt"
        if split not in SPLITS or not listed.is_file():
            raise DataError(
                f"{listed} does not exist; the split must be {', '.join(SPLITS)} of an EmbodiedOcc-ScanNet folder, "
                "whose scene_occ lies "
                "beside occscannet (`sgrocc synth --embodied` makes both)"
            )
        self.names = [line.strip() for line in listed.read_text().splitlines() if line.strip()]
        if not self.names:
            raise DataError(f"{listed} names no scenes: get the list again")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> EmbodiedScene:
        """Scene `index`.

        Raises:
            DataError: its file is missing, damaged or inconsistent.
        """
        name = self.names[index]
        path = self.root / "scene_occ" / "global_occ_package" / f"{name}.pkl"
        try:
            return _scene(name, path)
        except DataError as error:
            raise DataError(f"scene {name}: {error}") from error

    def frames(self, scene: EmbodiedScene) -> Iterator[tuple[Sample, np.ndarray]]:
        """Frames of a scene in order, each with its mask in the scene's grid, (X, Y, Z) bool.

        The target of a frame is the stored `local_label` [x, y, z]: the scene's labels inside the frame's box. It
        differs from the target of the local task.

        Raises:
            DataError: a file of a frame is missing or damaged.
        """
        for frame in scene.frames:
            path = self.root / "scene_occ" / "streme_occ_new_package" / self.part / f"{scene.name}_{frame}_new.pkl"
            try:
                content = load_plain_pickle(path, remedy("streme_occ_new_package"))
                mask = _grid(
                    wanted(content, "mask_in_global", path), scene.labels.shape, "mask_in_global", path
                ).astype(bool)
                target = stored_target(wanted(content, "local_label", path), "local_label", path)
            except DataError as error:
                raise DataError(f"scene {scene.name}, frame {frame}: {error}") from error
            yield replace(read_sample(self.root / "occscannet", scene.name, frame, self.size), target=target), mask


def _scene(name: str, path: Path) -> EmbodiedScene:
    content = load_plain_pickle(path, remedy("global_occ_package"))
    dimensions = np.asarray(wanted(content, "scene_dim", path))
    if dimensions.size != 3 or dimensions.dtype.kind not in "iuf" or (dimensions < 1).any():
        raise DataError(f"{path}: scene_dim is {dimensions.tolist()}; it must be three whole numbers of voxels")
    shape = tuple(int(n) for n in dimensions.reshape(3))
    labels = checked_labels(
        _grid(wanted(content, "global_labels", path), shape, "global_labels", path), "global_labels", path
    )
    mask = _grid(wanted(content, "global_mask", path), shape, "global_mask", path).astype(bool)
    origin = _origin(_grid(wanted(content, "global_pts", path), (*shape, 3), "global_pts", path), path)
    frames = {PurePosixPath(str(p)).stem for p in wanted(content, "valid_img_paths", path)}
    if not frames or not all(frame.isdigit() for frame in frames):
        raise DataError(
            f"{path}: valid_img_paths must end in frame numbers, such as 00010.jpg; it holds {sorted(frames)[:3]}"
        )
    return EmbodiedScene(name, labels, origin, mask, tuple(sorted(frames, key=int)))


def _grid(stored: Any, shape: tuple[int, ...], key: str, path: Path) -> np.ndarray:
    grid = np.asarray(stored)
    if grid.shape != shape or grid.dtype.kind not in "iufb":
        raise DataError(f"{path}: {key} is {grid.dtype} of shape {grid.shape}; the scene's shape is {shape}")
    return grid


def _origin(points: np.ndarray, path: Path) -> np.ndarray:
    """Lowest corner of the grid from its voxel centres.

    The centres must form a grid of 0.08 m with axes x, y, z, to within a quarter of a voxel.
    """
    origin = points[0, 0, 0].astype(np.float64) - VOXEL_SIZE / 2
    apart = float(np.abs(points - voxel_centres(origin, points.shape[:3])).max())
    if not apart < VOXEL_SIZE / 4:
        raise DataError(
            f"{path}: global_pts are not the centres of a grid of {VOXEL_SIZE} m, x first: "
            f"one is {apart:.3f} m away from its position"
        )
    return origin
