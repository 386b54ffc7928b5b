"""Repeated start, pause, reset, save, load and shutdown while images arrive: nothing is left behind, nothing grows."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from std_srvs.srv import Empty, SetBool, Trigger

from sgrocc_ros.tools.bench import memory_and_threads
from tests.ros.harness import OFTEN, NodeProcess, Robot, wait_until, wall_with_hole

ROUNDS = 20
LEAK = 1.05
"""Resident memory may be so much more after all rounds than after the first quarter of them."""


@contextmanager
def _streaming(robot: Robot) -> Iterator[None]:
    """Send frames at 20 Hz from a thread."""
    over = threading.Event()

    def stream() -> None:
        n = 0
        while not over.wait(0.05):
            stamp, n = robot.next_stamp(), n + 1
            robot.send(stamp, depth=robot.depth(stamp, wall_with_hole(n, 2.0 + 0.1 * (n % 4))))

    thread = threading.Thread(target=stream)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _shared_memory(pid: int | str) -> set[str]:
    """Existing files under /dev/shm that a process has mapped."""
    found = set(re.findall(r"/dev/shm/\S+(?! \(deleted\))", Path(f"/proc/{pid}/maps").read_text()))
    return {name for name in found if os.path.exists(name)}


def _use_all_services(robot: Robot) -> None:
    mapped = robot.count("processed")
    robot.wait_for("processed", mapped + 2, 30)
    assert robot.call(SetBool, "pause", data=True).success
    assert robot.call(Trigger, "save_map").success
    assert robot.call(SetBool, "pause", data=False).success
    assert robot.call(Trigger, "clear_view").success
    robot.call(Empty, "reset")
    loaded = robot.call(Trigger, "load_map")
    assert loaded.success, loaded.message


@pytest.fixture
def robot(ros_context) -> Iterator[Robot]:
    robot = Robot()
    yield robot
    robot.close()


@pytest.mark.parametrize(
    "rounds", [2, pytest.param(8, marks=pytest.mark.slow), pytest.param(ROUNDS, marks=pytest.mark.slow)]
)
def test_services_under_load_leave_memory_and_threads_as_they_are(robot, tmp_path, rounds):
    # OpenVINO's memory settles later than the first round.
    values = {"depth_source": "topic", "map_path": tmp_path / "map", "engine": "onnxruntime", "threads": 0}
    node = NodeProcess(tmp_path, values, program=OFTEN)
    try:
        robot.wait_for_node()
        with _streaming(robot):
            seen = []
            for _ in range(rounds):
                _use_all_services(robot)
                seen.append(memory_and_threads(node.process.pid))
        first = max(1, rounds // 4)
        early, late = max(m for m, _ in seen[:first]), max(m for m, _ in seen[-first:])
        assert late < LEAK * early, seen
        assert len({threads for _, threads in seen[rounds // 4 :]}) == 1, seen
    finally:
        assert node.stop() == 0, node.log
    assert "Traceback" not in node.log and "[ERROR]" not in node.log


def _start_and_stop(robot: Robot, folder: Path, rounds: int) -> None:
    before = threading.active_count()
    with _streaming(robot):
        for n in range(rounds):
            earlier = {
                str(path) for path in Path("/dev/shm").iterdir()
            }  # not the node's, even if it maps them: ours, or another program's
            node = NodeProcess(
                folder / str(n), {"depth_source": "topic", "map_path": folder / "map", "load_on_start": True}
            )
            try:
                robot.values = {}
                robot.wait_for_node()
                _use_all_services(robot)
                theirs = _shared_memory(node.process.pid) - earlier
                assert theirs  # or this test looks in the wrong place
            finally:
                assert node.stop() == 0, node.log
            assert "saved" in node.log and "Traceback" not in node.log and "[ERROR]" not in node.log
            wait_until(
                lambda left=theirs: not {name for name in left if os.path.exists(name)},
                5,
                f"shared memory to be gone: {theirs}",
            )
            time.sleep(0.1)
    assert threading.active_count() == before
    assert len([path for path in (folder / "map").iterdir() if path.name.startswith("previous_")]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [2, ROUNDS])
def test_start_and_shutdown_under_load(robot, tmp_path, rounds):
    _start_and_stop(robot, tmp_path, rounds)
