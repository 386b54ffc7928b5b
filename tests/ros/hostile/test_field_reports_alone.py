"""Faults of other people's robots that need a node of their own; `test_field_reports_live.py` has the table."""

from __future__ import annotations

import resource
import struct
import time

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from sgrocc_core.data.rvl import encode_rvl
from sgrocc_core.map_files.file import load_map
from tests.ros.harness import HEIGHT, WIDTH, K, Robot, running_node, wait_until

pytestmark = pytest.mark.slow
WALL = np.full((HEIGHT, WIDTH), 2.0, np.float32)


def look_at(robot: Robot, make, finding: str, frames: int = 30) -> str:
    """Send frames, two a second as the first look takes them, until a finding is in the diagnostics; its text."""
    for _ in range(frames):
        stamp = robot.next_stamp()
        robot.send(stamp, **make(stamp))
        time.sleep(0.55)
        if text := robot.values.get(f"finding.{finding}"):
            return text
    raise AssertionError(f"no finding {finding}: {robot.values}")


def all_of_zero(robot: Robot) -> None:
    robot.transforms.publish(robot.transform(robot.next_stamp()))
    robot.send(0, transform=None)


def test_stamps_that_are_all_zero_are_named(ros_context, tmp_path):
    with running_node(tmp_path, {"depth_source": "fused", "warn_period": 1.0}) as (node, robot):
        for number in (1, 2, 3):
            robot.send_until(all_of_zero, "dropped.stamp_zero", number)
        wait_until(lambda: robot.level == b"\x02", 10, "an error")
        assert "stamp is 0: the driver does not stamp its messages" in robot.status
        assert node.stop() == 0


def test_k_of_another_resolution_is_told_with_its_factor(ros_context, tmp_path):
    twice = np.diag([2.0, 2.0, 1.0]) @ K
    with running_node(tmp_path, {"depth_source": "fused"}) as (_, robot):
        text = look_at(robot, lambda stamp: {"info": robot.info(stamp, k=twice)}, "principal_point")
        assert text.startswith("error: ") and "2 times" in text
        wait_until(lambda: robot.level == b"\x01" and "principal point" in robot.status, 5, "a warning")


def test_depth_of_metres_in_millimetres_is_told_with_its_median(ros_context, tmp_path):
    with running_node(tmp_path, {"depth_source": "fused"}) as (_, robot):
        text = look_at(robot, lambda stamp: {"depth": robot.depth(stamp, 1000 * WALL)}, "depth_unit")
        assert "2e+03 m: millimetres?" in text
        assert robot.count("depth_unused.depth_without_readings") >= 5


@pytest.mark.parametrize("connected", [False, True], ids=["unknown", "beside"])
def test_depth_of_the_camera_beside_is_told(ros_context, tmp_path, connected):
    with running_node(tmp_path, {"depth_source": "fused"}) as (_, robot):

        def frame(stamp: int) -> dict:
            depth, transform = robot.depth(stamp), robot.transform(stamp)
            depth.header.frame_id = "camera_depth_optical_frame"
            if connected:
                eye = TransformStamped(header=robot.header(stamp), child_frame_id="camera_depth_optical_frame")
                eye.transform.translation.x, eye.transform.rotation.w = -0.05, 1.0
                transform.transforms.append(eye)
            return {"depth": depth, "transform": transform}

        text = look_at(robot, frame, "depth_frame")
        words = "0.050 m and 0.0 degrees from the images'" if connected else "no transform connects them"
        assert "'camera_depth_optical_frame'" in text and words in text
        wait_until(lambda: robot.level == b"\x01" and "camera_depth_optical_frame" in robot.status, 5, "a warning")


class _Rvl(Robot):
    """Sends depth as RVL."""

    def __init__(self) -> None:
        super().__init__()
        self.node.destroy_publisher(self.depths)
        self.depths = self.node.create_publisher(CompressedImage, "depth/compressedDepth", QoSProfile(depth=10))

    def depth(self, stamp: int, metres: np.ndarray | None = None) -> CompressedImage:
        stream = encode_rvl(np.full((HEIGHT, WIDTH), 2000, np.uint16)).tobytes()
        data = struct.pack("<iffii", 0, 0.0, 0.0, WIDTH, HEIGHT) + stream
        return CompressedImage(header=self.header(stamp), format="16UC1; compressedDepth rvl", data=data)


