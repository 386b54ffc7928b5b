"""Whether a map can be written to a folder, tried before hours of mapping and not after them."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sgrocc_core.errors import DataError


def check_writable(folder: str | Path) -> None:
    """Make a folder and write a small file into it.

    Raises:
        DataError: the folder cannot be made or written to; the message names it and the reason.
    """
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path) as file:
            file.write(bytes(65536))
            file.flush()
    except OSError as error:
        raise DataError(f"the map cannot be written to {path}: {error.strerror or error}") from error
