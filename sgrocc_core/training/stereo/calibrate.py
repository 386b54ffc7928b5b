"""Calibration of the spread: one factor for the image engine and one for stereo, fitted on videos left out of training.

A spread is learned as a likelihood, and is too wide as a whole if the training disturbs the inputs more than a robot
does. Each video is looked at twice, with exact poses and with poses that have the errors of the training: fitted to
exact poses alone, which no robot has, the spread would be too narrow. The factor goes into the bias of the layer whose
exponential the spread is, so that the networks stay as they are.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from sgrocc_core.errors import DataError
from sgrocc_core.evaluation.local import spread_evenly
from sgrocc_core.evaluation.spread import LEVELS, quantile
from sgrocc_core.network import weights_file
from sgrocc_core.network.image.engine import grid_of
from sgrocc_core.network.stereo.network import StereoNetwork
from sgrocc_core.training.compute import Compute, use_threads
from sgrocc_core.training.config import TrainConfig
from sgrocc_core.training.data.packed import view_size
from sgrocc_core.training.session import packed_folder
from sgrocc_core.training.stereo.clips import Clips
from sgrocc_core.training.stereo.look import depths_of_video
from sgrocc_core.training.stereo.stage import StereoStage
from sgrocc_core.training.stereo.videos import pack_videos

IMAGE_BIAS, STEREO_BIAS = ("image.shape_head.bias", 0), ("stereo.regulariser.shape.bias", 2)
CASCADE_BIAS = ("stereo.cascade.regulariser.shape.bias", 2)
"""Tensor and entry that hold the logarithm of the spread's factor; CASCADE_BIAS of stereo with a second sweep."""
ENOUGH_VIDEOS = 16
"""With fewer videos the factors are uncertain: five gave stereo 0.67 where 36 gave 0.96 (the limit is a guess)."""
EVERY = 7
"""Of neighbouring pixels, whose errors are much the same, one in so many is used."""


def fit_factor(ratios: np.ndarray) -> float:
    """The factor of a spread that brings the shares below its quantiles nearest to what they should be.

    Args:
        ratios: (N,) errors of depth as multiples of the spread.

    Returns:
        The factor for which the largest difference over LEVELS is smallest, from 0.2 to 5.
    """
    factors = np.exp(np.linspace(math.log(0.2), math.log(5.0), 321))
    ordered = np.sort(ratios)
    shares = [np.searchsorted(ordered, factors * quantile(level)) / len(ordered) for level in LEVELS]
    worst = np.max([np.abs(share - level) for share, level in zip(shares, LEVELS)], axis=0)
    return float(factors[int(worst.argmin())])


def calibrate(
    config: TrainConfig,
    weights: Path,
    data: list[Path],
    out: Path,
    packed: Path | None = None,
    limit: int = 24,
) -> dict[str, dict[str, float]]:
    """Scale the spread of a weights file's networks.

    Args:
        config: of the training.
        weights: file with an image engine, with or without stereo.
        data: sets of training videos, of which those that are left out of the training are used.
        out: file to write.
        packed: see `packed_folder`.
        limit: at most so many videos, spread evenly.

    Returns:
        For `image` and `stereo` the `factor`, the shares below the quantiles before (`p50`, `p68`, `p90`), and the
        number of `videos`.

    Raises:
        DataError: there is no such video, or the file has no such network.
    """
    use_threads(config.threads)
    tensors = weights_file.read_weights(weights)
    folders = [packed_folder(root, "train_videos", packed, view_size(grid_of(config.image))) for root in data]
    for root, folder in zip(data, folders):
        pack_videos(root, "train", view_size(grid_of(config.image)), folder)
    stage = StereoStage(config, folders, None)
    clips = Clips(folders, dataclasses.replace(stage.options, augment=False, which="left_out"))
    if not len(clips):
        where = ", ".join(map(str, data))
        raise DataError(
            f"none of the videos under {where} is left out of the training; see clip: left_out, and make more"
        )
    loaded = weights_file.load_networks(stage.networks, tensors, weights)
    stereo = stage.stereo.eval() if "stereo." in loaded else None
    videos = spread_evenly(list(range(len(clips))), limit)
    ratios = error_ratios(stage.engine.eval(), stereo, clips, videos, stage.compute)
    found: dict[str, dict[str, float]] = {}
    last = STEREO_BIAS if stage.stereo.cascade is None else CASCADE_BIAS
    for name, bias in (("image", IMAGE_BIAS), ("stereo", last)):
        if name in ratios:
            values = ratios[name]
            tensors = scaled(tensors, bias, factor := fit_factor(values), weights)
            shares = {f"p{level * 100:.0f}": float((values <= quantile(level)).mean()) for level in LEVELS}
            found[name] = {"factor": factor, **shares, "videos": len(videos)}
    weights_file.save_model(out, {}, tensors)
    return found


@torch.no_grad()
def error_ratios(
    engine: nn.Module, stereo: StereoNetwork | None, clips: Clips, videos: list[int], compute: Compute
) -> dict[str, np.ndarray]:
    """Errors of depth as multiples of the spread, of the image alone (`image`) and with stereo (`stereo`).

    Half of them are with exact poses, half with those of `clips.disturbed`.

    Args:
        engine: the image engine.
        stereo: the stereo network; None: of the image alone.
        clips: videos, not augmented.
        videos: numbers of those that are used.
        compute: device and precision.
    """
    found: dict[str, list[np.ndarray]] = {}
    for number in videos:
        for rng in (None, np.random.default_rng(number)):
            for truth, depths in depths_of_video(engine, stereo, clips, number, compute, rng):
                known = truth > 0
                for name, (depth, spread) in depths.items():
                    ratio = np.abs(depth - truth)[known] / np.maximum(spread[known], 1e-6)
                    found.setdefault(name, []).append(ratio[::EVERY])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def scaled(tensors: dict[str, Tensor], bias: tuple[str, int], factor: float, source: Path) -> dict[str, Tensor]:
    """The weights with a spread multiplied by a factor.

    Args:
        tensors: of a weights file.
        bias: IMAGE_BIAS or STEREO_BIAS.
        factor: of the spread.
        source: the file, for the error.

    Raises:
        DataError: the file has no such network.
    """
    name, entry = bias
    if name not in tensors:
        raise DataError(f"{source} has no {name}: it holds no network whose spread could be calibrated there")
    changed = tensors[name].clone()
    changed[entry] += math.log(factor)
    return {**tensors, name: changed}
