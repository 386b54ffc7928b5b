"""Groups of views of generated scenes that share one occupancy, for training the joint framework.

Scenes are decoded once into small memory-mapped arrays. A sample is an anchor view, whose grid is the shared occupancy,
and other views of the same scene that look into that grid. Random draws depend on seed, step and place only.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

from sgrocc_core.classes import EMPTY, UNKNOWN
from sgrocc_core.data.occ_scannet import OccScanNet
from sgrocc_core.errors import DataError
from sgrocc_core.generation.captions import caption_of_view
from sgrocc_core.geometry.lattice import BOX_VOXELS, VOXEL_SIZE, box_pose
from sgrocc_core.geometry.poses import gravity_aligned_rotation, heading
from sgrocc_core.progress import progress
from sgrocc_core.training.data.dataset import StepSampler, prepare_worker, voxel_states
from sgrocc_core.training.data.packed import labels_of, write_arrays

FORMAT_VERSION = 1
ARRAYS = ("image", "labels", "target", "K", "T_wc", "origin")
CAPTION = "caption.txt"
NEAR, TURNED = 1.5, np.cos(np.radians(50))
"""Other views of a group stand within this distance of the anchor, metres, and look the same way within 50 degrees, so
that most of what they see lies in the anchor's grid."""
SCENE_CAPTION = 0.5
"""Share of samples that use the scene's caption where there is one, instead of one of what is seen."""


def folder_of(root: Path, split: str, size: tuple[int, ...]) -> Path:
    """Returns the folder of a set's decoded groups."""
    return root / "packed_generation" / f"{split}_{size[0]}x{size[1]}"


def pack_groups(root: Path, split: str, size: tuple[int, ...], folder: Path | None = None) -> Path:
    """Decode the scenes of a set that are not decoded yet.

    Args:
        root: of a set in the layout of Occ-ScanNet.
        split: one of its lists.
        size: (width, height) of the images, pixels.
        folder: of the result; None: inside the set.

    Returns:
        the folder.
    """
    data = OccScanNet(root, split, (size[0], size[1]))
    folder = folder or folder_of(root, split, size)
    folder.mkdir(parents=True, exist_ok=True)
    scenes: dict[str, list[int]] = {}
    for index, (scene, _) in enumerate(data.names):
        scenes.setdefault(scene, []).append(index)
    missing = [scene for scene in scenes if not (folder / scene).exists()]
    for scene in progress(missing, f"packing {folder}", unit="scene", delay=5):
        columns: dict[str, list[np.ndarray]] = {name: [] for name in ARRAYS}
        for index in scenes[scene]:
            sample = data[index]
            values = (sample.image, labels_of(sample), sample.target, sample.K, sample.T_wc, sample.voxel_origin)
            for name, value in zip(ARRAYS, values, strict=True):
                columns[name].append(np.asarray(value))
        arrays = {name: np.stack(values) for name, values in columns.items()}
        write_arrays(
            folder, scene, arrays, "group.json", {"format_version": FORMAT_VERSION, "views": len(scenes[scene])}
        )
        caption = root / "captions" / f"{scene}.txt"
        if caption.is_file() and (folder / scene).is_dir():
            (folder / scene / CAPTION).write_text(caption.read_text().strip())
    return folder


