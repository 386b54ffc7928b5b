"""Maps on disk: whole generations behind one pointer, so that a kill at any moment leaves a whole map; none is ever overwritten unread.

    FOLDER/map.npz, gaussians.safetensors, map.ply, map.png, report.json    what a user opens: links through the pointer
    FOLDER/.current -> .generations/NNNNNN                                 the pointer: one rename makes a save visible
    FOLDER/previous_N/                                                     maps found there that this process had not loaded
"""

from __future__ import annotations

import json
import os
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sgrocc_core.classes import NAMES
from sgrocc_core.draw import draw_map
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.surface import write_ply

FORMAT_VERSION = 1
MAP, GAUSSIANS, PLY, PICTURE, REPORT = "map.npz", "gaussians.safetensors", "map.ply", "map.png", "report.json"
FILES = (MAP, GAUSSIANS, PLY, PICTURE, REPORT)
KEYS = ("voxels", "labels", "probability", "free", "voxel_size", "classes", "frame_id", "stamp_ns", "format_version")


@dataclass(frozen=True)
class SavedMap:
    """A map as it lies on disk, and as it is taken from a mapper.

    Attributes:
        voxels: (N, 3) int32; centre = (index + 0.5) * voxel_size, metres, in frame_id. labels: (N,) uint8, 1 to 11.
        probability: (N,) float32. free: (M, 3) int32, voxels observed free. stamp_ns: of the newest frame in it.
        gaussians: the memory's arrays, what a restart continues from.
    """

    voxels: np.ndarray
    labels: np.ndarray
    probability: np.ndarray
    free: np.ndarray
    frame_id: str
    stamp_ns: int
    gaussians: dict[str, np.ndarray]
    voxel_size: float = VOXEL_SIZE
    classes: tuple[str, ...] = NAMES

    @classmethod
    def of(cls, mapper: Any, frame_id: str, stamp_ns: int) -> SavedMap:
        """A copy of what an OccupancyMapper knows now; quick, so that a node can take it between two frames."""
        voxels, labels, probability = mapper.voxel_map.occupied()
        gaussians = {name: np.array(values) for name, values in mapper.memory.arrays().items()}
        return cls(voxels, labels, probability, mapper.voxel_map.free(), frame_id, int(stamp_ns), gaussians)


class MapFolder:
    """The maps in one folder, as one process sees it: what it wrote or loaded itself, it replaces; anything else it keeps.

    Args:
        path: the folder; made at the first save.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._own: set[str] = set()

    def save(self, saved: SavedMap, report: dict[str, Any] | None = None, picture: bool = True) -> list[Path]:
        """Write a new generation and point to it.

        Args:
            saved: the map. report: written as report.json. picture: draw map.png (seconds, for a big map).

        Returns:
            The visible paths of the files.

        Raises:
            OSError: the folder cannot be written; what was there before is untouched.
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
            written = _write_files(part, saved, report or {}, picture)
            _sync(part)
            name = f"{1 + max((int(p.name) for p in generations.iterdir() if p.name.isdigit()), default=0):06d}"
            part.rename(generations / name)
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

    def load(self) -> SavedMap:
        """Read the current map; it may then be replaced by `save`.

        Raises:
            DataError: there is none, or it is damaged or of another version.
        """
        current = self._current()
        saved = load_map(self.path)
        if current is not None:
            self._own.add(current)
        return saved

    def _current(self) -> str | None:
        pointer = self.path / ".current"
        return Path(os.readlink(pointer)).name if pointer.is_symlink() else None

    def _retire(self, before: str | None, name: str) -> None:
        """Delete own old generations; move what others left to a numbered copy."""
        for folder in sorted((self.path / ".generations").iterdir()):
            if folder.name == name or not folder.name.isdigit():
                continue
            if folder.name in self._own:
                shutil.rmtree(folder)
            elif folder.name == before or (folder / MAP).exists():
                folder.rename(self._next_copy())

    def _keep_plain_files(self) -> None:
        """Files under our names that are no links of ours (a copied map) go to a numbered copy, too."""
        plain = [self.path / file for file in FILES if (self.path / file).exists() and not (self.path / file).is_symlink()]
        if plain:
            copy = self._next_copy()
            copy.mkdir()
            for file in plain:
                file.rename(copy / file.name)

    def _next_copy(self) -> Path:
        taken = [int(m[1]) for p in self.path.iterdir() if (m := re.fullmatch(r"previous_(\d+)", p.name))]
        return self.path / f"previous_{1 + max(taken, default=0)}"


