"""Walks through scenes for embodied training, and batches of their consecutive frames.

A packed scene contains its whole ground truth. A step of training takes the same frame number of each walk of a
batch. All walks of an episode start together with an empty memory and have the same length, so a run can be stopped
between episodes and resumed exactly. Random draws depend on seed, episode and place in the batch only.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.data.embodied_scannet import EmbodiedScanNet
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.lattice import (
    BOX_VOXELS,
    CELL_SIZE,
    CELL_VOXELS,
    VOXEL_SIZE,
    box_corner,
    box_overlap,
    box_pose,
)
from sgrocc_core.progress import progress
from sgrocc_core.training.data.augmentation import View, letterboxed, light
from sgrocc_core.training.data.dataset import DatasetOptions, item, prepare_worker
from sgrocc_core.training.data.packed import OPEN_SCENES, labels_of, millimetres, write_arrays

FORMAT_VERSION = 1
ARRAYS = ("image", "depth", "labels", "K", "T_sc", "scene")


@dataclass(frozen=True)
class PackedWalk:
    """One scene with its frames in order, memory-mapped.

    Attributes:
        image: (N, H, W, 3) uint8 RGB.
        depth: (N, H, W) uint16, millimetres, 0 = none.
        labels: (N, H, W) uint8, 255 = unknown.
        K: (N, 3, 3) intrinsics, pixels.
        T_sc: (N, 4, 4) camera to scene (origin at the grid's lowest corner), metres.
        scene: (X, Y, Z) uint8 ground truth, 255 = unknown.
    """

    image: np.ndarray
    depth: np.ndarray
    labels: np.ndarray
    K: np.ndarray
    T_sc: np.ndarray
    scene: np.ndarray

    def __len__(self) -> int:
        return len(self.image)


def pack_walks(data: EmbodiedScanNet, folder: Path) -> int:
    """Decode all scenes that are not in the folder yet.

    Args:
        data: the data set.
        folder: of packed scenes; created if necessary.

    Returns:
        number of scenes added. A scene appears under its name only when it is complete.
    """
    folder.mkdir(parents=True, exist_ok=True)
    missing = [i for i, name in enumerate(data.names) if not (folder / name).exists()]
    for index in progress(missing, f"packing {folder}", unit="scene", delay=5):
        _pack(data, index, folder)
    return len(missing)


def _pack(data: EmbodiedScanNet, index: int, folder: Path) -> None:
    scene = data[index]
    columns: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS[:-1]}
    for sample, _ in data.frames(scene):
        columns["image"].append(sample.image)
        columns["depth"].append(millimetres(sample.depth))
        columns["labels"].append(labels_of(sample))
        columns["K"].append(np.asarray(sample.K, np.float64))
        columns["T_sc"].append(box_pose(sample.T_wc, scene.origin))
    arrays = {name: np.stack(values) for name, values in columns.items()} | {"scene": scene.labels}
    write_arrays(
        folder, scene.name, arrays, "walk.json", {"format_version": FORMAT_VERSION, "frames": len(columns["image"])}
    )


@functools.lru_cache(OPEN_SCENES)
def open_walk(folder: Path) -> PackedWalk:
    """Map one packed scene into memory; the most recently used scenes stay open.

    Args:
        folder: of the scene.

    Raises:
        DataError: the folder is not a packed scene, or one of another version.
    """
    try:
        version = json.loads((folder / "walk.json").read_text())["format_version"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} is not a packed scene: {error}") from error
    if version != FORMAT_VERSION:
        raise DataError(
            f"packed scene {folder} has format version {version}, not {FORMAT_VERSION}: delete it, it is made again"
        )
    return PackedWalk(**{name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS})


def walk_lengths(folders: list[Path]) -> dict[Path, int]:
    """Returns the packed scenes under some folders, ordered by name, with their numbers of frames."""
    scenes = sorted(
        path for folder in folders if folder.is_dir() for path in folder.iterdir() if (path / "walk.json").is_file()
    )
    return {
        path: int(json.loads((path / "walk.json").read_text())["frames"])
        for path in scenes
        if not path.name.startswith(".")
    }


@dataclass(frozen=True)
class Turn:
    """A symmetry of the world applied to a whole walk: a reflection in y, then a rotation about the vertical.

    Attributes:
        mirrored: whether to reflect.
        quarters: number of rotations by 90 degrees.
    """

    mirrored: bool = False
    quarters: int = 0

    def scene(self, labels: np.ndarray) -> np.ndarray:
        """Returns the ground truth (X, Y, Z), transformed."""
        return np.rot90(labels[:, ::-1] if self.mirrored else labels, self.quarters, axes=(0, 1))

    def pose(self, T_sc: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Returns a camera's pose in the transformed scene; a mirrored camera sees its image mirrored.

        Args:
            T_sc: (4, 4) camera to scene, metres.
            shape: of the ground truth before the transformation.
        """
        T = np.array(T_sc, np.float64)
        x, y = shape[0] * VOXEL_SIZE, shape[1] * VOXEL_SIZE
        if self.mirrored:
            T[:3, :3] = np.diag([1.0, -1.0, 1.0]) @ T[:3, :3] @ np.diag([-1.0, 1.0, 1.0])
            T[1, 3] = y - T[1, 3]
        for _ in range(self.quarters % 4):  # (x, y) -> (-y, x), then shifted so that the grid starts at 0
            T[:3] = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]) @ T[:3]
            T[0, 3] += y
            x, y = y, x
        return T


