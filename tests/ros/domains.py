"""ROS domains for tests: one per run, so that parallel runs do not see each other's nodes."""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import IO

DOMAINS = range(40, 80)
_HELD: list[IO[str]] = []


def own_domain() -> int:
    """Reserve a domain that no other run of these tests on this machine uses, until this process ends."""
    first = os.getpid() % len(DOMAINS)
    for domain in (*DOMAINS[first:], *DOMAINS[:first]):
        try:
            file = (Path(tempfile.gettempdir()) / f"sgrocc_ros_domain_{domain}").open("a")
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # in use, or owned by another user
            continue
        _HELD.append(file)
        return domain
    raise RuntimeError(f"all ROS domains from {DOMAINS[0]} to {DOMAINS[-1]} are taken by other runs of these tests")
