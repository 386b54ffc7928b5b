"""Reads the Occ-ScanNet layout: images, depth, poses and local voxel targets. Works for generated and real sets.

Targets do not share a lattice: each target's grid is placed by the pose of its frame. The network's box is placed
exactly there by expressing the camera pose relative to `voxel_origin` (geometry.lattice.box_pose), so labels are never
resampled.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sgrocc_core.classes import NAMES, UNKNOWN
from sgrocc_core.data.images import decode_compressed
from sgrocc_core.data.plain_pickle import load_plain_pickle, wanted
from sgrocc_core.errors import DataError, FrameError
from sgrocc_core.geometry.camera import scale_intrinsics
from sgrocc_core.geometry.lattice import BOX_VOXELS

SPLITS = ("train", "test", "train_mini", "test_mini")


@dataclass(frozen=True)
class Sample:
    """One frame and its ground truth.

    Attributes:
        scene: name of the scene.
        frame: name of the frame.
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) float32 metres, 0 = no reading.
        K: (3, 3) intrinsics, pixels.
        T_wc: (4, 4) pose, camera to world, metres.
        voxel_origin: (3,) lowest corner of the grid, metres.
        target: (60, 60, 36) uint8 [x, y, z], 255 = unknown.
        labels_2d: (H, W) uint8, 255 = unknown; None if the set has none.
    """

    scene: str
    frame: str
    image: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    T_wc: np.ndarray
    voxel_origin: np.ndarray
    target: np.ndarray
    labels_2d: np.ndarray | None


def embodied_test_scenes(root: Path) -> frozenset[str]:
    """Names of the test scenes of the embodied task; all of them occur in the training lists of the local task.

    Args:
        root: folder that holds `occscannet` and `scene_occ`, or `occscannet` itself.

    Raises:
        DataError: the list does not exist or is empty.
    """
    places = [base / "scene_occ" / "test_online.txt" for base in (root, root.absolute().parent)]
    listed = next((place for place in places if place.is_file()), None)
    if listed is None:
        raise DataError(
            f"no-leak needs the embodied task's test list, {places[0]}, which does not exist: put "
            "scene_occ/test_online.txt of "
            "EmbodiedOcc-ScanNet there, or omit no-leak"
        )
    scenes = frozenset(line.strip() for line in listed.read_text().splitlines() if line.strip())
    if not scenes:
        raise DataError(f"{listed} names no scenes: get the list again")
    return scenes


class OccScanNet:
    """A list of samples, each read from disk when it is accessed.

    The local task is split by frame: its lists share scenes, and the training lists contain every scene of the embodied
    test list. `no_leak` turns this into a split by scene: the embodied test scenes are removed from every list except
    `test` and `test_mini`, which keep only those scenes. A model trained with `no_leak` has seen no test scene of
    either task.

    Args:
        root: folder that holds `occscannet`, or that folder itself.
        split: `train`, `test`, `train_mini`, `test_mini`, or a list file.
        size: (width, height) of images, depth and labels, pixels; None keeps the stored size.
        no_leak: split by scene; needs `scene_occ/test_online.txt` beside `occscannet`.

    Attributes:
        names: (scene, frame) of every sample.
        left_out: scenes removed by `no_leak`, sorted by name.

    Raises:
        DataError: no such folder or list, or an empty list.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | Path = "train",
        size: tuple[int, int] | None = (320, 240),
        no_leak: bool = False,
    ) -> None:
        root = Path(root)
        self.root = root / "occscannet" if (root / "occscannet").is_dir() else root
        if not (self.root / "gathered_data").is_dir():
            raise DataError(
                f"{root} holds no Occ-ScanNet data: there is no gathered_data in it; "
                "unpack gathered_data and posed_images there, "
                "or make rooms with `sgrocc synth`"
            )
        self.size = size
        listed = self.root / f"{split}_final.txt" if str(split) in SPLITS else Path(split)
        if not listed.is_file():
            raise DataError(f"{listed} does not exist; the split must be {', '.join(SPLITS)} or a list file")
        self.names = _listed_names(listed)
        self.left_out: tuple[str, ...] = ()
        if no_leak:
            scenes, embodied = {scene for scene, _ in self.names}, embodied_test_scenes(root)
            kept = scenes & embodied if str(split) in ("test", "test_mini") else scenes - embodied
            self.left_out = tuple(sorted(scenes - kept))
            self.names = [name for name in self.names if name[0] in kept]
            if not self.names:
                raise DataError(f"no-leak leaves nothing of {listed}: all {len(scenes)} scenes of it are left out")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Sample `index`.

        Raises:
            DataError: a file is missing or damaged.
        """
        scene, frame = self.names[index]
        return read_sample(self.root, scene, frame, self.size)


def _listed_names(listed: Path) -> list[tuple[str, str]]:
    """Scene and frame of every line of a list; leading folders are ignored."""
    names = []
    for number, line in enumerate(listed.read_text().splitlines(), 1):
        if not line.strip():
            continue
        parts = line.strip().removesuffix(".pkl").split("/")[-2:]
        if len(parts) != 2 or not all(parts):
            raise DataError(f"{listed}, line {number} is {line.strip()!r}; it must be gathered_data/SCENE/NNNNN.pkl")
        names.append((parts[0], parts[1]))
    if not names:
        raise DataError(f"{listed} lists no frames; its lines must be gathered_data/SCENE/NNNNN.pkl")
    return names


def read_sample(root: Path, scene: str, frame: str, size: tuple[int, int] | None) -> Sample:
    """Read one frame of a scene.

    Args:
        root: the folder `occscannet`.
        scene: name of the scene.
        frame: name of the frame.
        size: (width, height), pixels; None keeps the stored size.

    Raises:
        DataError: a file is missing or damaged; the message names scene, frame, file and remedy.
    """
    path = root / "gathered_data" / scene / f"{frame}.pkl"
    try:
        content = load_plain_pickle(path, remedy("gathered_data"))
        images = root / "posed_images" / scene
        image = _read_colour(images / f"{frame}.jpg")
        depth = _read_png(images / f"{frame}.png", "posed_images")
        if depth.dtype != np.uint16 or depth.ndim != 2:
            raise DataError(
                f"{images / frame}.png is {depth.dtype} of shape {depth.shape}; "
                "depth must be one channel of 16 bit, in mm"
            )
        labels_path = root / "labels_2d" / scene / f"{frame}.png"
        labels = _read_png(labels_path, "labels_2d") if labels_path.is_file() else None
        height, width = image.shape[:2]
        size = (width, height) if size is None else size
        if (width, height) != size:
            image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[0] < width else cv2.INTER_LINEAR)
        K = _matrix(wanted(content, "intrinsic", path), "intrinsic", path)
        return Sample(
            scene,
            frame,
            image,
            _nearest(depth, size).astype(np.float32) * np.float32(1e-3),
            scale_intrinsics(K, size[0] / width, size[1] / height),
            _pose(wanted(content, "cam_pose", path), path),
            _origin(wanted(content, "voxel_origin", path), path),
            stored_target(wanted(content, "target_1_4", path), "target_1_4", path),
            None if labels is None else _nearest(labels, size),
        )
    except DataError as error:
        raise DataError(f"scene {scene}, frame {frame}: {error}") from error


def remedy(folder: str) -> str:
    """What to do about a missing or damaged file of one of the set's folders."""
    return (
        f"unpack {folder} of the set again (a generated set: delete the scene and run `sgrocc synth` again), "
        "or remove its line from the list"
    )


