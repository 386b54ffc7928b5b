"""Packages of messages that ROS 2 has and its wheels have not, generated and compiled for a test as tf2_msgs is."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

SUPPORT = Path(__file__).resolve().parents[3] / "support" / "tf2_msgs"
PACKAGES = {
    "map_msgs": (
        "OccupancyGridUpdate",
        "std_msgs/Header header\nint32 x\nint32 y\nuint32 width\nuint32 height\nint8[] data\n",
    ),
    "octomap_msgs": (
        "Octomap",
        "std_msgs/Header header\nbool binary\nstring id\nfloat64 resolution\nint8[] data\n",
    ),
}
"""Name and fields of the message of each package."""


def provide(package: str, folder: Path) -> None:
    """Make a package importable here and in processes started from here, built in a folder unless it is installed."""
    if importlib.util.find_spec(package) is not None:
        return
    if shutil.which("gcc") is None:
        pytest.skip("messages are compiled for this test, and there is no gcc")
    spec = importlib.util.spec_from_file_location("generate_messages", SUPPORT / "generate.py")
    assert spec is not None and spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = generator
    spec.loader.exec_module(generator)
    name, fields = PACKAGES[package]
    source = folder / "source" / package
    (source / "msg").mkdir(parents=True)
    (source / "msg" / f"{name}.msg").write_text(fields)
    # In a process of its own, because the generators change the environment.
    code = (
        f"import sys; sys.path.insert(0, {str(SUPPORT)!r}); import generate; from pathlib import Path; "
        f"generate.generate(Path({str(source)!r}), Path({str(folder / 'made' / package)!r}), generate.wheels_prefix(), "
        f"{package!r}, {name!r})"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    prefix, made, built = generator.wheels_prefix(), folder / "made" / package, folder / "built"
    packages = (*generator.MESSAGE_PACKAGES, *generator.RUNTIME_PACKAGES)
    includes = [made.parent, sysconfig.get_paths()["include"], np.get_include(), prefix / "include"]
    includes += [prefix / "include" / package for package in packages]
    libraries = [f"{p}__rosidl_{kind}" for p in generator.MESSAGE_PACKAGES for kind in generator.LIBRARY_KINDS]
    (built / package / "msg").mkdir(parents=True)
    sources = sorted(str(path) for path in made.rglob("*") if path.suffix in (".c", ".cpp"))
    subprocess.run(
        [
            "gcc", "-shared", "-fPIC", "-w", *(f"-I{path}" for path in includes), *sources, f"-L{prefix / 'lib'}",
            f"-Wl,-rpath,{prefix / 'lib'}", *(f"-l{library}" for library in (*libraries, *generator.LIBRARIES)),
            "-lstdc++", "-o", str(built / package / f"{package}_s__rosidl_typesupport_c.so"),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    (built / package / "__init__.py").write_text("")
    for file in (made / "msg").glob("*.py"):
        shutil.copy(file, built / package / "msg")
    sys.path.insert(0, str(built))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(built), *filter(None, [os.environ.get("PYTHONPATH")])])
