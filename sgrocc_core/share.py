"""Where the package's own data lies: in the checkout, or in share/sgrocc_ros of the prefix it was installed into."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def share_roots() -> list[Path]:
    """Folders that may hold `models/`, `config/` and `launch/`: the checkout, then the share of every prefix this package lies under."""
    package = Path(__file__).resolve().parent
    prefixes = [*package.parents[1:6], Path(sys.prefix)]
    prefixes += [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    return list(dict.fromkeys([package.parent, *(prefix / "share" / "sgrocc_ros" for prefix in prefixes)]))


def find_shared(relative: str) -> Path:
    """The first root's file of this relative path; where none has it, the checkout's path, for the error to name."""
    roots = share_roots()
    return next((root / relative for root in roots if (root / relative).exists()), roots[0] / relative)
