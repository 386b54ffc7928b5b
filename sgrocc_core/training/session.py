"""Runs a stage of training from start to end.

It packs the data, finds the initial weights, trains and writes the result.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import multiprocessing
from dataclasses import dataclass
from pathlib import Path

from sgrocc_core.data.occ_scannet import OccScanNet
from sgrocc_core.engines.model import find_weights
from sgrocc_core.errors import DataError
from sgrocc_core.network.image.engine import grid_of
from sgrocc_core.training import distribution
from sgrocc_core.training.checkpoint import read
from sgrocc_core.training.compute import use_threads
from sgrocc_core.training.config import TrainConfig
from sgrocc_core.training.data.packed import SMALL_SIZE, pack, packed_scenes, view_size
from sgrocc_core.training.data.rendering import RenderConfig, RoomRenderer
from sgrocc_core.training.data.rolling import is_rolling
from sgrocc_core.training.local.stage import LocalStage
from sgrocc_core.training.run_log import summary
from sgrocc_core.training.trainer import RunConfig, Trainer


def packed_folder(root: Path, split: str, packed: Path | None, size: tuple[int, int] = SMALL_SIZE) -> Path:
    """Returns the folder of a data set's decoded copy; a folder of rendered rooms is one itself.

    Args:
        root: of the data set, or folder of a `RoomRenderer`.
        split: name of the split.
        packed: parent folder of all decoded copies; None: the data set itself.
        size: (width, height) of the decoded views, pixels; each size has its own folder.
    """
    if is_rolling(root):
        return root
    if size != SMALL_SIZE:
        split = f"{split}_{size[0]}x{size[1]}"
    if packed is None:
        return root / "packed" / split
    return packed / f"{root.name}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}" / split


def pack_split(root: Path, split: str, folder: Path, no_leak: bool = False, size: tuple[int, int] = SMALL_SIZE) -> int:
    """Decode the scenes of a split that are not in the packed folder yet; rendered rooms need no decoding.

    Args:
        root: of the data set, or folder of a `RoomRenderer`.
        split: one of its lists.
        folder: of packed scenes.
        no_leak: split by scene, see `OccScanNet`.
        size: (width, height) of the decoded views, pixels.

    Returns:
        number of scenes added.
    """
    return 0 if is_rolling(root) else pack(OccScanNet(root, split, size, no_leak), folder)


@dataclass(frozen=True)
class TrainingSet:
    """A split of a data set, with the folder of its decoded copy.

    Attributes:
        root: of the data set.
        split: one of its lists.
        folder: of packed scenes.
        no_leak: split by scene, see `OccScanNet`.
        size: (width, height) of the decoded views, pixels.
    """

    root: Path
    split: str
    folder: Path
    no_leak: bool = False
    size: tuple[int, int] = SMALL_SIZE

    def pack(self) -> None:
        """Decode the scenes that are not in the folder yet."""
        pack_split(self.root, self.split, self.folder, self.no_leak, self.size)


@dataclass(frozen=True)
class TrainingData:
    """The data of a run.

    Attributes:
        roots: roots of training sets.
        heldout: root of the set for validation.
        packed: see `packed_folder`.
        mini: use the sets' mini lists.
        no_leak: exclude scenes of the embodied test from training, and validate on them only.
        rendered: rooms rendered during training, as further training data.
    """

    roots: tuple[Path, ...]
    heldout: Path | None = None
    packed: Path | None = None
    mini: bool = False
    no_leak: bool = False
    rendered: RenderConfig | None = None

    def _set(self, root: Path, split: str, size: tuple[int, int]) -> TrainingSet:
        split += "_mini" if self.mini else ""
        name = split + ("_no_leak" if self.no_leak else "")
        return TrainingSet(root, split, packed_folder(root, name, self.packed, size), self.no_leak, size)

    def training_sets(self, size: tuple[int, int] = SMALL_SIZE) -> list[TrainingSet]:
        """Returns the training splits.

        Args:
            size: (width, height) of the decoded views, pixels.
        """
        return [self._set(root, "train", size) for root in self.roots]

    def heldout_set(self, size: tuple[int, int] = SMALL_SIZE) -> TrainingSet | None:
        """Returns the split for validation; argument as of `training_sets`."""
        return None if self.heldout is None else self._set(self.heldout, "test", size)


class Packer:
    """Decodes scenes that were added to data sets, in its own process, so that training does not wait.

    Args:
        sets: to decode.
    """

    def __init__(self, sets: list[TrainingSet]) -> None:
        self.sets = sets
        self._process: multiprocessing.process.BaseProcess | None = None

    def __call__(self) -> None:
        """Pack now if there are no packed scenes yet.

        Otherwise start packing in the background, unless it is still running.
        """
        if not any(each.folder.is_dir() and packed_scenes(each.folder) for each in self.sets):
            _pack_sets(self.sets)
        elif self._process is None or not self._process.is_alive():
            self._process = multiprocessing.get_context("spawn").Process(
                target=_pack_sets, args=(self.sets,), daemon=True
            )
            self._process.start()


def _pack_sets(sets: list[TrainingSet]) -> None:
    for each in sets:
        each.pack()


class DataSources:
    """Adds scenes to a run's folders: packs data sets, and waits for rendered rooms."""

    def __init__(self, packer: Packer, rooms: RoomRenderer | None) -> None:
        self.packer, self.rooms = packer, rooms

    def __call__(self) -> None:
        """Pack data sets and wait for the first rooms; afterwards there is something to read."""
        if self.packer.sets:
            self.packer()
        if self.rooms is not None:
            self.rooms()


