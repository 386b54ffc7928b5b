"""One bad message costs itself: the map, the poses and the node stay as they were."""

from __future__ import annotations

import os

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from sgrocc_core.map_files.file import load_map
from tests.ros.harness import HEIGHT, WIDTH, K, Robot, resident_mb, running_node, set_parameters, wait_until

pytestmark = pytest.mark.slow
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """A node that saves its map and begins a new one after a jump of time, and a robot."""
    folder = tmp_path_factory.mktemp("one_bad_message")
    parameters = {"depth_source": "fused", "map_path": folder / "map", "reset_on_time_jump": True}
    with running_node(folder, parameters) as (node, robot):
        robot.map_good_frame()
        yield node, robot, folder / "map"
        assert node.stop() == 0, node.log
        assert "Traceback" not in node.log


def voxels(robot: Robot) -> int:
    """Voxels in the diagnostics after the next two, which then show the present."""
    seen = robot.values
    wait_until(lambda: robot.values is not seen, 10)
    seen = robot.values
    wait_until(lambda: robot.values is not seen, 10)
    return robot.count("map.voxels")


def test_one_image_seconds_ahead_keeps_the_map(bench):
    _, robot, folder = bench
    before, jumps = voxels(robot), robot.count("noticed.time_jump")
    robot.send(robot.next_stamp() + 5 * SECOND, transform=None)
    for _ in range(4):
        robot.map_good_frame()
    assert voxels(robot) >= before > 0 and robot.count("noticed.time_jump") == jumps
    assert not list(folder.glob("jump_*"))


@pytest.mark.parametrize("static", [False, True], ids=["tf", "tf_static"])
def test_a_transform_with_the_map_below_the_camera_stops_nothing(bench, static):
    _, robot, _ = bench
    message = TransformStamped(header=robot.header(robot.next_stamp(), "camera"), child_frame_id="map")
    message.transform.rotation.w = 1.0
    if static:
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        publisher = robot.node.create_publisher(TFMessage, "/tf_static", latched)
        wait_until(publisher.get_subscription_count, 10)
    else:
        publisher = robot.transforms
    before = robot.count("noticed.tf_loop")
    publisher.publish(TFMessage(transforms=[message]))
    robot.wait_for("noticed.tf_loop", before + 1)
    for _ in range(3):
        robot.map_good_frame()


def test_a_far_pose_is_dropped_and_saving_takes_no_more_memory(bench):
    node, robot, _ = bench
    assert robot.call(Trigger, "save_map", 60).success
    before, dropped = resident_mb(node.process.pid, "VmHWM"), robot.count("dropped.pose_jump")
    stamp = robot.next_stamp()
    robot.send(stamp, transform=robot.transform(stamp, y=50_000.0))
    robot.wait_for("dropped.pose_jump", dropped + 1)
    robot.map_good_frame()
    assert robot.call(Trigger, "save_map", 60).success
    assert resident_mb(node.process.pid, "VmHWM") < before + 150


def test_an_image_of_before_1970_can_neither_be_mapped_nor_spoil_the_saved_map(bench):
    _, robot, folder = bench
    message = robot.image(robot.newest_stamp)
    message.header.stamp = Time(sec=-1)
    before = robot.count("dropped.stamp_invalid")
    robot.send(image=message)
    robot.wait_for("dropped.stamp_invalid", before + 1)
    assert robot.call(Trigger, "save_map", 60).success
    assert load_map(folder).stamp_ns > 0


@pytest.mark.parametrize("metres", [1e-20, 1e-4], ids=["nothing", "a_hair"])
def test_depth_of_almost_nothing_is_no_error_of_the_node(bench, metres):
    _, robot, _ = bench
    stamp = robot.next_stamp()
    robot.send(stamp, depth=robot.depth(stamp, np.full((HEIGHT, WIDTH), metres, np.float32)))
    robot.map_good_frame()
    robot.wait_until_settled()
    assert robot.count("dropped.internal_error") == 0


def test_lens_coefficients_of_no_model_are_told(bench):
    _, robot, _ = bench
    before = robot.count("dropped.bad_intrinsics")
    stamp = robot.next_stamp()
    info = robot.info(stamp)
    info.d = [0.1]
    robot.send(stamp, info=info)
    robot.wait_for("dropped.bad_intrinsics", before + 1)
    robot.map_good_frame()


def test_the_smallest_focal_length_does_not_hold_the_node_up(bench):
    _, robot, _ = bench
    k = K.copy()
    k[0, 0], k[1, 1] = 0.0505 * WIDTH, 0.0505 * HEIGHT
    stamp, start = robot.next_stamp(), robot.count("processed") + robot.count("dropped")
    robot.send(stamp, info=robot.info(stamp, k=k))
    wait_until(lambda: robot.count("processed") + robot.count("dropped") > start, 20, "the frame to be judged")
    robot.map_good_frame()


def test_a_limit_of_the_rate_can_be_taken_back_at_once_and_a_tiny_one_is_refused(bench):
    _, robot, _ = bench
    assert "max_rate" in set_parameters(robot, max_rate=1e-10).reason
    assert set_parameters(robot, max_rate=0.01).successful
    robot.send()
    assert set_parameters(robot, max_rate=0.0).successful
    robot.map_good_frame()


def test_a_map_that_blocks_when_it_is_opened_is_refused_and_mapping_goes_on(bench):
    _, robot, folder = bench
    assert robot.call(Trigger, "save_map", 60).success
    file = (folder / "gaussians.safetensors").resolve()
    aside = file.rename(file.with_name("aside"))
    os.mkfifo(file)
    answer = robot.call(Trigger, "load_map", 20)
    assert not answer.success and "not a regular file" in answer.message
    file.unlink()
    aside.rename(file)
    assert robot.call(Trigger, "load_map", 60).success
    robot.map_good_frame()


def test_the_map_of_a_time_before_a_jump_is_kept_beside_the_new_one(bench):
    _, robot, folder = bench
    robot.map_good_frame()
    before = voxels(robot)
    past = robot.next_stamp() - 50 * SECOND
    for i in range(5):
        robot.send(past + i * 33_000_000)
    kept = wait_until(lambda: sorted(folder.glob("jump_*")), 20, "a copy")[0]
    assert len(load_map(kept).voxels) == before
    robot.map_good_frame()
