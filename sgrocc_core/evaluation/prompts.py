"""Are the things that a sentence names in the room that is made from it? Counted over a list of sentences."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sgrocc_core.classes import label_of
from sgrocc_core.data.synthetic.words.asked import room_of
from sgrocc_core.data.synthetic.words.reader import read_wish
from sgrocc_core.errors import ConfigError
from sgrocc_core.progress import progress
from sgrocc_core.words.encoder import encoder_if_installed
from sgrocc_core.yaml_file import read_mapping


@dataclass(frozen=True)
class Prompt:
    """A sentence and the classes that it names.

    Attributes:
        text: the sentence.
        classes: names of classes.
    """

    text: str
    classes: tuple[str, ...]


def read_prompts(path: Path) -> list[Prompt]:
    """Read a list of sentences.

    Args:
        path: YAML file with `prompts`, a list of `{text, classes}`.

    Raises:
        ConfigError: no such file, or not of that form, or an unknown class.
    """
    rows = read_mapping(path, "list of prompts", ("prompts",)).get("prompts")
    prompts = []
    for number, row in enumerate(rows if isinstance(rows, list) else []):
        if not isinstance(row, dict) or set(row) != {"text", "classes"} or not isinstance(row["classes"], list):
            raise ConfigError(f"{path}: prompt {number} must be a mapping of text and a list of classes")
        try:
            for name in row["classes"]:
                label_of(name)
        except ValueError as error:
            raise ConfigError(f"{path}: prompt {number}: {error}") from error
        prompts.append(Prompt(str(row["text"]), tuple(row["classes"])))
    if not prompts:
        raise ConfigError(f"{path} has no prompts")
    return prompts


def evaluate_prompts(path: Path, seed: int = 0, limit: int = 0) -> dict[str, Any]:
    """Make the room of each sentence and count what is in its voxels.

    Args:
        path: list of sentences, see `read_prompts`.
        seed: seed of the rooms.
        limit: number of sentences, 0 = all.

    Returns:
        `rooms`, `all_classes` (share of rooms with every named class), `as_asked` (share with nothing missed at all),
        and a row for each sentence.
    """
    prompts = read_prompts(path)[: limit or None]
    encoder, rows = encoder_if_installed(), []
    for index, prompt in enumerate(progress(prompts, unit="room", desc="prompts")):
        row: dict[str, Any] = {"prompt": prompt.text, "missing": list(prompt.classes), "told": []}
        try:
            room = room_of(read_wish(prompt.text, encoder), seed, index)
        except ConfigError as error:
            row["told"], row["as_asked"] = [str(error)], False
        else:
            counts = np.bincount(room.grid.labels.ravel(), minlength=256)
            row["missing"] = [name for name in prompt.classes if counts[label_of(name)] == 0]
            row["told"], row["as_asked"] = room.told(), not room.misses and not room.wish.missed
        rows.append(row)
    return {
        "rooms": len(rows),
        "all_classes": sum(not row["missing"] for row in rows) / len(rows),
        "as_asked": sum(bool(row["as_asked"]) for row in rows) / len(rows),
        "encoder": encoder is not None,
        "prompts": rows,
    }


def table(report: dict[str, Any]) -> str:
    """The shares, and what is missing or was not understood, as text."""
    lines = [f"{row['prompt']}: {'; '.join(row['told'])}" for row in report["prompts"] if row["told"]]
    lines.append(
        f"{report['rooms']} rooms: every named class in {report['all_classes']:.3f}, everything as asked in "
        f"{report['as_asked']:.3f}{'' if report['encoder'] else ' (without the sentence encoder)'}"
    )
    return "\n".join(lines)
