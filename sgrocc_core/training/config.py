"""Configuration of a training run: typed, checked when made, read from YAML."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from sgrocc_core.errors import ConfigError
from sgrocc_core.training.schedule import Schedule

STAGES = ("image", "expert", "joint")


@dataclass(frozen=True)
class StageConfig:
    """One stage of training.

    Attributes:
        minutes: wall time; 0 = `steps` alone decide. steps: most steps. batch: views a step. rate: highest learning rate.
        image_rate: the image engine's rate as a share of `rate` (joint stage). weight_decay: AdamW's. clip: bound of the gradient's norm.
    """

    minutes: float = 0.0
    steps: int = 100_000
    batch: int = 16
    rate: float = 4e-4
    image_rate: float = 0.25
    weight_decay: float = 0.01
    clip: float = 10.0
    warmup: float = 0.03

    def schedule(self) -> Schedule:
        """The stage's learning rate and end."""
        return Schedule(self.rate, self.steps, self.minutes, self.warmup)


@dataclass(frozen=True)
class TrainConfig:
    """A whole run.

    Attributes:
        model: name under models/ whose weights a run starts from. seed: of every random draw.
        threads: of PyTorch. workers: processes that prepare views. bf16: autocast of network layers.
        average: decay of the moving average of weights, which is what is validated and kept.
        checkpoint_minutes, validate_minutes: how often. rescan_steps: how often new scenes are looked for.
        validation_views: held-out views looked at while training.
    """

    model: str = "small"
    seed: int = 1
    threads: int = 2
    workers: int = 1
    bf16: bool = True
    average: float = 0.998
    checkpoint_minutes: float = 3.0
    validate_minutes: float = 4.0
    rescan_steps: int = 400
    validation_views: int = 96
    sensor_share: float = 0.5
    stages: dict[str, StageConfig] = field(default_factory=lambda: {name: StageConfig() for name in STAGES})

    def __post_init__(self) -> None:
        for name in ("threads", "rescan_steps", "validation_views"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; at least 1 is needed")
        if not 0 <= self.sensor_share <= 1:
            raise ConfigError(f"sensor_share is {self.sensor_share}; it must be from 0 to 1")
        if not 0 <= self.average < 1:
            raise ConfigError(f"average is {self.average}; it must be from 0 to below 1")
        for name, stage in self.stages.items():
            if name not in STAGES:
                raise ConfigError(f"unknown stage {name!r}; the stages are {', '.join(STAGES)}")
            if stage.batch < 1:
                raise ConfigError(f"stages.{name}.batch is {stage.batch}; at least 1 is needed")
            stage.schedule()


def _checked(cls: type, values: dict[str, Any], where: str) -> dict[str, Any]:
    known = {f.name: f.type for f in fields(cls)}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; the keys are {', '.join(known)}")
        wanted = known[key]
        if wanted == "float" and isinstance(value, (int, float)) and not isinstance(value, bool):
            values[key] = float(value)
        elif wanted in ("int", "bool", "str") and type(value).__name__ != wanted:
            raise ConfigError(f"{where}: {key} is {value!r}; it must be of type {wanted}")
        elif wanted == "float" and not isinstance(value, float):
            raise ConfigError(f"{where}: {key} is {value!r}; it must be a number")
    return values


def load_config(path: Path) -> TrainConfig:
    """Read a training configuration.

    Raises:
        ConfigError: no such file, not YAML, or a key or value that is not allowed.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"cannot read the training configuration {path}: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must be a mapping of keys to values")
    raw_stages = values.pop("stages", {}) or {}
    stages = {name: StageConfig() for name in STAGES}
    for name, stage in raw_stages.items():
        stages[name] = StageConfig(**_checked(StageConfig, dict(stage or {}), f"{path}: stages.{name}"))
    return TrainConfig(stages=stages, **_checked(TrainConfig, values, str(path)))
