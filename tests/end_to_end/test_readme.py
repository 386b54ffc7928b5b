"""The Python of the README runs as it stands, on a small walk."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_example_in_the_readme_runs(walk, tmp_path, monkeypatch, capsys):
    code = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)[0]
    (recording,) = walk.glob("*.mcap")
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "readme"}
    exec(compile(code.replace('"walk.mcap"', repr(str(recording))), "README.md", "exec"), names)
    assert len(names["voxels"]) > 1000 and len(names["found"].labels) == 2
    assert bool(names["box"].is_free) == ("the robot fits" in capsys.readouterr().out)
