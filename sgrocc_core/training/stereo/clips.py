"""Clips for the training of stereo: a few frames of one video, each with those of the others that are its sources.

What differs between the frames of a real video is drawn here for each frame: exposure, blur, noise, things that move
through the picture, and errors of the poses. Draws depend on seed, step and place only.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.depth.keyframes import choose_sources
from sgrocc_core.depth.sweep import MAX_SOURCES, content_bounds, sweep_transform
from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.camera import scale_intrinsics
from sgrocc_core.geometry.poses import gravity_aligned_rotation, make_pose
from sgrocc_core.network.image.heads import GRID
from sgrocc_core.training.data.augmentation import View, colour, letterboxed, zoom
from sgrocc_core.training.data.dataset import StepSampler, prepare_worker
from sgrocc_core.training.data.texture import textured
from sgrocc_core.training.stereo.videos import PackedVideo, open_video, packed_videos

NO_SOURCE = np.array([0, 0, -1, -1], np.float32)
"""Bounds of a source that is not there."""


@dataclass(frozen=True)
class ClipConfig:
    """What clips are made of.

    Attributes:
        views: frames of a clip.
        translation_noise: largest standard deviation of a pose's position, metres.
        rotation_noise: of its attitude, degrees; the noise of a clip is a random share of both.
        occluders: probability that something moves through a frame.
        texture: probability that the surfaces of a clip get a grain.
        left_out: one in so many videos is not trained on, but left for `sgrocc train calibrate`; 0 = none.
        validation_videos: looked at while training.

    Raises:
        ConfigError: names the key, the value and what is allowed.
    """

    views: int = 6
    translation_noise: float = 0.02
    rotation_noise: float = 0.5
    occluders: float = 0.15
    texture: float = 0.0
    validation_videos: int = 12
    left_out: int = 24

    def __post_init__(self) -> None:
        for key, low, high in (
            ("views", 2, 64), ("translation_noise", 0, 0.2), ("rotation_noise", 0, 5), ("occluders", 0, 1),
            ("texture", 0, 1), ("validation_videos", 1, 10_000), ("left_out", 0, 10_000),
        ):  # fmt: skip
            if not low <= getattr(self, key) <= high:
                raise ConfigError(f"{key} is {getattr(self, key)!r}; it must lie between {low} and {high}")


@dataclass(frozen=True)
class ClipOptions:
    """How clips are given.

    Attributes:
        config: what they are made of.
        augment: random symmetry, field of view, light, occluders and errors of the poses.
        seed: of every draw.
        input_size: (width, height) that frames are letterboxed to, pixels; None: they have that size.
        head_stride: image pixels per pixel of depth.
        which: `all` videos, those that are `trained` on, or those that are `left_out` of the training.
    """

    config: ClipConfig = field(default_factory=ClipConfig)
    augment: bool = True
    seed: int = 0
    input_size: tuple[int, int] | None = None
    head_stride: int = GRID.head_stride
    which: str = "all"

    def takes(self, name: str) -> bool:
        """Whether the video of this name is among those that are meant; which is left out depends on its name alone."""
        every = self.config.left_out
        left_out = every > 0 and zlib.crc32(name.encode()) % every == 0
        return {"all": True, "trained": not left_out, "left_out": left_out}[self.which]


class Clips(Dataset[dict[str, np.ndarray]]):
    """Clips of the packed videos that some folders hold when it is made.

    Attributes:
        scenes: folders of the videos that have enough frames.
    """

    def __init__(self, folders: list[Path], options: ClipOptions) -> None:
        self.options = options
        lengths = {path: frames for folder in folders for path, frames in packed_videos(folder).items()}
        enough = [path for path, frames in lengths.items() if frames >= options.config.views]
        self.scenes = [path for path in enough if options.takes(path.name)]

    def __len__(self) -> int:
        return len(self.scenes)

    def video(self, s: int) -> PackedVideo:
        """Video s."""
        return open_video(self.scenes[s])

    def __getitem__(self, key: tuple[int, int, int]) -> dict[str, np.ndarray]:
        """Clip of (video, step, place in the batch); see `clip`."""
        s, step, place = key
        rng = np.random.default_rng((self.options.seed, step, place))
        video = self.video(s)
        number = self.options.config.views
        most = (len(video) - 1) // (number - 1)
        stride = int(rng.integers(1, min(3, most) + 1))
        first = int(rng.integers(len(video) - stride * (number - 1)))
        frames = [first + stride * k for k in range(number)]
        return clip(video, frames, self.options, rng)


def frame_view(video: PackedVideo, k: int, size: tuple[int, int] | None) -> View:
    """Frame k without labels, letterboxed to a size; its T_bc is the pose in the video's world."""
    shape = video.image.shape[1:3]
    view = View(
        image=np.array(video.image[k]),
        mask=np.ones(shape, np.uint8),
        depth=video.depth[k].astype(np.float32) / 1000,
        labels=np.full(shape, UNKNOWN, np.uint8),
        K=np.array(video.K[k]),
        T_bc=np.array(video.T_wc[k]),
        target=np.zeros((0, 0, 0), np.uint8),
    )
    return letterboxed(view, size) if size else view


