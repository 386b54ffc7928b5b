"""One parameter of the node: its name, default, allowed values and description, and the check of a value."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from sgrocc_core.errors import ConfigError


@dataclass(frozen=True)
class Parameter:
    """One parameter.

    Attributes:
        name: name of the parameter.
        group: group in the documentation.
        default: default value; its type is the type of the parameter.
        description: one sentence, with the unit.
        choices: allowed strings; empty allows any.
        minimum: smallest allowed number, or None.
        maximum: largest allowed number, or None.
        dynamic: whether it may change while the node runs.
        word: keyword accepted instead of a number, e.g. `auto`; it is then the default.
        some_of: names that a comma-separated text or a list may contain; `all` stands for all of them.
        lists_names: whether it is a comma-separated text or a list of names, each once; empty: none.
        per_camera: whether each of several cameras may have its own value, as the parameter CAMERA.NAME.
    """

    name: str
    group: str
    default: bool | int | float | str
    description: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    dynamic: bool = False
    word: str = ""
    some_of: tuple[str, ...] = ()
    lists_names: bool = False
    per_camera: bool = False

    @property
    def allowed(self) -> str:
        """Description of the allowed values."""
        if self.some_of:
            return f"all, or some of {', '.join(self.some_of)}"
        if self.lists_names:
            return "names of letters, digits and _, each once, separated by commas"
        if self.choices:
            return " or ".join(self.choices)
        if isinstance(self.default, bool):
            return "true or false"
        if self.word:
            return f"{self.word} or a number from {self.minimum:g} to {self.maximum:g}"
        if isinstance(self.default, str):
            return "text"
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        if self.minimum is not None and self.maximum is not None:
            return f"{kind} from {self.minimum:g} to {self.maximum:g}"
        return f"{kind} of at least {self.minimum:g}" if self.minimum is not None else kind

    def check(self, value: Any) -> bool | int | float | str:
        """Return the value in the parameter's type; an int is accepted for a float.

        Raises:
            ConfigError: the value is not allowed; names the parameter, the value and what is allowed.
        """
        if self.some_of:
            return self._check_names(value)
        if self.lists_names:
            return self._check_list(value)
        if self.word and value == self.word:
            return self.word
        wanted = float if self.word else type(self.default)
        if wanted is float and type(value) is int:
            value = float(value)
        fits = type(value) is wanted and (not self.choices or value in self.choices)
        if fits and wanted in (int, float):
            low, high = (
                (-math.inf if self.minimum is None else self.minimum),
                (math.inf if self.maximum is None else self.maximum),
            )
            fits = math.isfinite(value) and low <= value <= high
        if not fits:
            raise ConfigError(f"parameter {self.name} is {value!r}; it must be {self.allowed}")
        return value

    def _check_names(self, value: Any) -> str:
        """Return the chosen names in the order of `some_of`, separated by commas, or `all` for all of them."""
        names = _listed(value)
        if names == ["all"]:
            return "all"
        if not names or any(name not in self.some_of for name in names):
            raise ConfigError(f"parameter {self.name} is {value!r}; it must be {self.allowed}")
        chosen = [name for name in self.some_of if name in names]
        return "all" if len(chosen) == len(self.some_of) else ", ".join(chosen)

    def _check_list(self, value: Any) -> str:
        """Return the names in their order, separated by commas."""
        names = [] if value == "" else _listed(value)
        whole = all(isinstance(name, str) and re.fullmatch("[A-Za-z][A-Za-z0-9_]*", name) for name in names)
        if not whole or len(set(names)) < len(names) or (not names and value not in ("", [], ())):
            raise ConfigError(f"parameter {self.name} is {value!r}; it must be {self.allowed}")
        return ", ".join(names)


def _listed(value: Any) -> list[Any]:
    """Return the parts of a comma-separated text or of a list, without spaces around them."""
    given = value.split(",") if isinstance(value, str) else value
    if not isinstance(given, list | tuple):
        return []
    return [name.strip() if isinstance(name, str) else name for name in given]
