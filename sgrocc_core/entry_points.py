"""Modules that other installed packages add to the command line through entry points."""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from types import ModuleType


def offered_modules(group: str) -> dict[str, ModuleType]:
    """The modules of an entry point group by name, in alphabetical order."""
    offered = {entry.name: entry.value for entry in entry_points(group=group)}
    return {name: importlib.import_module(offered[name]) for name in sorted(offered)}
