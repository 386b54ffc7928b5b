"""A folder of packed scenes that is filled while others read it: the newest are kept.

Older scenes are deleted when nobody reads them. A reader takes a lease: a file that names its scenes and is locked
while the process, or a worker forked from it, has it open. A killed reader therefore releases its lease. Listing,
leasing and deleting are serialised by a lock of the folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sgrocc_core.errors import DataError
from sgrocc_core.training.data.packed import packed_scenes

_MARK, _LOCK, _LEASES = "rolling.json", ".lock", ".reading."


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    descriptor = os.open(folder / _LOCK, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Lease:
    """Keeps scenes from being deleted while it exists.

    Args:
        folder: a rolling folder.
        count: number of its newest scenes to lease.

    Attributes:
        scenes: their folders, oldest first.
    """

    def __init__(self, folder: Path, count: int) -> None:
        with _locked(folder):
            self.scenes = newest(folder)[-count:]
            path = folder / f"{_LEASES}{os.getpid()}.{uuid.uuid4().hex}"
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, json.dumps([scene.name for scene in self.scenes]).encode())
        self.release = weakref.finalize(self, os.close, descriptor)

    def __getstate__(self) -> dict[str, Any]:
        """A pickled copy does not hold the lease; only the original keeps the scenes alive."""
        return {"scenes": self.scenes}


def make_rolling(folder: Path, keep: int) -> None:
    """Mark a folder as rolling; it is created if necessary.

    Args:
        folder: the folder.
        keep: number of newest scenes to keep.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{_MARK}.{os.getpid()}"
    part.write_text(json.dumps({"keep": keep}))
    os.replace(part, folder / _MARK)


def is_rolling(folder: Path) -> bool:
    """Returns whether a folder is filled with packed scenes by a renderer, so that nothing in it has to be packed."""
    return (folder / _MARK).is_file()


def newest(folder: Path) -> list[Path]:
    """Returns the complete scenes of a folder, oldest first."""
    return sorted(packed_scenes(folder), key=lambda scene: ((scene / "packed.json").stat().st_mtime_ns, scene.name))


def scenes_to_read(folder: Path) -> tuple[list[Path], Lease | None]:
    """Returns the packed scenes of a folder, ordered by name, and a lease on them if the folder is a rolling one.

    Args:
        folder: of packed scenes; of a rolling folder only the newest are returned.

    Raises:
        DataError: the mark of a rolling folder is damaged.
    """
    mark = folder / _MARK
    if not mark.is_file():
        return packed_scenes(folder), None
    try:
        keep = int(json.loads(mark.read_text())["keep"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{mark} is damaged ({error}): delete it and render again") from error
    lease = Lease(folder, keep)
    return sorted(lease.scenes), lease


def remove_old(folder: Path, keep: int) -> int:
    """Delete all scenes but the newest and the leased ones.

    Args:
        folder: a rolling folder.
        keep: number of newest scenes to keep.

    Returns:
        number of scenes that are left.
    """
    with _locked(folder):
        scenes = newest(folder)
        held = _held(folder)
        old = [scene for scene in scenes[: max(0, len(scenes) - keep)] if scene.name not in held]
        gone = [scene.rename(folder / f".{scene.name}.gone") for scene in old]
    for scene in gone:
        shutil.rmtree(scene, ignore_errors=True)
    return len(scenes) - len(gone)


def _held(folder: Path) -> set[str]:
    """Names of the scenes leased by living readers; other leases are deleted."""
    names: set[str] = set()
    for path in folder.glob(f"{_LEASES}*"):
        descriptor = os.open(path, os.O_RDWR)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
        except BlockingIOError:
            names |= set(json.loads(path.read_text()))
        finally:
            os.close(descriptor)
    return names
