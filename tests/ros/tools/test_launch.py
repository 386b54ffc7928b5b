"""The launch file with `ros2 launch` itself, where that is installed; the ROS wheels do not have it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from sgrocc_core.map_files.file import load_map
from sgrocc_ros.tools.launching import ARGUMENTS
from tests.ros.harness import ROOT, model_folder, wait_until
from tests.samples.recordings.bag_samples import Recipe, write_bag

ROS2 = shutil.which("ros2")
FILE = ROOT / "launch" / "embodied.launch.py"
pytestmark = pytest.mark.skipif(
    not (ROS2 and importlib.util.find_spec("launch_ros") and importlib.util.find_spec("ros2launch")),
    reason="ros2 launch is not installed (ROS as wheels has none)",
)


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    """A bag whose topics are not the launch file's defaults."""
    recipe = Recipe(image_topic="/front/rgb/image_raw", depth_topic="/front/registered/depth")
    return write_bag(tmp_path_factory.mktemp("bag") / "front", recipe)


def _launch(*arguments: object, file: Path = FILE) -> subprocess.CompletedProcess:
    command = [str(ROS2), "launch", str(file), *map(str, arguments)]
    return subprocess.run(command, env=dict(os.environ), capture_output=True, text=True, timeout=180)


def test_the_arguments_are_shown_with_their_descriptions():
    done = _launch("--show-args")
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"^    '(\w+)':$", done.stdout, re.MULTILINE)
    assert shown == list(ARGUMENTS)
    assert all(" ".join(text.split()) in " ".join(done.stdout.split()) for _, text in ARGUMENTS.values())


@pytest.mark.parametrize("namespace", ["", "robot1"])
def test_a_bag_alone_becomes_a_map_and_the_launch_ends_with_it(bag, tmp_path, namespace):
    arguments = [
        f"bag:={bag}",
        "bag_rate:=4",
        "end_with_bag:=true",
        f"map_path:={tmp_path / 'map'}",
        f"model:={model_folder()}",
    ]
    done = _launch(*arguments, *([f"namespace:={namespace}"] if namespace else []))
    assert done.returncode == 0 and "process has finished cleanly" in done.stdout + done.stderr, (
        done.stdout + done.stderr
    )
    assert len(load_map(tmp_path / "map").voxels) > 100
    assert f"publishing {'/robot1' if namespace else ''}/embodied_occupancy/occupancy" in done.stdout + done.stderr


def test_after_the_bag_the_launch_stays_until_sigint_and_then_the_map_is_saved(bag, tmp_path):
    arguments = [f"bag:={bag}", "bag_rate:=4", f"map_path:={tmp_path / 'map'}", f"model:={model_folder()}"]
    log = tmp_path / "launch.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [str(ROS2), "launch", str(FILE), *arguments], stdout=output, stderr=output, start_new_session=True
        )
    try:
        wait_until(
            lambda: "the bag has been played" in log.read_text() or process.poll() is not None, 120, "the bag's end"
        )
        assert process.poll() is None and not (tmp_path / "map").exists(), log.read_text()
        process.send_signal(signal.SIGINT)  # to the launch process only; Ctrl-C would also reach the node
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert len(load_map(tmp_path / "map").voxels) > 100


@pytest.mark.parametrize(
    ("argument", "words"),
    [
        ("depth_source:=foo", "parameter depth_source is 'foo'; it must be mono or topic or fused"),
        ("bag:=/no/such/bag", "no such file or folder: /no/such/bag"),
        ("use_sim_time:=maybe", "use_sim_time is 'maybe'; it must be true or false"),
        ("params_file:=/no/such.yaml", "params_file is '/no/such.yaml'; there is no such file"),
        ("imge:=/camera", "there is no argument imge; is image meant?"),
    ],
)
def test_a_wrong_argument_ends_the_launch_with_a_sentence(argument, words):
    done = _launch(argument)
    assert done.returncode == 1
    assert words in done.stderr + done.stdout and "Traceback" not in done.stderr + done.stdout
    assert "process started" not in done.stderr + done.stdout


def test_it_can_be_included_in_a_namespace_with_arguments_of_its_own(bag, tmp_path):
    outer = tmp_path / "robot.launch.py"
    outer.write_text(
        _INCLUDING.format(file=str(FILE), bag=str(bag), map=str(tmp_path / "map"), model=str(model_folder()))
    )
    done = _launch("of_the_robot:=1", file=outer)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "publishing /hall/robot1/embodied_occupancy/occupancy" in done.stdout + done.stderr
    assert len(load_map(tmp_path / "map").voxels) > 100


_INCLUDING = """
from launch.actions import GroupAction, IncludeLaunchDescription
from launch_ros.actions import PushRosNamespace

from launch import LaunchDescription


def generate_launch_description():
    arguments = {{"bag": "{bag}", "bag_rate": "4", "end_with_bag": "true", "map_path": "{map}", "model": "{model}"}}
    arguments["namespace"] = "robot1"
    ours = IncludeLaunchDescription("{file}", launch_arguments=arguments.items())
    return LaunchDescription([GroupAction([PushRosNamespace("hall"), ours])])
"""
