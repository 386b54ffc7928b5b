"""Configuration of a training run, read from YAML and checked."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from sgrocc_core.engines.open import DEVICES
from sgrocc_core.errors import ConfigError
from sgrocc_core.network.expert.spatial_expert import ExpertConfig
from sgrocc_core.share import find_shared
from sgrocc_core.training.embodied.step import WalkConfig
from sgrocc_core.training.language.config import LanguageConfig
from sgrocc_core.training.losses.few_labels import FewLabels
from sgrocc_core.training.losses.objectives import LocalWeights
from sgrocc_core.training.schedule import Schedule
from sgrocc_core.training.stereo.clips import ClipConfig
from sgrocc_core.yaml_file import read_mapping

LOCAL_STAGES = ("image", "expert", "joint")
TWO_PHASES = ("manager", "everything")
STAGES = (*LOCAL_STAGES, "stereo", *TWO_PHASES, "end_to_end")
"""Stages of the local model, stereo, the phases of embodied training, and `end_to_end`, for comparison."""


@dataclass(frozen=True)
class StageConfig:
    """Settings of one stage of training.

    Attributes:
        minutes: maximum training time; 0 = no limit.
        steps: maximum number of steps.
        batch: views per step, over all processes.
        rate: highest learning rate.
        image_rate: the image engine's learning rate as a share of `rate` (joint stage).
        weight_decay: of AdamW.
        clip: maximum norm of the gradient.
        warmup: share of the run in which the rate rises.

    Raises:
        ConfigError: a value is not allowed.
    """

    minutes: float = 0.0
    steps: int = 100_000
    batch: int = 16
    rate: float = 4e-4
    image_rate: float = 0.25
    weight_decay: float = 0.01
    clip: float = 10.0
    warmup: float = 0.03

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise ConfigError(f"batch is {self.batch}; at least 1 is needed")
        if not 0 <= self.image_rate <= 1:
            raise ConfigError(f"image_rate is {self.image_rate}; it is a share of rate, from 0 to 1")
        if self.weight_decay < 0:
            raise ConfigError(f"weight_decay is {self.weight_decay}; it must be 0 or more")
        if self.clip <= 0:
            raise ConfigError(f"clip is {self.clip}; it must be positive")
        self.schedule()

    def schedule(self) -> Schedule:
        """Returns the stage's schedule."""
        return Schedule(self.rate, self.steps, self.minutes, self.warmup)


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a whole run.

    Attributes:
        model: name under config/models and models/: the networks, and the weights that a run starts from.
        image: arguments of the image engine. In YAML, keys given here override those of config/models/MODEL.yaml.
        network: sizes and variants of the spatial expert; in YAML as `image`.
        losses: weights of the local head's losses.
        seed: of all random draws.
        device: `cpu`, `cuda` (one GPU per process) or `auto`: CUDA if available.
        amp: mixed precision: bf16 on CPUs and GPUs that support it, otherwise fp16 with scaled gradients.
        threads: CPU threads of PyTorch.
        workers: processes that load data, for each training process.
        average: decay of the moving average of the weights, which is validated and saved as the result.
        checkpoint_minutes: time between checkpoints.
        validate_minutes: time between validations.
        rescan_steps: steps between searches for new scenes.
        validation_views: maximum number of held-out views in a validation.
        sensor_share: share of views with simulated sensor depth.
        motion_share: share of the other views whose depth is stereo's, where that was written, or as if from motion.
        appearance: share of views whose surfaces get other colours and a grain (stages on single views).
        walk: settings of training on walks (embodied).
        stereo: arguments of `StereoConfig`; in YAML as `image`.
        clip: settings of training on videos (stereo).
        few_labels: training with the labels of a part of the scenes.
        language: the language-aware prior of the stages `expert` and `joint`.
        stages: settings of each stage.

    Raises:
        ConfigError: a value is not allowed.
    """

    model: str = "small"
    image: dict[str, Any] = field(default_factory=dict)
    network: ExpertConfig = field(default_factory=ExpertConfig)
    losses: LocalWeights = field(default_factory=LocalWeights)
    seed: int = 1
    device: str = "auto"
    amp: bool = True
    threads: int = 2
    workers: int = 1
    average: float = 0.998
    checkpoint_minutes: float = 3.0
    validate_minutes: float = 4.0
    rescan_steps: int = 400
    validation_views: int = 96
    sensor_share: float = 0.5
    motion_share: float = 0.0
    appearance: float = 0.0
    walk: WalkConfig = field(default_factory=WalkConfig)
    stereo: dict[str, Any] = field(default_factory=dict)
    clip: ClipConfig = field(default_factory=ClipConfig)
    few_labels: FewLabels = field(default_factory=FewLabels)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    stages: dict[str, StageConfig] = field(default_factory=lambda: {name: StageConfig() for name in STAGES})

    def __post_init__(self) -> None:
        if self.device not in DEVICES:
            raise ConfigError(f"device is {self.device!r}; it must be one of {', '.join(DEVICES)}")
        for name in ("threads", "rescan_steps", "validation_views"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; at least 1 is needed")
        for name in ("seed", "workers"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 0 or more")
        for name in ("checkpoint_minutes", "validate_minutes"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be positive")
        for name in ("sensor_share", "motion_share", "appearance"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be from 0 to 1")
        if not 0 <= self.average < 1:
            raise ConfigError(f"average is {self.average}; it must be from 0 to below 1")
        if self.language.on and not (self.losses.regularisation and self.losses.regularisation_kind != "none"):
            raise ConfigError(
                f"language.kind is {self.language.kind!r}, but there is no regularisation for it to weigh; set "
                "losses.regularisation above 0 and losses.regularisation_kind to uniform or semantic"
            )
        if self.language.on and self.network.head != "gaussians":
            raise ConfigError("language weighs the regularisation of Gaussians; network.head must be gaussians")
        for name in self.stages:
            if name not in STAGES:
                raise ConfigError(f"unknown stage {name!r}; the stages are {', '.join(STAGES)}")


def load_config(path: Path) -> TrainConfig:
    """Read a training configuration.

    Args:
        path: YAML file with keys of `TrainConfig`; `network`, `losses`, `few_labels`, `language`, `walk` and
            `stages` are themselves mappings.

    Raises:
        ConfigError: the file does not exist or is not YAML, or a key or value is not allowed.
    """
    values = read_mapping(path, "configuration")
    where = str(path)
    stages = {name: StageConfig() for name in STAGES}
    for name, stage in mapping(values.pop("stages", {}), where, "stages").items():
        if name not in STAGES:
            raise ConfigError(f"{where}: unknown stage {name!r} in stages; the stages are {', '.join(STAGES)}")
        stages[name] = made(StageConfig, mapping(stage, where, f"stages.{name}"), f"{where}: stages.{name}")
    walk = made(WalkConfig, mapping(values.pop("walk", {}), where, "walk"), f"{where}: walk")
    clip = made(ClipConfig, mapping(values.pop("clip", {}), where, "clip"), f"{where}: clip")
    losses = made(LocalWeights, mapping(values.pop("losses", {}), where, "losses"), f"{where}: losses")
    language = made(LanguageConfig, mapping(values.pop("language", {}), where, "language"), f"{where}: language")
    few = made(FewLabels, mapping(values.pop("few_labels", {}), where, "few_labels"), f"{where}: few_labels")
    image, network, stereo = (mapping(values.pop(key, {}), where, key) for key in ("image", "network", "stereo"))
    _checked(ExpertConfig, network, f"{where}: network")
    model = model_sections(_checked(TrainConfig, dict(values), where).get("model", TrainConfig.model))
    network = made(ExpertConfig, {**model["expert"], **network}, f"{where}: network")
    networks = {
        "image": {**of_same_kind(model["image"], image), **image},
        "network": network,
        "stereo": {**model.get("stereo", {}), **stereo},
    }
    given = {**networks, "losses": losses, "few_labels": few, "language": language}
    given |= {"walk": walk, "clip": clip, "stages": stages}
    return made(TrainConfig, {**values, **given}, where)


def model_sections(model: str) -> dict[str, dict[str, Any]]:
    """Read the configuration of a model's networks, config/models/MODEL.yaml.

    Returns:
        keyword arguments under `image` (the image engine's), `expert` (`ExpertConfig`'s) and, if the model has stereo,
        `stereo` (`StereoConfig`'s).

    Raises:
        ConfigError: there is no such model, or the file is invalid.
    """
    path = find_shared(f"config/models/{model}.yaml")
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(f"model is {model!r}: there is no {path}; the models known are {known}")
    values = read_mapping(path, "model configuration")
    names = ("image", "expert", *(["stereo"] if "stereo" in values else []))
    return {name: mapping(values.get(name, {}), str(path), name) for name in names}


def of_same_kind(model: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Returns a model's arguments of the image engine if the given ones are of the same kind, else none of them.

    Args:
        model: arguments of the model's image engine.
        given: those that override them, perhaps with another `kind`.
    """
    kind = "small"  # that of an image engine for which none is stated
    return model if given.get("kind", model.get("kind", kind)) == model.get("kind", kind) else {}


def network_sections(model: str, config: Path | None = None) -> tuple[str, dict[str, dict[str, Any]]]:
    """Returns the name of a model and the arguments of its networks.

    Args:
        model: a name under config/models.
        config: a training configuration used instead of it, or None.

    Returns:
        the name, and keyword arguments under `image` and `expert`.

    Raises:
        ConfigError: the configuration does not exist, or a value in it is not allowed.
    """
    if config is None:
        return model, model_sections(model)
    run = load_config(config)
    return run.model, {"image": run.image, "expert": asdict(run.network)}


def mapping(value: Any, where: str, key: str) -> dict[str, Any]:
    """Returns a copy of a section of a configuration; an absent one is empty.

    Args:
        value: the section.
        where: file, for the error message.
        key: of the section.

    Raises:
        ConfigError: it is not a mapping.
    """
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: {key} is {value!r}; it must be a mapping of keys to values")
    return dict(value)


def _checked(cls: type, values: dict[str, Any], where: str) -> dict[str, Any]:
    """Returns the values after checking that each key is a field of the class and each value has its type.

    Integers count as floats.
    """
    known = {f.name: f.type for f in fields(cls)}
    for key, value in values.items():
        if key not in known:
            raise ConfigError(f"{where}: unknown key {key!r}; the keys are {', '.join(known)}")
        wanted = known[key]
        if wanted == "float":
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise ConfigError(f"{where}: {key} is {value!r}; it must be a finite number")
            values[key] = float(value)
        elif wanted in ("int", "bool", "str") and type(value).__name__ != wanted:
            kind = {"int": "a whole number", "bool": "true or false", "str": "text"}[str(wanted)]
            raise ConfigError(f"{where}: {key} is {value!r}; it must be {kind}")
    return values


def made(cls: type, values: dict[str, Any], where: str) -> Any:
    """Returns an object of a configuration class.

    Args:
        cls: frozen dataclass.
        values: its arguments.
        where: file and key, for the error message.

    Raises:
        ConfigError: a key is unknown, or a value is not allowed.
    """
    checked = _checked(cls, values, where)
    try:
        return cls(**checked)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
