"""Writes docs/api.md from the docstrings of the names that `sgrocc_core` exports.

Run it with `make api` or `python -m sgrocc_core.commands._parts.api`.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
from pathlib import Path

import sgrocc_core

PAGE = Path(__file__).resolve().parents[3] / "docs" / "api.md"
GROUPS: dict[str, tuple[str, ...]] = {
    "Mapping": ("OccupancyMapper", "MapperConfig", "Frame", "MapUpdate", "LiveMap", "GaussiansInView"),
    "Models": ("open_engine", "Engine"),
    "Bags": ("BagReader", "BagOptions"),
    "Questions to a map": ("PointQuery", "BoxQuery", "DistanceQuery", "VoxelState", "FoundObject"),
    "Saved maps": ("load_map", "SavedMap", "MapFolder"),
    "Classes": ("NAMES", "COLORS", "UNKNOWN"),
    "Errors": ("SgroccError", "ConfigError", "DataError", "FrameError", "ModelError", "QueryError"),
}
"""The page's sections; together they hold every exported name once."""
HEAD = """# Python interface

Everything that `from sgrocc_core import ...` offers. Other modules and names are internal and may change.
This page is generated from the docstrings by `make api`.
"""
SECTION = re.compile(r"(Args|Attributes|Returns|Raises|Yields):")
ENTRY = re.compile(r"([\w.*]+(?:, [\w.*]+)*): +(.*)")

Definition = ast.ClassDef | ast.FunctionDef | ast.Assign | ast.AnnAssign


def page() -> str:
    """The content of docs/api.md."""
    parts = [HEAD]
    for title, names in GROUPS.items():
        parts += [f"## {title}\n", *(describe(name) for name in names)]
    return "\n".join(parts)


def describe(name: str) -> str:
    """One exported name in Markdown: heading, signature, docstring and public methods."""
    node, docstring = definition(name)
    lines = [f"### {name}", ""]
    if isinstance(node, ast.ClassDef):
        lines += ["```python", _class_signature(node), "```", "", markdown(docstring)]
        lines += _members(node)
    elif isinstance(node, ast.FunctionDef):
        lines += ["```python", f"{name}{_signature(node)}", "```", "", markdown(docstring)]
    else:
        lines += [markdown(docstring)]
    return "\n".join(lines) + "\n"


def definition(name: str) -> tuple[Definition, str]:
    """The syntax tree of an exported name's definition, and its docstring.

    Raises:
        LookupError: The definition is missing or has no docstring.
    """
    module = importlib.import_module(sgrocc_core._MODULES[name])
    body = ast.parse(inspect.getsource(module)).body
    for node, following in zip(body, [*body[1:], None]):
        found = ""
        if isinstance(node, ast.ClassDef | ast.FunctionDef) and node.name == name:
            found = ast.get_docstring(node) or ""
        elif isinstance(node, ast.Assign | ast.AnnAssign) and name in _targets(node):
            found = _text(following)
        else:
            continue
        if not found:
            raise LookupError(f"{module.__name__}.{name} has no docstring")
        return node, found
    raise LookupError(f"{module.__name__} does not define {name}")


def markdown(docstring: str) -> str:
    """A Google-style docstring in Markdown: its sections become lists with one entry a line."""
    lines: list[str] = []
    in_section = False
    for line in docstring.splitlines():
        text = line.strip()
        entry = ENTRY.fullmatch(text)
        if found := SECTION.fullmatch(line):
            in_section = True
            lines += [f"**{found[1]}**", ""]
        elif not line.startswith(" "):
            in_section = in_section and not text
            lines.append(line)
        elif in_section and entry and len(line) - len(line.lstrip()) == 4:
            lines.append(f"- `{entry[1]}`: {entry[2]}")
        elif in_section:
            lines.append(f"  {text}" if lines[-1] else f"- {text}")
        else:
            lines.append(line)
    return "\n".join(lines)


def _members(node: ast.ClassDef) -> list[str]:
    lines: list[str] = []
    for member, following in zip(node.body, [*node.body[1:], None]):
        if isinstance(member, ast.Assign) and not _targets(member)[0].startswith("_"):
            lines += ["", f"- `{ast.unparse(member)}` {_text(following)}"]
        if not isinstance(member, ast.FunctionDef) or member.name.startswith("_"):
            continue
        kinds = {ast.unparse(decorator) for decorator in member.decorator_list}
        if any(kind.endswith(".setter") for kind in kinds):
            continue
        if kinds & {"property", "cached_property"}:
            heading = f"{node.name}.{member.name}: {ast.unparse(member.returns) if member.returns else 'Any'}"
        else:
            heading = f"{node.name}.{member.name}{_signature(member, skip_first='staticmethod' not in kinds)}"
        lines += ["", "```python", heading, "```", "", markdown(ast.get_docstring(member) or "")]
    return lines


def _class_signature(node: ast.ClassDef) -> str:
    """The constructor with its arguments; of an error, an enumeration or a protocol the bases only."""
    methods = {member.name: member for member in node.body if isinstance(member, ast.FunctionDef)}
    if "__init__" in methods:
        return f"{node.name}{_signature(methods['__init__'], skip_first=True, returns=False)}"
    if any("dataclass" in ast.unparse(decorator) for decorator in node.decorator_list):
        fields = [ast.unparse(member) for member in node.body if isinstance(member, ast.AnnAssign)]
        return _wrapped(node.name, fields)
    return f"class {node.name}({', '.join(ast.unparse(base) for base in node.bases)})"


def _signature(node: ast.FunctionDef, skip_first: bool = False, returns: bool = True) -> str:
    """The arguments, and the returned type."""
    arguments = node.args.args
    defaults = [None] * (len(arguments) - len(node.args.defaults)) + list(node.args.defaults)
    shown = [
        ast.unparse(argument) + (f" = {ast.unparse(default)}" if default is not None else "")
        for argument, default in zip(arguments, defaults)
    ][skip_first:]
    end = f" -> {ast.unparse(node.returns)}" if returns and node.returns else ""
    return _wrapped("", shown) + end


def _wrapped(name: str, arguments: list[str]) -> str:
    """A call on one line where it fits, else with one argument a line."""
    line = f"{name}({', '.join(arguments)})"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {argument},\n" for argument in arguments) + ")"


def _targets(node: ast.Assign | ast.AnnAssign) -> list[str]:
    return [ast.unparse(target) for target in (node.targets if isinstance(node, ast.Assign) else [node.target])]


def _text(node: ast.stmt | None) -> str:
    """The string that stands after an assignment as its docstring."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return inspect.cleandoc(node.value.value)
    return ""


def main() -> None:
    """Write the page."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    PAGE.write_text(page())
    print(f"wrote {PAGE}")


if __name__ == "__main__":
    main()
