"""Progress bars: animated on a terminal, one line every ten seconds in a log."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

LOG_INTERVAL = 10.0
"""Seconds between two lines in a log (a round guess)."""


def progress(*arguments: Any, **options: Any) -> Any:
    """`tqdm` with the same arguments; it writes only every LOG_INTERVAL seconds if stderr is not a terminal."""
    if not sys.stderr.isatty():
        options = {"mininterval": LOG_INTERVAL, "maxinterval": LOG_INTERVAL, "ascii": True, **options}
    return tqdm(*arguments, **options)