def clip(
    video: PackedVideo, frames: list[int], options: ClipOptions, rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """Some frames of a video as the arrays of a training sample.

    Returns:
        image (n, 3, H, W) uint8, mask (n, 1, H, W) uint8, intrinsics (n, 4), gravity (n, 3, 3), depth (n, 1, h, w) m,
        0 = none; sources (n, 4) int64, numbers of frames in the clip, -1 = none; transforms (n, 4, 3, 4) and bounds
        (n, 4, 4), see `sweep`.
    """
    views = [frame_view(video, k, options.input_size) for k in frames]
    if options.augment:
        views = _same_camera(views, rng)
        if options.config.texture and rng.random() < options.config.texture:
            views = textured(views, rng)
        views = _light(views, options.config.occluders, rng)
    poses = np.array([view.T_bc for view in views])
    told = disturbed(poses, options, rng) if options.augment else poses
    stride = options.head_stride
    sources = _sources(views, poses, stride, rng if options.augment else None)
    return {
        "image": np.stack([(view.image * view.mask[..., None]).transpose(2, 0, 1) for view in views]),
        "mask": np.stack([view.mask[None] for view in views]),
        "intrinsics": np.array([[v.K[0, 0], v.K[1, 1], v.K[0, 2], v.K[1, 2]] for v in views], np.float32),
        "gravity": np.array([gravity_aligned_rotation(T[:3, :3]) for T in told], np.float32),
        "depth": np.stack([(v.depth * v.mask)[None, stride // 2 :: stride, stride // 2 :: stride] for v in views]),
        "sources": sources,
        **sweep_inputs(views, told, sources, stride),
    }


def sweep_inputs(views: list[View], poses: np.ndarray, sources: np.ndarray, stride: int) -> dict[str, np.ndarray]:
    """`transforms` and `bounds` of every view's sources, from the poses (n, 4, 4) as they were told."""
    n = len(views)
    transforms = np.zeros((n, MAX_SOURCES, 3, 4), np.float32)
    bounds = np.tile(NO_SOURCE, (n, MAX_SOURCES, 1))
    cameras = [scale_intrinsics(view.K, 1 / stride, 1 / stride) for view in views]
    inside = [content_bounds(view.mask, stride) for view in views]
    for i in range(n):
        for s, j in enumerate(sources[i]):
            if j >= 0:
                transforms[i, s] = sweep_transform(cameras[i], poses[i], cameras[j], poses[j])
                bounds[i, s] = inside[j]
    return {"transforms": transforms, "bounds": bounds}


def _sources(views: list[View], poses: np.ndarray, stride: int, rng: np.random.Generator | None) -> np.ndarray:
    """(n, 4) numbers of each view's sources among the others, -1 = none; with `rng` a random number of them."""
    height, width = views[0].mask.shape
    K = scale_intrinsics(views[0].K, 1 / stride, 1 / stride)
    last = width // stride - 1, height // stride - 1
    found = np.full((len(views), MAX_SOURCES), -1, np.int64)
    for i in range(len(views)):
        others = [j for j in range(len(views)) if j != i]
        if rng is not None:
            others = [j for j in others if rng.random() < 0.85]
        number = MAX_SOURCES if rng is None else int(rng.choice([1, 2, 3, 4, 4]))
        chosen = choose_sources(poses[i], poses[others], K, last, number)
        found[i, : len(chosen)] = [others[k] for k in chosen]
    return found


def _same_camera(views: list[View], rng: np.random.Generator) -> list[View]:
    """The clip in a mirror, and through another lens: the same for all of its frames."""
    if rng.random() < 0.5:
        views = [mirrored(view) for view in views]
    scale = 1.0 if rng.random() < 0.5 else float(rng.uniform(1.0, 1.5))
    aspect = float(rng.uniform(1.34, 1.85)) if rng.random() < 0.3 else None
    shift = float(rng.random()), float(rng.random())
    if scale > 1.0 or aspect is not None:
        views = [zoom(view, scale, shift, aspect) for view in views]
    return views


def mirrored(view: View) -> View:
    """The view in a mirror whose plane holds the world's x and z axes."""
    K = view.K.copy()
    K[0, 2] = view.image.shape[1] - 1 - K[0, 2]
    flip = np.diag([1.0, -1.0, 1.0])
    pose = make_pose(flip @ view.T_bc[:3, :3] @ np.diag([-1.0, 1.0, 1.0]), flip @ view.T_bc[:3, 3])
    image, mask, depth = (np.ascontiguousarray(part[:, ::-1]) for part in (view.image, view.mask, view.depth))
    return replace(view, image=image, mask=mask, depth=depth, K=K, T_bc=pose)


def disturbed(poses: np.ndarray, options: ClipOptions, rng: np.random.Generator) -> np.ndarray:
    """Poses (n, 4, 4) with the errors of a tracker: each frame's own, of a size that is the clip's."""
    share = 0.0 if rng.random() < 0.2 else float(rng.random()) ** 2
    out = poses.copy()
    for T in out:
        turn = cv2.Rodrigues(rng.normal(0, np.radians(options.config.rotation_noise) * share, 3))[0]
        T[:3, :3] = T[:3, :3] @ turn
        T[:3, 3] += rng.normal(0, options.config.translation_noise * share, 3)
    return out


def _light(views: list[View], occluders: float, rng: np.random.Generator) -> list[View]:
    """Colours of one camera, exposure, blur and noise of every frame, and things that move through some."""
    seed = int(rng.integers(1 << 31))
    out = []
    for view in views:
        image = colour(view.image, np.random.default_rng(seed))
        if rng.random() < occluders:
            other = views[int(rng.integers(len(views)))].image
            image, view = _covered(image, view, other, rng)
        out.append(replace(view, image=_exposed(image, rng)))
    return out


def _exposed(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    ramp = np.arange(256) / 255
    curve = np.clip(ramp * rng.uniform(0.85, 1.18), 0, 1) ** rng.uniform(0.9, 1.1)
    image = cv2.LUT(image, (curve * 255).astype(np.uint8))
    if rng.random() < 0.3:
        if rng.random() < 0.5:
            image = cv2.GaussianBlur(image, (0, 0), float(rng.uniform(0.3, 1.4)))
        else:
            length = int(rng.integers(2, 6))
            kernel = np.full((1, length), 1.0 / length, np.float32)
            image = cv2.filter2D(image, -1, kernel if rng.random() < 0.7 else kernel.T)
    if rng.random() < 0.4:
        noise = rng.integers(-128, 128, image.shape, dtype=np.int8).astype(np.int16) * int(rng.integers(2, 14)) // 74
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return image


def _covered(image: np.ndarray, view: View, other: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, View]:
    """Something in front of the scene: a piece of another picture, whose depth nobody knows."""
    height, width = image.shape[:2]
    h, w = int(rng.integers(height // 12, height // 3)), int(rng.integers(width // 12, width // 4))
    (y, x), (b, a) = ((int(rng.integers(height - h)), int(rng.integers(width - w))) for _ in range(2))
    image, depth = image.copy(), view.depth.copy()
    image[y : y + h, x : x + w], depth[y : y + h, x : x + w] = other[b : b + h, a : a + w], 0
    return image, replace(view, depth=depth)


def clip_loader(clips: Clips, batch: int, first: int, last: int, workers: int) -> DataLoader[dict[str, Any]]:
    """Clips of the steps first..last-1 of a run, `batch` clips a step, as dicts of tensors."""
    sampler = StepSampler(np.full(len(clips), 1 / len(clips)), batch, first, last, clips.options.seed)
    ahead = 4 if workers else None
    return DataLoader(
        clips, batch_sampler=sampler, num_workers=workers, worker_init_fn=prepare_worker, prefetch_factor=ahead
    )
