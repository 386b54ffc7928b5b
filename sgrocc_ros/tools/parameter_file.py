"""Reads the parameters of one node from a ROS parameter file, by the rules of ROS.

The launch file needs them where a parameter affects more than the node itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from sgrocc_core.errors import DataError

KEY = "ros__parameters"


def read_parameters(path: Path, node: str) -> dict[str, Any]:
    """Read the parameters of a node.

    Args:
        path: the YAML file.
        node: full name of the node, such as `/robot/embodied_occupancy`.

    Returns:
        Values by name. If several sections match the node, with or without wildcards, later ones take precedence.

    Raises:
        DataError: the file cannot be read or is not a parameter file.
    """
    try:
        document = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"the parameter file {path} cannot be read: {' '.join(str(error).split())}") from error
    if not isinstance(document, dict):
        raise DataError(f"{path} is not a parameter file: it must have sections of nodes (/** for all) with {KEY}")
    values: dict[str, Any] = {}
    for pattern, parameters in _sections(document, ""):
        if not _matches(pattern, node):
            continue
        if not isinstance(parameters, dict):
            raise DataError(f"{path}: {KEY} of {pattern} must be names with values, and is {parameters!r}")
        values |= _flat(parameters)
    return values


def _flat(parameters: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """The parameters by their full names: those in a nested section are called SECTION.NAME."""
    found: dict[str, Any] = {}
    for name, value in parameters.items():
        found |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _sections(part: dict, name: str) -> Iterator[tuple[str, Any]]:
    """Yield (full name or pattern, parameters) of each section; sections may be nested."""
    for key, value in part.items():
        if key == KEY:
            yield name, value
        elif isinstance(value, dict):
            yield from _sections(value, f"{name}/{str(key).strip('/')}")


def _matches(pattern: str, node: str) -> bool:
    """Whether a section's name matches the node: `*` is any one part of a name, `**` any number of parts."""
    parts = {"*": r"/[^/]+", "**": r"(/[^/]+)*"}
    return (
        re.fullmatch("".join(parts.get(part, "/" + re.escape(part)) for part in pattern.strip("/").split("/")), node)
        is not None
    )
