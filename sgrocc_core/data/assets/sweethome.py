"""Reads the catalogues of Sweet Home 3D's furniture archives (.sh3f) and decides by name and size what each model is.

An archive is a zip of OBJ files with `PluginFurnitureCatalog.properties`: name, category, size in centimetres, creator
and perhaps a rotation of each model, and the licence of all. Its models have y up and look along +z.
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np

from sgrocc_core.classes import label_of
from sgrocc_core.data.assets.entry import Entry, role_of, upright
from sgrocc_core.errors import DataError

CATALOGUE = "PluginFurnitureCatalog.properties"
SKIPPED = {"Vehicles", "Doors and windows", "Staircases", "Bathroom"}
"""Categories of which nothing stands in our rooms."""
OUTDOORS = {"Exterior"}
"""Categories of which only seats and tables are taken."""
_PLANT = r"plant|ficus|yucca|cactus|spathiphyllum|lily|tulips?|orchids?|flowers|christmas tree|succulent|aloe|bonsai"
RULES: tuple[tuple[str | None, str], ...] = (
    (None, r"workbench|abdominal|treadmill|fitness|football|swing|curtain|rug|doormat|tatami|futon$|sleeping bag"),
    (None, r"sitting|lying|horse|container|chimney|antenna|plug|switch|dimmer|blind|hedge|opened|jacuzzi|child hut"),
    (None, r"screen$|intercom|detector|range hood|sink$|wheelbarrow|mower|fence|railing|radiator|water heater"),
    (None, r"hammock|pool table|table tennis|deck|beach|relax"),
    ("objects", r"\b(lamp|lantern|fan|candle|remote|phone|bat|vase|clock|speaker)\b"),
    ("objects", rf"\b({_PLANT})\b"),
    ("furniture", r"\b(tv stand|tv unit|tv table|television cabinet|television stand|living room|dressing table)\b"),
    ("furniture", r"bookcase|cabinet|wardrobe|shel(f|ves|ving)|dresser|drawers|cupboard|fridge|refrigerator|sideboard"),
    (
        "furniture",
        r"\b(oven|washing machine|dryer machine|dishwasher|lockers?|island|counter|chest|buffet|furniture)\b",
    ),
    ("furniture", r"\b(furniture|piano|stove|furnace|fireplace)\b"),
    ("tvs", r"\b(tv|television|imac|monitor)\b"),
    ("sofa", r"\b(sofa|couch)\b"),
    ("bed", r"\b(bed|crib)\b"),
    ("chair", r"\b(chair|armchair|stool|seat|puff|ottoman|bench|bank)\b"),
    ("table", r"\b(table|desk)\b"),
)
"""Class by name, the first that matches; None is left out, and what matches nothing is an object."""
_PEOPLE = r"^(female|male|boy|girl|holding .*|mannequin .*)$"


def read_catalogue(archive: Path) -> tuple[list[Entry], list[tuple[str, str]]]:
    """The models of an archive that can stand in a room, and (name, reason) of the others.

    Raises:
        DataError: not such an archive, or a row without a size.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            text = opened.read(CATALOGUE).decode("latin-1")
            members = set(opened.namelist())
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"{archive} is not a furniture archive of Sweet Home 3D: {error}") from error
    licence, rows = _properties(text)
    entries, left_out = [], []
    for row in rows:
        member = row.get("model", "").lstrip("/")
        name = f"{archive.stem}/{Path(member).stem}"
        if member not in members:
            left_out.append((name, "its file is not in the archive"))
            continue
        found = _entry(archive, name, member, licence, row)
        if isinstance(found, str):
            left_out.append((name, found))
        else:
            entries.append(found)
    return entries, left_out


def _properties(text: str) -> tuple[str, list[dict[str, str]]]:
    """The licence of a catalogue, and its rows in order."""
    rows: dict[int, dict[str, str]] = {}
    licence = "not stated"
    for line in text.splitlines():
        row = re.match(r"(\w+)#(\d+)=(.*)", line.strip())
        if row:
            rows.setdefault(int(row[2]), {})[row[1]] = row[3].strip()
        elif line.startswith("license="):
            licence = " ".join(line.removeprefix("license=").encode("ascii", "ignore").decode().split())
    return licence, [rows[k] for k in sorted(rows)]


def class_of(name: str, category: str) -> str | None:
    """Class of a model by its name and category in the catalogue; None is left out."""
    name = name.lower()
    if category in SKIPPED:
        return None
    if category == "Characters":
        return "objects" if re.match(_PEOPLE, name) else None
    kind = next((k for k, pattern in RULES if re.search(pattern, name)), "objects")
    return kind if category not in OUTDOORS or kind in ("chair", "sofa", "table") else None


def _entry(archive: Path, name: str, member: str, licence: str, row: dict[str, str]) -> Entry | str:
    """The model of a row, or why there is none."""
    title = row.get("name", "")
    kind = class_of(title, row.get("category", ""))
    if kind is None:
        return f"not furniture of a room ({title})"
    if row.get("elevation"):
        return f"hangs on a wall or ceiling ({title})"
    try:
        size = tuple(float(row[key]) / 100 for key in ("width", "depth", "height"))
        turn = [float(v) for v in row.get("modelRotation", "1 0 0 0 1 0 0 0 1").split()]
        top = float(row.get("dropOnTopElevation", "nan")) / 100
    except (KeyError, ValueError) as error:
        raise DataError(f"{archive}: the size of {name} is not given in numbers ({error})") from error
    seat = top if top > 0 else None
    role = role_of(kind, size, seat)  # type: ignore[arg-type]
    if role is None:
        return f"{size[0]:.2f} x {size[1]:.2f} x {size[2]:.2f} m is not a size for the class {kind} ({title})"
    if len(turn) != 9:
        return f"its rotation has {len(turn)} numbers"
    if role == "floor" and re.search(rf"\b({_PLANT})\b", title.lower()):
        role = "plant"
    rotation = upright("y", "z") @ np.array(turn).reshape(3, 3)
    return Entry(
        name, label_of(kind), role, archive, member, size, rotation, licence, row.get("creator", ""), title, seat  # type: ignore[arg-type]
    )  # fmt: skip
