"""Reading of YAML configuration files, with errors that name the file and what it must be."""

from __future__ import annotations

import errno
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml

from sgrocc_core.errors import ConfigError

LARGEST = 4_000_000
"""Bytes of a YAML file that is read, at most."""


class PlainLoader(yaml.SafeLoader):
    """A safe loader that refuses aliases: a few hundred bytes of them may stand for more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Compose the next node; see the base class."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are not allowed", event.start_mark)
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> Any:
    """Read a YAML file without trusting it.

    Raises:
        OSError: It cannot be read.
        yaml.YAMLError: It is not YAML, is too large or too deep, or has aliases.
        UnicodeDecodeError: It is not text.
    """
    if not path.is_file() and path.exists():
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    if path.exists() and path.stat().st_size > LARGEST:
        raise yaml.YAMLError(f"it has {path.stat().st_size} bytes; at most {LARGEST} are read")
    try:
        return yaml.load(path.read_text(), PlainLoader)  # a subclass of the safe loader
    except RecursionError as error:
        raise yaml.YAMLError("it is nested too deeply") from error


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
        values = read_yaml(path)
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
