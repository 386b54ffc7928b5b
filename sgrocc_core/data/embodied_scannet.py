"""Reads the EmbodiedOcc-ScanNet layout: whole scenes with their frames in order; generated sets and the real one alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from sgrocc_core.data.occ_scannet import Sample, load_plain_pickle, read_sample, wanted
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.lattice import VOXEL_SIZE


@dataclass(frozen=True)
class EmbodiedScene:
    """A scene's truth.

    Attributes:
        name: of the scene. labels: (X, Y, Z) uint8, 255 = unknown. origin: (3,) m, lowest corner of the grid.
        mask: (X, Y, Z) bool, seen by any frame. frames: names, in numeric order.
    """

    name: str
    labels: np.ndarray
    origin: np.ndarray
    mask: np.ndarray
    frames: tuple[str, ...]


class EmbodiedScanNet:
    """Scenes of a split.

    Args:
        root: the folder that holds `scene_occ` and `occscannet`.
        split: `train`, `test`, `train_mini` or `test_mini`.
        size: (width, height) pixels of the frames.

    Raises:
        DataError: no such folder or list.
    """

    def __init__(self, root: str | Path, split: str = "train", size: tuple[int, int] | None = (320, 240)) -> None:
        self.root, self.size = Path(root), size
        self.part = split.removesuffix("_mini")
        listed = self.root / "scene_occ" / f"{split}_online.txt"
        if not listed.is_file():
            raise DataError(
                f"{listed} does not exist; the split must be train, test, train_mini or test_mini of an EmbodiedOcc-ScanNet folder"
            )
        self.names = [line.strip() for line in listed.read_text().splitlines() if line.strip()]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> EmbodiedScene:
        """Scene `index`; DataError when its file is missing, damaged or inconsistent."""
        name = self.names[index]
        path = self.root / "scene_occ" / "global_occ_package" / f"{name}.pkl"
        content = load_plain_pickle(path)
        shape = tuple(int(n) for n in wanted(content, "scene_dim", path))
        labels = np.asarray(wanted(content, "global_labels", path)).astype(np.uint8, copy=False)
        points = np.asarray(wanted(content, "global_pts", path))
        if labels.shape != shape or points.shape != (*shape, 3):
            raise DataError(f"{path}: scene_dim is {shape}, but global_labels is {labels.shape} and global_pts {points.shape}")
        frames = sorted({PurePosixPath(str(p)).stem for p in wanted(content, "valid_img_paths", path)}, key=int)
        mask = np.asarray(content.get("global_mask", np.ones(shape, bool)), bool)
        origin = points[0, 0, 0].astype(np.float64) - VOXEL_SIZE / 2
        return EmbodiedScene(name, labels, origin, mask, tuple(frames))

    def frames(self, scene: EmbodiedScene) -> Iterator[tuple[Sample, np.ndarray]]:
        """Frames of a scene in order, each with its mask in the scene's grid, (X, Y, Z) bool; the target is the stream's `local_label`."""
        for frame in scene.frames:
            path = self.root / "scene_occ" / "streme_occ_new_package" / self.part / f"{scene.name}_{frame}_new.pkl"
            mask = np.asarray(wanted(load_plain_pickle(path), "mask_in_global", path), bool)
            if mask.shape != scene.labels.shape:
                raise DataError(f"{path}: mask_in_global is {mask.shape}; the scene is {scene.labels.shape}")
            yield read_sample(self.root / "occscannet", scene.name, frame, self.size), mask
