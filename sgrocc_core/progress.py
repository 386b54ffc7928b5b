"""Progress bars that suit where they are written: lively on a terminal, a line every ten seconds in a log."""

from __future__ import annotations

import sys
from typing import Any

from tqdm import tqdm

LOG_INTERVAL = 10.0
"""Seconds between two lines in a log."""


def progress(*arguments: Any, **options: Any) -> Any:
    """`tqdm` with the same arguments; where stderr is no terminal it speaks every LOG_INTERVAL seconds only."""
    if not sys.stderr.isatty():
        options = {"mininterval": LOG_INTERVAL, "maxinterval": LOG_INTERVAL, "ascii": True, **options}
    return tqdm(*arguments, **options)