Key = tuple[int, int, bool, int, int, int, int]
"""Scene, frame, mirrored, quarter turns, episode, number of the frame in the walk, place in the batch."""


class Walks(Dataset[dict[str, np.ndarray]]):
    """Frames of walks through scenes, by `Key`.

    Args:
        folders: of packed scenes.
        options: of single frames, see `DatasetOptions`; geometric augmentation is limited to symmetries.
        length: frames per walk; shorter scenes are left out.
    """

    def __init__(self, folders: list[Path], options: DatasetOptions, length: int) -> None:
        self.options, self.length = options, length
        lengths = walk_lengths(folders)
        self.scenes = [path for path, frames in lengths.items() if frames >= length]
        self.frames = [lengths[path] for path in self.scenes]

    def __len__(self) -> int:
        return len(self.scenes)

    def walk(self, scene: int) -> PackedWalk:
        """Returns scene number `scene`."""
        return open_walk(self.scenes[scene])

    def cells(self, scene: int, turn: Turn) -> np.ndarray:
        """Returns (3,) int64, the size of the transformed scene in cells."""
        size = np.array(turn.scene(self.walk(scene).scene).shape, np.int64)
        return (size + CELL_VOXELS - 1) // CELL_VOXELS

    def view(self, scene: int, frame: int, turn: Turn) -> tuple[View, np.ndarray]:
        """Returns a frame with the ground truth of its box.

        Args:
            scene: number of the scene.
            frame: number of the frame.
            turn: transformation of the world.

        Returns:
            the view, and the box's corner (3,) int64, in cells of the transformed scene.
        """
        walk = self.walk(scene)
        T_sc = turn.pose(walk.T_sc[frame], walk.scene.shape)
        truth = turn.scene(walk.scene)
        corner = box_corner(T_sc)
        T_bc = box_pose(T_sc, corner * CELL_SIZE)
        K = np.array(walk.K[frame])
        if turn.mirrored:
            K[0, 2] = walk.image.shape[2] - 1 - K[0, 2]
        step = -1 if turn.mirrored else 1
        image, depth, labels = (
            np.ascontiguousarray(part[frame][:, ::step]) for part in (walk.image, walk.depth, walk.labels)
        )
        box = cut(truth, corner * CELL_VOXELS)
        view = View(image, np.ones(image.shape[:2], np.uint8), depth.astype(np.float32) / 1000, labels, K, T_bc, box)
        if self.options.input_size:
            view = letterboxed(view, self.options.input_size)
        return view, corner.astype(np.int64)

    def __getitem__(self, key: Key) -> dict[str, np.ndarray]:
        """Returns the sample of a key.

        Returns:
            the arrays of `dataset.item`, with corner (3,) int64 and cells (3,) int64, the scene's size in cells.
        """
        scene, frame, mirrored, quarters, episode, number, place = key
        view, corner = self.view(scene, frame, Turn(mirrored, quarters))
        draw = np.random.default_rng((self.options.seed, episode, number, place))
        if self.options.augment:
            view = replace(view, image=light(view.image, draw))
        # One kind of depth for the whole walk, as on a robot.
        sensor = np.random.default_rng((self.options.seed, episode, place)).random() < self.options.sensor_share
        options = replace(self.options, augment=False, sensor_share=float(sensor))
        return item(view, options, draw) | {"corner": corner, "cells": self.cells(scene, Turn(mirrored, quarters))}


