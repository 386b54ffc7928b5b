"""/diagnostics names the problem and what to check, at a level by the documented rules."""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from diagnostic_msgs.msg import DiagnosticStatus

from sgrocc_ros.health.advice import ADVICE
from sgrocc_ros.health.camera_statistics import CameraStatistics
from sgrocc_ros.health.diagnostics import Diagnostics
from sgrocc_ros.health.silence import Silence
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.health.threads import Watch
from tests.ros.harness import NodeProcess, Robot, node_with, running_node, wait_until

ROOT = Path(__file__).resolve().parents[3]


HASTY = node_with(PERIOD=0.1, JUDGED_SECONDS=2.0)
"""The node whose level follows what came in the last two seconds instead of five."""


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node, and a robot that has published nothing yet."""
    folder = tmp_path_factory.mktemp("diagnostics")
    with running_node(folder, {"depth_source": "topic"}, program=HASTY) as bench:
        yield bench


def _until(robot: Robot, level: bytes, words: str, **parts) -> None:
    """Wait for a level and a message; with `parts`, functions of the stamp, send such frames meanwhile."""
    for _ in range(150):
        if robot.level == level and re.search(words, robot.status):
            return
        if parts:
            stamp = robot.next_stamp()
            robot.send(stamp, **{name: make(stamp) for name, make in parts.items()})
        time.sleep(0.2)
    raise AssertionError(f"not {level!r} {words!r}, but {robot.level!r} {robot.status!r}")


def test_no_image_names_the_topic_its_publishers_and_what_to_check(bench):
    _until(
        bench[1],
        DiagnosticStatus.WARN,
        r"^no image on /image in \d+ s, which has 1 publisher; check the camera's driver",
    )


def test_images_without_a_pose_are_an_error_that_names_the_frames(bench):
    robot = bench[1]
    words = r"^no image was mapped in \d+ s, though \d+ came: no transform from 'map' to 'camera'"
    words += ".*; frames known: none; nothing was received on /tf"
    _until(robot, DiagnosticStatus.ERROR, words, transform=lambda stamp: None)
    assert robot.status.endswith(ADVICE["no_pose"])
    robot.send()
    lost = {"image": lambda stamp: robot.image(stamp, frame="nowhere")}
    _until(robot, DiagnosticStatus.ERROR, r"'nowhere'.*; frames known: camera, map;", **lost)


def test_a_few_bad_frames_among_good_ones_are_a_warning_that_passes(bench):
    robot = bench[1]
    _until(robot, DiagnosticStatus.OK, "^mapping$", image=robot.image)
    robot.send(depth=None)
    robot.send()
    _until(
        robot,
        DiagnosticStatus.WARN,
        r"^mapping, with trouble: .*no depth within 0.03 s.*; check that depth",
        image=robot.image,
    )
    _until(robot, DiagnosticStatus.OK, "^mapping$", image=robot.image)


def test_a_topic_that_nobody_publishes_is_told(ros_context, tmp_path):
    robot = Robot(listens_to="front_occupancy")
    node = NodeProcess(tmp_path, {}, {"image": "/front/image_raw", "__node": "front_occupancy"}, program=HASTY)
    try:
        wait_until(lambda: robot.values, 10)
        _until(
            robot,
            DiagnosticStatus.WARN,
            r"^no image on /front/image_raw in \d+ s, which has 0 publishers; check the topic's name",
        )
    finally:
        robot.close()
        node.stop()


def test_every_documented_cause_has_its_advice_and_the_other_way_round():
    text = (ROOT / "docs" / "ros.md").read_text().partition("## Diagnostics")[2]
    first_cells = "".join(line.split("|")[1] for line in text.splitlines() if line.startswith("| `"))
    documented = set(re.findall(r"`(\w+)`", first_cells))
    assert documented == set(ADVICE)


def test_more_images_lost_than_came_are_a_warning(ros_node):
    now = [0.0]
    statistics = Statistics(lambda text: None, lambda: 1.0)
    inputs = SimpleNamespace(paused=False, followers=[SimpleNamespace(topic="/camera/image_raw")])
    watch = Watch([], lambda: 10.0, lambda: (0, 0), str)
    diagnostics = Diagnostics(ros_node, statistics, dict, "", inputs, watch, clock=lambda: now[0])

    def after(seconds: float, came: int, lost: int) -> DiagnosticStatus:
        now[0] += seconds
        statistics.lose(lost)
        for _ in range(came):
            statistics.receive()
            statistics.process({})
        return diagnostics.status()

    assert after(2, came=20, lost=15).level == DiagnosticStatus.OK
    many = after(2, came=5, lost=30)
    assert many.level == DiagnosticStatus.WARN
    assert many.message.startswith(
        "45 of 70 images on /camera/image_raw were lost on their way in 5 s; images of 0.5 MB and more"
    )
    assert {v.key: v.value for v in many.values}["lost"] == "45"
    assert after(6, came=20, lost=0).level == DiagnosticStatus.OK


def test_a_silent_camera_is_a_warning_also_while_no_image_of_the_others_is_mapped(ros_node):
    now = [0.0]
    statistics = Statistics(lambda text: None, lambda: 1.0)
    cameras = {name: CameraStatistics(name, statistics, lambda: now[0]) for name in ("front", "rear")}
    inputs = SimpleNamespace(paused=False, followers=[])
    watch = Watch([], lambda: 10.0, lambda: (0, 0), str)
    diagnostics = Diagnostics(ros_node, statistics, dict, "", inputs, watch, cameras=cameras, clock=lambda: now[0])
    diagnostics._silence = Silence(cameras, lambda name, seconds: f"nothing in {seconds:.0f} s", 5.0, lambda: now[0])
    for second in range(9):  # a slow machine: images of the front camera come, and none is mapped yet
        now[0] = float(second)
        cameras["front"].receive()
        told = diagnostics.status()
    assert statistics.noticed == {"camera_silent": 1}
    assert told.level == DiagnosticStatus.WARN and "camera rear: nothing in 8 s" in told.message
