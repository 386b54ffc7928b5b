"""Depth of held-out videos as it would be online, from earlier frames, beside the depth of the image alone."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from sgrocc_core.depth.keyframes import choose_sources
from sgrocc_core.depth.sweep import MAX_SOURCES
from sgrocc_core.evaluation.depth import DepthCounts
from sgrocc_core.evaluation.spread import LEVELS
from sgrocc_core.geometry.camera import scale_intrinsics
from sgrocc_core.geometry.poses import gravity_aligned_rotation
from sgrocc_core.network.stereo.network import StereoNetwork
from sgrocc_core.training.compute import Compute
from sgrocc_core.training.data.augmentation import View
from sgrocc_core.training.data.dataset import Batch
from sgrocc_core.training.distribution import summed
from sgrocc_core.training.local.step import run_image
from sgrocc_core.training.stereo.clips import Clips, disturbed, frame_view, sweep_inputs
from sgrocc_core.training.stereo.step import run_matching, run_stereo

AT_ONCE = 10
"""Frames that go through the networks together."""


def _figures(counts: DepthCounts) -> dict[str, float]:
    """abs_rel, delta1, p50, p68, p90, and images; of all processes together."""
    sums = summed(np.concatenate([counts.sums, counts.calibration.below, [counts.images, counts.calibration.pixels]]))
    values = np.concatenate([sums[:2] / max(1, sums[-2]), sums[2:-2] / max(1, sums[-1])])
    names = ["abs_rel", "delta1", *(f"p{level * 100:.0f}" for level in LEVELS)]
    return {**dict(zip(names, values.tolist())), "images": float(sums[-2])}


def earlier_sources(views: list[View], poses: np.ndarray, stride: int, number: int = MAX_SOURCES) -> np.ndarray:
    """(n, 4) numbers of each view's sources among the views before it, -1 = none."""
    height, width = views[0].mask.shape
    K = scale_intrinsics(views[0].K, 1 / stride, 1 / stride)
    found = np.full((len(views), MAX_SOURCES), -1, np.int64)
    for i in range(1, len(views)):
        chosen = choose_sources(poses[i], poses[:i], K, (width // stride - 1, height // stride - 1), number)
        found[i, : len(chosen)] = chosen
    return found


@torch.no_grad()
def look_at_videos(
    engine: nn.Module, stereo: StereoNetwork, clips: Clips, videos: list[int], compute: Compute
) -> dict[str, float]:
    """Figures of the frames that have a source.

    Args:
        clips: held-out videos, not augmented.
        videos: the numbers of this process's share of them.

    Returns:
        abs_rel, delta1, p50, p68, p90 (see `SpreadCalibration`) with stereo, the same of the image alone with `image_`
        before it, and `images`, their number.
    """
    engine.eval()
    stereo.eval()
    found, alone = DepthCounts(), DepthCounts()
    for number in videos:
        for truth, depths in depths_of_video(engine, stereo, clips, number, compute):
            if "stereo" in depths:
                alone.add(*depths["image"], truth)
                found.add(*depths["stereo"], truth)
    alone_figures = _figures(alone)
    images = alone_figures.pop("images")
    return {**_figures(found), **{f"image_{name}": value for name, value in alone_figures.items()}, "images": images}


Depth = tuple[np.ndarray, np.ndarray]
"""Depth and its spread, (h, w) metres."""


@torch.no_grad()
def depths_of_video(
    engine: nn.Module,
    stereo: StereoNetwork | None,
    clips: Clips,
    number: int,
    compute: Compute,
    rng: np.random.Generator | None = None,
) -> list[tuple[np.ndarray, dict[str, Depth]]]:
    """Depth of every frame of a video, as it would be online.

    Args:
        engine: image engine, in eval mode.
        stereo: stereo network, in eval mode; None: depth of the images alone.
        clips: videos, not augmented.
        number: of the video.
        compute: device and precision.
        rng: draws errors of the poses that the networks are told (see `clips.disturbed`); None: they are exact.

    Returns:
        For each frame the true depth (h, w), metres, 0 = unknown, and `image`, the depth of the image alone; `stereo`
        only for frames that have a source.
    """
    video, stride = clips.video(number), clips.options.head_stride
    views = [frame_view(video, k, clips.options.input_size) for k in range(len(video))]
    poses = np.array([view.T_bc for view in views])
    if rng is not None:
        poses = disturbed(poses, clips.options, rng)
    sources = earlier_sources(views, poses, stride)
    arrays = _arrays(views, poses, sources, stride)
    batch = compute.move({name: torch.from_numpy(value) for name, value in arrays.items()})
    outputs = _in_parts(engine, stereo, batch, compute)
    truths = [view.depth[stride // 2 :: stride, stride // 2 :: stride] for view in views]
    found = [(truth, {"image": _pair(outputs, k)}) for k, truth in enumerate(truths)]
    if stereo is None:
        return found
    some = (batch["sources"] >= 0).any(1).nonzero()[:, 0]
    for part in some.split(AT_ONCE):
        first, second = run_stereo(stereo, outputs, batch, part, compute)
        for row, k in enumerate(part.tolist()):
            found[k][1]["stereo"] = _pair(second or first, row)
    return found


def _pair(outputs: dict[str, Tensor], k: int) -> Depth:
    depth, spread = (outputs[name][k, 0].float().cpu().numpy() for name in ("depth", "spread"))
    return depth, spread


def _arrays(views: list[View], poses: np.ndarray, sources: np.ndarray, stride: int) -> dict[str, np.ndarray]:
    return {
        "image": np.stack([view.image.transpose(2, 0, 1) for view in views]),
        "mask": np.stack([view.mask[None] for view in views]),
        "intrinsics": np.array([[v.K[0, 0], v.K[1, 1], v.K[0, 2], v.K[1, 2]] for v in views], np.float32),
        "gravity": np.array([gravity_aligned_rotation(T[:3, :3]) for T in poses], np.float32),
        "sources": sources,
        **sweep_inputs(views, poses, sources, stride),
    }


def _in_parts(engine: nn.Module, stereo: StereoNetwork | None, batch: Batch, compute: Compute) -> dict[str, Tensor]:
    """The image engine's outputs and the matching features of all frames, a few at a time."""
    parts = []
    for start in range(0, len(batch["image"]), AT_ONCE):
        some = {name: batch[name][start : start + AT_ONCE] for name in ("image", "mask", "intrinsics", "gravity")}
        if stereo is None:
            outputs = run_image(engine, some, compute)
            parts.append({name: outputs[name] for name in ("depth", "spread")})
            continue
        outputs = run_matching(engine, stereo, some, compute)
        wanted = ("depth", "spread", "fine", "matching", "matching_fine")
        parts.append({name: outputs[name] for name in wanted if name in outputs})
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
