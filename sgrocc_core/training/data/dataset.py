"""Training samples from packed scenes.

Views are drawn by class balance and augmented; samples contain the targets of the image engine and of the local head.
All random draws depend on (seed, step, place in the batch) only, so a resumed run sees the same samples as an
uninterrupted one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numba
import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.geometry.poses import gravity_aligned_rotation
from sgrocc_core.network.image.heads import GRID, MAX_THICKNESS, MIN_THICKNESS
from sgrocc_core.training.data.appearance import restyled
from sgrocc_core.training.data.augmentation import View, geometry, letterboxed, light, sensor_depth
from sgrocc_core.training.data.packed import open_scene
from sgrocc_core.training.data.rolling import scenes_to_read

Batch = dict[str, Tensor]
"""Samples stacked to tensors with a leading axis B, by the names of `item`."""
NEAREST_START = 0.12
"""Maximum distance, in metres, behind a pixel's depth at which an occupied voxel must begin.

Otherwise the pixel has no thickness."""

UNKNOWN_VOXEL, OUT_OF_VIEW, IN_VIEW, BEYOND = 0, 1, 2, 3
"""States of a voxel for the losses.

Unknown label and outside the image; known and outside the image; known and in view; unknown although its centre
projects into the image, such as space behind walls and under floors."""


@dataclass(frozen=True)
class DatasetOptions:
    """Options of the samples of a data set.

    Attributes:
        augment: apply random geometric and photometric changes.
        sensor_share: share of views whose depth prior is simulated sensor depth.
        grid: include the voxel target and depth prior (for the expert's stages), besides the image's targets.
        seed: of the random draws.
        head_stride: image pixels per pixel of the targets at the heads' resolution.
        input_size: (width, height) to which views are letterboxed, pixels; None leaves them as they were packed.
        labelled: share of the scenes whose labels are used, above 0 to 1; see `labelled_scenes`.
        unlabelled: views of the other scenes, without labels, for each view with labels, on top of the batch.
        appearance: share of the views whose surfaces get other colours and a grain.
        motion: with a grid, include what stereo said of the views where that was written (see `motion_depths`).
        plain: include the images as they were before augmentation, for a frozen model that sees them.
    """

    augment: bool = True
    sensor_share: float = 0.5
    grid: bool = False
    seed: int = 0
    head_stride: int = GRID.head_stride
    input_size: tuple[int, int] | None = None
    labelled: float = 1.0
    unlabelled: float = 0.0
    appearance: float = 0.0
    motion: bool = False
    plain: bool = False


@numba.njit(cache=True, nogil=True)
def run_lengths(depth: np.ndarray, K: np.ndarray, T_bc: np.ndarray, target: np.ndarray, stride: int) -> np.ndarray:
    """Compute the thickness of matter behind each pixel's surface along z, in the voxel grid.

    Args:
        depth: (h, w) float32 z-depth of every `stride`-th pixel, metres, 0 = none.
        K: (3, 3) intrinsics of the full image, pixels.
        T_bc: (4, 4) camera to grid, metres.
        target: (X, Y, Z) uint8 labels; empty and unknown voxels and the grid's border end the matter.
        stride: image pixels per pixel of `depth`.

    Returns:
        (h, w) float32, metres; 0 where no occupied voxel was found within `NEAREST_START`.
    """
    h, w = depth.shape
    out = np.zeros((h, w), np.float32)
    nx, ny, nz = target.shape
    step = 0.02
    for r in range(h):
        for c in range(w):
            z0 = depth[r, c]
            if z0 <= 0:
                continue
            x = (c * stride + (stride - 1) / 2 - K[0, 2]) / K[0, 0]
            y = (r * stride + (stride - 1) / 2 - K[1, 2]) / K[1, 1]
            dx = T_bc[0, 0] * x + T_bc[0, 1] * y + T_bc[0, 2]
            dy = T_bc[1, 0] * x + T_bc[1, 1] * y + T_bc[1, 2]
            dz = T_bc[2, 0] * x + T_bc[2, 1] * y + T_bc[2, 2]
            begun = False
            behind = -0.04
            while behind < MAX_THICKNESS:
                z = z0 + behind
                i = int(np.floor((T_bc[0, 3] + dx * z) / VOXEL_SIZE))
                j = int(np.floor((T_bc[1, 3] + dy * z) / VOXEL_SIZE))
                k = int(np.floor((T_bc[2, 3] + dz * z) / VOXEL_SIZE))
                solid = 0 <= i < nx and 0 <= j < ny and 0 <= k < nz and 0 < target[i, j, k] < UNKNOWN
                if solid:
                    begun = True
                elif begun or behind > NEAREST_START:
                    break
                behind += step
            if begun:
                out[r, c] = max(behind, MIN_THICKNESS)
    return out


@numba.njit(cache=True, nogil=True)
def voxel_states(target: np.ndarray, K: np.ndarray, T_bc: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Compute the state of each voxel for the losses; a voxel is in view if its centre projects into the mask.

    Args:
        target: (X, Y, Z) uint8 labels.
        K: (3, 3) intrinsics, pixels.
        T_bc: (4, 4) camera to grid, metres.
        mask: (H, W) uint8, 1 inside the image.

    Returns:
        (X, Y, Z) uint8, one of UNKNOWN_VOXEL, OUT_OF_VIEW, IN_VIEW and BEYOND.
    """
    out = np.zeros(target.shape, np.uint8)
    height, width = mask.shape
    for i in range(target.shape[0]):
        for j in range(target.shape[1]):
            for k in range(target.shape[2]):
                known = target[i, j, k] != UNKNOWN
                px = (i + 0.5) * VOXEL_SIZE - T_bc[0, 3]
                py = (j + 0.5) * VOXEL_SIZE - T_bc[1, 3]
                pz = (k + 0.5) * VOXEL_SIZE - T_bc[2, 3]
                z = T_bc[0, 2] * px + T_bc[1, 2] * py + T_bc[2, 2] * pz
                out[i, j, k] = OUT_OF_VIEW if known else UNKNOWN_VOXEL
                if z <= 0.05:
                    continue
                u = int(np.floor(K[0, 0] * (T_bc[0, 0] * px + T_bc[1, 0] * py + T_bc[2, 0] * pz) / z + K[0, 2] + 0.5))
                v = int(np.floor(K[1, 1] * (T_bc[0, 1] * px + T_bc[1, 1] * py + T_bc[2, 1] * pz) / z + K[1, 2] + 0.5))
                if 0 <= u < width and 0 <= v < height and mask[v, u] > 0:
                    out[i, j, k] = IN_VIEW if known else BEYOND
    return out


def item(view: View, options: DatasetOptions, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Turn a view into the arrays of a training sample.

    Args:
        view: to convert.
        options: of the data set.
        rng: generator of the random draws.

    Returns:
        image (3, H, W) uint8, mask (1, H, W) uint8, intrinsics (4,), gravity (3, 3), and at the heads' resolution
        depth and thickness (1, h, w), metres, and labels (h, w) uint8. With a grid also prior (1, H, W), metres
        (simulated sensor depth; all 0 stands for the depth head's own prediction), pose (4, 4) T_bc, target and state
        (60, 60, 36) uint8, and complete (), 1 or 0. If asked for, also motion (2, h, w), stereo's depth and spread,
        metres, 0 = none, and plain (3, H, W) uint8, the image before augmentation, with plain_intrinsics (4,), which
        project points of the sample's camera frame to its pixels; fx is negative where the sample is mirrored.
    """
    before = view
    if options.augment:
        restyle = options.appearance > 0 and rng.random() < options.appearance
        view = geometry(restyled(view, rng) if restyle else view, rng)
        image = light(view.image, rng)
    else:
        image = view.image
    stride = options.head_stride
    offset = stride // 2
    depth = np.ascontiguousarray(view.depth[offset::stride, offset::stride])
    fx, fy, cx, cy = view.K[0, 0], view.K[1, 1], view.K[0, 2], view.K[1, 2]
    out = {
        "image": np.ascontiguousarray((image * view.mask[..., None]).transpose(2, 0, 1)),
        "mask": view.mask[None],
        "intrinsics": np.array([fx, fy, cx, cy], np.float32),
        "gravity": gravity_aligned_rotation(view.T_bc[:3, :3]).astype(np.float32),
        "depth": depth[None],
        "thickness": _thickness(depth, view, stride)[None],
        "labels": np.ascontiguousarray(view.labels[offset::stride, offset::stride]),
    }
    if options.grid:
        use_sensor = rng.random() < options.sensor_share
        prior = sensor_depth(view.depth, rng) if use_sensor else np.zeros_like(view.depth)
        if use_sensor and not prior.any():
            prior = view.depth.copy()
        out["prior"] = prior[None]
        out["pose"] = view.T_bc.astype(np.float32)
        out["target"] = view.target
        out["state"] = voxel_states(view.target, view.K, view.T_bc, view.mask)
        if not view.complete:
            out["state"][out["state"] == BEYOND] = UNKNOWN_VOXEL
        out["complete"] = np.array(view.complete, np.float32)
        if options.motion:
            full = np.zeros((2, *view.depth.shape), np.float32) if view.motion is None else view.motion
            out["motion"] = np.ascontiguousarray(full[:, offset::stride, offset::stride])
    if options.plain:
        out["plain"] = np.ascontiguousarray((before.image * before.mask[..., None]).transpose(2, 0, 1))
        fx, K = (-1 if view.mirrored else 1) * before.K[0, 0], before.K
        out["plain_intrinsics"] = np.array([fx, K[1, 1], K[0, 2], K[1, 2]], np.float32)
    return out


def _thickness(depth: np.ndarray, view: View, stride: int) -> np.ndarray:
    """`run_lengths` of a view; 0 everywhere if its grid does not hold all that is there."""
    if not view.complete:
        return np.zeros(depth.shape, np.float32)
    found: np.ndarray = run_lengths(depth, view.K, view.T_bc, view.target, stride)
    return found


class PackedViews(Dataset[dict[str, np.ndarray]]):
    """All views of the packed scenes under some folders.

    Of a folder that is filled during training these are the views of its newest scenes.

    Args:
        folders: folders of packed scenes; missing ones are ignored.
        options: see `DatasetOptions`.
        shares: share of each folder in the views that are drawn; None: by the number of their views.

    Attributes:
        scenes: folders of the scenes.
        index: (N, 2) int64, scene and number of each view.
        counts: (N, 12) int64, pixels of each 2D label; not to be read of views without labels.
        has_labels: (N,) bool, whether the labels of a view are used.
    """

    def __init__(self, folders: list[Path], options: DatasetOptions, shares: tuple[float, ...] | None = None) -> None:
        self.options, self.shares = options, shares
        self.scenes: list[Path] = []
        self._leases = []
        folder_of: list[int] = []
        for number, folder in enumerate(folders):
            if folder.is_dir():
                scenes, lease = scenes_to_read(folder)
                self.scenes += scenes
                folder_of += [number] * len(scenes)
                self._leases.append(lease)
        self._folder_of = np.array(folder_of, np.int64)
        index, counts = [], []
        for s, path in enumerate(self.scenes):
            scene_counts = np.load(path / "counts.npy", allow_pickle=False)
            index += [(s, k) for k in range(len(scene_counts))]
            counts.append(scene_counts)
        self.index = np.array(index, np.int64).reshape(-1, 2)
        self.counts = np.concatenate(counts) if counts else np.zeros((0, 12), np.int64)
        self.has_labels = labelled_scenes([path.name for path in self.scenes], options.labelled)[self.index[:, 0]]

    def __len__(self) -> int:
        return len(self.index)

    def view(self, i: int) -> View:
        """Returns view i, letterboxed if the options say so."""
        s, k = (int(x) for x in self.index[i])
        view = open_scene(self.scenes[s]).view(k, self.options.motion)
        size = self.options.input_size
        return view if size is None or view.image.shape[1::-1] == tuple(size) else letterboxed(view, size)

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, np.ndarray]:
        """Returns the sample of a key (view, step, place in the batch)."""
        i, step, place = key
        view, rng = self.view(i), np.random.default_rng((self.options.seed, step, place))
        if not self.options.unlabelled:
            return item(view, self.options, rng)
        labelled = bool(self.has_labels[i])
        found = item(view if labelled else without_labels(view), self.options, rng)
        return {**found, "labelled": np.array(labelled)}

    def others(self) -> np.ndarray:
        """Returns (N,) sampling probabilities of the views without labels, all the same."""
        return ~self.has_labels / max(1, np.count_nonzero(~self.has_labels))

    def balance(self) -> np.ndarray:
        """Returns (N,) sampling probabilities of the views with labels; 0 for the others.

        Rare classes raise them, to at most about eight times another view's.
        """
        scores = np.zeros(len(self.has_labels))
        scores[self.has_labels] = self._balance(self.counts[self.has_labels])
        if self.shares is not None:
            folder_of = self._folder_of[self.index[:, 0]]
            for number, share in enumerate(self.shares):
                own = folder_of == number
                scores[own] *= share / max(scores[own].sum(), 1e-12)
            scores /= max(scores.sum(), 1e-12)
        return scores

    @staticmethod
    def _balance(counts: np.ndarray) -> np.ndarray:
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        present = share > 0.003
        present[:, 0] = False
        frequency = np.maximum(present.mean(0), 1e-3)
        score = (present / np.sqrt(frequency)).sum(1) / np.maximum(present.sum(1), 1)
        score = np.clip(score, 0.5, 4.0)
        return score / score.sum()


def labelled_scenes(names: list[str], share: float) -> np.ndarray:
    """Choose the scenes whose labels are used, independently of their order: the first by a digest of their names.

    Args:
        names: of all scenes.
        share: of the scenes, above 0 to 1; at least one scene is chosen.

    Returns:
        (len(names),) bool.
    """
    order = np.argsort([hashlib.sha256(name.encode()).hexdigest() for name in names])
    chosen = np.zeros(len(names), bool)
    chosen[order[: max(1, round(share * len(names)))]] = True
    return chosen


def without_labels(view: View) -> View:
    """Returns the view with neither labels of pixels nor of voxels; image, depth and camera stay."""
    return replace(view, labels=np.full_like(view.labels, UNKNOWN), target=np.full_like(view.target, UNKNOWN))


class StepSampler(Sampler[list[tuple[int, int, int]]]):
    """Batches of the steps first..last-1; the views of a step depend on seed and step only.

    Args:
        probabilities: (N,) of the views.
        batch: views per step.
        first: first step.
        last: step after the last one.
        seed: of the random draws.
        others: (N,) probabilities of views that are added to every batch.
        count: number of these views.
    """

    def __init__(
        self,
        probabilities: np.ndarray,
        batch: int,
        first: int,
        last: int,
        seed: int,
        others: np.ndarray | None = None,
        count: int = 0,
    ) -> None:
        self.cumulative = np.cumsum(probabilities)
        self.others, self.count = None if others is None else np.cumsum(others), count
        self.batch, self.first, self.last, self.seed = batch, first, last, seed

    def __len__(self) -> int:
        return self.last - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        for step in range(self.first, self.last):
            rng = np.random.default_rng((self.seed, step))
            views = _drawn(self.cumulative, rng.random(self.batch))
            if self.others is not None:
                views = np.concatenate([views, _drawn(self.others, rng.random(self.count))])
            yield [(int(v), step, k) for k, v in enumerate(views)]


def _drawn(cumulative: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Items by their cumulative probabilities, of uniform draws from 0 to 1."""
    return np.minimum(np.searchsorted(cumulative, draws * cumulative[-1], side="right"), len(cumulative) - 1)


def prepare_worker(_: int) -> None:
    cv2.setNumThreads(0)


def loader(data: PackedViews, batch: int, first: int, last: int, workers: int) -> DataLoader[dict[str, Any]]:
    """Returns a loader of the batches of the steps first..last-1.

    Args:
        data: the views.
        batch: views per step.
        first: first step.
        last: step after the last one.
        workers: number of processes that load views.
    """
    count = round(batch * data.options.unlabelled)
    others = data.others() if count else None
    # Views with labels come first and are the same ones with and without the others.
    sampler = StepSampler(data.balance(), batch, first, last, data.options.seed, others, count)
    ahead = 4 if workers else None
    return DataLoader(
        data, batch_sampler=sampler, num_workers=workers, worker_init_fn=prepare_worker, prefetch_factor=ahead
    )
