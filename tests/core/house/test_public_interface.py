"""The public interface: `from sgrocc_core import NAME` for the names of `__all__`, loaded when they are first used."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import sgrocc_core
from sgrocc_core.commands._parts import api as _api

HEAVY = ("torch", "onnxruntime", "numba", "cv2", "numpy", "rclpy", "rosbags", "sgrocc_ros")


def loaded_after(code):
    script = f"import sys; {code}; print(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_package_loads_no_other_package():
    assert loaded_after("import sgrocc_core; sgrocc_core.__all__; dir(sgrocc_core)") == set()


def test_using_the_whole_interface_loads_neither_torch_nor_ros():
    assert loaded_after("from sgrocc_core import *") == {"numba", "cv2", "numpy", "rosbags"}


def test_every_name_is_the_one_that_its_module_defines():
    for name in sgrocc_core.__all__:
        value = getattr(sgrocc_core, name)
        assert value is getattr(importlib.import_module(sgrocc_core._MODULES[name]), name)
        assert getattr(value, "__module__", sgrocc_core._MODULES[name]) == sgrocc_core._MODULES[name]


def test_type_checkers_see_the_same_names_from_the_same_modules():
    tree = ast.parse(Path(sgrocc_core.__file__).read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    assert seen == sgrocc_core._MODULES and sorted(seen) == sorted(sgrocc_core.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'sgrocc_core' has no attribute 'Occupancy'"):
        _ = sgrocc_core.Occupancy
    with pytest.raises(ImportError, match="cannot import name 'Occupancy'"):
        exec("from sgrocc_core import Occupancy")


def test_the_page_describes_every_name_once():
    described = [name for names in _api.GROUPS.values() for name in names]
    assert sorted(described) == sorted(sgrocc_core.__all__)


def test_the_page_is_up_to_date():
    assert _api.PAGE.read_text() == _api.page(), "docs/api.md is out of date: run `make api`"


def test_sections_of_a_docstring_become_lists():
    docstring = (
        "Maps.\n\nArgs:\n    first: One,\n        continued.\n    second, third: Two.\n\nReturns:\n    Nothing: at all."
    )
    expected = (
        "Maps.\n\n**Args**\n\n- `first`: One,\n  continued.\n- `second, third`: Two.\n\n"
        "**Returns**\n\n- `Nothing`: at all."
    )
    assert _api.markdown(docstring) == expected
