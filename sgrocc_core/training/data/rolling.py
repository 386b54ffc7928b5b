"""A folder of packed scenes that is filled while others read it: the newest are kept, the oldest go when nobody reads them any more.

Who reads takes a lease: a file that names the scenes and is locked for as long as its process (or a worker forked from it) holds it
open, so that a reader that was killed holds nothing. Listing, leasing and removing happen under one lock of the folder.
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
    """Scenes that stay while it exists.

    Args:
        folder: a rolling folder. count: how many of its newest scenes to hold.

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
        """A copy in another process holds nothing: the scenes stay as long as the first one does."""
        return {"scenes": self.scenes}


def make_rolling(folder: Path, keep: int) -> None:
    """Make a folder that holds the newest `keep` scenes."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f".{_MARK}.{os.getpid()}"
    part.write_text(json.dumps({"keep": keep}))
    os.replace(part, folder / _MARK)


def newest(folder: Path) -> list[Path]:
    """Complete scenes, oldest first."""
    return sorted(packed_scenes(folder), key=lambda scene: ((scene / "packed.json").stat().st_mtime_ns, scene.name))


def scenes_to_read(folder: Path) -> tuple[list[Path], Lease | None]:
    """Packed scenes of a folder in order of name, and the lease on them if the folder is a rolling one (its newest scenes then).

    Raises:
        DataError: the folder's mark is damaged.
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
    """Remove all but the newest `keep` scenes and those that someone reads; the number of scenes that are left."""
    with _locked(folder):
        scenes = newest(folder)
        held = _held(folder)
        old = [scene for scene in scenes[: max(0, len(scenes) - keep)] if scene.name not in held]
        gone = [scene.rename(folder / f".{scene.name}.gone") for scene in old]
    for scene in gone:
        shutil.rmtree(scene, ignore_errors=True)
    return len(scenes) - len(gone)


def _held(folder: Path) -> set[str]:
    """Names of the scenes that a living reader has leased; leases of others are removed."""
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
