"""The variants that an ablation compares, read from config/ablations/NAME.yaml.

A variant consists of values that override the base configuration, and may add noise to the network's poses in training,
evaluation or both. The other variants are compared with the first. Variants of the temporal manager (`task:
embodied`) also give the phases of training.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.share import find_shared
from sgrocc_core.yaml_file import read_mapping

FOLDER = "config/ablations"
METRICS = ("sc_iou", "miou", "boundary_f1")
"""The figures of the paper's tables and ours."""
VARIANT_KEYS = ("name", "config", "training_noise", "evaluation_noise", "phases", "paper", "optional")
TASKS = ("local", "embodied", "image", "depth", "generation", "imagined")
"""Single views through the spatial expert, whole walks with the memory, single views through the image engine alone,
videos through an exported model, without training, rooms from words, and single views with imagined rooms."""
CONFIGS = {
    "local": "config/train/small_local.yaml",
    "embodied": "config/train/small_embodied.yaml",
    "image": "config/train/small_local.yaml",
    "generation": "config/generation/small.yaml",
    "imagined": "config/train/small_local.yaml",
}
"""Default base configuration of each task."""
PHASES = ("manager", "everything", "end_to_end")
TWO_PHASES = {"manager": 1 / 3, "everything": 2 / 3}
"""Default shares of the budget (method, section 6: epochs 1 to 5 and 6 to 15)."""
NOISE_KEYS = ("metres", "share")


@dataclass(frozen=True)
class PoseNoise:
    """Noise of a pose's translation: a normal draw in every direction.

    Attributes:
        metres: root mean square of its length, metres.
        share: the same as a share of the median translation from frame to frame; one of the two is 0.
    """

    metres: float = 0.0
    share: float = 0.0

    def __bool__(self) -> bool:
        """Returns whether there is any noise."""
        return self.metres > 0 or self.share > 0

    def length(self, step: float) -> float:
        """Returns the root mean square length in metres.

        Args:
            step: median translation from frame to frame, metres.
        """
        return self.metres + self.share * step


@dataclass(frozen=True)
class Variant:
    """One row of an ablation.

    Attributes:
        name: of the variant.
        overrides: nested values that override the base configuration (`network`, `losses`, ...).
        training_noise: noise of the poses in training.
        evaluation_noise: noise of the poses in evaluation.
        paper: the paper's figures in percent, by metric.
        phases: phases of embodied training in their order, with their shares of the budget.
        optional: left out where the published language model that it names is not on the machine; see `at_hand`.
    """

    name: str
    overrides: dict[str, Any] = field(default_factory=dict)
    training_noise: PoseNoise = PoseNoise()
    evaluation_noise: PoseNoise = PoseNoise()
    paper: dict[str, float] = field(default_factory=dict)
    phases: dict[str, float] = field(default_factory=lambda: dict(TWO_PHASES))
    optional: bool = False


@dataclass(frozen=True)
class Reference:
    """A published figure beside the curve over shares of labels.

    Attributes:
        name: of the method and its data.
        share: of the labels, above 0 to 1.
        miou: percent.
    """

    name: str
    share: float
    miou: float


@dataclass(frozen=True)
class Ablation:
    """A question and the variants that answer it.

    Attributes:
        name: of the file.
        title: of the report.
        note: explanation at the top of the report.
        variants: the first one is the reference.
        task: one of TASKS.
        references: published figures for the curve over shares of labels.
    """

    name: str
    title: str
    note: str
    variants: tuple[Variant, ...]
    task: str = "local"
    references: tuple[Reference, ...] = ()


def load_ablation(name: str) -> Ablation:
    """Read an ablation.

    Args:
        name: of a file under config/ablations, or the path of a YAML file.

    Raises:
        ConfigError: the file does not exist, or a value in it is not allowed.
    """
    path = Path(name) if name.endswith((".yaml", ".yml")) else find_shared(f"{FOLDER}/{name}.yaml")
    values = read_mapping(path, "ablation", ("title", "note", "task", "references", "variants"))
    if not isinstance(values.get("variants"), list):
        raise ConfigError(f"{path} must hold a list of variants")
    task = values.get("task", "local")
    if task not in TASKS:
        raise ConfigError(f"{path}: task is {task!r}; it must be one of {', '.join(TASKS)}")
    variants = tuple(_variant(entry, f"{path}: variant {i + 1}", task) for i, entry in enumerate(values["variants"]))
    names = [variant.name for variant in variants]
    if len(variants) < 2 or len(set(names)) < len(names):
        raise ConfigError(
            f"{path} has the variants {', '.join(names) or 'none'}; "
            "at least two are needed, each with a name of its own"
        )
    references = tuple(_reference(entry, f"{path}: references") for entry in values.get("references") or ())
    title, note = str(values.get("title", path.stem)), str(values.get("note", "")).strip()
    return Ablation(path.stem, title, note, variants, task, references)


