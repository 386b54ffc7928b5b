"""The package as built by colcon and found by ROS, and its installed files."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

from sgrocc_ros.distributions import PROFILE_VARIABLE
from sgrocc_ros.parameters.table import BY_NAME
from sgrocc_ros.tools.launching import ARGUMENTS, PARAMETERS

ROOT = Path(__file__).resolve().parents[3]
COLCON = (sys.executable, "-m", "colcon")


@pytest.fixture(scope="module")
def install(tmp_path_factory) -> Path:
    """Install folder of this package in a workspace."""
    place = tmp_path_factory.mktemp("workspace")
    command = [*COLCON, "--log-base", place / "log", "build", "--base-paths", ROOT, "--packages-select", "sgrocc_ros"]
    command += ["--build-base", place / "build", "--install-base", place / "install"]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return place / "install" / "sgrocc_ros"


def test_colcon_sees_one_ament_python_package(tmp_path):
    done = subprocess.run(
        [*COLCON, "--log-base", tmp_path, "list", "--base-paths", ROOT], capture_output=True, text=True, check=True
    )
    assert [line.split("\t")[::2] for line in done.stdout.splitlines()] == [["sgrocc_ros", "(ros.ament_python)"]]


def test_ros2_run_finds_the_executables(install):
    for name in ("embodied_occupancy", "bag_player", "sgrocc"):
        assert os.access(install / "lib" / "sgrocc_ros" / name, os.X_OK), name


def test_ros2_launch_finds_the_package_and_its_files(install):
    assert (install / "share/ament_index/resource_index/packages/sgrocc_ros").is_file()
    for file in (
        "package.xml",
        "launch/embodied.launch.py",
        "config/embodied.yaml",
        "config/embodied.rviz",
        "config/fastdds.xml",
    ):
        assert (install / "share/sgrocc_ros" / file).is_file(), file


def test_the_models_of_the_repository_are_installed(install):
    models = [path.relative_to(ROOT) for path in (ROOT / "models").rglob("*") if path.is_file()]
    for path in models:
        assert (install / "share/sgrocc_ros" / path).stat().st_size == (ROOT / path).stat().st_size


def test_the_installed_node_runs_from_the_installed_files(install, tmp_path):
    site = next((install / "lib").glob("python3*/site-packages"))
    command = [install / "lib/sgrocc_ros/embodied_occupancy", "--ros-args", "-p", "model:=nothing"]
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(site)}, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "no model named 'nothing'" in done.stderr and "Traceback" not in done.stderr
    code = "import sgrocc_ros, sgrocc_core; print(sgrocc_ros.__file__, sgrocc_core.__file__)"
    where = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(site)},
        capture_output=True,
        text=True,
    )
    assert where.stdout.count(str(site)) == 2


def test_the_launch_file_finds_the_installed_executables_and_files(install, tmp_path):
    site = next((install / "lib").glob("python3*/site-packages"))
    code = "from sgrocc_ros.tools.launching import make_plan; plan = make_plan({}); "
    code += "print(plan.executable, plan.params_file)"
    environment = os.environ | {"PYTHONPATH": str(site), "AMENT_PREFIX_PATH": str(install)}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [
        str(install / "lib/sgrocc_ros/embodied_occupancy"), str(install / "share/sgrocc_ros/config/embodied.yaml"),
    ], done.stderr  # fmt: skip


def test_the_package_file_names_what_the_code_imports():
    root = ElementTree.parse(ROOT / "package.xml").getroot()
    assert root.get("format") == "3" and root.findtext("license") == "Apache-2.0"
    declared = {element.text for element in root.iter("exec_depend")}
    imported = set()
    for file in (ROOT / "sgrocc_ros").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ImportFrom | ast.Import):
                names = (
                    [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                )
                imported |= {name.split(".")[0] for name in names}
    ros = {
        name for name in imported if name.endswith(("_msgs", "_srvs", "_interfaces")) or name in ("rclpy", "cv_bridge")
    }
    assert ros and ros <= declared, ros - declared
    keys = {"numpy": "python3-numpy", "tqdm": "python3-tqdm", "rosbags": "python3-rosbags-pip"}
    assert {keys[name] for name in imported & keys.keys()} <= declared


def test_the_version_is_the_same_everywhere():
    from sgrocc_core import __version__

    assert ElementTree.parse(ROOT / "package.xml").getroot().findtext("version") == __version__
    assert f'version="{__version__}"' in (ROOT / "setup.py").read_text()


def test_the_parameter_file_has_only_known_parameters_with_allowed_values():
    values = yaml.safe_load((ROOT / "config" / "embodied.yaml").read_text())["/**"]["ros__parameters"]
    assert values
    for name, value in values.items():
        BY_NAME[name].check(value)


def test_the_launch_files_arguments_are_explained_and_parameters_of_the_node():
    assert set(PARAMETERS) <= set(BY_NAME) and set(PARAMETERS) <= set(ARGUMENTS)
    assert {"image", "depth_topic", "namespace", "bag", "rviz", "fastdds_profile", "params_file"} <= set(ARGUMENTS)
    text = (ROOT / "docs" / "ros.md").read_text()
    for name in ARGUMENTS:
        assert f"| `{name}` |" in text, name


def test_importing_the_node_brings_neither_torch_nor_training_code():
    code = "import sgrocc_ros.node, sgrocc_ros.tools.player, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "sgrocc_core.mapping.mapper" in loaded
    heavy = ("torch", "transformers", "huggingface_hub", "trimesh", "onnx")
    assert not [name for name in loaded if name.split(".")[0] in heavy or name.startswith("sgrocc_core.training")]


def test_a_big_best_effort_image_arrives_with_the_shipped_profile(tmp_path):
    """Best-effort images of 2.7 MB between two processes, which Fast DDS drops without the profile."""
    environment = os.environ | {PROFILE_VARIABLE: str(ROOT / "config" / "fastdds.xml")}
    talker = subprocess.Popen([sys.executable, "-c", _TALKER], env=environment)
    try:
        done = subprocess.run(
            [sys.executable, "-c", _LISTENER], env=environment, capture_output=True, text=True, timeout=60
        )
    finally:
        talker.kill()
        talker.wait()
    assert int(done.stdout) >= 10, done.stderr


_COMMON = """
import array, time, rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
rclpy.init()
node = rclpy.create_node('node')
qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
"""
_TALKER = (
    _COMMON
    + """
publisher = node.create_publisher(Image, '/big', qos)
message = Image(height=720, width=1280, encoding='rgb8', step=3840, data=array.array('B', bytes(720 * 3840)))
while True:
    publisher.publish(message)
    time.sleep(0.05)
"""
)
_LISTENER = (
    _COMMON
    + """
got = []
node.create_subscription(Image, '/big', got.append, qos)
end = time.monotonic() + 15
while len(got) < 10 and time.monotonic() < end:
    rclpy.spin_once(node, timeout_sec=0.1)
print(len(got))
"""
)
