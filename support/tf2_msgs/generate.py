"""Generates the sources of tf2_msgs/TFMessage (C, C++, Python) from its .msg with the rosidl generators of the wheels.

The generator classes are called directly, because the `rosidl` command of the wheels registers its entry points twice.
The type hash in the sources equals that of every other ROS 2 node, because the names and fields are the same.
"""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "tf2_msgs"
MESSAGE_PACKAGES = ("geometry_msgs", "std_msgs", "builtin_interfaces")
"""Packages whose messages TFMessage contains."""
RUNTIME_PACKAGES = (
    "rcutils",
    "rosidl_runtime_c",
    "rosidl_runtime_cpp",
    "rosidl_typesupport_interface",
    "rosidl_typesupport_c",
    "rosidl_typesupport_cpp",
    "rosidl_typesupport_fastrtps_c",
    "rosidl_typesupport_fastrtps_cpp",
    "rosidl_typesupport_introspection_c",
    "rosidl_dynamic_typesupport",
    "rmw",
    "fastcdr",
)
"""Packages whose headers the generated sources include."""
LIBRARY_KINDS = (
    "generator_c",
    "generator_py",
    "typesupport_c",
    "typesupport_fastrtps_c",
    "typesupport_introspection_c",
)
"""Libraries of each message package."""
LIBRARIES = (
    "rosidl_runtime_c",
    "rosidl_typesupport_c",
    "rosidl_typesupport_fastrtps_c",
    "rosidl_typesupport_fastrtps_cpp",
    "rosidl_typesupport_introspection_c",
    "rcutils",
    "fastcdr",
)


@dataclass(frozen=True)
class Generated:
    """The generated sources and the settings to compile them.

    Attributes:
        folder: the generated package; `folder/msg` holds the Python module.
        sources: C and C++ files of the shared library.
        include_dirs: folders with headers.
        library_dirs: folders with libraries.
        libraries: libraries to link.
    """

    folder: Path
    sources: list[str]
    include_dirs: list[str]
    library_dirs: list[str]
    libraries: list[str]


def wheels_prefix() -> Path:
    """Return the prefix into which the ROS wheels were installed.

    It is derived from the location of a generator, because sys.prefix differs when a build frontend runs elsewhere.

    Raises:
        RuntimeError: the wheels are not installed.
    """
    try:
        import rosidl_generator_c
    except ImportError as error:
        raise RuntimeError(
            "tf2_msgs is generated with the ROS wheels, which are not installed here: "
            "pip install -r requirements/ros.txt first, then pip install --no-build-isolation ./support/tf2_msgs"
        ) from error
    for parent in Path(rosidl_generator_c.__file__).resolve().parents:
        if (parent / "share/ament_index/resource_index/packages/rosidl_generator_c").exists():
            return parent
    raise RuntimeError(
        f"rosidl_generator_c at {rosidl_generator_c.__file__} belongs to no ament prefix; "
        "install requirements/ros.txt anew"
    )


def refuse_beside_a_real_ros(prefix: Path) -> None:
    """Refuse to install next to a ROS installation with its own tf2_msgs, which this one would shadow.

    Raises:
        RuntimeError: there is such an installation; the message names it.
    """
    paths = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p]
    found = [
        str(path)
        for path in paths
        if path.resolve() != prefix.resolve()
        and any((path / "share" / name).exists() for name in ("ament_index/resource_index/packages/rclpy", PACKAGE))
    ]
    if not found and os.environ.get("ROS_DISTRO"):
        found = [f"ROS_DISTRO={os.environ['ROS_DISTRO']}"]
    if found:
        raise RuntimeError(
            f"a ROS installation is sourced here ({', '.join(found)}), and it brings its own tf2_msgs: this package is "
            "only for machines that have ROS as wheels. Use the installation's tf2_msgs, or open a shell in which "
            "ROS is not sourced"
        )


def generate(source: Path, folder: Path, prefix: Path, package: str = PACKAGE, message: str = "TFMessage") -> Generated:
    """Run the generators.

    Args:
        source: folder with `msg/MESSAGE.msg`.
        folder: output folder; must be named as the package, since the sources include `PACKAGE/msg/...`.
        prefix: prefix of the ROS wheels.
        package: name of the package.
        message: name of its only message, whose own messages are of MESSAGE_PACKAGES.
    """
    os.environ["AMENT_PREFIX_PATH"] = str(prefix)  # the generators find their templates only there
    from rosidl_adapter.msg import convert_msg_to_idl
    from rosidl_generator_c.cli import GenerateC
    from rosidl_generator_py.cli import GeneratePython
    from rosidl_generator_type_description.cli import HashTypeDescription
    from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport
    from rosidl_typesupport_introspection_c.cli import GenerateIntrospectionCTypesupport

    folder = folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "msg").mkdir(parents=True)
    # The generators embed the .msg, which must be next to the .idl.
    shutil.copy(source / "msg" / f"{message}.msg", folder / "msg")
    convert_msg_to_idl(folder, package, Path(f"msg/{message}.msg"), folder / "msg")
    interfaces = [f"{folder}:msg/{message}.idl"]
    include_paths = [str(prefix / "share" / package) for package in MESSAGE_PACKAGES]
    HashTypeDescription("hash").generate_type_hashes(package, interfaces, include_paths, folder)
    # dispatch.cpp replaces rosidl's dispatch, which looks up libraries by name at run time.
    steps = (
        GenerateC("c"),
        GenerateFastRTPSCTypesupport("fastrtps_c"),
        GenerateIntrospectionCTypesupport("introspection_c"),
        GeneratePython("py", typesupport_implementations=["rosidl_typesupport_c"]),
    )
    for step in steps:
        step.generate(package, interfaces, include_paths, folder)
    dispatch = (Path(__file__).parent / "dispatch.cpp").read_text().replace(PACKAGE, package)
    # The generated files are named as rosidl's convert_camel_case_to_lower_case_underscore has it.
    lower = re.sub("([a-z0-9])([A-Z])", r"\1_\2", re.sub("(.)([A-Z][a-z]+)", r"\1_\2", message)).lower()
    (folder / "dispatch.cpp").write_text(dispatch.replace("TFMessage", message).replace("tf_message", lower))
    sources = sorted(str(path) for path in folder.rglob("*") if path.suffix in (".c", ".cpp"))
    libraries = [f"{package}__rosidl_{kind}" for package in MESSAGE_PACKAGES for kind in LIBRARY_KINDS]
    packages = MESSAGE_PACKAGES + RUNTIME_PACKAGES
    include_dirs = [str(folder.parent)] + [str(prefix / "include" / package) for package in packages]
    return Generated(folder, sources, include_dirs, [str(prefix / "lib")], libraries + list(LIBRARIES))
