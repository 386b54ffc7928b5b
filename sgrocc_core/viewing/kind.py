"""Detection of whether a path is a bag or a saved map, from its contents."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sgrocc_core.errors import DataError
from sgrocc_core.map_files.format import MAP

BAG_SUFFIXES = (".mcap", ".db3", ".bag")
BAG_BEGINNINGS = (b"\x89MCAP", b"SQLite format 3\0", b"#ROSBAG V")
ARCHIVE_BEGINNING = b"PK\x03\x04"
"""An .npz is a zip archive."""
ALLOWED = (
    f"allowed are a bag (.mcap, .db3, the folder of either, a ROS 1 .bag) and a map (a folder with {MAP}, or that file)"
)


def kind_of(path: Path) -> Literal["bag", "map"]:
    """Tell whether a path is a bag or a saved map.

    Args:
        path: A file or folder.

    Raises:
        DataError: The path does not exist, is neither, or is a folder with both.
    """
    if not path.exists():
        raise DataError(f"no such file or folder: {path}; {ALLOWED}")
    if path.is_dir():
        inside = {p.name for p in path.iterdir()}
        is_map = bool(inside & {MAP, ".current"})
        is_bag = "metadata.yaml" in inside or any(name.endswith(BAG_SUFFIXES) for name in inside)
        if is_map and is_bag:
            raise DataError(f"{path} holds a map and a bag; name one of them: {path / MAP}, or the bag's file")
    else:
        with path.open("rb") as file:
            beginning = file.read(16)
        is_map = beginning.startswith(ARCHIVE_BEGINNING)
        is_bag = beginning.startswith(BAG_BEGINNINGS) or path.suffix in BAG_SUFFIXES
    if not (is_map or is_bag):
        raise DataError(f"{path} is neither a bag nor a map; {ALLOWED}")
    return "map" if is_map else "bag"
