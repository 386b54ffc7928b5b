"""Trains and evaluates the variants of an ablation from one image engine, on the same views and seeds, resumably.

In their folder: `image.safetensors`, the shared image engine; `views`, links to the packed scenes, fixed when the first ablation begins;
`trained/RUN`, configuration, checkpoint and weights of a run, named by a digest of all it depends on, so that ablations share the runs that
they have in common; `results/ABLATION/VARIANT/seed_N.json`, figures.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save_file
from torch import Tensor

from sgrocc_core.data.occ_scannet import OccScanNet
from sgrocc_core.errors import ConfigError, DataError, ModelError
from sgrocc_core.network.image_engine import grid_of
from sgrocc_core.progress import progress
from sgrocc_core.share import find_shared
from sgrocc_core.training import checkpoint
from sgrocc_core.training.ablation import Ablation, Variant, laid_over
from sgrocc_core.training.compute import use_threads
from sgrocc_core.training.config import TrainConfig, load_config
from sgrocc_core.training.evaluate import evaluate_local, spread_evenly
from sgrocc_core.training.local_models import open_weights
from sgrocc_core.training.packed import packed_scenes, view_size
from sgrocc_core.training.pose_noise import disturbed, frame_step
from sgrocc_core.training.session import pack_split, packed_folder
from sgrocc_core.training.step import Batch
from sgrocc_core.training.trainer import Trainer
from sgrocc_core.yaml_file import read_mapping

STAGE = "expert"
IRRELEVANT = ("device", "threads", "workers", "checkpoint_minutes", "validate_minutes", "validation_views", "rescan_steps")
"""Keys of the configuration that change nothing in what is learned: a run goes on even if they change."""
STEPS_TIMED, VIEWS_TIMED = 4, 3
PAUSE = 2.0
"""Seconds between two looks at runs that other processes are at."""


@dataclass(frozen=True)
class Options:
    """What an ablation is run with.

    Attributes:
        budget: steps of each run. seeds: how many, from 1. config: base training configuration.
        data: roots of training sets, or folders of packed scenes.
        heldout: root of the set to evaluate on (its split `test`). limit: held-out views, 0 = all.
        packed: see `session.packed_folder`. image_weights: whose image engine all share; None: the model's own weights.
        out: folder of the runs, of one or several ablations. threads: in place of the configuration's.
    """

    budget: int
    seeds: int
    config: Path
    data: tuple[Path, ...]
    heldout: Path
    out: Path
    packed: Path | None = None
    image_weights: Path | None = None
    limit: int = 0
    threads: int | None = None

    def __post_init__(self) -> None:
        for key, low in (("budget", 1), ("seeds", 1), ("limit", 0)):
            if getattr(self, key) < low:
                raise ConfigError(f"{key} is {getattr(self, key)}; it must be {low} or more")


class TimedTrainer(Trainer):
    """A trainer that is told disturbed poses and notes when each step ended.

    Args:
        pose_noise: root mean square length of the disturbance, metres; other arguments as of `Trainer`.
    """

    def __init__(self, config: TrainConfig, folder: Path, out: Path, pose_noise: float = 0.0) -> None:
        super().__init__(config, STAGE, [folder], None, out)
        self.pose_noise = pose_noise
        self.step_ends: list[float] = []

    def train_step(self, batch: Batch, label_weights: tuple[Tensor, Tensor]) -> dict[str, float]:
        """One step; see `Trainer.train_step`."""
        if self.pose_noise > 0:
            generator = torch.Generator().manual_seed(self.config.seed * 104_729 + self.step)
            pose = batch["pose"].clone()
            shift = torch.randn(len(pose), 3, generator=generator) * (self.pose_noise / 3**0.5)
            pose[:, :3, 3] += shift.to(pose)
            batch = {**batch, "pose": pose}
        values = super().train_step(batch, label_weights)
        self.step_ends.append(time.monotonic())
        return values


class AblationRuns:
    """All runs of one ablation; making it checks every configuration and prepares the folder.

    Raises:
        ConfigError: a variant's configuration is wrong, or the folder holds runs made with other settings.
        DataError: no views. ModelError: no image engine's weights.
    """

    def __init__(self, ablation: Ablation, options: Options) -> None:
        self.ablation, self.options = ablation, options
        self.seeds = list(range(1, options.seeds + 1))
        self.out = options.out
        base = read_mapping(options.config, "training configuration")
        self.size = view_size(grid_of(load_config(options.config).image))
        self.heldout = OccScanNet(options.heldout, "test", self.size)
        self.chosen = spread_evenly(list(range(len(self.heldout))), options.limit)
        noisy = any(n.share for v in ablation.variants for n in (v.training_noise, v.evaluation_noise))
        self.frame_step = frame_step(self.heldout) if noisy else 0.0
        self.out.mkdir(parents=True, exist_ok=True)
        with open(self.out / ".lock", "w") as file:  # others may be starting in the same folder
            fcntl.flock(file, fcntl.LOCK_EX)
            self._prepare(base)

    def _prepare(self, base: dict[str, Any]) -> None:
        """Configurations, the shared image engine, the fixed views and a folder for every run."""
        runs = [(variant, seed) for variant in self.ablation.variants for seed in self.seeds]
        texts = {(variant.name, seed): self._config_text(base, variant, seed) for variant, seed in runs}
        self.configs = {key: self._checked(key[0], text) for key, text in texts.items()}
        self.image_weights = self._share_image_engine()
        self.views = self._fix_views()
        self.settings = {(variant.name, seed): self._settings(variant, seed) for variant, seed in runs}
        for key, text in texts.items():
            folder = self._folder(*key)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text(text)
            _write(folder / "settings.json", self.settings[key])

    def _folder(self, variant: str, seed: int) -> Path:
        """Where a run is trained: the same for runs that depend on the same settings, whatever they are called."""
        text = json.dumps(self.settings[variant, seed], sort_keys=True)
        return self.out / "trained" / hashlib.sha256(text.encode()).hexdigest()[:12]

    def _config_text(self, base: dict[str, Any], variant: Variant, seed: int) -> str:
        """The run's configuration as YAML: the base, the variant's values, then what every run of an ablation has."""
        stage = {"stages": {STAGE: {"steps": self.options.budget, "minutes": 0}}}
        fixed = {"seed": seed, "rescan_steps": self.options.budget, **stage}
        return yaml.safe_dump(laid_over(laid_over(base, variant.overrides), fixed), sort_keys=False)

    def _checked(self, variant: str, text: str) -> TrainConfig:
        path = self.out / ".config.yaml"
        path.write_text(text)
        try:
            config = load_config(path)
            return config if self.options.threads is None else dataclasses.replace(config, threads=self.options.threads)
        except ConfigError as error:
            raise ConfigError(f"variant {variant!r} of {self.ablation.name}: {error}") from error
        finally:
            path.unlink()

    def _share_image_engine(self) -> Path:
        """The image engine's tensors alone, copied into the folder: no variant starts from a trained expert."""
        path = self.out / "image.safetensors"
        source = self.options.image_weights or find_shared(f"models/{next(iter(self.configs.values())).model}/weights.safetensors")
        if not source.is_file():
            raise ModelError(f"there are no weights {source} of an image engine; give --image-weights")
        tensors = {name: value for name, value in checkpoint.read_weights(source).items() if name.startswith("image.")}
        if not tensors:
            raise ModelError(f"{source} holds no image engine: no tensor's name begins with image.")
        part = path.with_suffix(".part")
        save_file({name: value.contiguous() for name, value in tensors.items()}, part)
        if path.exists() and path.read_bytes() != part.read_bytes():
            part.unlink()
            raise ConfigError(f"{path} is another image engine than that of {source}; give another --out")
        part.replace(path)
        return path

    def _fix_views(self) -> Path:
        """Links to the packed scenes there are when the ablation begins: data that grows later changes no run."""
        folder, data = self.out / "views", [str(path) for path in self.options.data]
        if folder.is_dir():
            before = json.loads((folder / "data.json").read_text())
            if before != data:
                raise ConfigError(f"{self.out} holds runs on {', '.join(before)}, not on {', '.join(data)}; give another --out")
            return folder
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for i, root in enumerate(self.options.data):
            packed = root
            if not (root.is_dir() and packed_scenes(root)):  # not packed scenes themselves, but a set
                packed = packed_folder(root, "train", self.options.packed, self.size)
                pack_split(root, "train", packed, size=self.size)
            for scene in packed_scenes(packed):
                (part / f"{i:02d}_{scene.name}").symlink_to(scene.resolve())
        if not any(part.iterdir()):
            raise DataError(f"no training views under {', '.join(data)}")
        (part / "data.json").write_text(json.dumps(data))
        part.rename(folder)
        return folder

    def _settings(self, variant: Variant, seed: int) -> dict[str, Any]:
        """What a trained run depends on, as plain JSON."""
        config = dataclasses.asdict(self.configs[variant.name, seed])
        settings = {
            "config": {key: value for key, value in config.items() if key not in IRRELEVANT},
            "pose_noise": variant.training_noise.length(self.frame_step),
            "image_engine": hashlib.sha256(self.image_weights.read_bytes()).hexdigest(),
            "scenes": hashlib.sha256("\n".join(path.name for path in packed_scenes(self.views)).encode()).hexdigest(),
        }
        return dict(json.loads(json.dumps(settings)))

    def trained(self, variant: Variant, seed: int) -> bool:
        """Whether a run's training is over."""
        return (self._folder(variant.name, seed) / "finished.json").is_file()

    def result(self, variant: Variant, seed: int) -> dict[str, Any] | None:
        """What a finished run scored: `report` and `training`; None if it is not there, or of other settings."""
        path = self._result_path(variant, seed)
        if not path.is_file():
            return None
        content = json.loads(path.read_text())
        return content if content["settings"] == self._evaluation_settings(variant, seed) else None

    def _result_path(self, variant: Variant, seed: int) -> Path:
        return self.out / "results" / self.ablation.name / variant.name / f"seed_{seed}.json"

    def _evaluation_settings(self, variant: Variant, seed: int) -> dict[str, Any]:
        return {
            "training": self.settings[variant.name, seed],
            "heldout": str(self.options.heldout), "views": len(self.chosen),
            "pose_noise": variant.evaluation_noise.length(self.frame_step),
        }  # fmt: skip

    def open_runs(self) -> list[tuple[Variant, int]]:
        """Runs without a result, seed by seed, so that all variants are soon there once."""
        return [(v, seed) for seed in self.seeds for v in self.ablation.variants if self.result(v, seed) is None]

    def _trainer(self, variant: Variant, seed: int, out: Path, **changes: Any) -> TimedTrainer:
        config = dataclasses.replace(self.configs[variant.name, seed], **changes)
        use_threads(config.threads)
        trainer = TimedTrainer(config, self.views, out, variant.training_noise.length(self.frame_step))
        if trainer.checkpoint_path.is_file():
            trainer.resume()
        else:
            trainer.warm_start(self.image_weights)
        return trainer

    def train(self, variant: Variant, seed: int) -> None:
        """Train one run, from its checkpoint if it has one; nothing to do if it is finished."""
        if self.trained(variant, seed):
            return
        folder = self._folder(variant.name, seed)
        trainer = self._trainer(variant, seed, folder)
        trainer.run()
        finished = {"steps": trainer.step, "seconds": trainer.seconds, "seconds_per_step": trainer.seconds / max(1, trainer.step)}
        _write(folder / "finished.json", finished)

    def evaluate(self, variant: Variant, seed: int) -> dict[str, Any]:
        """Score one trained run on the held-out views and keep the result."""
        folder = self._folder(variant.name, seed)
        config = self.configs[variant.name, seed]
        model = open_weights(folder / f"{STAGE}.weights.safetensors", config.model, folder / "config.yaml", config.device, config.threads)
        noise = disturbed(variant.evaluation_noise.length(self.frame_step), seed)
        samples = (self.heldout[i] for i in progress(self.chosen, desc=f"{variant.name}, seed {seed}", unit="view"))
        content = {
            "settings": self._evaluation_settings(variant, seed),
            "training": {"folder": str(folder), **json.loads((folder / "finished.json").read_text())},
            "report": evaluate_local(model, samples, None, pose_noise=noise),
        }
        _write(self._result_path(variant, seed), content)
        return content

    def seconds_needed(self) -> dict[str, tuple[float, float]]:
        """Seconds a step and seconds a held-out view of every variant that has an open run, timed on a few of each."""
        found: dict[str, tuple[float, float]] = {}
        for variant, seed in self.open_runs():
            if variant.name not in found:
                same = [name for name in found if self._folder(name, seed) == self._folder(variant.name, seed)]
                found[variant.name] = found[same[0]] if same else self._time(variant, seed)
        return found

    def _time(self, variant: Variant, seed: int) -> tuple[float, float]:
        folder = self.out / f"timing_{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        stages = self.configs[variant.name, seed].stages
        short = {**stages, STAGE: dataclasses.replace(stages[STAGE], steps=STEPS_TIMED)}
        with contextlib.redirect_stderr(io.StringIO()):
            trainer = self._trainer(variant, seed, folder, stages=short)
            trainer.run()
        step = float(np.median(np.diff(trainer.step_ends)))
        config, ends = self._folder(variant.name, seed) / "config.yaml", []
        model = open_weights(folder / f"{STAGE}.weights.safetensors", "small", config, trainer.config.device, trainer.config.threads)
        samples = [self.heldout[i] for i in spread_evenly(self.chosen, VIEWS_TIMED)]
        for sample in samples[:1] * 2 + samples:
            evaluate_local(model, [sample], None)
            ends.append(time.monotonic())
        shutil.rmtree(folder)
        return step, float(np.median(np.diff(ends)[1:]))

    def seconds_left(self, needed: dict[str, tuple[float, float]]) -> float:
        """What the open runs will take, from `seconds_needed`; steps that a checkpoint holds are done."""
        total, counted = 0.0, set()
        for variant, seed in self.open_runs():
            step, view = needed[variant.name]
            folder = self._folder(variant.name, seed)
            total += view * len(self.chosen)
            if folder not in counted and not self.trained(variant, seed):
                total += step * (self.options.budget - _steps_done(folder))
                counted.add(folder)
        return total

    @contextlib.contextmanager
    def claimed(self, variant: Variant, seed: int) -> Iterator[bool]:
        """Whether this process has a run to itself while inside; another `sgrocc ablate` in the same folder may be at it."""
        with open(self._folder(variant.name, seed) / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def run(self, needed: dict[str, tuple[float, float]], after_each: Callable[[], None]) -> None:
        """All open runs, leaving out those that another process is at; returns when every run has a result.

        Args:
            needed: of `seconds_needed`, kept up to date. after_each: called whenever there is a new result.
        """
        while plan := self.open_runs():
            if not any(self._run_if_free(variant, seed, needed) for variant, seed in plan):
                time.sleep(PAUSE)
            after_each()

    def _run_if_free(self, variant: Variant, seed: int, needed: dict[str, tuple[float, float]]) -> bool:
        """Train and score one run unless another process is at it, or has been meanwhile; whether it was done here."""
        with self.claimed(variant, seed) as free:
            if not free or self.result(variant, seed) is not None:
                return False
            left = f"{len(self.open_runs())} of {len(self.seeds) * len(self.ablation.variants)} runs and"
            print(f"{variant.name}, seed {seed}; {left} about {readable(self.seconds_left(needed))} left for one process", flush=True)
            self.train(variant, seed)
            training = self.evaluate(variant, seed)["training"]
            needed[variant.name] = (training["seconds_per_step"], needed[variant.name][1])
            return True


def readable(seconds: float) -> str:
    """A duration for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _steps_done(folder: Path) -> int:
    path = folder / f"{STAGE}.checkpoint.safetensors"
    return int(checkpoint.read(path)[1]["step"]) if path.is_file() else 0


def _write(path: Path, content: dict[str, Any]) -> None:
    """A JSON file that is whole or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)
