"""The node reports a start or why it cannot start; signals stop it cleanly, with the map saved."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from std_srvs.srv import Trigger

from sgrocc_core.map_files.file import MapFolder
from tests.ros.harness import NodeProcess, Robot, saved_voxels, wait_until


def _stopped_after_some_frames(folder, signals) -> NodeProcess:
    node = NodeProcess(folder, {"depth_source": "topic", "map_path": folder / "map"})
    robot = Robot()
    try:
        robot.wait_for_node()
        robot.map_good_frame()
        for _ in range(5):
            robot.send()
        for number in signals:
            node.process.send_signal(number)
            time.sleep(0.05)
        assert node.process.wait(30) == 0, node.log
    finally:
        robot.close()
        node.stop(signal.SIGKILL)
    return node


@pytest.mark.parametrize(
    "signals",
    [(signal.SIGTERM,), pytest.param((signal.SIGINT, signal.SIGINT), marks=pytest.mark.slow)],
    ids=["SIGTERM", "SIGINT_twice"],
)
def test_a_signal_ends_the_frame_in_work_and_saves_the_map(ros_context, tmp_path, signals):
    node = _stopped_after_some_frames(tmp_path, signals)
    assert len(saved_voxels(tmp_path / "map" / "map.npz")) > 100
    assert "saved" in node.log and "stopped:" in node.log
    assert "Traceback" not in node.log


def _catches(pid: int, number: signal.Signals) -> bool:
    """Whether a process has a handler of its own for a signal."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(lines["SigCgt"], 16) >> (number - 1) & 1)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_node_is_still_imported_ends_it_with_a_word(tmp_path, number):
    node = NodeProcess(tmp_path, ready=False)
    # Python itself catches SIGINT; SIGTERM is caught last, so the node heeds both from then on.
    wait_until(lambda: _catches(node.process.pid, signal.SIGTERM), 20, "the node's first line")
    node.process.send_signal(number)
    assert node.process.wait(60) == 0
    assert node.log == "stopped by a signal before the start was complete\n"


def test_signals_that_go_on_to_the_very_end_change_nothing(tmp_path):
    node = NodeProcess(tmp_path, ready=False)
    wait_until(lambda: _catches(node.process.pid, signal.SIGTERM), 20, "the node's first line")
    while node.process.poll() is None:
        node.process.send_signal(signal.SIGTERM)
        time.sleep(0.0005)
    assert node.process.returncode == 0


def test_without_a_map_path_save_map_says_why_nothing_was_written(ros_context, tmp_path):
    node = NodeProcess(tmp_path)
    robot = Robot()
    try:
        answer = robot.call(Trigger, "save_map")
        assert not answer.success
        assert "map_path is empty" in answer.message
    finally:
        robot.close()
        assert node.stop(signal.SIGTERM) == 0
    assert "Traceback" not in node.log


def test_a_node_that_mapped_nothing_leaves_the_map_on_disk_alone(ros_context, tmp_path):
    node = NodeProcess(tmp_path, {"map_path": tmp_path / "map"})
    robot = Robot()
    try:
        answer = robot.call(Trigger, "save_map")
        assert not answer.success and "no image has been mapped yet" in answer.message
    finally:
        robot.close()
        assert node.stop(signal.SIGINT) == 0
    assert MapFolder(tmp_path / "map").empty


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("auto", marks=pytest.mark.slow)])
def test_the_start_says_what_runs_in_a_line_each(ros_context, tmp_path, engine):
    remaps = {"image": "/front/color/image_raw", "camera_info": "/elsewhere/info"}
    node = NodeProcess(tmp_path, {"engine": engine}, remaps)
    node.stop()
    for words in (
        "engine: OpenVINO" if engine == "auto" and importlib.util.find_spec("openvino") else "engine: ONNX Runtime",
        "precision: fp32",
        "model: ",
        "classes: ceiling, floor",
        "/elsewhere/info (reliable)",
    ):
        assert words in node.log, words
    assert "/embodied_occupancy/occupancy (reliable, transient local)" in node.log


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        pytest.param({"model": "nothing"}, "no model named 'nothing'; known: ", id="no_model"),
        pytest.param({"model": "/not/there"}, "no model in /not/there", id="no_path", marks=pytest.mark.slow),
        pytest.param(
            {"engine": "tensorflow"},
            "parameter engine is 'tensorflow'; it must be auto or onnxruntime or openvino or tensorrt",
            id="choice",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"tf_timeout": -1.0}, "parameter tf_timeout is -1.0; it must be a number from 0 to 10", id="range"
        ),
        pytest.param(
            {"threads": 1.5},
            "parameter threads is 1.5; it must be a whole number from 0 to 256",
            id="type",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"map_path": "~nobody-here/map"},
            "~nobody-here/map names a home directory that cannot be found",
            id="no_home",
            marks=pytest.mark.slow,
        ),
        pytest.param({"use_sim_time": "maybe"}, "Trying to set parameter 'use_sim_time' to 'maybe'", id="sim_time"),
        pytest.param(
            {"qos_overrides./image.subscription.reliability": 5},
            "cannot start: Trying to set parameter 'qos_overrides",
            id="qos",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_what_cannot_start_says_why_and_exits_with_1(ros_context, tmp_path, parameters, words):
    node = NodeProcess(tmp_path, parameters, ready=False)
    assert node.process.wait(30) == 1
    assert words in node.log
    assert "Traceback" not in node.log


@pytest.mark.parametrize(
    "arguments",
    [["--params-file", "/no/such.yaml"], ["-p", "9x:=1"], ["-r", "image:=a b"], ["--log-level", "loud"], ["--what"]],
    ids=["no_file", "parameter", "remap", "level", "unknown"],
)
def test_arguments_that_ros_cannot_read_are_one_line(arguments):
    command = [sys.executable, "-m", "sgrocc_ros.start", "--ros-args", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: cannot start: ")]
    assert done.returncode == 1 and len(lines) == 1 and len(lines[0]) > 40
    assert "Traceback" not in done.stderr
