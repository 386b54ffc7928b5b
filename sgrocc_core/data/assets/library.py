"""The furniture models of a folder, prepared: what there is for each role, what was left out, and what is held out."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from multiprocessing import get_context
from pathlib import Path

from sgrocc_core.classes import NAMES
from sgrocc_core.data.assets.config import AssetConfig
from sgrocc_core.data.assets.entry import Entry
from sgrocc_core.data.assets.model import Model, read_prepared
from sgrocc_core.data.assets.preparing import is_prepared, prepare
from sgrocc_core.data.assets.table import read_folder
from sgrocc_core.data.synthetic.processes import end_with_parent
from sgrocc_core.errors import DataError

HELD_OUT = 4
"""Of each role every fourth model, in an order without meaning, stands only in rooms that are not trained on."""


@dataclass(frozen=True)
class Library:
    """Models that can stand in rooms.

    Attributes:
        entries: the models, by name.
        left_out: (name, reason) of the others.
        files: prepared file of each model, by name.
        share: probability of a model where there is one.
    """

    entries: tuple[Entry, ...]
    left_out: tuple[tuple[str, str], ...]
    files: Mapping[str, Path]
    share: float

    def model(self, entry: Entry) -> Model:
        """A prepared model."""
        return read_prepared(self.files[entry.name])

    def of_role(self, held_out: bool) -> dict[str, tuple[Entry, ...]]:
        """The models of each role that stand in rooms for training, or in all other rooms (`held_out`).

        A role with a single model has it in rooms for training only.
        """
        found: dict[str, list[Entry]] = {}
        for entry in sorted(self.entries, key=lambda e: hashlib.sha256(e.name.encode()).digest()):
            found.setdefault(entry.role, []).append(entry)
        chosen = {
            role: tuple(e for k, e in enumerate(of_role) if (k % HELD_OUT == 1) == held_out)
            for role, of_role in found.items()
        }
        return {role: entries for role, entries in chosen.items() if entries}


def prepare_all(config: AssetConfig, jobs: int = 1, tick: Callable[[int], None] = lambda total: None) -> Library:
    """Prepare the models of a folder that are not in the cache yet.

    Args:
        config: the folder and the cache.
        jobs: number of processes.
        tick: called with the number of models after each one.

    Raises:
        DataError: no such folder or table, a wrong row, or no model that can be used.
    """
    entries, left_out = read_folder(config.folder)
    cache = config.prepared
    try:
        cache.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"cannot write prepared furniture to {cache} ({error}); give another folder as cache"
        ) from error
    if jobs == 1 or all(is_prepared(e, cache) for e in entries):
        prepared = _collected((prepare(e, cache) for e in entries), entries, tick)
    else:
        with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=end_with_parent) as pool:
            prepared = _collected(pool.map(partial(prepare, cache=cache), entries, chunksize=4), entries, tick)
    files = {e.name: path for e, (path, _) in zip(entries, prepared) if path is not None}
    left_out += [(e.name, reason) for e, (_, reason) in zip(entries, prepared) if reason]
    if not files:
        name, reason = left_out[-1]
        raise DataError(f"none of the {len(entries)} models in {config.folder} can be used; {name}: {reason}")
    usable = tuple(e for e in entries if e.name in files)
    return Library(usable, tuple(sorted(left_out)), files, config.share)


def _collected(
    results: Iterable[tuple[Path | None, str]], entries: Sequence[Entry], tick: Callable[[int], None]
) -> list[tuple[Path | None, str]]:
    found = []
    for result in results:
        found.append(result)
        tick(len(entries))
    return found


@lru_cache(maxsize=4)
def open_library(config: AssetConfig) -> Library:
    """The prepared models of a folder; what is not in the cache is prepared in this process."""
    return prepare_all(config)


def used_table(library: Library, rooms: dict[str, int]) -> str:
    """A CSV of the models used and in how many rooms, with class, creator and licence."""
    lines = [
        (e.name, e.title, NAMES[e.label], e.creator, e.licence, rooms[e.name])
        for e in library.entries
        if rooms.get(e.name)
    ]
    return _csv(("model", "title", "class", "creator", "licence", "rooms"), lines)


def left_out_table(library: Library) -> str:
    """A CSV of the models that are not used, and why."""
    return _csv(("model", "reason"), library.left_out)


def _csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
