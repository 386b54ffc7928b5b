"""Maps on disk. A save is atomic: a process killed at any moment leaves a complete map.

FOLDER/map.npz, gaussians.safetensors, map.ply, map.png, report.json    the files for users: links through .current
FOLDER/.current -> .generations/NNNNNN                                 the current generation; one rename switches it
FOLDER/previous_N/                                                     maps that another process had written here
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sgrocc_core.errors import DataError
from sgrocc_core.map_files.format import FILES, KEYS, MAP, REPORT, SavedMap, load_map, write_map

__all__ = ["FILES", "KEYS", "MapFolder", "SavedMap", "load_map", "remove_map", "rewrite_report"]


class MapFolder:
    """The maps in one folder, as one process sees them.

    A save replaces a map that this object has written or loaded, and keeps any other map as previous_N.

    Args:
        path: The folder; created at the first save.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._own: set[str] = set()

    def save(self, saved: SavedMap, report: dict[str, Any] | None = None, picture: bool = True) -> list[Path]:
        """Write a new generation and make it the current map.

        Args:
            saved: The map.
            report: Content of report.json.
            picture: Whether to draw map.png, which takes seconds for a large map.

        Returns:
            Paths of the files in the folder.

        Raises:
            OSError: The folder cannot be written; the previous map is untouched.
        """
        generations = self.path / ".generations"
        generations.mkdir(parents=True, exist_ok=True)
        before = self._current()
        for left in generations.glob(".part-*"):
            if left.name == f".part-{os.getpid()}" or not _is_alive(int(left.name.removeprefix(".part-"))):
                shutil.rmtree(left, ignore_errors=True)
        part = generations / f".part-{os.getpid()}"
        part.mkdir()
        try:
            written = write_map(part, saved, report or {}, picture)
            _sync(part)
            name = f"{1 + max((int(p.name) for p in generations.iterdir() if p.name.isdigit()), default=0):06d}"
            part.rename(generations / name)
            _sync_folder(generations)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        self._keep_plain_files()
        for file in written:
            _point(self.path / file, f".current/{file}")
        _point(self.path / ".current", f".generations/{name}")
        for file in set(FILES).difference(written):
            (self.path / file).unlink(missing_ok=True)
        _sync_folder(self.path)
        self._own.add(name)
        self._retire(before, name)
        return [self.path / file for file in written]

    @property
    def empty(self) -> bool:
        """Whether no map was ever saved or copied here. A damaged map or one with missing files counts as a map."""
        return not any(os.path.lexists(self.path / name) for name in (".current", MAP))

    def load(self, take: Callable[[SavedMap], Any] = lambda saved: None) -> SavedMap:
        """Read the current map; a later `save` may then replace it.

        Args:
            take: Called with the map. If it raises, the map counts as not loaded, so that `save` keeps it.

        Returns:
            The map.

        Raises:
            DataError: There is no map, or it is damaged or of another version. Errors of `take` are passed on.
        """
        current = self._current()
        if current is not None and not (self.path / MAP).exists():
            raise DataError(
                f"the map in {self.path} is damaged: its pointer names the generation {current}, which has no {MAP}"
            )
        saved = load_map(self.path)
        take(saved)
        if current is not None:
            self._own.add(current)
        return saved

    def _current(self) -> str | None:
        pointer = self.path / ".current"
        return Path(os.readlink(pointer)).name if pointer.is_symlink() else None

    def _retire(self, before: str | None, name: str) -> None:
        """Delete this object's old generations and move those of other processes to numbered copies."""
        for folder in sorted((self.path / ".generations").iterdir()):
            if folder.name == name or not folder.name.isdigit():
                continue
            if folder.name in self._own:
                shutil.rmtree(folder)
            elif folder.name == before or (folder / MAP).exists():
                folder.rename(self._next_copy())

    def _keep_plain_files(self) -> None:
        """Move map files that are not links, such as those of a copied map, to a numbered copy."""
        plain = [
            self.path / file for file in FILES if (self.path / file).exists() and not (self.path / file).is_symlink()
        ]
        if plain:
            copy = self._next_copy()
            copy.mkdir()
            for file in plain:
                file.rename(copy / file.name)

    def _next_copy(self) -> Path:
        taken = [int(m[1]) for p in self.path.iterdir() if (m := re.fullmatch(r"previous_(\d+)", p.name))]
        return self.path / f"previous_{1 + max(taken, default=0)}"


def _point(link: Path, target: str) -> None:
    """Create or replace a symbolic link in one rename."""
    fresh = link.with_name(f".{link.name.lstrip('.')}.{os.getpid()}")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    os.replace(fresh, link)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _sync(folder: Path) -> None:
    for file in folder.iterdir():
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_map(folder: str | Path) -> None:
    """Remove the current map of a folder and nothing else."""
    folder = Path(folder)
    for name in (".current", *FILES):
        if (folder / name).is_symlink():
            (folder / name).unlink()
    shutil.rmtree(folder / ".generations", ignore_errors=True)


def rewrite_report(folder: str | Path, report: dict[str, Any]) -> None:
    """Replace report.json of the current map in one rename."""
    file = (Path(folder) / REPORT).resolve()
    fresh = file.with_name(f".{REPORT}.{os.getpid()}")
    fresh.write_text(json.dumps(report, indent=2) + "\n")
    os.replace(fresh, file)
