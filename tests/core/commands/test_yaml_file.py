"""Reading YAML files: wrong files are refused, and the error names the file and the alternatives."""

from __future__ import annotations

from pathlib import Path

import pytest

from sgrocc_core.errors import ConfigError
from sgrocc_core.yaml_file import read_mapping


def test_a_mapping_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("x: 1\ny: [2]\n")
    assert read_mapping(tmp_path / "a.yaml", "thing") == {"x": 1, "y": [2]}
    assert read_mapping(tmp_path / "a.yaml", "thing", ("x", "y", "z")) == {"x": 1, "y": [2]}


def test_a_missing_file_is_named_with_those_beside_it(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("x: 1")
    with pytest.raises(
        ConfigError, match=r"cannot read the thing .*a\.yaml: No such file or directory; known there: other"
    ):
        read_mapping(tmp_path / "a.yaml", "thing")
    with pytest.raises(ConfigError, match="known there: none"):
        read_mapping(tmp_path / "nowhere" / "a.yaml", "thing")


@pytest.mark.parametrize(
    "content,message",
    [
        (b"a: [", "is not YAML"),
        (b"\xff\xfe\x00", "is not YAML"),
        (b"", "must be a mapping"),
        (b"- 1", "must be a mapping"),
        (b"x: 1\nz: 2", "unknown key 'z'; the keys are x, y"),
    ],
)
def test_what_is_no_such_mapping_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_mapping(tmp_path / "a.yaml", "thing", ("x", "y"))
