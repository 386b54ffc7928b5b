"""Trains and evaluates the variants of an ablation with the same initial weights, data and seeds; runs can be resumed.

A `Task` says what is trained and how it is scored. The folder of the runs contains the shared initial weights;
`views`, links to the packed scenes, fixed when the first ablation starts; `trained/RUN`, with configuration,
checkpoint and weights of a run, named by a digest of all its settings, so that ablations share runs; and the figures,
`results/ABLATION/VARIANT/seed_N.json`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save_file

from sgrocc_core.engines.model import find_weights
from sgrocc_core.errors import ConfigError, DataError, ModelError
from sgrocc_core.network import weights_file
from sgrocc_core.training import checkpoint
from sgrocc_core.training.ablations.ablation import Ablation, Variant, laid_over
from sgrocc_core.training.ablations.task import Options, Run, Task
from sgrocc_core.training.config import TrainConfig, load_config
from sgrocc_core.yaml_file import read_mapping

IRRELEVANT = (
    "device",
    "threads",
    "workers",
    "checkpoint_minutes",
    "validate_minutes",
    "validation_views",
    "rescan_steps",
)
"""Keys of the configuration that do not affect the trained weights: a run can be resumed after they have changed."""
PAUSE = 2.0
"""Time between two looks at runs that other processes are training, seconds; a round guess."""


class AblationRuns:
    """All runs of one ablation; the constructor checks every configuration and prepares the folder.

    Args:
        ablation: the variants.
        options: of the runs.
        task: what is trained and scored.

    Raises:
        ConfigError: a variant's configuration is not allowed, or the folder contains runs with other settings.
        DataError: there are no views.
        ModelError: there are no weights of an image engine.
    """

    def __init__(self, ablation: Ablation, options: Options, task: Task) -> None:
        self.ablation, self.options, self.task = ablation, options, task
        self.seeds = list(range(1, options.seeds + 1))
        self.out = options.out
        base = read_mapping(options.config, "training configuration")
        self.out.mkdir(parents=True, exist_ok=True)
        with open(self.out / ".lock", "w") as file:  # other processes may be starting in the same folder
            fcntl.flock(file, fcntl.LOCK_EX)
            self._prepare(base)

    def _prepare(self, base: dict[str, Any]) -> None:
        """Prepare the configurations, shared weights, fixed views and a folder for every run."""
        runs = [(variant, seed) for variant in self.ablation.variants for seed in self.seeds]
        texts = {(variant.name, seed): self._config_text(base, variant, seed) for variant, seed in runs}
        self.configs = {key: self._checked(key[0], text) for key, text in texts.items()}
        self.start = self._share_weights()
        self.views = self._fix_views()
        self.settings = {(variant.name, seed): self._settings(variant, seed) for variant, seed in runs}
        for key, text in texts.items():
            folder = self._folder(*key)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "config.yaml").write_text(text)
            _write(folder / "settings.json", self.settings[key])

    def _folder(self, variant: str, seed: int) -> Path:
        """Folder of a trained run; runs with the same settings share it, whatever their names."""
        text = json.dumps(self.settings[variant, seed], sort_keys=True)
        return self.out / "trained" / hashlib.sha256(text.encode()).hexdigest()[:12]

    def _config_text(self, base: dict[str, Any], variant: Variant, seed: int) -> str:
        """The run's configuration as YAML: the base, overridden by the variant and then by the settings of all runs."""
        stages = {name: {"steps": steps, "minutes": 0} for name, steps in self.task.steps(variant).items()}
        fixed = {"seed": seed, "rescan_steps": self.options.budget, "stages": stages}
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

    def _share_weights(self) -> Path:
        """Copy the tensors that all runs start from into the folder."""
        if not self.task.shared:
            path = self.out / "nothing.safetensors"
            save_file({}, path)
            return path
        path = self.out / self.task.shared
        source = self.options.weights or find_weights(next(iter(self.configs.values())).model)
        if not source.is_file():
            raise ModelError(f"there are no weights {source} of an image engine; give --weights")
        tensors = {
            name: value for name, value in weights_file.read_weights(source).items() if self.task.is_shared(name)
        }
        if not any(name.startswith("image.") for name in tensors):
            raise ModelError(f"{source} holds no image engine: no tensor's name begins with image.")
        part = path.with_suffix(".part")
        save_file({name: value.contiguous() for name, value in tensors.items()}, part)
        if path.exists() and path.read_bytes() != part.read_bytes():
            part.unlink()
            raise ConfigError(f"{path} is not of {source}, but of other weights; give another --out")
        part.replace(path)
        return path

    def _fix_views(self) -> Path:
        """Link the packed scenes that exist when the ablation starts: data added later does not affect its runs."""
        folder, data = self.out / "views", [str(path) for path in self.options.data]
        if folder.is_dir():
            before = json.loads((folder / "data.json").read_text())
            if before != data:
                raise ConfigError(
                    f"{self.out} holds runs on {', '.join(before)}, not on {', '.join(data)}; give another --out"
                )
            return folder
        part = folder.with_suffix(".part")
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        for i, root in enumerate(self.options.data):
            # Packed scenes themselves, or a set.
            packed = root if root.is_dir() and self.task.scenes(root) else self.task.pack(root)
            for scene in self.task.scenes(packed):
                (part / f"{i:02d}_{scene.name}").symlink_to(scene.resolve())
        if not any(part.iterdir()):
            raise DataError(f"no training views under {', '.join(data)}")
        (part / "data.json").write_text(json.dumps(data))
        part.rename(folder)
        return folder

    def _settings(self, variant: Variant, seed: int) -> dict[str, Any]:
        """All settings on which a trained run depends, as plain JSON."""
        config = dataclasses.asdict(self.configs[variant.name, seed])
        settings = {
            "config": {key: value for key, value in config.items() if key not in IRRELEVANT},
            **self.task.settings(variant)[0],
            "start": hashlib.sha256(self.start.read_bytes()).hexdigest(),
            "scenes": hashlib.sha256(
                "\n".join(path.name for path in self.task.scenes(self.views)).encode()
            ).hexdigest(),
        }
        return dict(json.loads(json.dumps(settings)))

    def trained(self, variant: Variant, seed: int) -> bool:
        """Returns whether a run's training is finished."""
        return (self._folder(variant.name, seed) / "finished.json").is_file()

    def result(self, variant: Variant, seed: int) -> dict[str, Any] | None:
        """Returns the result of a finished run, with `report` and `training`.

        None if it is missing or has other settings.
        """
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
            "heldout": str(self.options.heldout),
            f"{self.task.unit}s": len(self.task.chosen),
            **self.task.settings(variant)[1],
        }

    def open_runs(self) -> list[tuple[Variant, int]]:
        """Returns the runs without a result, ordered by seed, so that every variant soon has one."""
        return [(v, seed) for seed in self.seeds for v in self.ablation.variants if self.result(v, seed) is None]

    def run_of(self, variant: Variant, seed: int) -> Run:
        """Returns one of the runs."""
        return Run(
            variant, seed, self.configs[variant.name, seed], self._folder(variant.name, seed), self.views, self.start
        )

    def train(self, variant: Variant, seed: int) -> None:
        """Train one run, from its checkpoint if there is one; does nothing if it is finished."""
        if self.trained(variant, seed):
            return
        run = self.run_of(variant, seed)
        self.task.train(run)
        states = [checkpoint.read(path)[1] for path in self._checkpoints(run)]
        steps, seconds = sum(int(state["step"]) for state in states), sum(float(state["seconds"]) for state in states)
        _write(
            run.folder / "finished.json",
            {"steps": steps, "seconds": seconds, "seconds_per_step": seconds / max(1, steps)},
        )

    def _checkpoints(self, run: Run) -> list[Path]:
        paths = [run.folder / f"{stage}.checkpoint.safetensors" for stage in self.task.steps(run.variant)]
        return [path for path in paths if path.is_file()]

    def evaluate(self, variant: Variant, seed: int) -> dict[str, Any]:
        """Score one trained run on held-out data and store the result."""
        run = self.run_of(variant, seed)
        content = {
            "settings": self._evaluation_settings(variant, seed),
            "training": {"folder": str(run.folder), **json.loads((run.folder / "finished.json").read_text())},
            "report": self.task.evaluate(run),
        }
        _write(self._result_path(variant, seed), content)
        return content

    def facts(self) -> dict[str, str]:
        """Returns the settings of the runs, for the report."""
        return {
            **self.task.facts(next(iter(self.configs.values())), len(self.task.scenes(self.views))),
            "seeds": str(self.seeds),
        }

    def seconds_needed(self) -> dict[str, tuple[float, float]]:
        """Measure each variant with an open run on a few steps and held-out items.

        Returns:
            seconds per step and per held-out item, by variant.
        """
        found: dict[str, tuple[float, float]] = {}
        for variant, seed in self.open_runs():
            if variant.name not in found:
                same = [name for name in found if self._folder(name, seed) == self._folder(variant.name, seed)]
                found[variant.name] = found[same[0]] if same else self._time(variant, seed)
        return found

    def _time(self, variant: Variant, seed: int) -> tuple[float, float]:
        folder = self.out / f"timing_{os.getpid()}"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            return self.task.time(self.run_of(variant, seed), folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def seconds_left(self, needed: dict[str, tuple[float, float]]) -> float:
        """Returns the estimated time of the open runs, seconds; steps in checkpoints are not counted.

        Args:
            needed: of `seconds_needed`.
        """
        total, counted = 0.0, set()
        for variant, seed in self.open_runs():
            step, view = needed[variant.name]
            folder = self._folder(variant.name, seed)
            total += view * len(self.task.chosen)
            if folder not in counted and not self.trained(variant, seed):
                done = sum(
                    int(checkpoint.read(path)[1]["step"]) for path in self._checkpoints(self.run_of(variant, seed))
                )
                total += step * max(0, self.options.budget - done)
                counted.add(folder)
        return total

    @contextlib.contextmanager
    def claimed(self, variant: Variant, seed: int) -> Iterator[bool]:
        """Context that yields whether this process has the run to itself; another process may be working on it."""
        with open(self._folder(variant.name, seed) / ".lock", "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def run(self, needed: dict[str, tuple[float, float]], after_each: Callable[[], None]) -> None:
        """Do all open runs except those that another process is working on; returns when every run has a result.

        Args:
            needed: of `seconds_needed`; updated with measured times.
            after_each: called whenever there is a new result.
        """
        while plan := self.open_runs():
            if not any(self._run_if_free(variant, seed, needed) for variant, seed in plan):
                time.sleep(PAUSE)
            after_each()

    def _run_if_free(self, variant: Variant, seed: int, needed: dict[str, tuple[float, float]]) -> bool:
        """Train and score one run unless another process is working on it or has finished it.

        Returns whether it was done here.
        """
        with self.claimed(variant, seed) as free:
            if not free or self.result(variant, seed) is not None:
                return False
            left = f"{len(self.open_runs())} of {len(self.seeds) * len(self.ablation.variants)} runs and"
            print(
                f"{variant.name}, seed {seed}; {left} about {readable(self.seconds_left(needed))} left for one process",
                flush=True,
            )
            self.train(variant, seed)
            training = self.evaluate(variant, seed)["training"]
            needed[variant.name] = (training["seconds_per_step"], needed[variant.name][1])
            return True


def readable(seconds: float) -> str:
    """Returns a duration as text."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _write(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file, which is complete or absent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(content, indent=1) + "\n")
    part.replace(path)
