"""Corrected poses move the keyframes, and only where the pose before is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from geometry_msgs.msg import PoseStamped
from nav_msgs.msg import Path
from std_msgs.msg import Header

from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.geometry.transforms import TransformLookupError
from sgrocc_core.map_files.keyframes import Keyframe
from sgrocc_ros.correction.corrected_poses import CorrectedPoses, judge, read_path

S = 10**9
MOUNT = make_pose(np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]]), np.array([0.1, 0, 0.5]))
"""The camera on the robot's base."""


def at(x: float, y: float = 0.0) -> np.ndarray:
    return make_pose(np.eye(3), np.array([x, y, 0.0]))


def keyframes(bodies: list[np.ndarray]) -> list[Keyframe]:
    """Keyframes, one a second, of a robot whose base is at these poses."""
    poses = [body @ MOUNT for body in bodies]
    return [
        Keyframe(k + 1, k * S, "", "camera", tuple(T.ravel()), tuple(T.ravel()), (1.0,) * 9, False, 0)
        for k, T in enumerate(poses)
    ]


def lookup(target: str, source: str, stamp: int) -> np.ndarray:
    if (target, source) == ("base", "camera"):
        return MOUNT
    if target == "map" and stamp >= 3 * S:
        return at(0, 7.0) @ MOUNT
    raise TransformLookupError("too old")


def given(stamps: list[int], poses: list[np.ndarray]) -> CorrectedPoses:
    return CorrectedPoses(stamps, np.array(poses).reshape(-1, 4, 4))


def test_poses_of_the_base_move_the_camera_on_it():
    judged = judge(
        keyframes([at(0.1 * k) for k in range(5)]), [], given([0, 4 * S], [at(0), at(0.4, 0.2)]), "base", lookup
    )
    assert judged.anchors == 2 and judged.share == 0.8  # all but the first
    np.testing.assert_allclose(judged.poses[3], at(0.2, 0.1) @ MOUNT, atol=1e-12)


def test_where_the_robot_stood_before_it_moved_its_trail_is_what_counts():
    """It stands for nine seconds, then moves by 5 cm: a corrected pose of the time between is no correction."""
    ahead = [
        Keyframe(number, stamp, "", "c", tuple(T.ravel()), tuple(T.ravel()), (1.0,) * 9, False, 0)
        for number, stamp, T in ((1, 0, at(0)), (2, 10 * S, at(0.05)))
    ]
    halfway = given([5 * S], [at(0)])
    assert judge(ahead, [], halfway, "", lookup).anchors == 0
    trail = [(k * S, at(0)) for k in range(10)]
    judged = judge(ahead, trail, halfway, "", lookup)
    assert judged.anchors == 1 and judged.share == 0.0


def test_tf_asked_again_says_what_it_still_holds():
    judged = judge(keyframes([at(0)] * 5), [], given([], []), "base", lookup, by_tf="map")
    assert judged.anchors == 2 and judged.share == 1.0
    np.testing.assert_allclose(judged.poses[1], at(0, 7.0) @ MOUNT, atol=1e-12)


def test_what_tf_tells_as_before_says_nothing():
    """The keyframes were corrected since they came; tf still has the poses of then."""
    old = [replace(keyframe, told=tuple((at(0, 7.0) @ MOUNT).ravel())) for keyframe in keyframes([at(0)] * 5)]
    judged = judge(old, [], given([], []), "base", lookup, by_tf="map")
    assert judged.anchors == 0 and judged.share == 0.0


def _path(frame: str = "map", x: float = 1.0, w: float = 1.0, sec: int = 5) -> Path:
    pose = PoseStamped(header=Header(stamp=Time(sec=sec), frame_id=frame))
    pose.pose.position.x, pose.pose.orientation.w = x, w
    good = PoseStamped(header=Header(stamp=Time(sec=9)))
    good.pose.orientation.w = 1.0
    return Path(header=Header(frame_id="map"), poses=[pose, good])


def test_a_path_is_read_with_the_stamps_of_its_poses():
    read = read_path(_path(), "/map")
    assert read.stamps == [5 * S, 9 * S] and read.poses[0, 0, 3] == 1.0 and not read.refused


@pytest.mark.parametrize(
    ("wrong", "words"),
    [({"x": float("nan")}, "not finite"), ({"w": 0.5}, "length"), ({"sec": 0}, "0")],
)
def test_a_pose_that_is_none_is_left_out_and_told(wrong, words):
    read = read_path(_path(**wrong), "map")
    assert read.stamps == [9 * S] and words in read.refused


def test_a_path_in_another_frame_is_refused():
    with pytest.raises(ValueError, match="they are in the frame 'odom'; they must be in the map frame 'map'"):
        read_path(_path("odom"), "map")