@functools.lru_cache(64)
def open_group(folder: Path) -> dict[str, np.ndarray]:
    """Map one decoded scene into memory.

    Raises:
        DataError: it is not one, or of another version.
    """
    try:
        version = json.loads((folder / "group.json").read_text())["format_version"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{folder} is not a decoded scene: {error}") from error
    if version != FORMAT_VERSION:
        raise DataError(f"{folder} has format version {version}, not {FORMAT_VERSION}: delete it, it is made again")
    return {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in ARRAYS}


@dataclass(frozen=True)
class GroupOptions:
    """Options of the samples.

    Attributes:
        views: of a group.
        read: `read` of the text encoder.
        seed: of the random draws.
        no_text: share of samples without text.
        mirror: mirror half of the samples.
    """

    views: int
    read: Callable[[str], np.ndarray]
    seed: int = 0
    no_text: float = 0.0
    mirror: bool = True


class ViewGroups(Dataset[dict[str, np.ndarray]]):
    """The groups of all decoded scenes under some folders; there is one for each view, its anchor.

    Args:
        folders: see `pack_groups`.
        options: of the samples.

    Raises:
        DataError: there are no scenes.
    """

    def __init__(self, folders: list[Path], options: GroupOptions) -> None:
        self.options = options
        self.scenes = sorted(p for folder in folders for p in folder.iterdir() if (p / "group.json").is_file())
        counts = [json.loads((scene / "group.json").read_text())["views"] for scene in self.scenes]
        self.index = [(scene, k) for scene, count in zip(self.scenes, counts, strict=True) for k in range(count)]
        if not self.index:
            raise DataError(f"no views of scenes under {', '.join(map(str, folders))}")

    def __len__(self) -> int:
        return len(self.index)

    def balance(self) -> np.ndarray:
        """Returns (N,) sampling probabilities of the anchors: all the same."""
        return np.full(len(self), 1 / len(self))

    def caption(self, scene: Path, labels: np.ndarray, rng: np.random.Generator) -> str:
        """Returns the scene's caption, or one of a view."""
        own = scene / CAPTION
        if own.is_file() and rng.random() < SCENE_CAPTION:
            return own.read_text()
        return caption_of_view(labels, rng)

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, np.ndarray]:
        """Returns the sample of a key (anchor, step, place in the batch).

        Returns:
            image (V, 3, H, W) uint8; labels (V, H, W) uint8; K (V, 4) fx, fy, cx, cy, pixels; pose (V, 4, 4) T_bc into
            the anchor's grid; gravity (V, 3, 3); target (60, 60, 36) uint8; state (V, 60, 60, 36) uint8; text, of the
            encoder's `read`.
        """
        number, step, place = key
        scene, anchor = self.index[number]
        rng = np.random.default_rng((self.options.seed, step, place))
        arrays = open_group(scene)
        views = group_of(arrays["T_wc"], anchor, self.options.views, rng)
        text = "" if rng.random() < self.options.no_text else self.caption(scene, arrays["labels"][anchor], rng)
        poses = np.stack([box_pose(arrays["T_wc"][v], arrays["origin"][anchor]) for v in views])
        image, labels = arrays["image"][views], arrays["labels"][views]
        K, target = np.array(arrays["K"][views]), np.array(arrays["target"][anchor])
        if self.options.mirror and rng.random() < 0.5:
            image, labels, K, poses, target = mirrored(image, labels, K, poses, target)
        mask = np.ones(image.shape[1:3], np.uint8)
        state = np.stack([voxel_states(target, k, pose, mask) for k, pose in zip(K, poses, strict=True)])
        return {
            "image": np.ascontiguousarray(image.transpose(0, 3, 1, 2)),
            "labels": np.ascontiguousarray(labels),
            "K": np.stack([K[:, 0, 0], K[:, 1, 1], K[:, 0, 2], K[:, 1, 2]], 1).astype(np.float32),
            "pose": poses.astype(np.float32),
            "gravity": np.stack([gravity_aligned_rotation(p[:3, :3]) for p in poses]).astype(np.float32),
            "target": np.ascontiguousarray(target),
            "state": state,
            "text": self.options.read(text),
        }


def group_of(T_wc: np.ndarray, anchor: int, count: int, rng: np.random.Generator) -> list[int]:
    """Choose views that look into the anchor's grid; the anchor itself comes first, and again if there are too few.

    Args:
        T_wc: (N, 4, 4) poses, camera to world, metres.
        anchor: number of the anchor.
        count: of views.
        rng: generator.
    """
    ahead = np.stack([heading(T[:3, :3]) for T in T_wc])
    near = np.linalg.norm(T_wc[:, :3, 3] - T_wc[anchor, :3, 3], axis=1) < NEAR
    (others,) = np.nonzero(near & (ahead @ ahead[anchor] > TURNED) & (np.arange(len(T_wc)) != anchor))
    chosen = list(rng.permutation(others)[: count - 1])
    return [anchor, *map(int, chosen), *[anchor] * (count - 1 - len(chosen))]


def mirrored(
    image: np.ndarray, labels: np.ndarray, K: np.ndarray, poses: np.ndarray, target: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Mirror a group: the grid along its x axis, the images from left to right.

    Args:
        image: (V, H, W, 3).
        labels: (V, H, W).
        K: (V, 3, 3), pixels.
        poses: (V, 4, 4) T_bc.
        target: (60, 60, 36).

    Returns:
        the same five.
    """
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    K, poses = K.copy(), flip @ poses @ flip
    K[:, 0, 2] = image.shape[2] - 1 - K[:, 0, 2]
    poses[:, 0, 3] += BOX_VOXELS[0] * VOXEL_SIZE
    return image[:, :, ::-1], labels[:, :, ::-1], K, poses, target[::-1]


def group_loader(
    groups: ViewGroups, batch: int, first: int, last: int, workers: int
) -> Iterator[dict[str, np.ndarray]]:
    """Iterate over the batches of the steps first..last-1, as tensors.

    Args:
        groups: the data.
        batch: groups per step.
        first: first step.
        last: step after the last one.
        workers: number of processes that load data.
    """
    cv2.setNumThreads(1)
    sampler = StepSampler(groups.balance(), batch, first, last, groups.options.seed)
    return iter(DataLoader(groups, batch_sampler=sampler, num_workers=workers, worker_init_fn=prepare_worker))


def plain_target(target: np.ndarray) -> np.ndarray:
    """Returns labels (60, 60, 36) with unknown space as empty, which is how it is drawn and conditioned on."""
    return np.where(target == UNKNOWN, EMPTY, target).astype(np.uint8)