def cut(truth: np.ndarray, corner: np.ndarray) -> np.ndarray:
    """Returns the box (60, 60, 36) of a scene's ground truth; unknown outside the scene.

    Args:
        truth: (X, Y, Z) labels.
        corner: (3,) lowest corner of the box, voxels.
    """
    box = np.full(BOX_VOXELS, UNKNOWN, np.uint8)
    there, here = box_overlap(corner, truth.shape)
    box[here] = truth[there]
    return box


class EpisodeSampler(Sampler[list[Key]]):
    """Keys of the episodes first..last-1, frame by frame, with one walk for each place of the batch.

    Args:
        frames: number of frames of each scene.
        length: frames per walk.
        batch: walks per batch.
        first: first episode.
        last: episode after the last one.
        seed: of the random draws.
        augment: transform the world.
    """

    def __init__(
        self, frames: list[int], length: int, batch: int, first: int, last: int, seed: int, augment: bool
    ) -> None:
        self.frames, self.length, self.batch = frames, length, batch
        self.first, self.last, self.seed, self.augment = first, last, seed, augment

    def __len__(self) -> int:
        return (self.last - self.first) * self.length

    def __iter__(self) -> Iterator[list[Key]]:
        for episode in range(self.first, self.last):
            draw = np.random.default_rng((self.seed, episode))
            walks: list[tuple[int, int, bool, int]] = []
            for _ in range(self.batch):
                scene = int(draw.integers(len(self.frames)))
                start = int(draw.integers(self.frames[scene] - self.length + 1))
                mirrored, quarters = bool(draw.integers(2)) and self.augment, int(draw.integers(4)) * self.augment
                walks.append((scene, start, mirrored, quarters))
            for number in range(self.length):
                yield [
                    (s, start + number, mirrored, turns, episode, number, k)
                    for k, (s, start, mirrored, turns) in enumerate(walks)
                ]


def episodes(walks: Walks, batch: int, first: int, last: int, workers: int) -> DataLoader[dict[str, Any]]:
    """Returns a loader of the frames of the episodes first..last-1; each episode consists of `walks.length` batches.

    Args:
        walks: the walks.
        batch: walks per batch.
        first: first episode.
        last: episode after the last one.
        workers: number of processes that load frames.

    Raises:
        DataError: no scene has enough frames.
    """
    if not len(walks):
        raise DataError(f"no scene has {walks.length} frames; choose a shorter `length`, or generate longer walks")
    sampler = EpisodeSampler(walks.frames, walks.length, batch, first, last, walks.options.seed, walks.options.augment)
    ahead = 4 if workers else None
    return DataLoader(
        walks, batch_sampler=sampler, num_workers=workers, worker_init_fn=prepare_worker, prefetch_factor=ahead
    )
