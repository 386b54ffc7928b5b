"""From the command line's words to a trained stage: packs the data, finds the weights to start from, trains, says what came out."""

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
from sgrocc_core.training.local.stage import LocalStage
from sgrocc_core.training.run_log import summary
from sgrocc_core.training.trainer import Trainer


def packed_folder(root: Path, split: str, packed: Path | None, size: tuple[int, int] = SMALL_SIZE) -> Path:
    """Where the decoded copy of a data set lies: in the set itself, or under a folder of its own for every set, size by size."""
    if size != SMALL_SIZE:
        split = f"{split}_{size[0]}x{size[1]}"
    if packed is None:
        return root / "packed" / split
    return packed / f"{root.name}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:8]}" / split


def pack_split(root: Path, split: str, folder: Path, no_leak: bool = False, size: tuple[int, int] = SMALL_SIZE) -> int:
    """Decode the scenes of a split that the packed folder lacks; number of scenes added."""
    return pack(OccScanNet(root, split, size, no_leak), folder)


@dataclass(frozen=True)
class TrainingSet:
    """A split of a data set, and the folder of its decoded copy.

    Attributes:
        root: of the set. split: one of its lists. folder: of packed scenes. no_leak: a split by scene, see `OccScanNet`.
        size: of the decoded views, pixels.
    """

    root: Path
    split: str
    folder: Path
    no_leak: bool = False
    size: tuple[int, int] = SMALL_SIZE

    def pack(self) -> None:
        """Decode the scenes that the folder lacks."""
        pack_split(self.root, self.split, self.folder, self.no_leak, self.size)


@dataclass(frozen=True)
class TrainingData:
    """What a run reads.

    Attributes:
        roots: of training sets. heldout: root of the set to validate on. packed: see `packed_folder`.
        mini: the sets' mini lists. no_leak: leave scenes of the embodied test out of training, and validate on them alone.
        rendered: rooms to render meanwhile, and read too.
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
        """The training splits, decoded to a size."""
        return [self._set(root, "train", size) for root in self.roots]

    def heldout_set(self, size: tuple[int, int] = SMALL_SIZE) -> TrainingSet | None:
        """The split to validate on, decoded to a size."""
        return None if self.heldout is None else self._set(self.heldout, "test", size)


class Packer:
    """Adds scenes that have appeared since, in a process of its own, so that training does not wait for them."""

    def __init__(self, sets: list[TrainingSet]) -> None:
        self.sets = sets
        self._process: multiprocessing.process.BaseProcess | None = None

    def __call__(self) -> None:
        """Pack now if there is nothing yet; else start packing, unless it is still under way."""
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
        """Return when there is something to read."""
        if self.packer.sets:
            self.packer()
        if self.rooms is not None:
            self.rooms()


def starting_weights(config: TrainConfig, start: Path | None) -> Path | None:
    """The file a stage starts from: the one asked for, else the model's own (`find_weights`), else none.

    Raises:
        DataError: the file asked for does not exist.
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
    """Train one stage; with several processes (`distribution.joined`) all call this, and the first one packs, writes and talks.

    Args:
        start: see `starting_weights`. resume: go on from the stage's checkpoint.

    Returns:
        the averaged weights' file.
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
        return run(Trainer(config, views, out), start, resume)


def run(trainer: Trainer, start: Path | None, resume: bool) -> Path:
    """Begin a stage, train it to its end and write OUT/STAGE.result.json; the first process prints start and result.

    Args:
        trainer: of the stage.
        start: see `starting_weights`.
        resume: continue from the stage's checkpoint.

    Returns:
        the averaged weights' file.
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
        told = [f"{trainer.step} steps in {trainer.seconds / 60:.1f} min", summary(figures), f"weights in {result}"]
        print(f"stage {stage}: {'; '.join(text for text in told if text)}")
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