def starting_weights(config: RunConfig, start: Path | None) -> Path | None:
    """Returns the file of a stage's initial weights: the given one, else the model's own (`find_weights`), else None.

    Args:
        config: of the run.
        start: file given by the user, `none` for random weights, or None.

    Raises:
        DataError: the given file does not exist.
    """
    if start is None:
        own = find_weights(config.model)
        return own if own.is_file() else None
    if str(start) == "none":
        return None
    if not start.is_file():
        raise DataError(f"no weights at {start}; `--start none` begins from nothing")
    return start


def train_stage(
    config: TrainConfig, stage: str, data: TrainingData, out: Path, start: Path | None = None, resume: bool = False
) -> Path:
    """Train one stage on single views.

    With several processes (`distribution.joined`) all call this; only the first packs, writes and prints.

    Args:
        config: of the run.
        stage: `image`, `expert` or `joint`.
        data: of the run.
        out: folder of the run.
        start: see `starting_weights`.
        resume: continue from the stage's checkpoint.

    Returns:
        path of the averaged weights.
    """
    use_threads(config.threads)
    first = distribution.here().first
    out.mkdir(parents=True, exist_ok=True)
    size = view_size(grid_of(config.image))
    sets, held, rendered = data.training_sets(size), data.heldout_set(size), data.rendered
    if rendered is not None:
        rendered = dataclasses.replace(rendered, size=size)
    if first and held is not None:
        held.pack()
    distribution.wait_for_all()
    folders = [each.folder for each in sets] + ([rendered.folder] if rendered is not None else [])
    heldout = held.folder if held is not None else None
    with RoomRenderer(rendered, leader=first) if rendered is not None else contextlib.nullcontext() as rooms:
        views = LocalStage(config, stage, folders, heldout, rescan=DataSources(Packer(sets), rooms))
        return run(Trainer(config, views, out, views.watcher()), start, resume)


def run(trainer: Trainer, start: Path | None, resume: bool) -> Path:
    """Train a stage to its end and write OUT/STAGE.result.json; the first process prints the start and the result.

    Args:
        trainer: of the stage.
        start: see `starting_weights`.
        resume: continue from the stage's checkpoint.

    Returns:
        path of the averaged weights.
    """
    stage, out, first = trainer.stage.name, trainer.out, trainer.processes.first
    weights = starting_weights(trainer.config, start)
    begun = begin(trainer, start, weights, resume)
    if first:
        print(f"stage {stage}: {begun}; {trainer.stage.compute.description}, {_processes(trainer.processes.count)}")
    figures = trainer.run()
    result = out / f"{stage}.weights.safetensors"
    if first:
        _, state = read(trainer.checkpoint_path)
        (out / f"{stage}.result.json").write_text(
            json.dumps({**state, "figures": figures, "started_from": str(weights)}, indent=1)
        )
        texts = [f"{trainer.step} steps in {trainer.seconds / 60:.1f} min", summary(figures), f"weights in {result}"]
        print(f"stage {stage}: {'; '.join(text for text in texts if text)}")
    return result


def begin(trainer: Trainer, start: Path | None, weights: Path | None, resume: bool) -> str:
    """Initialise the networks from the stage's checkpoint, from weights or randomly, with published weights where used.

    Args:
        trainer: of the stage.
        start: file given by the user, or `none`; None: the model's own weights.
        weights: result of `starting_weights`.
        resume: continue from the stage's checkpoint, if there is one.

    Returns:
        Description of what the stage starts from.
    """
    if resume and trainer.checkpoint_path.is_file():
        trainer.resume()
        return f"resumed at step {trainer.step}, after {trainer.seconds / 60:.1f} min"
    loaded = trainer.warm_start(weights) if weights is not None else []
    if "image" not in loaded and (prior := trainer.load_prior()) is not None:
        loaded.append(f"published weights of {prior}")
    if weights is None:
        model = trainer.config.model
        reason = "" if start is not None else f" (the model {model} has none: there is no {find_weights(model)})"
        return f"starts from random weights{reason}{''.join(f', {name}' for name in loaded)}"
    return f"starts from {weights} ({', '.join(loaded) or 'nothing in it fits'})"


def _processes(count: int) -> str:
    return "one process" if count == 1 else f"{count} processes"
