"""No input stops the node: a bad one is counted by its cause and warned about once, and the next good frame is mapped.

One node (depth `fused`) serves all tests of this file, as on a robot.
"""

from __future__ import annotations

import array
import math
import time
from pathlib import Path

import numpy as np
import pytest
from builtin_interfaces.msg import Time

from tests.ros.harness import HEIGHT, WIDTH, Robot, running_node, wait_until


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node and a robot that has mapped one frame."""
    with running_node(tmp_path_factory.mktemp("bad_input"), {"depth_source": "fused"}) as (node, robot):
        robot.map_good_frame()
        yield node, robot


def _settle(robot: Robot) -> None:
    """Wait until every image that came is processed, dropped or waiting; the one in work is none of them."""

    def accounted() -> bool:
        return robot.count("received") == robot.count("processed") + robot.count("dropped") + robot.count("waiting")

    wait_until(accounted, 30, "every image to be processed, dropped or waiting")


def _dropped(bench, cause: str, send, times: int = 2) -> None:
    """Assert that each frame of `send` is dropped for `cause`, with one warning, and a good frame mapped next."""
    node, robot = bench
    _settle(robot)  # a frame that was sent again because it took long may still be in work
    key = f"dropped.{cause}"
    before, processed = robot.count(key), robot.count("processed")
    for i in range(times):
        robot.send_until(send, key, before + i + 1)
    assert robot.count("processed") == processed
    assert node.warnings(f"({cause}, ") == 1
    robot.map_good_frame()


def _noticed(bench, cause: str, send, times: int = 2) -> None:
    """Assert that each frame of `send` is mapped with a notice of `cause`, and one warning."""
    node, robot = bench
    key = f"noticed.{cause}"
    before, processed = robot.count(key), robot.count("processed")
    for i in range(times):
        robot.send_until(send, "processed", processed + i + 1)
    robot.wait_for(key, before + times)
    assert node.warnings(f"{cause} (") == 1
    robot.map_good_frame()


def _with(robot: Robot, **changes) -> None:
    """Send a frame with changed parts, given as functions of the stamp."""
    stamp = robot.next_stamp()
    robot.send(stamp, **{part: make(stamp) for part, make in changes.items()})


def test_an_image_of_another_size_than_any_camera_info_is_dropped(bench):
    def smaller(robot: Robot, stamp: int):
        message = robot.image(stamp)
        message.height = HEIGHT // 2
        return message

    _dropped(bench, "size_mismatch", lambda robot: _with(robot, image=lambda stamp: smaller(robot, stamp)))


def test_of_two_camera_infos_on_one_topic_that_of_the_images_size_is_used(bench):
    _, robot = bench
    dropped, processed = robot.count("dropped"), robot.count("processed")
    for i in range(3):
        _with(robot, info=lambda stamp: robot.info(stamp, width=2 * WIDTH))
        robot.wait_for("processed", processed + i + 1)
    assert robot.count("dropped") == dropped


def test_an_uncalibrated_camera_with_k_of_zeros_is_dropped(bench):
    _dropped(
        bench, "bad_intrinsics", lambda robot: _with(robot, info=lambda stamp: robot.info(stamp, k=np.zeros((3, 3))))
    )


def test_a_pose_of_nan_is_dropped(bench):
    _dropped(bench, "bad_pose", lambda robot: _with(robot, transform=lambda stamp: robot.transform(stamp, y=math.nan)))
    assert bench[1].count("noticed.bad_transform") == 2


def test_a_quaternion_a_little_off_is_normalised_and_mapped(bench):
    _noticed(
        bench,
        "unnormalised_quaternion",
        lambda robot: _with(robot, transform=lambda stamp: robot.transform(stamp, norm=1.05)),
    )


def test_a_quaternion_far_from_unit_length_is_dropped(bench):
    robot = bench[1]
    before = robot.count("dropped.bad_pose")
    _with(robot, transform=lambda stamp: robot.transform(stamp, norm=2.0))
    robot.wait_for("dropped.bad_pose", before + 1)
    robot.map_good_frame()


def test_truncated_image_data_is_dropped(bench):
    def cut(robot: Robot, stamp: int):
        message = robot.image(stamp)
        message.data = message.data[: 3 * WIDTH * HEIGHT // 2]
        return message

    _dropped(bench, "truncated_image", lambda robot: _with(robot, image=lambda stamp: cut(robot, stamp)))


def test_an_image_without_data_is_dropped(bench):
    def emptied(robot: Robot, stamp: int):
        message = robot.image(stamp)
        message.data = array.array("B")
        return message

    before = bench[1].count("dropped.truncated_image")
    _with(bench[1], image=lambda stamp: emptied(bench[1], stamp))
    bench[1].wait_for("dropped.truncated_image", before + 1)
    bench[1].map_good_frame()


def test_an_unknown_encoding_is_dropped(bench):
    _dropped(
        bench, "unknown_encoding", lambda robot: _with(robot, image=lambda stamp: robot.image(stamp, encoding="rgb565"))
    )


def test_depth_that_is_all_nan_is_left_out(bench):
    nothing = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    _noticed(
        bench, "depth_without_readings", lambda robot: _with(robot, depth=lambda stamp: robot.depth(stamp, nothing))
    )


def test_an_image_without_its_depth_is_mapped_alone(bench):
    _noticed(bench, "no_depth", lambda robot: _with(robot, depth=lambda stamp: None))


def test_a_stamp_a_little_back_is_dropped(bench):
    _dropped(bench, "stamp_back", lambda robot: robot.send(robot.newest_stamp - 500_000_000), times=1)


def test_a_stamp_far_ahead_of_the_clock_is_dropped(bench):
    _dropped(bench, "stamp_ahead", lambda robot: robot.send(robot.next_stamp() + 20_000_000_000))


def test_stamps_that_jump_back_a_lot_start_another_time(bench):
    node, robot = bench
    jumps, processed, voxels = robot.count("noticed.time_jump"), robot.count("processed"), robot.count("map.voxels")
    past = robot.next_stamp() - 100_000_000_000
    for i in range(6):  # the first two are not believed yet
        robot.send(past + i * 33_000_000)
        robot.wait_for("processed", processed + max(0, i - 1))
    robot.wait_for("noticed.time_jump", jumps + 1)
    assert robot.count("noticed.time_jump") == jumps + 1
    assert node.warnings("time_jump (") >= 1
    assert robot.count("map.voxels") >= voxels // 2
    robot.map_good_frame()


@pytest.mark.parametrize(("seconds", "cause"), [(0, "stamp_zero"), (-1, "stamp_invalid")], ids=["zero", "before_1970"])
def test_an_image_without_a_time_is_dropped_and_everything_else_stays(bench, seconds, cause):
    def without_time(robot: Robot):
        message = robot.image(robot.newest_stamp)
        message.header.stamp = Time(sec=seconds)
        robot.send(image=message, transform=None)

    jumps = bench[1].count("noticed.time_jump")
    _dropped(bench, cause, without_time)
    assert bench[1].count("noticed.time_jump") == jumps


def test_an_image_whose_tf_never_comes_is_dropped_and_the_known_frames_are_named(bench):
    def lost(robot: Robot):
        stamp = robot.next_stamp()
        robot.send(stamp, image=robot.image(stamp, frame="nowhere"))

    _dropped(bench, "no_pose", lost)
    line = next(line for line in bench[0].log.splitlines() if "(no_pose, " in line)
    assert "'nowhere'" in line and "frames known: camera, map" in line


def test_tf_that_comes_100_ms_late_at_30_hz_starves_nothing(bench):
    robot = bench[1]
    processed, without_pose = robot.count("processed"), robot.count("dropped.no_pose")
    came = robot.count("received") + robot.count("lost")
    late: list[tuple[float, int]] = []
    start = time.monotonic()
    sent = 0
    while time.monotonic() - start < 3.0:
        now = time.monotonic()
        if now - start >= sent / 30:
            late.append((now + 0.1, robot.send(transform=None)))
            sent += 1
        while late and late[0][0] <= now:
            robot.transforms.publish(robot.transform(late.pop(0)[1]))
        time.sleep(0.001)
    for _, stamp in late:
        robot.transforms.publish(robot.transform(stamp))
    wait_until(
        lambda: robot.count("received") + robot.count("lost") >= came + sent and robot.count("waiting") == 0,
        20,
        "all images to be judged",
    )
    mapped = robot.count("processed") - processed
    could = 3000 / float(robot.values["latency.total.p50_ms"])
    assert sent >= 80, f"this machine is too busy to send 30 images a second: {sent} in 3 s"
    assert mapped >= 0.4 * could, f"{mapped} frames mapped, {could:.1f} could have been: {robot.values}"
    # A machine that pauses for longer than the node waits loses a few.
    assert robot.count("dropped.no_pose") - without_pose <= sent // 10
    robot.map_good_frame()


def test_every_image_is_accounted_for(bench):
    robot = bench[1]
    robot.map_good_frame()
    _settle(robot)


def test_the_node_never_loads_torch(bench):
    loaded = Path(f"/proc/{bench[0].process.pid}/maps").read_text()
    assert "openvino" in loaded or "onnxruntime" in loaded
    assert "torch" not in loaded
