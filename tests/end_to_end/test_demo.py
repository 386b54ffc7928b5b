"""`sgrocc demo` with the real node and player as separate processes over real DDS; nothing is left running."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed (make setup)")
from sgrocc_core.map_files.file import FILES, load_map
from sgrocc_core.map_files.format import PLY

DEMO = [sys.executable, "-m", "sgrocc_core.cli", "demo"]


def processes_of(*folders: Path) -> list[str]:
    """Command lines of the running nodes and players that name one of the folders."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "sgrocc_ros" in line and any(str(folder) in line for folder in folders):
            found.append(line)
    return found


def demo(environment: dict[str, str], *arguments: str, timeout: float = 150) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*DEMO, *arguments], env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


def test_a_bag_becomes_a_map_and_a_summary(model, walk, ros_environment, tmp_path):
    out = tmp_path / "demo"
    done = demo(ros_environment, "--bag", str(walk), "--model", model, "--out", str(out), "--rate", "0.3")
    assert done.returncode == 0, done.stderr
    assert all((out / name).stat().st_size > 0 for name in FILES if name != PLY)
    report = json.loads((out / "report.json").read_text())
    figures = report["figures"]
    assert report["command"] == "demo" and figures["frames_in"]["value"] == 12
    assert (
        figures["frames_mapped"]["value"] + sum(figures["dropped"].values()) == 12
        and figures["frames_mapped"]["value"] >= 3
    )
    assert figures["voxels"]["value"] == len(load_map(out).voxels) > 300
    assert 0 < report["stages"]["total"]["p50"] <= report["stages"]["total"]["p95"]
    assert "frames  12 in" in done.stdout and f"look at {out / 'map.png'}" in done.stdout
    assert processes_of(tmp_path, walk) == []


def test_an_interrupted_demo_ends_what_it_started(model, walk, ros_environment, tmp_path):
    command = [*DEMO, "--bag", str(walk), "--model", model, "--out", str(tmp_path / "demo"), "--rate", "0.05"]
    process = subprocess.Popen(
        command, env=ros_environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        end = time.monotonic() + 120
        while not any("sgrocc_ros.tools.player" in line for line in processes_of(tmp_path, walk)):
            assert process.poll() is None and time.monotonic() < end, process.stdout.read()
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    finally:
        process.kill()
    assert process.returncode == 143 and processes_of(tmp_path, walk) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--bag", "/nowhere"], "no such file or folder: /nowhere"),
        (["--model", "huge"], "no model named 'huge'"),
        (["--bag", "WALK", "--camera-frame", "webcam"], "frames on /tf: camera_color_optical_frame, map"),
    ],
)
def test_a_demo_that_cannot_start_says_why_in_one_line(arguments, message, model, walk, ros_environment, tmp_path):
    arguments = [str(walk) if value == "WALK" else value for value in arguments]
    if "--model" not in arguments:
        arguments += ["--model", model]
    done = demo(ros_environment, *arguments, "--out", str(tmp_path / "demo"))
    assert done.returncode == 1 and message in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_a_node_that_dies_is_reported_with_the_end_of_its_log(model, walk, ros_environment, tmp_path):
    environment = ros_environment | {"PYTHONPATH": f"{tmp_path}{os.pathsep}" + ros_environment.get("PYTHONPATH", "")}
    # A broken installation: importing the worker fails in the node but not in the demo.
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\nif 'sgrocc_ros.start' in sys.orig_argv:\n    raise SystemExit('the node is broken on purpose')\n"
    )
    done = demo(environment, "--bag", str(walk), "--model", model, "--out", str(tmp_path / "demo"))
    assert done.returncode == 1
    assert "the node stopped with exit code" in done.stderr and "broken on purpose" in done.stderr
