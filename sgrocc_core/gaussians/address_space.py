"""Initial capacity of arrays that grow with the map: address space is reserved so that growing needs no copy."""

from __future__ import annotations

import ctypes
import resource
from pathlib import Path

from sgrocc_core.report import machine_bytes

LEAST_BLOCKS = 1024
"""Initial capacity where address space cannot be reserved; grown by copying (round guess)."""


def reserved_blocks(bytes_each: int) -> int:
    """Number of blocks to allocate arrays for: as many as fit into memory, since untouched pages take no memory.

    Args:
        bytes_each: bytes per block.
    """
    if _is_scarce():
        return LEAST_BLOCKS
    return max(LEAST_BLOCKS, machine_bytes() // bytes_each)


def _is_scarce() -> bool:
    """Whether the address space of the process is limited, or the system does not overcommit memory (mode 2)."""
    if resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
        return True
    try:
        return Path("/proc/sys/vm/overcommit_memory").read_text().strip() == "2"
    except OSError:
        return True


def give_back() -> None:
    """Return freed memory to the system if the C library can; it otherwise keeps what many threads have freed."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
