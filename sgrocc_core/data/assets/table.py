"""Reads `assets.csv`, the table of a folder of OBJ and GLB files, and finds what kind of folder one is."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from sgrocc_core.classes import label_of
from sgrocc_core.data.assets.entry import CLASSES, LIMITS, ROLES, Entry, role_of, upright
from sgrocc_core.data.assets.sweethome import read_catalogue
from sgrocc_core.errors import DataError

TABLE = "assets.csv"
NEEDED = ("file", "class", "up", "width", "depth", "height", "licence")
OPTIONAL = ("front", "role", "name", "creator", "top")
SUFFIXES = (".obj", ".glb")
DEFAULT_FRONT = {"y": "z", "z": "-y", "-y": "z", "-z": "-y", "x": "z", "-x": "z"}
"""The front where the table names none: that of glTF for y up, that of most modellers for z up."""


def read_folder(folder: str | Path) -> tuple[list[Entry], list[tuple[str, str]]]:
    """All models that the tables of a folder name: `assets.csv`, and the catalogues inside `*.sh3f` archives.

    Args:
        folder: the folder.

    Returns:
        The models in the order of their names, and (name, reason) of the models that do not fit into a room.

    Raises:
        DataError: no such folder, no table in it, or a row that is wrong.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"no folder {folder}; furniture is in that of Debian's sweethome3d-furniture, or in one of "
                        f"OBJ and GLB files with {TABLE}")  # fmt: skip
    archives = sorted(folder.glob("*.sh3f"))
    if not archives and not (folder / TABLE).is_file():
        raise DataError(f"{folder} has no {TABLE} and no .sh3f file, so nothing says what its models are")
    entries: list[Entry] = []
    left_out: list[tuple[str, str]] = []
    for archive in archives:
        found, unused = read_catalogue(archive)
        entries += found
        left_out += unused
    if (folder / TABLE).is_file():
        entries += _read_table(folder / TABLE)
    names = [e.name for e in entries]
    twice = next((n for n in names if names.count(n) > 1), None)
    if twice is not None:
        raise DataError(f"{folder}: two models are called {twice}; names must differ")
    if not entries:
        raise DataError(f"the tables in {folder} name no model that can stand in a room")
    return sorted(entries, key=lambda e: e.name), left_out


def _read_table(path: Path) -> list[Entry]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}: {error}") from error
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    columns = tuple(rows.fieldnames or ())
    missing = [c for c in NEEDED if c not in columns]
    if missing:
        raise DataError(f"{path} has no column {missing[0]!r}; it needs {', '.join(NEEDED)}")
    unknown = [c for c in columns if c not in NEEDED + OPTIONAL]
    if unknown:
        raise DataError(f"{path}: unknown column {unknown[0]!r}; beside {', '.join(NEEDED)} there may be "
                        f"{', '.join(OPTIONAL)}")  # fmt: skip
    entries = []
    for number, row in enumerate(rows, 2):
        try:
            entries.append(_entry(path.parent, {k: (v or "").strip() for k, v in row.items() if isinstance(k, str)}))
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from None
    return entries


def _entry(folder: Path, row: dict[str, str]) -> Entry:
    file, kind = row["file"], row["class"]
    path = folder / file
    if path.suffix.lower() not in SUFFIXES:
        raise DataError(f"file is {file!r}; it must end in {' or '.join(SUFFIXES)}")
    if Path(file).is_absolute() or ".." in Path(file).parts:
        raise DataError(f"file is {file!r}; it must lie inside the folder")
    if not path.is_file():
        raise DataError(f"there is no file {file!r}")
    if kind not in CLASSES:
        raise DataError(f"class is {kind!r}; it must be one of {', '.join(CLASSES)}")
    if not row["licence"]:
        raise DataError(f"{file} has no licence; the licences of what is used are written beside the set")
    size = (_metres(row, "width"), _metres(row, "depth"), _metres(row, "height"))
    top = _metres(row, "top") if row.get("top") else None
    role = row.get("role") or role_of(kind, size, top)
    if role is None:
        low, high = LIMITS[kind]
        raise DataError(f"{file} is {size[0]:g} x {size[1]:g} x {size[2]:g} m; a model of class {kind} must be from "
                        f"{' x '.join(f'{v:g}' for v in low)} to {' x '.join(f'{v:g}' for v in high)} m")  # fmt: skip
    if role not in ROLES:
        raise DataError(f"role is {role!r}; it must be one of {', '.join(ROLES)}")
    rotation = upright(row["up"], row.get("front") or DEFAULT_FRONT.get(row["up"], ""))
    name = row.get("name") or str(Path(file).with_suffix(""))
    return Entry(
        name, label_of(kind), role, path, "", size, rotation, row["licence"], row.get("creator", ""), path.stem, top
    )


def _metres(row: dict[str, str], key: str) -> float:
    try:
        value = float(row[key])
    except ValueError:
        value = np.nan
    if not 0.0 < value < 20.0:
        raise DataError(f"{key} is {row[key]!r}; it must be a length in metres")
    return value
