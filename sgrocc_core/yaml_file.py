"""Reading of YAML configuration files, with errors that name the file and what it must be."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from sgrocc_core.errors import ConfigError


def read_mapping(path: Path, what: str, keys: Collection[str] = ()) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Args:
        path: The file.
        what: Kind of file for the error message, e.g. "model configuration".
        keys: Allowed keys at the top level; empty allows any.

    Returns:
        The mapping.

    Raises:
        ConfigError: No such file (the message lists the YAML files beside it), not YAML, not a mapping, or an unknown
            key.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except OSError as error:
        beside = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(f"cannot read the {what} {path}: {error.strerror}; known there: {beside}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{path} must be a mapping of keys to values")
    wrong = sorted(str(key) for key in values if keys and key not in keys)
    if wrong:
        raise ConfigError(f"{path}: unknown key {wrong[0]!r}; the keys are {', '.join(keys)}")
    return values
