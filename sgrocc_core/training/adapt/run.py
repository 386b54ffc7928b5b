"""`sgrocc adapt` from start to end: targets, scores before, two stages of training, scores after, the model folder.

Everything is kept in a work folder, so that an interrupted run goes on where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from sgrocc_core.classes import NAMELESS, UNKNOWN
from sgrocc_core.engines.model import ModelSpec, load_spec
from sgrocc_core.engines.open import open_engine
from sgrocc_core.engines.weights import build_networks, load_weights
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.network import weights_file
from sgrocc_core.network.expert.spatial_expert import ExpertConfig
from sgrocc_core.network.image.engine import grid_of
from sgrocc_core.training.adapt.from_motion import depth_of_motion
from sgrocc_core.training.adapt.model_folder import Story, card, check_free, export_adapted, write_model
from sgrocc_core.training.adapt.recording import LEAST_FRAMES, Recording, Split, split_frames
from sgrocc_core.training.adapt.rooms import held_out_rooms
from sgrocc_core.training.adapt.scores import Scores, score, table, worse
from sgrocc_core.training.adapt.targets import evidence_of, name_views, write_views
from sgrocc_core.training.compute import Compute, choose, use_threads
from sgrocc_core.training.config import StageConfig, TrainConfig
from sgrocc_core.training.data.dataset import PackedViews
from sgrocc_core.training.data.packed import open_scene, packed_scenes, view_size
from sgrocc_core.training.data.rendering import RenderConfig, RoomRenderer
from sgrocc_core.training.local.align import fit_features, fitted_stereo
from sgrocc_core.training.local.stage import LocalStage, dataset_options
from sgrocc_core.training.session import DataSources, Packer, TrainingData, run
from sgrocc_core.training.stage import make_networks
from sgrocc_core.training.teachers.opinion import Teacher
from sgrocc_core.training.teachers.own import OwnClassHead, map_labels
from sgrocc_core.training.teachers.published import open_teacher
from sgrocc_core.training.trainer import Trainer

OWN, MAP = "own", "map"
"""Teachers that are part of the model: its class head, and the map that it makes of the recording."""
SHARE = 0.5
"""Share of the recording in the views that are learned from; the rest are rooms (round guess)."""
IMAGE_SHARE = 0.35
"""Share of the time in which the image engine is trained; the expert is trained on it, frozen, in the rest. With a half
of it, the expert had not yet found its classes again on the changed features."""
RATES = {"image": 3e-4, "expert": 3e-4}
"""Highest learning rates: a third of those that the model was trained with (round guess)."""
BATCHES = {"image": 16, "expert": 4}
KEPT_ROOMS = 48
"""Number of newest rendered rooms that are read."""
ALIGNED_VIEWS = 128
"""Views of the fit of the features between both stages."""
SCENE = "recording"


@dataclass(frozen=True)
class AdaptOptions:
    """What `sgrocc adapt` does.

    Attributes:
        model: name or folder of the model that is adapted.
        out: folder of the new model.
        work: folder of targets, checkpoints and logs.
        recording: name of the bag.
        minutes: training time.
        teachers: OWN, MAP, and names of published networks.
        data: sets of rooms that are mixed in; without any, rooms are rendered.
        heldout: set of held-out rooms; None: rendered.
        seed: of all random draws.
        device: `cpu`, `cuda` or `auto`.
        threads: of PyTorch.
        command: that started the run, for the card.
        resume: continue in the work folder.

    Raises:
        ConfigError: a value is not allowed.
    """

    model: str
    out: Path
    work: Path
    recording: str
    minutes: float = 30.0
    teachers: tuple[str, ...] = (OWN, MAP)
    data: tuple[Path, ...] = ()
    heldout: Path | None = None
    seed: int = 1
    device: str = "auto"
    threads: int = 2
    command: str = "sgrocc adapt"
    resume: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.minutes <= 10_000:
            raise ConfigError(f"--minutes is {self.minutes:g}; it must be above 0, and 10,000 at most")
        if self.threads < 1:
            raise ConfigError(f"--threads is {self.threads}; at least 1 is needed")

    def identity(self, spec: ModelSpec, frames: int) -> dict[str, Any]:
        """What must be the same when a run is resumed."""
        return {"model": spec.files, "recording": self.recording, "teachers": list(self.teachers), "frames": frames,
                "data": [str(root) for root in self.data], "seed": self.seed, "minutes": self.minutes}  # fmt: skip


def training_config(spec: ModelSpec, options: AdaptOptions) -> TrainConfig:
    """The configuration of both stages, with the networks of the model."""
    shares = {"image": IMAGE_SHARE, "expert": 1 - IMAGE_SHARE}
    stages = {
        name: StageConfig(minutes=options.minutes * shares[name], batch=BATCHES[name], rate=RATES[name])
        for name in shares
    }
    return TrainConfig(
        model=spec.name,
        image=dict(spec.networks["image"]),
        network=ExpertConfig(**spec.networks["expert"]),
        stereo=dict(spec.networks.get("stereo", {})),
        seed=options.seed,
        device=options.device,
        threads=options.threads,
        average=0.99,
        checkpoint_minutes=min(2.0, max(0.1, options.minutes / 10)),
        validate_minutes=max(1.0, options.minutes / 6),
        rescan_steps=100,
        validation_views=20,
        stages=stages,
    )


class Adaptation:
    """One run.

    Args:
        options: of the run.
        say: called with lines for the user.

    Raises:
        DataError: the new model's folder is taken.
        ModelError: the model is not there, or has no weights to train on from.
    """

    def __init__(self, options: AdaptOptions, say: Callable[[str], None] = print) -> None:
        check_free(options.out)
        self.options, self.say = options, say
        self.spec = load_spec(options.model)
        self.weights = self.spec.folder / "weights.safetensors"
        self.config = training_config(self.spec, options)
        use_threads(options.threads)
        self.compute: Compute = choose(options.device, self.config.amp)
        self.work = options.work
        self.depth_source = "its depth sensor"
        # Published networks are opened first: one that is absent or knows none of our classes is told at once.
        published = [name for name in options.teachers if name not in (OWN, MAP)]
        self.published = [open_teacher(name, self.compute.device) for name in published]

    def run(self, recording: Recording) -> str | None:
        """Adapt the model.

        Args:
            recording: frames of the bag.

        Returns:
            None, or a sentence why the model was not written: it is worse than before.
        """
        recording = self._with_depth(recording)
        split = split_frames(len(recording.frames))
        self._claim(len(recording.frames))
        named = self._prepare(recording, split)
        size = view_size(grid_of(self.config.image))
        sets = {"recording": self.work / "recording" / "heldout", "rooms": self._held_out_rooms(size)}
        before = self._scores("before", self.weights, self.options.model, sets, recording, split)
        adapted = self._train(size)
        name = self.options.out.resolve().name
        exported = self.work / "model"

        def judged(step: str, weights: Path) -> Scores:
            """Export weights, and score them beside those before."""
            export_adapted(self.spec, weights, name, exported)
            found = self._scores(step, weights, exported, sets, recording, split)
            self.say(table(before, found))
            (self.work / "scores.json").write_text(json.dumps({"before": before, "after": found}, indent=1))
            return found

        after, averaged = judged("after", adapted), False
        if problems := worse(before, after):
            self.say(
                f"worse than before: {'; '.join(problems)}; the mean of the weights before and after is scored, too"
            )
            mean, averaged = self.work / "mean.weights.safetensors", True
            weights_file.mean_of(adapted, self.weights, mean)
            after = judged("averaged", mean)
            if problems := worse(before, after):
                return f"no model is written, as it would be worse: {'; '.join(problems)}"
        story = Story(
            name, self.spec.name, self.options.recording, (len(split.train), len(split.held_out)), recording.distance,
            self.depth_source, self.options.teachers, named, self.options.minutes, self._mixed_in, self.options.command,
            averaged,
        )  # fmt: skip
        write_model(exported, self.options.out, card(story, before, after))
        return None

    def _with_depth(self, recording: Recording) -> Recording:
        """The frames with depth of the sensor, or of the camera's motion if hardly any has that."""
        numbers = [number for number, view in enumerate(recording.views) if view.depth.any()]
        name = self.options.recording
        if len(numbers) >= max(LEAST_FRAMES, len(recording.views) // 2):
            without = len(recording.views) - len(numbers)
            self.say(f"{len(numbers)} frames with depth" + (f", {without} without are left out" if without else ""))
            return recording.chosen(numbers)
        self.depth_source = "stereo from the camera's motion, where several views agree"
        self.say(f"{name} has depth in {len(numbers)} of {len(recording.views)} frames; the camera's motion is used")
        engine = open_engine(self.options.model, "onnxruntime", "cpu", self.options.threads)
        recording = depth_of_motion(engine, recording, name)
        seen = [number for number, view in enumerate(recording.views) if view.depth.any()]
        if len(seen) < LEAST_FRAMES:
            raise DataError(
                f"{name} has no depth, and the camera's motion gives depth in {len(seen)} frames only; at least "
                f"{LEAST_FRAMES} are needed: walk on, rather than turn on the spot"
            )
        return recording.chosen(seen)

    def _claim(self, frames: int) -> None:
        """Make the work folder, or continue in it."""
        path, identity = self.work / "adapt.json", self.options.identity(self.spec, frames)
        if path.is_file():
            if not self.options.resume:
                raise DataError(
                    f"{self.work} holds a run that began already: continue it with --resume, or give --work another "
                    "folder"
                )
            before = json.loads(path.read_text())
            if differing := sorted(key for key in identity if before.get(key) != identity[key]):
                raise ConfigError(
                    f"{self.work} holds a run with another {', '.join(differing)}; it is resumed only as it was begun"
                )
            return
        self.work.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(identity, indent=1))

    def _prepare(self, recording: Recording, split: Split) -> float:
        """Write the targets of the recording; returns the share of the occupied voxels that have a class."""
        folders = {part: self.work / "recording" / part for part in ("train", "heldout")}
        if not all(folder.is_dir() and packed_scenes(folder) for folder in folders.values()):
            for folder in folders.values():
                shutil.rmtree(folder, ignore_errors=True)
            naming = self._name(recording, split)
            learned = evidence_of(recording.views[number] for number in split.train)
            write_views(folders["train"], SCENE, recording.views, split.train, learned, naming)
            everything = evidence_of(recording.views)
            write_views(folders["heldout"], SCENE, recording.views, split.held_out, everything, naming)
        target = open_scene(folders["train"] / SCENE).target
        occupied = int(((target > 0) & (target != UNKNOWN)).sum())
        named = 1 - float((target == NAMELESS).sum()) / max(1, occupied)
        guards = len(recording.frames) - len(split.train) - len(split.held_out)
        self.say(
            f"{len(split.train)} frames are learned from, {len(split.held_out)} held out, {guards} between them left "
            f"out; {occupied / max(1, len(target)):.0f} occupied voxels a view, {named:.0%} of them with a class"
        )
        return named

    def _name(self, recording: Recording, split: Split) -> Any:
        """Let the teachers look; published ones count alone where there are any, the model's own agree elsewhere."""
        own: list[Teacher] = []
        if OWN in self.options.teachers and not self.published:
            image, expert = build_networks(self.spec.networks)
            load_weights(self.weights, image, expert)
            own.append(OwnClassHead(image, self.spec.image_size))
        maps = []
        if MAP in self.options.teachers and not self.published:
            engine = open_engine(self.options.model, "onnxruntime", "cpu", self.options.threads)
            maps.append(map_labels(engine, (recording.views[number].as_frame() for number in split.train)))
        return name_views(recording, split.train, [*self.published, *own], maps)

    def _held_out_rooms(self, size: tuple[int, int]) -> Path:
        if self.options.heldout is None:
            return held_out_rooms(self.work / "rooms" / "heldout", size)
        held = TrainingData((), self.options.heldout, self.work / "packed").heldout_set(size)
        assert held is not None
        held.pack()
        return held.folder

    def _scores(
        self, name: str, weights: Path, model: str | Path, sets: dict[str, Path], recording: Recording, split: Split
    ) -> Scores:
        """Figures of a model; those before are kept for a resumed run."""
        path = self.work / f"{name}.json"
        if name == "before" and path.is_file():
            kept: Scores = json.loads(path.read_text())
            return kept
        self.say(f"scoring the model {name}")
        found = score(self.config, self.compute, weights, model, sets, recording, split.blocks)
        path.write_text(json.dumps(found, indent=1))
        return found

    @property
    def _mixed_in(self) -> str:
        if self.options.data:
            return ", ".join(str(root) for root in self.options.data)
        return "generated rooms, rendered during the training"

    @contextlib.contextmanager
    def _rooms(self, size: tuple[int, int]) -> Iterator[tuple[list[Path], DataSources]]:
        """Folders of the rooms that are mixed in, and what fills them."""
        if self.options.data:
            sets = TrainingData(self.options.data, packed=self.work / "packed").training_sets(size)
            yield [each.folder for each in sets], DataSources(Packer(sets), None)
            return
        rendered = RenderConfig(self.work / "rooms" / "train", KEPT_ROOMS, size=size, seed=9000 + self.options.seed)
        with RoomRenderer(rendered, least=3) as rooms:
            yield [rendered.folder], DataSources(Packer([]), rooms)

    def _train(self, size: tuple[int, int]) -> Path:
        """Train both stages; returns the weights of all networks."""
        resume = self.options.resume
        with self._rooms(size) as (folders, fill):
            image = run(self._trainer("image", folders, fill), self.weights, resume)
            aligned = self.work / "aligned.weights.safetensors"
            if not (resume and aligned.is_file()):
                self._align(image, aligned, folders)
            return run(self._trainer("expert", folders, fill), aligned, resume)

    def _trainer(self, stage: str, rooms: Sequence[Path], fill: DataSources) -> Trainer:
        folders = [self.work / "recording" / "train", *rooms]
        shares = (SHARE, *[(1 - SHARE) / len(rooms)] * len(rooms))
        heldout = self.work / "recording" / "heldout"
        views = LocalStage(self.config, stage, folders, heldout, rescan=fill, compute=self.compute, shares=shares)
        return Trainer(self.config, views, self.work)

    def _align(self, image: Path, aligned: Path, rooms: Sequence[Path]) -> None:
        """Fit the trained image engine's features to those that the expert knows, and join both in one file."""
        tensors = weights_file.read_weights(self.weights)
        engine, _ = make_networks(self.config, self.compute)
        weights_file.load_weights(engine, weights_file.read_weights(image), "image.", image)
        teacher, _ = make_networks(self.config, self.compute)
        weights_file.load_weights(teacher, tensors, "image.", self.weights)
        options = dataclasses.replace(dataset_options(self.config, grid=False), augment=False)
        views = PackedViews([self.work / "recording" / "train", *rooms], options)
        torch.manual_seed(self.options.seed)
        fit = fit_features(engine.eval(), teacher.eval(), views, ALIGNED_VIEWS, self.compute)
        others = {name: value for name, value in tensors.items() if not name.startswith("image.")}
        weights_file.save_model(aligned, {"image.": engine}, others | fitted_stereo(tensors, fit.fine))
        self.say(f"the new features explain {fit.features:.1%} of the variance of those that the expert knows")