def at_hand(ablation: Ablation) -> tuple[Ablation, list[str]]:
    """Leave out the optional variants whose published language model is not on this machine.

    Args:
        ablation: as read.

    Returns:
        The ablation without them, and why each was left out.
    """
    from sgrocc_core.training.language.published import find_model

    kept, reasons = [], []
    for variant in ablation.variants:
        try:
            if variant.optional:
                find_model(str(variant.overrides["language"]["model"]))
            kept.append(variant)
        except ModelError as error:
            reasons.append(f"{variant.name} is left out: {error}")
    return replace(ablation, variants=tuple(kept)), reasons


def _reference(entry: Any, where: str) -> Reference:
    if not isinstance(entry, dict) or set(entry) != {"name", "share", "miou"}:
        raise ConfigError(f"{where}: {entry!r} must be a mapping of name, share and miou")
    return Reference(str(entry["name"]), float(entry["share"]), float(entry["miou"]))


def _variant(entry: Any, where: str, task: str) -> Variant:
    if not isinstance(entry, dict) or "name" not in entry:
        raise ConfigError(f"{where} must be a mapping with a name")
    name = str(entry["name"])
    if not name or name.startswith(".") or any(c in name for c in "/\\\0"):
        raise ConfigError(
            f"{where}: name is {name!r}; it is a folder's name too, so without / and not beginning with a dot"
        )
    unknown = set(entry) - set(VARIANT_KEYS)
    if unknown:
        raise ConfigError(f"{where}: unknown key {min(unknown)!r}; the keys are {', '.join(VARIANT_KEYS)}")
    overrides, paper = entry.get("config") or {}, entry.get("paper") or {}
    if not isinstance(overrides, dict):
        raise ConfigError(f"{where}: config is {overrides!r}; it must be a mapping of keys to values")
    if not isinstance(paper, dict) or set(paper) - set(METRICS):
        raise ConfigError(f"{where}: paper is {paper!r}; its keys are {', '.join(METRICS)}")
    optional = entry.get("optional", False)
    language = overrides.get("language")
    if not isinstance(optional, bool) or (optional and not (isinstance(language, dict) and "model" in language)):
        raise ConfigError(
            f"{where}: optional is {optional!r}; it must be true or false, and true only beside config: {{language: "
            "{kind: vlm, model: NAME}}"
        )
    noises = {key: _noise(entry.get(key) or {}, f"{where}: {key}") for key in ("training_noise", "evaluation_noise")}
    if task == "embodied" and any(noises.values()):
        raise ConfigError(f"{where}: walks are not trained under pose noise")
    if task == "image" and any(noises.values()):
        raise ConfigError(f"{where}: the image engine is told no position, so there is no pose noise")
    phases = entry.get("phases", TWO_PHASES)
    if task != "embodied" and "phases" in entry:
        raise ConfigError(f"{where}: phases are of `task: embodied`")
    if not isinstance(phases, dict) or set(phases) - set(PHASES) or abs(sum(map(float, phases.values())) - 1) > 0.01:
        raise ConfigError(f"{where}: phases is {phases!r}; it must give shares that add up to 1 of {', '.join(PHASES)}")
    return Variant(
        name,
        overrides,
        optional=optional,
        paper={metric: float(value) for metric, value in paper.items()},
        phases=dict(phases),
        **noises,
    )


def _noise(values: Any, where: str) -> PoseNoise:
    if not isinstance(values, dict) or set(values) - set(NOISE_KEYS) or len(values) > 1:
        raise ConfigError(f"{where} is {values!r}; it must give one of {', '.join(NOISE_KEYS)}")
    for key, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ConfigError(f"{where}: {key} is {value!r}; it must be a number from 0 to 1")
    return PoseNoise(**{key: float(value) for key, value in values.items()})


def laid_over(base: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Returns a copy of `base` with the values of `overrides`; mappings are merged key by key."""
    merged = copy.deepcopy(base)
    for key, value in overrides.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = laid_over(merged[key], value) if both else copy.deepcopy(value)
    return merged
