"""Two cameras map into one map over real DDS; one is compressed, without depth, and dies while the other goes on."""

from __future__ import annotations

import time

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from sgrocc_core.map_files.file import load_map
from tests.ros.harness import NodeProcess, Robot, node_with, save_voxels
from tests.ros.node.cameras_in_turn import two_cameras

HASTY = node_with(PERIOD=0.1, JUDGED_SECONDS=2.0)
"""The node that waits for images for two seconds instead of five."""


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node with two cameras, and the robot."""
    folder = tmp_path_factory.mktemp("cameras")
    with two_cameras(folder, program=HASTY) as (node, robot):
        yield node, robot, folder


def test_both_cameras_are_mapped_into_one_map_and_counted_apart(bench):
    node, robot, folder = bench
    robot.send_both_until("camera.front.processed", 6)
    robot.send_both_until("camera.rear.processed", 6)
    for key in ("received", "processed", "dropped", "waiting"):
        assert {f"camera.{camera}.{key}" for camera in robot.of_camera} <= set(robot.values), key
    assert robot.count("camera.front.depth_unused") == 0
    x = np.array(list(save_voxels(robot, folder / "map")))[:, 0] * 0.08
    assert (x > 1.0).sum() > 100 and (x < -0.3).sum() > 20  # the wall ahead, and what the image alone says of behind
    assert "camera front, depth: topic" in node.log and "camera rear, depth: mono" in node.log


def test_neither_camera_is_starved(bench):
    _, robot, _ = bench
    before = {camera: robot.count(f"camera.{camera}.processed") for camera in robot.of_camera}
    robot.send_both_until("processed", robot.count("processed") + 12)
    done = {camera: robot.count(f"camera.{camera}.processed") - n for camera, n in before.items()}
    assert abs(done["front"] - done["rear"]) <= 0.1 * sum(done.values()) + 1, done  # 1: whose turn it is at the end


def _settled(robot: Robot, key: str) -> int:
    """Wait until what was sent before is mapped, and /diagnostics says so; return that number."""
    value = -1
    while value != robot.count(key):
        value = robot.count(key)
        time.sleep(1)
    return value


def test_a_camera_that_dies_is_told_and_the_other_goes_on(bench):
    node, robot, _ = bench
    told = robot.count("noticed.camera_silent")
    before = _settled(robot, "camera.rear.processed")
    for _ in range(60):
        robot.send_of("front")
        time.sleep(0.2)
        if "camera rear" in robot.status:
            break
    assert robot.level == DiagnosticStatus.WARN
    assert "camera rear: no image on /rear/image/compressed in" in robot.status, robot.status
    # A machine that pauses for two seconds makes a camera silent, too.
    assert robot.count("noticed.camera_silent") > told and node.warnings("camera_silent") == 1
    front = robot.count("camera.front.processed")
    robot.send_of("front")
    robot.wait_for("camera.front.processed", front + 1)
    assert robot.count("camera.rear.processed") - before <= 1
    robot.send_both_until("camera.rear.processed", before + 3)
    for _ in range(150):
        if robot.level == DiagnosticStatus.OK:
            return
        for camera in robot.of_camera:
            robot.send_of(camera)
        time.sleep(0.2)
    raise AssertionError(f"not OK again: {robot.status}")


def test_the_map_is_of_the_time_to_which_the_images_jumped_back(bench):
    _, robot, folder = bench
    robot.send_both_until("processed", robot.count("processed") + 2)
    past, front = robot.next_stamp() - 100_000_000_000, robot.count("camera.front.processed")
    for i in range(150):
        robot.send_of("front", past + i * 200_000_000)
        time.sleep(0.2)
        if robot.count("noticed.time_jump") and robot.count("camera.front.processed") > front + 2:
            break
    assert robot.count("noticed.time_jump") == 1
    save_voxels(robot, folder / "map")
    assert past <= load_map(folder / "map").stamp_ns <= past + i * 200_000_000


@pytest.mark.parametrize(
    ("parameters", "remaps", "words"),
    [
        ({"cameras": "front, front"}, {}, "parameter cameras is 'front, front'; it must be names of letters"),
        ({"cameras": "front,left", "camera_frame": "cam"}, {}, "but there are 2 cameras, each in a frame of its own"),
        ({"cameras": "front,left", "pose_source": "pose"}, {}, "base_frame must name that frame"),
        (
            {"cameras": "front,left"},
            {"left/image": "/front/image"},
            "the cameras front and left have the same image topic /front/image; remap left/image to its own",
        ),
    ],
)
@pytest.mark.slow
def test_cameras_that_cannot_be_are_refused_in_a_sentence(ros_context, tmp_path, parameters, remaps, words):
    node = NodeProcess(tmp_path, parameters, remaps, ready=False)
    assert node.process.wait(120) == 1
    fatal = [line for line in node.log.splitlines() if "[FATAL]" in line]
    assert len(fatal) == 1 and words in fatal[0]
