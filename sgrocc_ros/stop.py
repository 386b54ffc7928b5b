"""Whether a signal has asked the node to end."""

from __future__ import annotations

import atexit
import signal
from typing import Any


class Stop:
    """Whether SIGINT or SIGTERM has come, from when this is made to the end of the process.

    A plain flag: a threading.Event set by a signal in the middle of setting it for another waits for itself for ever.
    """

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)
        # While Python ends it takes its handlers back, and one more signal would make a clean stop a failure.
        atexit.register(_ignore_signals)

    def __bool__(self) -> bool:
        return self._asked

    def _ask(self, *_: Any) -> None:
        self._asked = True


def _ignore_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
