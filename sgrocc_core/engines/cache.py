"""Files that are expensive to make, kept from start to start: compiled graphs and the reference results of a trial.

A file holds a mark, the SHA-256 of its name and content, and the content. One that is truncated, damaged, of another
name or refused by its reader is made again. It is written under a temporary name, synchronised and renamed, so that no
process ever sees a part of it; a lock keeps two processes from making the same file at the same time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

MARK = b"sgrocc kept 1\n"
MOST_BYTES = 1 << 30
"""Size of a folder of kept files, bytes, above which those that were not used for longest are removed."""
STALE = 86_400.0
"""Age, seconds, at which a temporary file is taken for that of a process that was killed."""

T = TypeVar("T")


def cache_folder(kind: str) -> Path:
    """Folder of the kept files of one kind, below `$XDG_CACHE_HOME` or `~/.cache`; a model's folder may be read-only.

    Args:
        kind: name of the folder, e.g. `openvino`.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(base):
        return Path(base) / "sgrocc" / kind
    return Path(os.path.expanduser("~")) / ".cache" / "sgrocc" / kind


def key_of(*parts: object) -> str:
    """20 hexadecimal digits that stand for these values in the name of a kept file."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()[:20]


def read_kept(path: Path) -> bytes | None:
    """Content of a kept file; None if there is none, or if it is not whole or not of this name."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    start = len(MARK) + hashlib.sha256().digest_size
    content = data[start:]
    if data[:start] != MARK + _digest(path, content):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # last use, for `_remove_oldest`
    return content


def write_kept(path: Path, content: bytes) -> None:
    """Write a kept file, in one step for every reader.

    Raises:
        OSError: it cannot be written; an earlier file of this name is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(MARK + _digest(path, content))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise
    _remove_oldest(path)


def load_or_make(
    path: Path, load: Callable[[bytes], T], make: Callable[[], tuple[T, bytes]], afresh: bool = False
) -> tuple[T, bool]:
    """Load a kept file, or make its content and keep it.

    A folder that cannot be written costs the time of making only: what was made is used and not kept.

    Args:
        path: the file.
        load: makes the result from the content; if it raises, the file is made again.
        make: makes the result and the content to keep.
        afresh: do not read the file, but make it again.

    Returns:
        The result, and whether it was loaded.
    """
    if not afresh and (found := _loaded(path, load)) is not None:
        return found[0], True
    with _locked(path):
        # Another process may have made it meanwhile.
        if not afresh and (found := _loaded(path, load)) is not None:
            return found[0], True
        result, content = make()
        with contextlib.suppress(OSError):
            write_kept(path, content)
    return result, False


def _loaded(path: Path, load: Callable[[bytes], T]) -> tuple[T] | None:
    content = read_kept(path)
    if content is None:
        return None
    try:
        return (load(content),)
    except Exception:  # of whatever class the runtime raises
        return None


def _digest(path: Path, content: bytes) -> bytes:
    return hashlib.sha256(path.name.encode() + b"\n" + content).digest()


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file; no lock where the folder cannot be written or has no locks."""
    with contextlib.ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = stack.enter_context(open(path.parent / f".{path.name}.lock", "w"))
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError:
            pass
        yield


def _remove_oldest(path: Path) -> None:
    """Bound the size of the folder; `path` stays."""
    with contextlib.suppress(OSError):
        now = time.time()
        for partial in path.parent.glob(".*.partial"):
            if now - partial.stat().st_mtime > STALE:
                partial.unlink(missing_ok=True)
        files = [(p.stat().st_mtime, p.stat().st_size, p) for p in path.parent.iterdir() if p.name[0] != "."]
        room = MOST_BYTES - path.stat().st_size
        for _, size, file in sorted(files, reverse=True):
            if file == path:
                continue
            room -= size
            if room < 0:
                file.unlink(missing_ok=True)
                (file.parent / f".{file.name}.lock").unlink(missing_ok=True)
