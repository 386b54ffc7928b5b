"""Faults of other people's robots on a running node: the frame is mapped as it is meant, or /diagnostics says why not.

Those of recordings are in `tests/end_to_end/test_field_reports.py`. Those that need a node each, *alone* in
the table, are in `test_field_reports_alone.py`, because two nodes would hear the same robot.

| kind | test |
|---|---|
| transforms of two robots | a robot in a namespace: `input/test_transports.py`; second parents: `input/test_poses.py` |
| odometry lost for seconds | here |
| depth of the camera beside; K of another resolution; depth of metres in millimetres | alone |
| one stamp of 0, with `reset_on_time_jump` | here |
| all stamps of 0 | alone |
| D of two numbers, D of five for `equidistant` | here |
| quaternions of zeros | here |
| two sizes of camera_info on a topic | here |
| depth as mono16 | here |
| depth as RVL | alone |
| static frames sent again on /tf; a volatile /tf_static | alone |
| a full disk | alone |
| no folder | `node/test_autosave.py` |
"""

from __future__ import annotations

import time

import numpy as np
import pytest
from sensor_msgs.msg import Image

from sgrocc_ros.messages import byte_array
from tests.ros.harness import HEIGHT, WIDTH, K, Robot, running_node, wait_until

pytestmark = pytest.mark.slow
WALL = np.full((HEIGHT, WIDTH), 2.0, np.float32)


def mapped_next(robot: Robot, send) -> None:
    """Send a frame, again if it is lost on its way, and wait until it is mapped."""
    robot.send_until(send, "processed", robot.count("processed") + 1)


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """A node that has mapped one frame, for faults that cost no more than their frame."""
    folder = tmp_path_factory.mktemp("field_reports")
    with running_node(folder, {"depth_source": "fused", "reset_on_time_jump": True}) as (node, robot):
        robot.map_good_frame()
        yield node, robot
        assert node.stop() == 0 and "Traceback" not in node.log


def test_one_image_of_stamp_zero_costs_itself_and_neither_map_nor_poses(bench):
    node, robot = bench
    wait_until(lambda: robot.count("map.voxels") > 100, 10)
    voxels, dropped = robot.count("map.voxels"), robot.count("dropped.stamp_zero")
    robot.send(image=robot.image(0), transform=None)
    robot.wait_for("dropped.stamp_zero", dropped + 1)
    robot.map_good_frame()
    assert robot.count("map.voxels") >= voxels and robot.count("noticed.time_jump") == 0
    assert "stamp is 0" in node.log


def test_a_transform_of_stamp_zero_among_others_is_refused_alone(bench):
    _, robot = bench
    robot.transforms.publish(robot.transform(0))
    for _ in range(3):
        robot.map_good_frame()
    assert robot.count("noticed.tf_time_jump") == 0


@pytest.mark.parametrize(
    ("model", "numbers", "words"),
    [
        ("plumb_bob", [5.0, 0.0], "D has 2 coefficient(s) [5.0, 0.0]"),
        ("equidistant", [-0.01, 0.04, -0.04, 0.006, 0.3], "D has 5 coefficient(s)"),
    ],
)
def test_a_number_of_coefficients_that_the_model_does_not_have_is_named(bench, model, numbers, words):
    _, robot = bench
    before = robot.count("dropped.bad_intrinsics")

    def send(robot: Robot) -> None:
        info = robot.info(stamp := robot.next_stamp())
        info.distortion_model, info.d = model, numbers
        robot.send(stamp, info=info)

    robot.send_until(send, "dropped.bad_intrinsics", before + 1)
    wait_until(lambda: words in robot.values["last_error"], 5, f"{words}: {robot.values['last_error']}")
    robot.map_good_frame()


def test_a_quaternion_of_zeros_is_refused_with_its_length(bench):
    _, robot = bench
    refused, dropped = robot.count("transforms_refused.bad_transform"), robot.count("dropped.bad_pose")
    stamp = robot.next_stamp()
    robot.send(stamp, transform=robot.transform(stamp, norm=0.0))
    robot.wait_for("dropped.bad_pose", dropped + 1)
    assert robot.count("transforms_refused.bad_transform") == refused + 1
    assert "length 0" in robot.values["last_error"]
    robot.map_good_frame()


@pytest.mark.parametrize("last", ["resized", "own"])
def test_of_two_camera_infos_with_one_stamp_that_of_the_images_size_is_taken(bench, last):
    _, robot = bench

    def send(robot: Robot) -> None:
        stamp = robot.next_stamp()
        own, half = robot.info(stamp), robot.info(stamp, WIDTH // 2, np.diag([0.5, 0.5, 1]) @ K)
        half.height = HEIGHT // 2
        robot.infos.publish(own if last == "resized" else half)
        robot.send(stamp, info=half if last == "resized" else own)

    dropped = robot.count("dropped.size_mismatch")
    for _ in range(3):
        mapped_next(robot, send)
    assert robot.count("dropped.size_mismatch") == dropped


def test_depth_coded_as_mono16_is_read(bench):
    _, robot = bench
    unused = sum(int(value) for key, value in robot.values.items() if key.startswith("depth_unused."))

    def send(robot: Robot) -> None:
        stamp = robot.next_stamp()
        message = Image(header=robot.header(stamp), width=WIDTH, height=HEIGHT, encoding="mono16", step=2 * WIDTH)
        message.data = byte_array((WALL * 1000).astype(np.uint16))
        robot.send(stamp, depth=message)

    for _ in range(3):
        mapped_next(robot, send)
    assert sum(int(value) for key, value in robot.values.items() if key.startswith("depth_unused.")) == unused


def test_images_while_the_odometry_is_lost_are_not_mapped(bench):
    _, robot = bench
    robot.map_good_frame()
    dropped = robot.count("dropped.no_pose")
    first = robot.next_stamp()
    stamps = [first + number * 200_000_000 for number in range(1, 6)]
    robot.transforms.publish(robot.transform(first, y=0.0))
    for stamp in stamps[:-1]:
        robot.send(stamp, transform=None)
    robot.transforms.publish(robot.transform(stamps[-1], y=0.5))  # found again a second later, half a metre aside
    robot.wait_for("dropped.no_pose", dropped + 4)
    time.sleep(1.0)  # the clock goes on beyond the stamps
    robot.map_good_frame()
