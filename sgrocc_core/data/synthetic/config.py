"""Reads the configuration of a generated set from a YAML file and options."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from sgrocc_core.data.assets.config import AssetConfig
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


def read_assets(values: Any, folder: str | Path | None = None) -> AssetConfig:
    """Read the part of a configuration that names furniture models.

    Args:
        values: mapping with `folder` and optionally `share` and `cache`.
        folder: overrides the mapping's.

    Raises:
        ConfigError: not a mapping, an unknown key, no folder, or a share that is not allowed.
    """
    if not isinstance(values, dict):
        raise ConfigError(f"assets is {values!r}; it must be a mapping with folder, and perhaps share and cache")
    unknown = sorted(str(key) for key in values if key not in ("folder", "share", "cache"))
    if unknown:
        raise ConfigError(f"assets: unknown key {unknown[0]!r}; the keys are folder, share, cache")
    folder, share, cache = folder or values.get("folder"), values.get("share", 0.5), values.get("cache")
    if not folder:
        raise ConfigError("assets has no folder; it names the folder of the furniture models")
    if isinstance(share, bool) or not isinstance(share, (int, float)):
        raise ConfigError(f"assets: share is {share!r}; it must be a number above 0 and at most 1")
    return AssetConfig(Path(str(folder)), float(share), None if cache is None else Path(str(cache)))


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
    options = dict(options)
    folder = options.pop("assets", None)
    values.update(options)
    if folder is not None or values.get("assets") is not None:
        values["assets"] = read_assets(values.get("assets") or {}, folder)
    if options.get("split") == "test" and "namespace" not in values and values.get("prompt") is None:
        values["namespace"] = "test"
    if values.get("prompt") is not None:
        if not isinstance(values["prompt"], str):
            raise ConfigError(f"prompt is {values['prompt']!r}; it must be a sentence")
        values = {"namespace": "prompt", "scenes": 1, **values}
    if values.get("dynamic") is True:
        values = {"namespace": "dynamic", "split": "test", "frames": 160, **values}
    if "size" in values:
        values["size"] = parse_size(values["size"])
    for key, value in values.items():
        wanted, words = _KINDS.get(str(known[key]), (None, ""))
        if wanted is not None and type(value) is not wanted:
            raise ConfigError(f"{key} is {value!r}; it must be {words}")
    return SynthConfig(out=Path(out), **values)
