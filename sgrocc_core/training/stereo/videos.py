"""Videos for the training of stereo: packed scenes with frames close together and their poses in one frame."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sgrocc_core.data.occ_scannet import OccScanNet, Sample, read_sample
from sgrocc_core.errors import DataError
from sgrocc_core.progress import progress
from sgrocc_core.training.data.packed import OPEN_SCENES, millimetres, write_arrays

FORMAT_VERSION = 1
ARRAYS = ("image", "depth", "K", "T_wc")


@dataclass(frozen=True)
class PackedVideo:
    """The frames of one scene in order, memory-mapped.

    Attributes:
        image: (N, H, W, 3) uint8 RGB.
        depth: (N, H, W) uint16 mm, 0 = none.
        K: (N, 3, 3) float64 pixels.
        T_wc: (N, 4, 4) float64, camera to the scene's world, metres.
    """

    image: np.ndarray
    depth: np.ndarray
    K: np.ndarray
    T_wc: np.ndarray

    def __len__(self) -> int:
        return len(self.image)


def pack_videos(root: Path, split: str, size: tuple[int, int], folder: Path) -> int:
    """Decode the scenes that a packed folder lacks.

    Args:
        root: of a set in the layout of Occ-ScanNet.
        split: one of its lists; where that is not written yet, as while the set is being generated, all complete scenes
            are taken.
        size: (width, height) of the packed frames, pixels.

    Returns:
        Number of scenes added; a scene appears in the folder when it is complete.

    Raises:
        DataError: no such set, or a file of it is damaged.
    """
    frames = _frames(root, split)
    folder.mkdir(parents=True, exist_ok=True)
    missing = [scene for scene in frames if not (folder / scene).exists()]
    inside = _inside(root)
    for scene in progress(missing, f"packing {folder}", unit="scene", delay=5):
        samples = [read_sample(inside, scene, frame, size) for frame in frames[scene]]
        description = {"format_version": FORMAT_VERSION, "frames": len(samples)}
        write_arrays(folder, scene, _arrays(samples), "video.json", description)
    return len(missing)


def _inside(root: Path) -> Path:
    return root / "occscannet" if (root / "occscannet").is_dir() else root


def _frames(root: Path, split: str) -> dict[str, list[str]]:
    """Names of the frames of every scene, in order."""
    inside = _inside(root)
    frames: dict[str, list[str]] = {}
    if (inside / f"{split}_final.txt").is_file():
        for scene, frame in OccScanNet(root, split).names:
            frames.setdefault(scene, []).append(frame)
        return {scene: sorted(names) for scene, names in frames.items()}
    if not (inside / "gathered_data").is_dir():
        raise DataError(
            f"{root} holds no videos: there is no gathered_data in it; make some with `sgrocc synth --video`"
        )
    scenes = sorted(path for path in (inside / "gathered_data").iterdir() if not path.name.startswith("."))
    return {path.name: sorted(frame.stem for frame in path.glob("*.pkl")) for path in scenes}


def _arrays(samples: list[Sample]) -> dict[str, np.ndarray]:
    return {
        "image": np.stack([sample.image for sample in samples]),
        "depth": np.stack([millimetres(sample.depth) for sample in samples]),
        "K": np.stack([np.asarray(sample.K, np.float64) for sample in samples]),
        "T_wc": np.stack([np.asarray(sample.T_wc, np.float64) for sample in samples]),
    }


@functools.lru_cache(OPEN_SCENES)
def open_video(folder: Path) -> PackedVideo:
    """Map one packed scene into memory; the scenes used last stay open.

    Raises:
        DataError: no packed video, or one of another version.
    """
    try:
        version = json.loads((folder / "video.json").read_text())["format_version"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} is not a packed video: {error}") from error
    if version != FORMAT_VERSION:
        raise DataError(
            f"packed video {folder} has format version {version}, not {FORMAT_VERSION}: delete it, it is made again"
        )
    return PackedVideo(**{name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS})


def packed_videos(folder: Path) -> dict[Path, int]:
    """Folders of all complete packed videos, in order of name, with their numbers of frames."""
    if not folder.is_dir():
        return {}
    found = sorted(path for path in folder.iterdir() if path.name[0] != "." and (path / "video.json").is_file())
    return {path: int(json.loads((path / "video.json").read_text())["frames"]) for path in found}
