"""Rooms rendered during training: low-priority processes fill a bounded folder of packed scenes with new rooms.

The arrays equal those that `sgrocc synth`, the data loader and `pack` would produce for the same seeds.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import multiprocessing
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import cv2

from sgrocc_core.data.assets.config import AssetConfig
from sgrocc_core.data.images import decode_compressed, encode_jpeg
from sgrocc_core.data.occ_scannet import Sample
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.progress import progress
from sgrocc_core.training.data.packed import packed_scenes, write_scene
from sgrocc_core.training.data.rolling import make_rolling, remove_old

if TYPE_CHECKING:
    from sgrocc_core.data.assets.library import Library

PAUSE = 0.5
"""Time between two looks at the folder, seconds; a round guess."""


@dataclass(frozen=True)
class RenderConfig:
    """What to render, and how much of it to keep.

    Attributes:
        folder: of packed scenes; created if necessary. It must contain nothing else.
        keep: number of newest scenes that are read. The folder contains at most twice as many, plus one per process;
            about 0.6 MB per frame.
        frames: frames per room.
        size: (width, height), pixels.
        min_classes: minimum number of classes in a room.
        seed: of the rooms, in the namespace `train`; other seeds give other rooms than `sgrocc synth --seed`.
        jobs: number of processes.
        niceness: added to that of the processes, so that training has priority.
        assets: models of furniture beside the primitives; None = primitives only.
        edition: edition of the rooms, 1 or 2, or 0 for both in turn.

    Raises:
        ConfigError: a value is not allowed.
    """

    folder: Path
    keep: int
    frames: int = 16
    size: tuple[int, int] = (320, 240)
    min_classes: int = 6
    seed: int = 9000
    jobs: int = 1
    niceness: int = 10
    assets: AssetConfig | None = None
    edition: int = 1

    def __post_init__(self) -> None:
        bounds = {
            "keep": (1, 10**5),
            "frames": (1, 10**4),
            "min_classes": (1, 11),
            "seed": (0, 2**31),
            "jobs": (1, 256),
            "niceness": (0, 19),
            "edition": (0, 2),
        }
        for key, (low, high) in bounds.items():
            if not low <= getattr(self, key) <= high:
                raise ConfigError(f"rendering: {key} is {getattr(self, key)}; it must be from {low} to {high}")
        if min(self.size) < 64 or max(self.size) > 4096:
            raise ConfigError(
                f"rendering: size is {self.size[0]}x{self.size[1]}; each side must be from 64 to 4096 pixels"
            )

    @property
    def prefix(self) -> str:
        """Beginning of the scenes' names, before the room's number."""
        return f"train{self.seed:04d}_"


def rendered_samples(config: RenderConfig, number: int) -> Iterator[Sample]:
    """Yields the frames of a room for training as a data loader would.

    Args:
        config: what to render.
        number: of the room.

    Raises:
        ValueError: the generator finds no such room.
    """
    from sgrocc_core.data.assets.library import open_library

    assets = None if config.assets is None else open_library(config.assets)
    name = f"{config.prefix}{number:05d}"
    yield from room_samples(
        "train", config.seed, number, name, config.frames, config.size, config.min_classes, assets, config.edition
    )


def room_samples(
    namespace: str,
    seed: int,
    number: int,
    name: str,
    frames: int,
    size: tuple[int, int],
    min_classes: int,
    assets: Library | None = None,
    edition: int = 1,
) -> Iterator[Sample]:
    """Yields the frames of a room as a data loader would.

    Args:
        namespace: a key of `generate.NAMESPACES`.
        seed: of the rooms.
        number: of the room.
        name: of the scene.
        frames: number of frames.
        size: (width, height), pixels.
        min_classes: minimum number of classes in the room.
        assets: models of furniture beside the primitives.
        edition: edition of the rooms.

    Raises:
        ValueError: the generator finds no such room.
    """
    from sgrocc_core.data.synthetic.generate import prepare, render_frames

    made = prepare(namespace, seed, number, frames, size, min_classes, assets=assets, edition=edition)
    for k, frame in enumerate(render_frames(made, size)):
        image = decode_compressed(encode_jpeg(frame.view.image, made.style.quality))
        yield Sample(
            name,
            f"{k:05d}",
            image,
            frame.view.depth,
            frame.K,
            frame.T_wc,
            frame.voxel_origin,
            frame.target,
            frame.view.labels,
        )


def _fill(config: RenderConfig, number: int) -> None:
    """Rendering process: renders the rooms `number`, `number + jobs` and so on.

    It ends with its parent, and waits while the folder is full.
    """
    from sgrocc_core.data.synthetic.processes import end_with_parent

    end_with_parent()
    os.nice(config.niceness)
    cv2.setNumThreads(1)
    while True:
        while remove_old(config.folder, config.keep) >= 2 * config.keep:
            time.sleep(PAUSE)
        with contextlib.suppress(ValueError):  # no room found for this number
            write_scene(config.folder, f"{config.prefix}{number:05d}", rendered_samples(config, number))
        number += config.jobs


class RoomRenderer:
    """Renders rooms in the background, from `start`, the first call or `with` until `stop` or the end of the process.

    A call waits for the first rooms: pass the renderer to `LocalStage` as `rescan`, and `config.folder` among its
    folders. A run that is started again renders new rooms; the newest of the previous run are available at once.

    Args:
        config: what to render.
        leader: False: only wait for the rooms of another process (rank 0 of several).
        least: number of scenes that the first call waits for; default: a quarter of `keep`, at least one.
    """

    def __init__(self, config: RenderConfig, leader: bool = True, least: int | None = None) -> None:
        self.config, self.leader = config, leader
        self.least = min(config.keep, least if least is not None else max(1, config.keep // 4))
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._claim: int | None = None

    def start(self) -> None:
        """Start rendering.

        Raises:
            DataError: another process renders into the folder, the generator's packages are not installed, or the
                furniture models cannot be used.
        """
        folder = self.config.folder
        if self._processes or not self.leader:
            return
        for module in ("trimesh", "embreex"):
            if importlib.util.find_spec(module) is None:
                raise DataError(f"rendering rooms needs {module}: pip install -r requirements/rooms.txt")
        if self.config.assets is not None:
            from sgrocc_core.data.assets.library import prepare_all

            prepare_all(self.config.assets, self.config.jobs)
        make_rolling(folder, self.config.keep)
        self._claim = os.open(folder / ".renderer", os.O_CREAT | os.O_RDWR, 0o666)
        try:
            fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._claim)
            raise DataError(
                f"another process renders rooms into {folder}: give this run a folder of its own"
            ) from error
        for left in folder.glob(".*"):
            if left.is_dir():  # a room that was being written or removed
                shutil.rmtree(left)
        first = 1 + max((self._number(scene) for scene in packed_scenes(folder)), default=-1)
        context = multiprocessing.get_context("spawn")
        for job in range(self.config.jobs):
            process = context.Process(target=_fill, args=(self.config, first + job), daemon=True)
            process.start()
            self._processes.append(process)

    def _number(self, scene: Path) -> int:
        number = scene.name.removeprefix(self.config.prefix)
        return int(number) if number.isdigit() else -1

    def __call__(self) -> None:
        """Wait until there are scenes to read.

        Raises:
            DataError: a rendering process has ended.
        """
        self.start()
        wanted = {"total": self.least, "desc": f"first rooms in {self.config.folder}", "unit": "room"}
        with progress(**wanted, disable=self._ready() >= self.least) as bar:
            while True:
                ended = [process.exitcode for process in self._processes if not process.is_alive()]
                if ended:
                    raise DataError(
                        f"a process that renders rooms into {self.config.folder} ended with code {ended[0]}; "
                        "its error is above"
                    )
                ready = min(self._ready(), self.least)
                bar.update(ready - bar.n)
                if ready == self.least:
                    return
                time.sleep(PAUSE)

    def _ready(self) -> int:
        return len(packed_scenes(self.config.folder)) if self.config.folder.is_dir() else 0

    def stop(self) -> None:
        """End the processes; the scenes are kept."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        self._processes = []
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def __enter__(self) -> RoomRenderer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
