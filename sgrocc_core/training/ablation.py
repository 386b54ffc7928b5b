"""What an ablation compares: variants of one training configuration, read from config/ablations/NAME.yaml.

A variant is a set of values laid over the base configuration, and may disturb the poses that the network is told, in training,
in evaluation, or in both. The first variant is what the others are compared with.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sgrocc_core.errors import ConfigError
from sgrocc_core.share import find_shared
from sgrocc_core.yaml_file import read_mapping

FOLDER = "config/ablations"
METRICS = ("sc_iou", "miou", "boundary_f1")
"""What the paper's tables give, and ours."""
VARIANT_KEYS = ("name", "config", "training_noise", "evaluation_noise", "paper")
NOISE_KEYS = ("metres", "share")


@dataclass(frozen=True)
class PoseNoise:
    """Disturbance of a pose's translation: a normal draw in every direction.

    Attributes:
        metres: root mean square of its length. share: the same as a share of the median translation from frame to frame; one of
            the two is 0.
    """

    metres: float = 0.0
    share: float = 0.0

    def length(self, step: float) -> float:
        """Root mean square length in metres, frames being `step` metres apart."""
        return self.metres + self.share * step


@dataclass(frozen=True)
class Variant:
    """One row of an ablation.

    Attributes:
        name: the field's name of it. overrides: nested values laid over the base configuration (`network`, `losses`, ...).
        training_noise, evaluation_noise: see `PoseNoise`. paper: the paper's figures in percent, by metric.
    """

    name: str
    overrides: dict[str, Any] = field(default_factory=dict)
    training_noise: PoseNoise = PoseNoise()
    evaluation_noise: PoseNoise = PoseNoise()
    paper: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Ablation:
    """A question and the variants that answer it.

    Attributes:
        name: of the file. title: for people. note: what to know when reading it. variants: the first is the reference.
    """

    name: str
    title: str
    note: str
    variants: tuple[Variant, ...]


def load_ablation(name: str) -> Ablation:
    """Read an ablation.

    Args:
        name: of a file under config/ablations, or the path of a YAML file.

    Raises:
        ConfigError: there is none, or it is not what it should be.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else find_shared(f"{FOLDER}/{name}.yaml")
    values = read_mapping(path, "ablation", ("title", "note", "variants"))
    if not isinstance(values.get("variants"), list):
        raise ConfigError(f"{path} must hold a list of variants")
    variants = tuple(_variant(entry, f"{path}: variant {i + 1}") for i, entry in enumerate(values["variants"]))
    names = [variant.name for variant in variants]
    if len(variants) < 2 or len(set(names)) < len(names):
        raise ConfigError(f"{path} has the variants {', '.join(names) or 'none'}; at least two are needed, each with a name of its own")
    return Ablation(path.stem, str(values.get("title", path.stem)), str(values.get("note", "")).strip(), variants)


def _variant(entry: Any, where: str) -> Variant:
    if not isinstance(entry, dict) or "name" not in entry:
        raise ConfigError(f"{where} must be a mapping with a name")
    name = str(entry["name"])
    if not name or name.startswith(".") or any(c in name for c in "/\\\0"):
        raise ConfigError(f"{where}: name is {name!r}; it is a folder's name too, so without / and not beginning with a dot")
    unknown = set(entry) - set(VARIANT_KEYS)
    if unknown:
        raise ConfigError(f"{where}: unknown key {min(unknown)!r}; the keys are {', '.join(VARIANT_KEYS)}")
    overrides, paper = entry.get("config") or {}, entry.get("paper") or {}
    if not isinstance(overrides, dict):
        raise ConfigError(f"{where}: config is {overrides!r}; it must be a mapping of keys to values")
    if not isinstance(paper, dict) or set(paper) - set(METRICS):
        raise ConfigError(f"{where}: paper is {paper!r}; its keys are {', '.join(METRICS)}")
    noises = {key: _noise(entry.get(key) or {}, f"{where}: {key}") for key in ("training_noise", "evaluation_noise")}
    return Variant(name, overrides, paper={metric: float(value) for metric, value in paper.items()}, **noises)


def _noise(values: Any, where: str) -> PoseNoise:
    if not isinstance(values, dict) or set(values) - set(NOISE_KEYS) or len(values) > 1:
        raise ConfigError(f"{where} is {values!r}; it must give one of {', '.join(NOISE_KEYS)}")
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ConfigError(f"{where}: {key} is {value!r}; it must be a number from 0 to 1")
    return PoseNoise(**{key: float(value) for key, value in values.items()})


def laid_over(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """A copy of `base` with the values of `overrides` in it; mappings are merged key by key."""
    merged = copy.deepcopy(base)
    for key, value in overrides.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = laid_over(merged[key], value) if both else copy.deepcopy(value)
    return merged
