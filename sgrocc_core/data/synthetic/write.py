"""Writes generated scenes in the layouts of Occ-ScanNet and EmbodiedOcc-ScanNet. Interrupted runs can be resumed.

A scene becomes visible in the set only when it is complete.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np

from sgrocc_core.data.assets.config import AssetConfig
from sgrocc_core.data.assets.library import Library, left_out_table, open_library, prepare_all, used_table
from sgrocc_core.data.synthetic.dynamic import LEAST_FRAMES, prepare_dynamic, render_dynamic, write_changes
from sgrocc_core.data.synthetic.generate import GeneratedFrame, GeneratedScene, known_bounds, prepare, render_frames
from sgrocc_core.data.synthetic.processes import end_with_parent
from sgrocc_core.data.synthetic.rooms.rooms import BOTH, EDITIONS
from sgrocc_core.data.synthetic.trajectories import draw_video_walker
from sgrocc_core.data.synthetic.words.asked import prepare_asked
from sgrocc_core.data.synthetic.words.captions import caption_of
from sgrocc_core.data.synthetic.words.reader import read_wish
from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.camera import project
from sgrocc_core.geometry.lattice import BOX_VOXELS, VOXEL_SIZE, voxel_centres
from sgrocc_core.progress import progress
from sgrocc_core.words.encoder import encoder_if_installed

MINI = 8
"""The mini lists contain every eighth scene."""
VIDEO_SMOOTH = 12.0
"""Number of frames over which changes of a video's viewing direction are smoothed."""


@dataclass(frozen=True)
class SynthConfig:
    """What to generate.

    Attributes:
        out: folder.
        scenes: number of scenes.
        frames: number of frames per scene.
        seed: seed of the set.
        size: (width, height) of the images, pixels.
        split: `train` or `test`, the lists that name the scenes.
        namespace: namespace of the seeds: `train`, `test`, `heldout`, `walk` or `dynamic`.
        min_classes: minimum number of classes in a room.
        jobs: number of processes.
        embodied: also write the EmbodiedOcc-ScanNet layout, which is large.
        first: index of the first scene.
        dynamic: make changing scenes; they have their own namespace, `dynamic`.
        video: frames as close together as a video's (2 to 10 cm), none dropped; sources for stereo from motion.
        assets: models of furniture beside the primitives; None = primitives only.
        edition: edition of the rooms, one of `rooms.EDITIONS`, or `rooms.BOTH`.
        prompt: sentence that the rooms are made from; they have their own namespace, `prompt`. None = none.

    Raises:
        ConfigError: a value is not allowed, or two values exclude each other.
    """

    out: Path
    scenes: int = 20
    frames: int = 40
    seed: int = 0
    size: tuple[int, int] = (640, 480)
    split: str = "train"
    namespace: str = "train"
    min_classes: int = 6
    jobs: int = 2
    embodied: bool = False
    first: int = 0
    dynamic: bool = False
    video: bool = False
    assets: AssetConfig | None = None
    edition: int = 1
    prompt: str | None = None

    def __post_init__(self) -> None:
        for key, low, high in (
            ("scenes", 1, 10**6),
            ("frames", 1, 10**5),
            ("seed", 0, 2**31),
            ("min_classes", 1, 11),
            ("jobs", 1, 256),
            ("first", 0, 10**6),
            ("edition", BOTH, max(EDITIONS)),
        ):
            if not low <= getattr(self, key) <= high:
                raise ConfigError(f"{key} is {getattr(self, key)}; it must be from {low} to {high}")
        if min(self.size) < 64 or max(self.size) > 4096:
            raise ConfigError(f"size is {self.size[0]}x{self.size[1]}; each side must be from 64 to 4096 pixels")
        for key, allowed in (
            ("split", ("train", "test")),
            ("namespace", ("train", "test", "heldout", "walk", "dynamic", "prompt")),
        ):
            if getattr(self, key) not in allowed:
                raise ConfigError(f"{key} is {getattr(self, key)!r}; it must be one of {', '.join(allowed)}")
        if self.dynamic != (self.namespace == "dynamic"):
            raise ConfigError(
                f"namespace is {self.namespace!r} and dynamic is {self.dynamic}; "
                "scenes that change have their own, dynamic"
            )
        if (self.prompt is not None) != (self.namespace == "prompt"):
            raise ConfigError(
                f"namespace is {self.namespace!r} and prompt is {self.prompt!r}; rooms from a sentence have their own "
                "namespace, prompt"
            )
        if self.prompt is not None and (self.dynamic or self.video or self.assets is not None):
            raise ConfigError("prompt excludes dynamic, video and assets; rooms from a sentence are made of primitives")
        if self.dynamic and self.edition != 1:
            raise ConfigError(f"dynamic is true and edition is {self.edition}; scenes that change are of edition 1")
        if self.dynamic and self.video:
            raise ConfigError(
                "dynamic and video are both true; the frames of a scene that changes follow each other closely anyway"
            )
        if self.dynamic and self.embodied:
            raise ConfigError(
                "dynamic and embodied are both true; a scene that changes has no labels for all of its frames"
            )
        if self.dynamic and self.frames < LEAST_FRAMES:
            raise ConfigError(
                f"frames is {self.frames}; with dynamic it must be at least {LEAST_FRAMES}, to see four places"
            )

    def name(self, index: int) -> str:
        """Folder name of scene `index`."""
        return f"{self.namespace}{self.seed:04d}_{index:05d}"


