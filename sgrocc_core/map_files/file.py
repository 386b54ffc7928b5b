"""Maps on disk. A save is atomic: a process killed at any moment leaves a complete map.

FOLDER/map.npz, gaussians.safetensors, map.ply, map.png, report.json    the files for users: links through .current
FOLDER/.current -> .generations/NNNNNN                                 the current generation; one rename switches it
FOLDER/previous_N/                                                     maps that another process had written here
FOLDER/jump_N/                                                         maps of a time before a jump, the newest few
FOLDER/.lock                                                           held by the process that saves here
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sgrocc_core.errors import DataError
from sgrocc_core.map_files.format import FILES, KEYS, MAP, REPORT, SavedMap, load_map
from sgrocc_core.map_files.place import check_writable
from sgrocc_core.map_files.write import write_map

__all__ = ["FILES", "KEYS", "MapFolder", "SavedMap", "load_map", "remove_map", "rewrite_report"]


MOST_COPIES = 5
"""Numbered copies that one process leaves in a folder, at most: no fault that repeats itself may fill the disk."""


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
        self._copies: list[Path] = []
        self._lock: int | None = None

    def claim(self) -> None:
        """Make the folder, try whether it can be written, and keep other processes from saving there until `release`.

        Raises:
            DataError: it cannot be written, or another process has claimed it.
        """
        if self._lock is not None:
            return
        check_writable(self.path)
        try:
            lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
        except OSError as error:
            raise DataError(f"the map cannot be written to {self.path}: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(lock)
                raise DataError(
                    f"another process ({holder}) saves its maps in {self.path}; give each one a folder of its own"
                ) from error
            # The disk has no locks, as some network disks; the folder is used without.
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        self._lock = lock

    def release(self) -> None:
        """Let other processes save here again."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def save_copy(self, saved: SavedMap, report: dict[str, Any] | None = None) -> Path:
        """Write a map into a numbered folder of its own, `jump_N`, without touching the current one.

        Of the copies that this process has written, the newest MOST_COPIES are kept.

        Raises:
            OSError: the folder cannot be written.
        """
        copy = self._next("jump")
        part = copy.with_name(f".{copy.name}.{os.getpid()}")
        part.mkdir(parents=True)
        try:
            write_map(part, saved, report or {}, False)
            _sync(part)
            part.rename(copy)
        except BaseException:
            shutil.rmtree(part, ignore_errors=True)
            raise
        self._limit(copy)
        return copy

    def save(
        self, saved: SavedMap, report: dict[str, Any] | None = None, picture: bool = True, ply: bool = False
    ) -> list[Path]:
        """Write a new generation and make it the current map.

        Args:
            saved: The map.
            report: Content of report.json.
            picture: Whether to draw map.png, which takes seconds for a large map.
            ply: Whether to write the surface as map.ply, for other programs.

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
            written = write_map(part, saved, report or {}, picture, ply)
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
                self._keep(folder)

    def _keep_plain_files(self) -> None:
        """Move map files that are not links, such as those of a copied map, to a numbered copy."""
        plain = [
            self.path / file for file in FILES if (self.path / file).exists() and not (self.path / file).is_symlink()
        ]
        if plain:
            copy = self._next("previous")
            copy.mkdir()
            for file in plain:
                file.rename(copy / file.name)

    def _keep(self, folder: Path) -> None:
        """Move a generation to a numbered copy; of those that one process makes, the newest MOST_COPIES are kept."""
        copy = self._next("previous")
        folder.rename(copy)
        self._limit(copy)

    def _limit(self, copy: Path) -> None:
        self._copies.append(copy)
        while len(self._copies) > MOST_COPIES:
            shutil.rmtree(self._copies.pop(0), ignore_errors=True)

    def _next(self, name: str) -> Path:
        there = self.path.iterdir() if self.path.exists() else ()
        taken = [int(m[1]) for p in there if (m := re.fullmatch(rf"{name}_(\d+)", p.name))]
        return self.path / f"{name}_{1 + max(taken, default=0)}"


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