def test_depth_coded_as_rvl_is_read(ros_context, tmp_path):
    with running_node(tmp_path, {"depth_source": "topic", "map_path": tmp_path / "map"}, robot=_Rvl) as (node, robot):
        for _ in range(3):
            robot.map_good_frame()
        assert not any(key.startswith("depth_unused.") for key in robot.values)
        assert node.stop() == 0
    wall = (load_map(tmp_path / "map").voxels[:, 0] + 0.5) * 0.08
    assert np.mean(np.abs(wall - 2.0) < 0.3) > 0.5


class _Mounted(Robot):
    """Poses of the camera's body on /tf, and of the camera on it on /tf_static with some durability."""

    durability = DurabilityPolicy.TRANSIENT_LOCAL

    def __init__(self) -> None:
        super().__init__()
        qos = QoSProfile(depth=10, durability=self.durability)
        self.static = self.node.create_publisher(TFMessage, "/tf_static", qos)
        self.static.publish(self.mount(self.newest_stamp))

    def mount(self, stamp: int) -> TFMessage:
        """The camera on its body."""
        message = TransformStamped(header=self.header(stamp, "camera_link"), child_frame_id="camera")
        q = message.transform.rotation
        q.x, q.y, q.z, q.w = -0.5, 0.5, -0.5, 0.5
        return TFMessage(transforms=[message])

    def transform(self, stamp: int, norm: float = 1.0, y: float | None = None, frame: str = "camera") -> TFMessage:
        message = TransformStamped(header=self.header(stamp, "map"), child_frame_id="camera_link")
        message.transform.rotation.w = 1.0
        return TFMessage(transforms=[message])


class _Volatile(_Mounted):
    durability = DurabilityPolicy.VOLATILE


def test_static_frames_that_are_sent_again_on_tf_stay_static(ros_context, tmp_path):
    with running_node(tmp_path, {"depth_source": "fused"}, robot=_Mounted) as (node, robot):
        robot.map_good_frame()
        robot.transforms.publish(robot.mount(robot.next_stamp()))
        time.sleep(0.5)
        for _ in range(5):  # later than that transform, which nothing follows
            robot.map_good_frame()
        assert robot.count("dropped.no_pose") == 0
        assert node.stop() == 0


def test_a_volatile_tf_static_is_followed(ros_context, tmp_path):
    with running_node(tmp_path, {"depth_source": "fused"}, robot=_Volatile) as (node, robot):
        wait_until(robot.static.get_subscription_count, 10, "a subscription that fits")
        robot.static.publish(robot.mount(robot.newest_stamp))
        for _ in range(3):
            robot.map_good_frame()
        assert node.stop() == 0


def test_a_disk_that_fills_up_is_counted_and_mapping_goes_on(ros_context, tmp_path):
    parameters = {"depth_source": "fused", "map_path": tmp_path / "map", "autosave_period": 0.3}
    with running_node(tmp_path / "log", parameters) as (node, robot):
        robot.map_good_frame()
        wait_until(lambda: (tmp_path / "map" / "map.npz").exists(), 20, "a first map")
        log = node.log_file.stat().st_size
        before = load_map(tmp_path / "map").stamp_ns
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (max(log, 20_000) + 100_000,) * 2)
        robot.map_good_frame()
        robot.wait_for("noticed.autosave_failed", 1, 20)
        answer = robot.call(Trigger, "save_map")
        assert not answer.success and str(tmp_path / "map") in answer.message
        robot.map_good_frame()
        assert node.stop() == 1
        assert "the map is not saved" in node.log and "Traceback" not in node.log
    assert load_map(tmp_path / "map").stamp_ns >= before
    assert not list((tmp_path / "map" / ".generations").glob(".part*"))