def stored_target(stored: Any, key: str, path: Path) -> np.ndarray:
    """Convert a stored grid of labels [y, x, z] to (60, 60, 36) uint8 [x, y, z].

    Raises:
        DataError: wrong shape, or a value that is not a label.
    """
    target = np.asarray(stored)
    if target.shape != BOX_VOXELS:
        raise DataError(f"{path}: {key} is {target.shape}; it must be {BOX_VOXELS}")
    return np.ascontiguousarray(checked_labels(target, key, path).transpose(1, 0, 2))


def checked_labels(stored: np.ndarray, key: str, path: Path) -> np.ndarray:
    """Labels of any stored type as uint8: 0 to 11, 255 = unknown.

    Raises:
        DataError: any other value.
    """
    if stored.dtype.kind not in "iufb" or not stored.size:
        raise DataError(f"{path}: {key} is of type {stored.dtype} and shape {stored.shape}; it must hold labels")
    wrong = stored[~(((stored >= 0) & (stored < len(NAMES))) | (stored == UNKNOWN))]
    if wrong.size:
        allowed = f"labels are 0 to {len(NAMES) - 1}, and {UNKNOWN} for unknown"
        raise DataError(f"{path}: {key} holds {wrong[0]!s} or other invalid values in {wrong.size} voxels; {allowed}")
    return stored.astype(np.uint8)


def _matrix(stored: Any, key: str, path: Path) -> np.ndarray:
    """The top-left (3, 3) block of the stored intrinsics."""
    K = np.asarray(stored)
    if K.ndim != 2 or min(K.shape) < 3 or K.dtype.kind not in "iuf":
        raise DataError(f"{path}: {key} is {K.dtype} of shape {K.shape}; it must be at least (3, 3)")
    K = K[:3, :3].astype(np.float64)
    if not np.isfinite(K).all() or K[0, 0] <= 0 or K[1, 1] <= 0:
        raise DataError(f"{path}: {key} is {K.tolist()}; its focal lengths must be positive")
    return K


def _pose(stored: Any, path: Path) -> np.ndarray:
    """The stored pose, camera to world. ScanNet stores non-finite poses where tracking was lost; they are refused."""
    T_wc = np.asarray(stored)
    if T_wc.shape != (4, 4) or T_wc.dtype.kind not in "iuf":
        raise DataError(f"{path}: cam_pose is {T_wc.dtype} of shape {T_wc.shape}; it must be (4, 4)")
    T_wc = T_wc.astype(np.float64)
    if not np.isfinite(T_wc).all() or not np.allclose(T_wc[:3, :3] @ T_wc[:3, :3].T, np.eye(3), atol=0.01):
        raise DataError(f"{path}: cam_pose is not a pose ({T_wc[:3].tolist()}): remove the frame's line from the list")
    return T_wc


def _origin(stored: Any, path: Path) -> np.ndarray:
    origin = np.asarray(stored)
    if origin.size != 3 or origin.dtype.kind not in "iuf" or not np.isfinite(origin).all():
        raise DataError(f"{path}: voxel_origin is {origin.tolist()}; it must be three numbers, metres")
    return origin.astype(np.float64).reshape(3)


def _read_colour(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB. Unlike cv2.imread this refuses a truncated JPEG."""
    try:
        return decode_compressed(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist: {remedy('posed_images')}") from error
    except (OSError, FrameError) as error:
        raise DataError(f"{path} cannot be decoded ({error}): {remedy('posed_images')}") from error


def _read_png(path: Path, folder: str) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED) if path.is_file() else None
    if image is None:
        raise DataError(f"{path} {'cannot be decoded' if path.is_file() else 'does not exist'}: {remedy(folder)}")
    return np.asarray(image)


def _nearest(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[1::-1] == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT)