def _dump(path: Path, content: dict[str, object]) -> None:
    with open(path, "wb") as file:
        pickle.dump(content, file, protocol=4)


def write_frame(root: Path, gathered: Path, scene: str, number: int, frame: GeneratedFrame, quality: int) -> None:
    """Write one frame: JPEG, 16 bit depth PNG in millimetres, label PNG, and a pickle with pose, intrinsics and target.

    The target is stored [y, x, z], as Occ-ScanNet does.
    """
    name = f"{number:05d}"
    images, labels = root / "posed_images" / scene, root / "labels_2d" / scene
    cv2.imwrite(str(images / f"{name}.jpg"), frame.view.image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    millimetres = np.clip(frame.view.depth * 1000 + 0.5, 0, 65535).astype(np.uint16)
    cv2.imwrite(str(images / f"{name}.png"), millimetres, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    cv2.imwrite(str(labels / f"{name}.png"), frame.view.labels, [cv2.IMWRITE_PNG_COMPRESSION, 1])
    content = {
        "cam_pose": frame.T_wc,
        "intrinsic": frame.K,
        "voxel_origin": frame.voxel_origin,
        "target_1_4": np.ascontiguousarray(frame.target.transpose(1, 0, 2)),
        "img": f"posed_images/{scene}/{name}.jpg",
        "depth_gt": f"posed_images/{scene}/{name}.png",
    }
    _dump(gathered / f"{name}.pkl", content)


def write_scene(config: SynthConfig, index: int) -> str:
    """Generate and write one scene unless it exists; returns its name."""
    cv2.setNumThreads(1)
    scene, root = config.name(index), config.out / "occscannet"
    final = root / "gathered_data" / scene
    _refuse_other_prompt(config, index)
    if final.exists():
        return scene
    library = None if config.assets is None else open_library(config.assets)
    if config.dynamic:
        changing = prepare_dynamic(config.seed, index, config.frames, config.size, library)
        made, frames = changing.made, render_dynamic(changing, config.size)
    elif config.prompt is not None:
        wish = read_wish(config.prompt, encoder_if_installed())
        made, asked = prepare_asked(wish, config.seed, index, config.frames, config.size, config.edition)
        frames = render_frames(made, config.size)
        _replace(prompt_file(config, index), [json.dumps(asked.description(), indent=1)])
    else:
        walker = draw_video_walker(np.random.default_rng((config.seed, index))) if config.video else None
        smooth = VIDEO_SMOOTH if config.video else 6.0
        size, least = config.size, config.min_classes
        made = prepare(
            config.namespace, config.seed, index, config.frames, size, least, walker, smooth, library, config.edition
        )
        frames = render_frames(made, config.size)
    part = root / "gathered_data" / f".{scene}.part"
    shutil.rmtree(part, ignore_errors=True)
    for folder in (part, root / "posed_images" / scene, root / "labels_2d" / scene):
        folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, frame in enumerate(frames):
        write_frame(root, part, scene, number, frame, made.style.quality)
        if config.embodied:
            written.append(frame)
    if config.embodied:
        _write_embodied(config, scene, made, written)
    if config.dynamic:
        write_changes(config.out / "changes" / f"{scene}.npz", changing)
    _replace(config.out / "captions" / f"{scene}.txt", [caption_of(made.scene)])
    if library is not None:
        _replace(config.out / "assets" / f"{scene}.txt", list(made.scene.models))
    os.rename(part, final)
    return scene


def prompt_file(config: SynthConfig, index: int) -> Path:
    """Where the description of a room from a sentence is written: what was read, and what the room lacks."""
    return config.out / "prompts" / f"{config.name(index)}.json"


def _refuse_other_prompt(config: SynthConfig, index: int) -> None:
    """Raise ConfigError if the folder has this room already, made from another sentence."""
    path = prompt_file(config, index)
    if config.prompt is not None and path.exists():
        other = json.loads(path.read_text()).get("prompt")
        if other != config.prompt:
            raise ConfigError(
                f"{config.out} has the room {config.name(index)} already, from the prompt {other!r}; choose another "
                "--out, or another --seed or --first"
            )


def _write_embodied(config: SynthConfig, scene: str, made: GeneratedScene, frames: list[GeneratedFrame]) -> None:
    base = config.out / "scene_occ"
    stream = base / "streme_occ_new_package" / config.split
    for folder in (base / "global_occ_package", stream):
        folder.mkdir(parents=True, exist_ok=True)
    low, high = known_bounds(made.grid)
    labels = made.grid.labels[low[0] : high[0], low[1] : high[1], low[2] : high[2]]
    first = made.grid.low + low
    union = np.zeros(labels.shape, bool)
    for number, frame in enumerate(frames):
        mask = mask_in_global(frame, first, labels.shape, config.size)
        union |= mask
        local = np.ascontiguousarray(frame.target.transpose(1, 0, 2))  # stored [y, x, z], like target_1_4
        _dump(stream / f"{scene}_{number:05d}_new.pkl", {"local_label": local, "mask_in_global": mask})
    points = voxel_centres(made.grid.origin + first * VOXEL_SIZE, labels.shape).astype(np.float32)
    content = {
        "scene_dim": list(labels.shape),
        "global_labels": labels,
        "global_pts": points,
        "global_mask": union,
        "valid_img_paths": [f"occscannet/posed_images/{scene}/{k:05d}.jpg" for k in range(len(frames))],
    }
    _dump(base / "global_occ_package" / f"{scene}.pkl", content)


def mask_in_global(
    frame: GeneratedFrame, first: np.ndarray, shape: tuple[int, ...], size: tuple[int, int]
) -> np.ndarray:
    """Bool mask over the scene's grid: voxels of the frame's box whose centres project into the image.

    Args:
        frame: the frame.
        first: (3,) int, first voxel of the scene's grid on the lattice.
        shape: shape of the scene's grid.
        size: (width, height) of the image, pixels.
    """
    centres = voxel_centres(frame.voxel_origin).reshape(-1, 3)
    u, v, z = project(centres, frame.K, frame.T_wc)
    seen = ((z > 0) & (u >= 0) & (u < size[0]) & (v >= 0) & (v < size[1])).reshape(BOX_VOXELS)
    index = np.argwhere(seen) + (frame.corner - first)
    index = index[((index >= 0) & (index < shape)).all(1)]
    mask = np.zeros(shape, bool)
    mask[tuple(index.T)] = True
    return mask


def write_lists(config: SynthConfig) -> int:
    """Rewrite the lists of the split from all complete scenes of this namespace; returns the number of frames."""
    root = config.out / "occscannet"
    scenes = sorted(p.name for p in (root / "gathered_data").iterdir() if p.name.startswith(config.namespace))
    frames = {s: sorted(p.stem for p in (root / "gathered_data" / s).glob("*.pkl")) for s in scenes}
    for suffix, chosen in (("", scenes), ("_mini", scenes[::MINI])):
        lines = [f"gathered_data/{s}/{f}.pkl" for s in chosen for f in frames[s]]
        _replace(root / f"{config.split}{suffix}_final.txt", lines)
        if config.embodied:
            _replace(config.out / "scene_occ" / f"{config.split}{suffix}_online.txt", chosen)
    return sum(map(len, frames.values()))


def prepare_assets(config: SynthConfig) -> Library | None:
    """Prepare the furniture models with a progress bar; None without any. Writes which were left out, and why.

    Raises:
        DataError: the folder, its table or all of its models cannot be used.
    """
    if config.assets is None:
        return None
    with progress(unit="model", desc=f"furniture {config.assets.folder}") as bar:

        def tick(total: int) -> None:
            bar.total = total
            bar.update(1)

        library = prepare_all(config.assets, config.jobs, tick)
    _replace(config.out / "assets_left_out.csv", left_out_table(library).splitlines())
    return library


def _write_used(config: SynthConfig, library: Library) -> None:
    """Write `assets.csv`: the models used in the rooms that are complete, with their licences."""
    rooms: dict[str, int] = {}
    for path in sorted((config.out / "assets").glob("*.txt")):
        for name in path.read_text().splitlines():
            rooms[name] = rooms.get(name, 0) + 1
    _replace(config.out / "assets.csv", used_table(library, rooms).splitlines())


def _replace(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text("".join(f"{line}\n" for line in lines))
    os.replace(part, path)


def _in_turn(config: SynthConfig) -> Iterator[str]:
    indices = range(config.first, config.first + config.scenes)
    if config.jobs == 1:
        yield from (write_scene(config, i) for i in indices)
        return
    with ProcessPoolExecutor(config.jobs, get_context("spawn"), initializer=end_with_parent) as pool:
        jobs = [pool.submit(write_scene, config, i) for i in indices]
        try:
            yield from (job.result() for job in as_completed(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def write_scenes(config: SynthConfig) -> int:
    """Generate all scenes with a progress bar of frames; returns the number of frames in the lists."""
    (config.out / "occscannet" / "gathered_data").mkdir(parents=True, exist_ok=True)
    library = prepare_assets(config)
    frames = 0
    with progress(total=config.scenes * config.frames, unit="frame", desc=f"{config.split} {config.out}") as bar:
        for count, _ in enumerate(_in_turn(config), 1):
            bar.update(config.frames)
            if count % 10 == 0 or count == config.scenes:
                frames = write_lists(config)
                if library is not None:
                    _write_used(config, library)
    return frames
