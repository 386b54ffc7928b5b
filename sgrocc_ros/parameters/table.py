"""The table of the node's parameters: name, default, allowed values and description of each.

`python -m sgrocc_ros.parameters.table docs/ros.md` rewrites the table in the documentation; else it is printed.
"""

from __future__ import annotations

import sys
from pathlib import Path

from sgrocc_core.errors import ConfigError
from sgrocc_ros.parameters.input_rows import INPUT
from sgrocc_ros.parameters.map_rows import MAP
from sgrocc_ros.parameters.parameter import Parameter

BEGIN, END = "<!-- parameters: begin -->", "<!-- parameters: end -->"
"""Marks around the table in the documentation."""


TABLE: tuple[Parameter, ...] = (*INPUT, *MAP)
BY_NAME = {parameter.name: parameter for parameter in TABLE}


def documentation() -> str:
    """Return the table in Markdown, with the marks around it."""
    lines = [BEGIN, "| group | parameter | default | allowed | meaning |", "|---|---|---|---|---|"]
    for row in TABLE:
        default = str(row.default).lower() if isinstance(row.default, bool) else str(row.default) or "(empty)"
        mark = " *" * row.dynamic + " †" * row.per_camera
        lines.append(f"| {row.group} | `{row.name}`{mark} | {default} | {row.allowed} | {row.description} |")
    return "\n".join([*lines, END])


def rewritten(text: str) -> str:
    """Return the document with a new table between its marks.

    Raises:
        ConfigError: the marks are missing.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ConfigError(f"the document has no section between {BEGIN} and {END}")
    return before + documentation() + after


def main() -> None:
    """Print the table, or rewrite it in the given file."""
    if len(sys.argv) > 1:
        path = Path(sys.argv[1])
        path.write_text(rewritten(path.read_text()))
    else:
        print(documentation())


if __name__ == "__main__":
    main()
