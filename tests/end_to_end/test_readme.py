"""The Python example of the README runs unchanged, on a small walk."""

import ast
import re
from pathlib import Path

import sgrocc_core

ROOT = Path(__file__).resolve().parents[2]


def example():
    return re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)[0]


def test_the_example_is_at_most_ten_lines_and_uses_the_public_interface_only():
    code = example()
    assert len([line for line in code.splitlines() if line]) <= 10
    imports = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert [node.module for node in imports] == ["sgrocc_core"]
    assert {alias.name for alias in imports[0].names} <= set(sgrocc_core.__all__)


def test_the_example_in_the_readme_runs(walk, tmp_path, monkeypatch, capsys):
    code = example()
    (recording,) = walk.glob("*.mcap")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    exec(compile(code.replace('"walk.mcap"', repr(str(recording))), "README.md", "exec"), names)
    assert len(names["voxels"]) > 1000 and len(names["found"].labels) == 2
    assert bool(names["box"].is_free) == ("the robot fits" in capsys.readouterr().out)
