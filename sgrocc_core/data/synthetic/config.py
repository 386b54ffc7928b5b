"""Reads the configuration of a generated set from a YAML file and options."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from sgrocc_core.data.synthetic.write import SynthConfig
from sgrocc_core.errors import ConfigError
from sgrocc_core.yaml_file import read_mapping

_KINDS: dict[str, tuple[type, str]] = {
    "int": (int, "a whole number"),
    "bool": (bool, "true or false"),
    "str": (str, "text"),
}


def parse_size(text: str, name: str = "size") -> tuple[int, int]:
    """Parse an image size such as `640x480` to (width, height).

    Args:
        text: the size.
        name: what the value is called, for the error message.

    Raises:
        ConfigError: not of that form.
    """
    width, cross, height = str(text).partition("x")
    if not cross or not width.isdigit() or not height.isdigit():
        raise ConfigError(f"{name} is {text!r}; it must be WIDTHxHEIGHT in pixels, such as 640x480")
    return int(width), int(height)


def read_config(path: str | Path | None, out: str | Path, options: dict[str, Any]) -> SynthConfig:
    """Combine a configuration file and options.

    Args:
        path: YAML file with the fields of SynthConfig (size as `640x480`), or None.
        out: folder of the set.
        options: fields of SynthConfig that override the file.

    Raises:
        ConfigError: no such file, not YAML, an unknown key, or a value that is not allowed.
    """
    known = {f.name: f.type for f in fields(SynthConfig) if f.name != "out"}
    values = {} if path is None else read_mapping(Path(path), "configuration of a generated set", known)
    values.update(options)
    if options.get("split") == "test" and "namespace" not in values:
        values["namespace"] = "test"
    if values.get("dynamic") is True:
        values = {"namespace": "dynamic", "split": "test", "frames": 160, **values}
    if "size" in values:
        values["size"] = parse_size(values["size"])
    for key, value in values.items():
        wanted, words = _KINDS.get(str(known[key]), (None, ""))
        if wanted is not None and type(value) is not wanted:
            raise ConfigError(f"{key} is {value!r}; it must be {words}")
    return SynthConfig(out=Path(out), **values)
