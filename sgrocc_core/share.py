"""Location of the package's data files: in the checkout, or in share/sgrocc_ros of the installation prefix."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sgrocc_core.errors import ConfigError


def share_roots() -> list[Path]:
    """Folders that may hold `models/`, `config/` and `launch/`.

    The checkout comes first, then share/sgrocc_ros of every prefix that may contain this package.
    """
    package = Path(__file__).resolve().parent
    prefixes = [*package.parents[1:6], Path(sys.prefix)]
    prefixes += [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    return list(dict.fromkeys([package.parent, *(prefix / "share" / "sgrocc_ros" for prefix in prefixes)]))


def find_shared(relative: str) -> Path:
    """The first existing file with this relative path; the checkout's path if there is none, for the error message."""
    roots = share_roots()
    return next((root / relative for root in roots if (root / relative).exists()), roots[0] / relative)


def expanded(path: str | Path) -> Path:
    """A path with `~` and `~user` replaced by the home directory.

    Raises:
        ConfigError: there is no such user, or no home directory.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{path} names a home directory that cannot be found; give the whole path") from error
