"""How many blocks arrays that grow with the map have address space for at the start, so that growing copies nothing."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

from sgrocc_core.report import machine_bytes

LEAST_BLOCKS = 1024
"""Where address space is limited or counted as used: more is made by copying when it is needed."""


def reserved_blocks(bytes_each: int) -> int:
    """Blocks to make arrays for: as many as the machine's memory holds, since pages that nothing is written to cost nothing.

    Args:
        bytes_each: what a block takes.
    """
    if _is_scarce():
        return LEAST_BLOCKS
    return max(LEAST_BLOCKS, machine_bytes() // bytes_each)


def _is_scarce() -> bool:
    """Whether address space is limited for this process, or the system promises no more of it than it has memory (overcommit 2)."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return True
    try:
        return Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2"
    except OSError:
        return True


def give_back() -> None:
    """Return freed memory to the system, where the C library can; it keeps what many threads have freed in pieces otherwise."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
