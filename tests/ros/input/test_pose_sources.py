"""Poses from PoseStamped or Odometry instead of /tf, of the camera itself or of the base that carries it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped, TransformStamped
from nav_msgs.msg import Odometry
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from tests.ros.harness import Robot, running_node, saved_voxels, wait_until

MOUNT_Z = 0.48


class _PosedRobot(Robot):
    """Publishes poses of the camera on the topic `pose`."""

    kind: type = PoseStamped
    topic = "pose"

    def __init__(self) -> None:
        super().__init__()
        self.node.destroy_publisher(self.transforms)
        self.transforms = self.node.create_publisher(self.kind, self.topic, 100)

    def transform(self, stamp: int, norm: float = 1.0, y: float | None = None, frame: str = "camera") -> Any:
        pose = super().transform(stamp, norm, y, frame).transforms[0]
        message = PoseStamped(header=pose.header)
        at, to = message.pose.position, pose.transform.translation
        at.x, at.y, at.z = to.x, to.y, to.z
        message.pose.orientation = pose.transform.rotation
        return message


class _Rover(_PosedRobot):
    """Publishes odometry of its level base in `odom`, and the camera's mount on /tf_static."""

    kind, topic = Odometry, "odometry"
    child = "base_link"

    def __init__(self) -> None:
        super().__init__()
        self.static = self.node.create_publisher(
            TFMessage, "/tf_static", QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        )
        mount = TransformStamped(header=self.header(0, "base_link"), child_frame_id="camera")
        mount.transform.translation.z = MOUNT_Z
        q = mount.transform.rotation
        q.x, q.y, q.z, q.w = -0.5, 0.5, -0.5, 0.5
        self.static.publish(TFMessage(transforms=[mount]))

    def transform(self, stamp: int, norm: float = 1.0, y: float | None = None, frame: str = "camera") -> Odometry:
        pose = super().transform(stamp, norm, y, frame)
        message = Odometry(header=self.header(stamp, "odom"), child_frame_id=self.child)
        message.pose.pose.position = pose.pose.position
        message.pose.pose.orientation.w = norm
        return message


class _NamelessRover(_Rover):
    child = ""


def _map(robot: Robot, folder) -> np.ndarray:
    for _ in range(3):
        robot.map_good_frame()
    answer = robot.call(Trigger, "save_map")
    assert answer.success, answer.message
    return np.array(list(saved_voxels(folder / "map" / "map.npz")))


def _check_wall(voxels: np.ndarray, height: float) -> None:
    """Assert that most voxels are at the wall, 2 m ahead of the camera and around its height, metres."""
    x, z = (voxels[:, 0] + 0.5) * 0.08, (voxels[:, 2] + 0.5) * 0.08
    wall = abs(x - 2.0) <= 0.08
    assert wall.sum() > 100
    assert abs(z[wall].mean() - height) < 0.2


def test_poses_of_the_camera_need_no_tf_and_those_that_are_none_are_dropped(ros_context, tmp_path):
    parameters = {"pose_source": "pose", "depth_source": "topic", "map_path": tmp_path / "map"}
    with running_node(tmp_path, parameters, robot=_PosedRobot) as (node, robot):
        _check_wall(_map(robot, tmp_path), 0.0)
        assert robot.node.count_subscribers("/tf") == 0
        assert "subscribed to" in node.log and "/pose (reliable)" in node.log
        stamp = robot.next_stamp()
        robot.send(stamp, transform=robot.transform(stamp, norm=math.nan))
        robot.wait_for("dropped.bad_pose", 1)
        robot.map_good_frame()
        assert "is not finite" in node.log and "'the camera'" in node.log


def test_odometry_of_a_base_and_a_static_mount(ros_context, tmp_path):
    parameters = {"pose_source": "odometry", "depth_source": "topic", "map_frame": "odom", "map_path": tmp_path / "map"}
    with running_node(tmp_path, parameters, robot=_Rover) as (_, robot):
        _check_wall(_map(robot, tmp_path), MOUNT_Z)


@pytest.mark.slow  # what is done with the name is tested with the poses
def test_base_frame_names_what_odometry_leaves_nameless(ros_context, tmp_path):
    parameters = {"pose_source": "odometry", "depth_source": "topic", "map_frame": "odom", "map_path": tmp_path / "map"}
    with running_node(tmp_path, parameters | {"base_frame": "base_link"}, robot=_NamelessRover) as (_, robot):
        _check_wall(_map(robot, tmp_path), MOUNT_Z)


@pytest.fixture(scope="module")
def lost(ros_context, tmp_path_factory):
    """A node that receives odometry without a child frame, in a frame other than its map_frame."""
    parameters = {"pose_source": "odometry", "depth_source": "topic"}
    with running_node(tmp_path_factory.mktemp("lost"), parameters, robot=_NamelessRover) as bench:
        yield bench


def test_nameless_odometry_is_refused_in_a_sentence(lost):
    node, robot = lost
    robot.send()
    robot.wait_for("noticed.bad_transform", 1)
    wait_until(lambda: "odometry has no child_frame_id; set the parameter base_frame" in node.log, 5)


def test_poses_in_another_frame_than_the_maps_are_named(lost):
    robot = lost[1]
    robot.child = "base_link"
    robot.send()
    wait_until(lambda: "frames known: base_link, camera, odom" in robot.values["last_error"], 10)
    assert "no transform from 'map' to 'camera'" in robot.values["last_error"]
