"""A correction of the past over real DDS: the map is built again from its keyframes while mapping goes on."""

from __future__ import annotations

import time

import numpy as np
import pytest
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from std_srvs.srv import Empty, Trigger
from tf2_msgs.msg import TFMessage

from sgrocc_core.geometry.poses import quaternion_from_rotation
from sgrocc_core.map_files.keyframes import KeyframeStore
from tests.ros.harness import FORWARD, NodeProcess, Robot, running_node, save_voxels, set_parameters, wait_until

DRIFT = 0.05
"""Metres by which the odometry is off, along x, with each frame."""


class _Drifting(Robot):
    """A robot that moves sideways before a wall 2 m ahead, and whose poses drift towards the wall."""

    def __init__(self) -> None:
        super().__init__()
        self.path = self.node.create_publisher(Path, "/embodied_occupancy/poses", 1)
        self.past: list[tuple[int, float]] = []
        self.drift = DRIFT

    def transform(self, stamp: int, norm: float = 1.0, y: float | None = None, frame: str = "camera") -> TFMessage:
        message = super().transform(stamp, norm, 0.06 * (self._step % 20), frame)
        translation = message.transforms[0].transform.translation
        translation.x = self.drift * len(self.past)
        self.past.append((stamp, translation.y))
        return message

    def drive(self, frames: int) -> None:
        """Send frames, each once the one before is in the map."""
        for _ in range(frames):
            self.map_good_frame()

    def corrected(self, frame: str = "map", stamps: int = 0) -> Path:
        """The path without drift; stamps: nanoseconds that are added to each."""
        message = Path(header=self.header(self.newest_stamp, frame))
        for stamp, y in self.past[::2] + self.past[-1:]:
            pose = PoseStamped(header=self.header(stamp + stamps, frame))
            pose.pose.position.y = y
            q = pose.pose.orientation
            q.x, q.y, q.z, q.w = map(float, quaternion_from_rotation(FORWARD))
            message.poses.append(pose)
        return message


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node that keeps keyframes, and the robot that drifts."""
    folder = tmp_path_factory.mktemp("rebuild")
    parameters = {"depth_source": "topic", "map_path": folder / "map", "keep_keyframes": 50.0, "tf_timeout": 1.0}
    with running_node(folder, parameters, robot=_Drifting) as (node, robot):
        wait_until(robot.path.get_subscription_count, 10, "the subscription to ~/poses")
        yield node, robot, folder / "map"


def _wall(voxels) -> np.ndarray:
    """The x, metres, of the surely occupied voxels ahead of the camera."""
    ahead = [x for (x, _, z), (_, p) in voxels.items() if p > 0.9 and 0 <= z * 0.08 < 0.5]
    return (np.array(ahead) + 0.5) * 0.08


def test_poses_that_cannot_be_used_are_noticed_in_a_sentence(bench):
    node, robot, _ = bench
    robot.drive(4)
    robot.wait_for("keyframes", 4)
    for number, message in enumerate((robot.corrected("odom"), robot.corrected(stamps=10**12)), 1):
        robot.path.publish(message)
        robot.wait_for("noticed.poses_unused", number)
    assert "they are in the frame 'odom'; they must be in the map frame 'map'" in node.log
    assert robot.values["rebuild"] == "idle" and robot.count("rebuild.count") == 0


@pytest.mark.slow
def test_the_map_is_built_again_without_the_drift(bench):
    _, robot, folder = bench
    robot.drive(12 - robot.count("processed"))
    robot.wait_for("keyframes", 12)
    before = _wall(save_voxels(robot, folder))
    assert np.ptp(before) > 0.4  # twelve frames that drift by 5 cm each
    robot.path.publish(robot.corrected())
    robot.wait_for("rebuild.count", 1, 120)
    assert robot.count("rebuild.failed") == 0 and float(robot.values["rebuild.moved_share"]) > 0.8, robot.values
    after = save_voxels(robot, folder)
    assert np.ptp(_wall(after)) < 0.25 and 1.9 < np.median(_wall(after)) < 2.2
    wait_until(lambda: set(robot.map.voxels) == set(after), 10, "the published map to be the saved one")
    kept = KeyframeStore(folder / "keyframes").keyframes
    assert max(abs(keyframe.pose[0, 3]) for keyframe in kept) < 0.03


@pytest.mark.slow
def test_mapping_goes_on_during_a_rebuild_and_its_frames_are_in_the_new_map(bench):
    node, robot, _ = bench
    robot.drift = 0.0
    processed, count = robot.count("processed"), robot.count("rebuild.count")
    assert robot.call(Trigger, "rebuild").success
    robot.drive(3)
    assert robot.count("processed") == processed + 3
    robot.wait_for("rebuild.count", count + 1, 120)
    wait_until(lambda: robot.values["rebuild"] == "idle", 30)
    assert robot.count("rebuild.failed") == 0
    assert node.process.poll() is None and "Traceback" not in node.log


def test_corrections_below_the_share_are_left_alone(bench):
    _, robot, _ = bench
    count = robot.count("rebuild.count")
    assert set_parameters(robot, rebuild_share=1.0).successful
    robot.path.publish(robot.corrected())
    time.sleep(2)
    assert robot.count("rebuild.count") == count and robot.values["rebuild"] == "idle"


def test_a_reset_forgets_the_keyframes_and_a_rebuild_then_has_none(bench):
    _, robot, folder = bench
    robot.call(Empty, "reset")
    wait_until(lambda: robot.count("keyframes") == 0, 10, "no keyframes")
    answer = robot.call(Trigger, "rebuild")
    assert not answer.success and answer.message == "only 0 keyframes are kept so far"
    assert not list((folder / "keyframes").glob("*.jpg"))


@pytest.mark.slow
def test_keyframes_without_a_folder_for_the_map_are_refused(ros_context, tmp_path):
    node = NodeProcess(tmp_path, {"keep_keyframes": 50.0}, ready=False)
    assert node.process.wait(120) == 1
    assert "parameter keep_keyframes is 50.0, but map_path is empty; it must name the map's folder" in node.log
