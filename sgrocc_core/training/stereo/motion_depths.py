"""What stereo says of the views of packed videos, written beside them: the depth that the expert gets online.

The expert is trained on single views, but its depth mostly comes from motion, with errors that no noise stands for:
blurred edges, and surfaces that are wrong as a whole. The depths are made once, by a trained model, and are read in
place of simulated ones (`depth_input.depth_prior`).
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from sgrocc_core.errors import DataError
from sgrocc_core.network import weights_file
from sgrocc_core.network.image.engine import grid_of
from sgrocc_core.progress import progress
from sgrocc_core.training.compute import use_threads
from sgrocc_core.training.config import TrainConfig
from sgrocc_core.training.data.packed import MOTION, open_scene, view_size
from sgrocc_core.training.session import pack_split, packed_folder
from sgrocc_core.training.stereo.clips import Clips
from sgrocc_core.training.stereo.look import depths_of_video
from sgrocc_core.training.stereo.stage import StereoStage
from sgrocc_core.training.stereo.videos import open_video, pack_videos


def write_motion_depths(config: TrainConfig, weights: Path, data: list[Path], packed: Path | None = None) -> int:
    """Write stereo's depth and spread beside the packed training views of videos or walks.

    The networks are told poses with the errors of the configuration's `clip`, drawn by its seed and the scene's place.
    Views that have no source get none.

    Args:
        config: of stereo's training.
        weights: file with image engine and stereo.
        data: sets of videos or walks; those that have it already are done again.
        packed: see `packed_folder`.

    Returns:
        Number of views that got a depth.

    Raises:
        DataError: a scene's packed views are not the frames of its video, or the file has no stereo.
    """
    use_threads(config.threads)
    stage = StereoStage(config, [], None)
    if "stereo." not in weights_file.load_networks(stage.networks, weights_file.read_weights(weights), weights):
        raise DataError(f"{weights} has no stereo network")
    for network in stage.networks.values():
        network.eval()
    return sum(_write_set(stage, root, packed) for root in data)


def _write_set(stage: StereoStage, root: Path, packed: Path | None) -> int:
    """Write the depths of one set; returns the number of views that got one."""
    size, count = view_size(grid_of(stage.config.image)), 0
    videos, views = (packed_folder(root, name, packed, size) for name in ("train_videos", "train"))
    pack_videos(root, "train", size, videos)
    pack_split(root, "train", views, size=size)
    clips = Clips([videos], dataclasses.replace(stage.options, augment=False, which="all"))
    for number in progress(range(len(clips)), f"depths of {root.name}", unit="scene"):
        folder = views / clips.scenes[number].name
        if not folder.is_dir():
            continue
        _check_same(folder, clips.scenes[number])
        rng = np.random.default_rng((stage.config.seed, number))
        found = depths_of_video(stage.engine, stage.stereo, clips, number, stage.compute, rng)
        count += _write(folder, [depths.get("stereo") for _, depths in found], found[0][0].shape)
    return count


def _check_same(folder: Path, video: Path) -> None:
    """Whether a scene's packed views are its video's frames."""
    views, frames = open_scene(folder).image, open_video(video).image
    if views.shape != frames.shape or any(not np.array_equal(views[k], frames[k]) for k in (0, len(frames) - 1)):
        raise DataError(f"the views of {folder} are not the frames of {video}: delete both, they are made again")


def _write(folder: Path, depths: list[tuple[np.ndarray, np.ndarray] | None], shape: tuple[int, ...]) -> int:
    """Write a scene's depths, (h, w) metres each; returns how many there are."""
    values = np.zeros((len(depths), 2, *shape), np.float16)
    for k, pair in enumerate(depths):
        if pair is not None:
            values[k] = pair
    part = folder / f".{MOTION}.{os.getpid()}.npy"
    np.save(part, values)
    part.rename(folder / f"{MOTION}.npy")
    open_scene.cache_clear()  # scenes that are open do not have it yet
    return sum(pair is not None for pair in depths)
