"""Builds tf2_msgs where ROS 2 comes as wheels, without it: `pip install --no-build-isolation ./support/tf2_msgs`.

The build refuses to run next to a full ROS installation, which has its own tf2_msgs.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))  # a build frontend does not add the project's folder to the path

from generate import PACKAGE, generate, refuse_beside_a_real_ros, wheels_prefix  # noqa: E402

GENERATED = Path("build") / "rosidl" / PACKAGE


class BuildMessages(build_ext):
    """Generates the sources, compiles them into one library and copies the Python files next to it."""

    def build_extension(self, ext: Extension) -> None:
        """Generate the sources of `ext` and compile it."""
        import numpy

        prefix = wheels_prefix()
        refuse_beside_a_real_ros(prefix)
        made = generate(HERE, HERE / GENERATED, prefix)
        ext.sources = [str(Path(source).relative_to(HERE)) for source in made.sources]
        ext.include_dirs = [*made.include_dirs, numpy.get_include()]
        ext.library_dirs, ext.libraries = made.library_dirs, made.libraries
        super().build_extension(ext)
        package = Path(self.get_ext_fullpath(ext.name)).parent
        (package / "msg").mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text("")
        for python_file in (made.folder / "msg").glob("*.py"):
            shutil.copy(python_file, package / "msg")

    def get_ext_filename(self, fullname: str) -> str:
        """Return the file name that rosidl uses for such libraries, without an interpreter tag."""
        return fullname.replace(".", "/") + ".so"


setup(
    name=PACKAGE,
    version="0.1.0",
    description="tf2_msgs/TFMessage for machines that have ROS 2 only as wheels",
    license="Apache-2.0",
    packages=[],
    py_modules=[],
    ext_modules=[
        Extension(
            f"{PACKAGE}.{PACKAGE}_s__rosidl_typesupport_c",
            sources=[],
            language="c++",
            extra_compile_args=["-O2", "-w"],
            extra_link_args=["-Wl,-rpath,$ORIGIN/../../.."],
        )
    ],
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{PACKAGE}"]),
        (f"share/{PACKAGE}", ["package.xml"]),
        (
            f"share/{PACKAGE}/msg",
            ["msg/TFMessage.msg", str(GENERATED / "msg/TFMessage.idl"), str(GENERATED / "msg/TFMessage.json")],
        ),
    ],
    cmdclass={"build_ext": BuildMessages},
)
