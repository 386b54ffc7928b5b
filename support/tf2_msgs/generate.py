"""Generates the C, C++ and Python sources of tf2_msgs/TFMessage from our one-line .msg with the ROS wheels' rosidl generators.

The `rosidl` command of the wheels cannot be used (its entry points are registered twice), so the generator classes are called. The type
hash, computed first, is written into the sources; it is that of every other ROS 2 node's TFMessage because names and fields are the same.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "tf2_msgs"
MESSAGE_PACKAGES = ("geometry_msgs", "std_msgs", "builtin_interfaces")
"""The packages whose messages TFMessage is made of."""
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
"""The packages whose headers the generated sources include."""
LIBRARY_KINDS = ("generator_c", "generator_py", "typesupport_c", "typesupport_fastrtps_c", "typesupport_introspection_c")
"""The libraries of each message package."""
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
    """What the generators wrote, and what the compiler needs for it.

    Attributes:
        folder: the generated package; `folder/msg` holds the Python module.
        sources: C and C++ files of the one shared library.
        include_dirs, library_dirs, libraries: for the compiler and linker.
    """

    folder: Path
    sources: list[str]
    include_dirs: list[str]
    library_dirs: list[str]
    libraries: list[str]


def wheels_prefix() -> Path:
    """The prefix the ROS wheels were installed into.

    Taken from a generator's own place, not from sys.prefix: they differ when a build frontend runs us from elsewhere.

    Raises:
        RuntimeError: the wheels are not installed.
    """
    try:
        import rosidl_generator_c
    except ImportError as error:
        raise RuntimeError(
            "tf2_msgs is generated with the ROS wheels, which are not installed here: pip install -r requirements/ros.txt first, "
            "then pip install --no-build-isolation ./support/tf2_msgs"
        ) from error
    for parent in Path(rosidl_generator_c.__file__).resolve().parents:
        if (parent / "share/ament_index/resource_index/packages/rosidl_generator_c").exists():
            return parent
    raise RuntimeError(f"rosidl_generator_c at {rosidl_generator_c.__file__} belongs to no ament prefix; install requirements/ros.txt anew")


def refuse_beside_a_real_ros(prefix: Path) -> None:
    """Stops the installation where a ROS installation brings its own tf2_msgs, which ours would shadow.

    Raises:
        RuntimeError: names the installation found.
    """
    foreign = [Path(p) for p in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if p and Path(p).resolve() != prefix.resolve()]
    found = [
        str(p) for p in foreign if (p / "share/ament_index/resource_index/packages/rclpy").exists() or (p / "share" / PACKAGE).exists()
    ]
    if not found and os.environ.get("ROS_DISTRO"):
        found = [f"ROS_DISTRO={os.environ['ROS_DISTRO']}"]
    if found:
        raise RuntimeError(
            f"a ROS installation is sourced here ({', '.join(found)}), and it brings its own tf2_msgs: this package is only for machines "
            "that have ROS as wheels. Use the installation's tf2_msgs, or open a shell in which ROS is not sourced"
        )


def generate(source: Path, folder: Path, prefix: Path) -> Generated:
    """Runs the generators.

    Args:
        source: the folder with `msg/TFMessage.msg`.
        folder: where to write; its last part must be the package's name, since the sources include `tf2_msgs/msg/...`.
        prefix: the wheels' prefix.
    """
    os.environ["AMENT_PREFIX_PATH"] = str(prefix)  # the generators look for their templates there, and nowhere else
    from rosidl_adapter.msg import convert_msg_to_idl
    from rosidl_generator_c.cli import GenerateC
    from rosidl_generator_py.cli import GeneratePython
    from rosidl_generator_type_description.cli import HashTypeDescription
    from rosidl_typesupport_fastrtps_c.cli import GenerateFastRTPSCTypesupport
    from rosidl_typesupport_introspection_c.cli import GenerateIntrospectionCTypesupport

    folder = folder.resolve()
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "msg").mkdir(parents=True)
    shutil.copy(source / "msg" / "TFMessage.msg", folder / "msg")  # the generators embed the .msg and look for it beside the .idl
    convert_msg_to_idl(folder, PACKAGE, Path("msg/TFMessage.msg"), folder / "msg")
    interfaces = [f"{folder}:msg/TFMessage.idl"]
    include_paths = [str(prefix / "share" / package) for package in MESSAGE_PACKAGES]
    HashTypeDescription("hash").generate_type_hashes(PACKAGE, interfaces, include_paths, folder)
    # The choice between the two implementations is dispatch.cpp, in place of rosidl's, which looks libraries up by name at run time.
    steps = (
        GenerateC("c"),
        GenerateFastRTPSCTypesupport("fastrtps_c"),
        GenerateIntrospectionCTypesupport("introspection_c"),
        GeneratePython("py", typesupport_implementations=["rosidl_typesupport_c"]),
    )
    for step in steps:
        step.generate(PACKAGE, interfaces, include_paths, folder)
    shutil.copy(source / "dispatch.cpp", folder)
    sources = sorted(str(path) for path in folder.rglob("*") if path.suffix in (".c", ".cpp"))
    libraries = [f"{package}__rosidl_{kind}" for package in MESSAGE_PACKAGES for kind in LIBRARY_KINDS]
    include_dirs = [str(folder.parent)] + [str(prefix / "include" / package) for package in MESSAGE_PACKAGES + RUNTIME_PACKAGES]
    return Generated(folder, sources, include_dirs, [str(prefix / "lib")], libraries + list(LIBRARIES))