def load_map(path: str | Path) -> SavedMap:
    """Read a map from a folder or a map.npz; the Gaussians beside it, if there are any.

    Raises:
        DataError: missing, damaged, or of another version.
    """
    path = Path(path)
    file = path / MAP if path.is_dir() else path
    if not file.exists():
        raise DataError(f"no map at {file}")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            missing = [key for key in KEYS if key not in arrays]
            if missing:
                raise DataError(f"{file} is not a map: it lacks {', '.join(missing)}")
            version = int(arrays["format_version"])
            if version != FORMAT_VERSION:
                raise DataError(f"{file} is of format version {version}; this program reads version {FORMAT_VERSION}")
            fields = {key: arrays[key] for key in KEYS}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{file} is damaged or not a map: {error}") from error
    return SavedMap(
        fields["voxels"], fields["labels"], fields["probability"], fields["free"], str(fields["frame_id"]), int(fields["stamp_ns"]),
        _load_gaussians(file.parent / GAUSSIANS), float(fields["voxel_size"]), tuple(str(name) for name in fields["classes"]),
    )  # fmt: skip


def save_map(
    folder: str | Path, mapper: Any, frame_id: str, stamp_ns: int, report: dict[str, Any] | None = None, picture: bool = True
) -> list[Path]:
    """Save a mapper's map once; a process that saves again and again keeps a MapFolder instead."""
    return MapFolder(folder).save(SavedMap.of(mapper, frame_id, stamp_ns), report, picture)


def _write_files(folder: Path, saved: SavedMap, report: dict[str, Any], picture: bool) -> list[str]:
    np.savez_compressed(
        folder / MAP, voxels=saved.voxels.astype(np.int32), labels=saved.labels.astype(np.uint8), free=saved.free.astype(np.int32),
        probability=saved.probability.astype(np.float32), voxel_size=np.float64(saved.voxel_size), classes=np.array(saved.classes),
        frame_id=np.array(saved.frame_id), stamp_ns=np.int64(saved.stamp_ns), format_version=np.int64(FORMAT_VERSION),
    )  # fmt: skip
    metadata = {"format_version": str(FORMAT_VERSION), "frame_id": saved.frame_id, "stamp_ns": str(saved.stamp_ns)}
    save_file({k: np.ascontiguousarray(v) for k, v in saved.gaussians.items()}, folder / GAUSSIANS, metadata)
    (folder / GAUSSIANS).chmod(0o644)  # safetensors makes it private
    write_ply(folder / PLY, saved.voxels, saved.labels, saved.voxel_size)
    (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n")
    if picture:
        draw_map(folder / PICTURE, saved.voxels, saved.labels, saved.voxel_size, saved.free, saved.frame_id)
    return [file for file in FILES if (folder / file).exists()]


def _load_gaussians(file: Path) -> dict[str, np.ndarray]:
    if not file.exists():
        return {}
    try:
        with safe_open(file, framework="np") as tensors:
            version = (tensors.metadata() or {}).get("format_version")
            if version != str(FORMAT_VERSION):
                raise DataError(f"{file} is of format version {version}; this program reads version {FORMAT_VERSION}")
            return {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file} is damaged: {error}") from error


def _point(link: Path, target: str) -> None:
    """Make or replace a symbolic link in one rename."""
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
    """Remove the current map of a folder, and nothing else in it."""
    folder = Path(folder)
    for name in (".current", *FILES):
        if (folder / name).is_symlink():
            (folder / name).unlink()
    shutil.rmtree(folder / ".generations", ignore_errors=True)


def rewrite_report(folder: str | Path, report: dict[str, Any]) -> None:
    """Replace the current map's report.json in one rename."""
    file = (Path(folder) / REPORT).resolve()
    fresh = file.with_name(f".{REPORT}.{os.getpid()}")
    fresh.write_text(json.dumps(report, indent=2) + "\n")
    os.replace(fresh, file)
