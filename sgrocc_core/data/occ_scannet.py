"""Reads the Occ-ScanNet layout: images, depth, poses and local voxel targets; generated sets and the real one alike.

Its pickles are read by an unpickler that admits NumPy arrays and plain containers only.
"""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sgrocc_core.errors import DataError
from sgrocc_core.geometry.camera import scale_intrinsics
from sgrocc_core.geometry.lattice import BOX_VOXELS

_ALLOWED = {
    (module, name)
    for name, modules in {
        "_reconstruct": ("numpy.core.multiarray", "numpy._core.multiarray"),
        "scalar": ("numpy.core.multiarray", "numpy._core.multiarray"),
        "_frombuffer": ("numpy.core.numeric", "numpy._core.numeric"),
        "ndarray": ("numpy",),
        "dtype": ("numpy",),
        "encode": ("_codecs",),
        "OrderedDict": ("collections",),
    }.items()
    for module in modules
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}; only NumPy arrays and plain containers are admitted")
        return super().find_class(module, name)


def load_plain_pickle(path: Path) -> dict[str, Any]:
    """A pickled dict of arrays and plain values.

    Raises:
        DataError: no such file, not a pickle of a dict, or one that would run code.
    """
    try:
        with open(path, "rb") as file:
            content = _PlainUnpickler(file).load()
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except Exception as error:  # a damaged pickle may raise nearly anything
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds a {type(content).__name__}; it must be a dict")
    return content


def wanted(content: dict[str, Any], key: str, path: Path) -> Any:
    """content[key], or a DataError that names the keys there are."""
    if key not in content:
        raise DataError(f"{path} has no {key!r}; its keys are {', '.join(map(str, content))}")
    return content[key]


@dataclass(frozen=True)
class Sample:
    """One frame and its truth.

    Attributes:
        scene, frame: names. image: (H, W, 3) uint8 RGB. depth: (H, W) float32 m, 0 = none. K: (3, 3). T_wc: (4, 4) m.
        voxel_origin: (3,) m, lowest corner of the grid. target: (60, 60, 36) uint8 [x, y, z], 255 = unknown.
        labels_2d: (H, W) uint8, 255 = unknown, or None where the set has none.
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


class OccScanNet:
    """A list of samples, read from disk one at a time.

    Args:
        root: the folder that holds `occscannet`, or that folder itself.
        split: `train`, `test`, `train_mini`, `test_mini`, or a list file.
        size: (width, height) pixels of the images, depth and labels; None keeps the native size.

    Raises:
        DataError: no such folder or list, or an empty one.
    """

    def __init__(self, root: str | Path, split: str | Path = "train", size: tuple[int, int] | None = (320, 240)) -> None:
        root = Path(root)
        self.root = root / "occscannet" if (root / "occscannet").is_dir() else root
        if not (self.root / "gathered_data").is_dir():
            raise DataError(f"{root} holds no Occ-ScanNet data: there is no gathered_data in it")
        self.size = size
        listed = self.root / f"{split}_final.txt" if str(split) in ("train", "test", "train_mini", "test_mini") else Path(split)
        if not listed.is_file():
            raise DataError(f"{listed} does not exist; the split must be train, test, train_mini, test_mini or a list file")
        self.names = [tuple(line.strip().removesuffix(".pkl").split("/")[-2:]) for line in listed.read_text().splitlines() if line.strip()]
        if not self.names or any(len(name) != 2 for name in self.names):
            raise DataError(f"{listed} lists no frames; its lines must be SCENE/NNNNN.pkl")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        """Sample `index`; DataError when a file is missing or damaged."""
        scene, frame = self.names[index]
        return read_sample(self.root, scene, frame, self.size)


def read_sample(root: Path, scene: str, frame: str, size: tuple[int, int] | None) -> Sample:
    """The sample of a scene's frame under the folder `occscannet`, at (width, height) pixels; DataError as above."""
    path = root / "gathered_data" / scene / f"{frame}.pkl"
    content = load_plain_pickle(path)
    images = root / "posed_images" / scene
    image = _read(images / f"{frame}.jpg", cv2.IMREAD_COLOR)
    depth = _read(images / f"{frame}.png", cv2.IMREAD_UNCHANGED)
    labels_path = root / "labels_2d" / scene / f"{frame}.png"
    labels = _read(labels_path, cv2.IMREAD_UNCHANGED) if labels_path.is_file() else None
    height, width = image.shape[:2]
    size = (width, height) if size is None else size
    if (width, height) != size:
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[0] < width else cv2.INTER_LINEAR)
    K = np.asarray(wanted(content, "intrinsic", path), np.float64)[:3, :3]
    return Sample(
        scene,
        frame,
        cv2.cvtColor(image, cv2.COLOR_BGR2RGB),
        _nearest(depth, size).astype(np.float32) * np.float32(1e-3),
        scale_intrinsics(K, size[0] / width, size[1] / height),
        np.asarray(wanted(content, "cam_pose", path), np.float64),
        np.asarray(wanted(content, "voxel_origin", path), np.float64).reshape(3),
        _target(wanted(content, "target_1_4", path), path),
        None if labels is None else _nearest(labels, size),
    )


def _target(stored: np.ndarray, path: Path) -> np.ndarray:
    """[y, x, z] as stored to [x, y, z]."""
    target = np.asarray(stored)
    if target.shape != BOX_VOXELS:
        raise DataError(f"{path}: target_1_4 is {target.shape}; it must be {BOX_VOXELS}")
    return np.ascontiguousarray(target.astype(np.uint8, copy=False).transpose(1, 0, 2))


def _read(path: Path, mode: int) -> np.ndarray:
    image = cv2.imread(str(path), mode) if path.is_file() else None
    if image is None:
        raise DataError(f"{path} {'cannot be decoded' if path.is_file() else 'does not exist'}")
    return np.asarray(image)


def _nearest(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if image.shape[1::-1] == size:
        return image
    return cv2.resize(image, size, interpolation=cv2.INTER_NEAREST_EXACT)
