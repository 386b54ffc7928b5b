"""Reads what to generate from a YAML file and options."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from sgrocc_core.data.synthetic.write import SynthConfig
from sgrocc_core.errors import ConfigError, DataError

_KINDS: dict[str, tuple[type, str]] = {
    "int": (int, "a whole number"),
    "bool": (bool, "true or false"),
    "str": (str, "text"),
}


def parse_size(text: str) -> tuple[int, int]:
    """`640x480` to (640, 480); ConfigError else."""
    width, cross, height = str(text).partition("x")
    if not cross or not width.isdigit() or not height.isdigit():
        raise ConfigError(f"size is {text!r}; it must be WIDTHxHEIGHT in pixels, such as 640x480")
    return int(width), int(height)


def read_config(path: str | Path | None, out: str | Path, options: dict[str, Any]) -> SynthConfig:
    """A checked configuration.

    Args:
        path: YAML file with keys of SynthConfig (size as `640x480`), or None. out: folder. options: override the file.

    Raises:
        DataError: no such file, or not YAML. ConfigError: an unknown key or a value that is not allowed.
    """
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = dict(YAML(typ="safe", pure=True).load(Path(path).read_text()) or {})
        except (OSError, YAMLError, ValueError, TypeError) as error:
            raise DataError(f"{path} cannot be read as a configuration: {error}") from error
    known = {f.name: f.type for f in fields(SynthConfig) if f.name != "out"}
    for key in values:
        if key not in known:
            raise ConfigError(f"{path}: unknown key {key!r}; the keys are {', '.join(known)}")
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
