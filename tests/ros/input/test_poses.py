"""Poses from transforms; the buffers of tf2 and of the core pass the same tests."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from tf2_msgs.msg import TFMessage

from sgrocc_core.geometry.transforms import TransformLookupError
from sgrocc_ros.input import poses as poses_module
from sgrocc_ros.input.poses import Poses, Tf2Buffer, TreeBuffer
from sgrocc_ros.messages import time_message

MS = 1_000_000
T0 = 1_700_000_000_000_000_000
BUFFERS = ["tree"] + (["tf2"] if poses_module.tf2_ros else [])  # tf2_ros is not part of the ROS wheels


@pytest.fixture(params=BUFFERS)
def told(request):
    """Poses with each buffer, and their notices."""
    noticed: Counter[str] = Counter()
    buffer = TreeBuffer() if request.param == "tree" else Tf2Buffer()
    return Poses(lambda cause, message: noticed.update([cause]), buffer), noticed


def _tf(
    stamp: int, x: float = 0.0, yaw: float = 0.0, parent: str = "map", child: str = "camera", norm: float = 1.0
) -> TFMessage:
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id, message.header.stamp = parent, time_message(stamp)
    message.transform.translation.x = x
    message.transform.rotation.z, message.transform.rotation.w = norm * math.sin(yaw / 2), norm * math.cos(yaw / 2)
    return TFMessage(transforms=[message])


def test_a_pose_between_two_transforms_is_interpolated(told):
    poses, _ = told
    poses.add(_tf(T0, x=1.0, yaw=0.0))
    poses.add(_tf(T0 + 100 * MS, x=2.0, yaw=1.0))
    T = poses.lookup("map", "camera", T0 + 25 * MS)
    assert T[0, 3] == pytest.approx(1.25)
    assert math.atan2(T[1, 0], T[0, 0]) == pytest.approx(0.25)


def test_static_and_moving_transforms_are_composed(told):
    poses, _ = told
    poses.add(_tf(T0, x=1.0, yaw=math.pi / 2, child="base"))
    poses.add(_tf(0, x=0.5, parent="base", child="camera"), static=True)
    assert poses.lookup("map", "camera", T0)[:3, 3] == pytest.approx([1.0, 0.5, 0.0])


def test_a_stamp_after_the_newest_transform_has_no_pose_yet(told):
    poses, _ = told
    poses.add(_tf(T0))
    with pytest.raises(TransformLookupError):
        poses.lookup("map", "camera", T0 + MS)


def test_an_unknown_frame_is_named_beside_the_known_ones(told):
    poses, _ = told
    poses.add(_tf(T0, child="base"))
    with pytest.raises(TransformLookupError, match=r"'camera'.*frames known: base, map"):
        poses.lookup("map", "camera", T0)


def test_with_nothing_on_tf_that_is_what_is_said(told):
    with pytest.raises(TransformLookupError, match="nothing was received on /tf"):
        told[0].lookup("map", "camera", T0)


def test_frames_that_are_not_connected_have_no_pose(told):
    poses, _ = told
    poses.add(_tf(T0))
    poses.add(_tf(T0, parent="world", child="arm"))
    with pytest.raises(TransformLookupError):
        poses.lookup("map", "arm", T0)


def test_a_transform_of_nan_is_dropped_and_names_the_image_it_belonged_to(told):
    poses, noticed = told
    poses.add(_tf(T0 - 300 * MS))
    poses.add(_tf(T0, x=math.nan))
    assert noticed == {"bad_transform": 1}
    cause, message = poses.why_missing("map", "camera", T0)
    assert cause == "bad_pose" and "not finite" in message


def test_a_pose_that_did_not_come_is_no_pose(told):
    poses, _ = told
    poses.add(_tf(T0))
    assert poses.why_missing("map", "camera", T0 + 500 * MS)[0] == "no_pose"


@pytest.mark.parametrize(
    ("norm", "noticed_causes"), [(1.005, {}), (0.93, {"unnormalised_quaternion": 1}), (1.5, {"bad_transform": 1})]
)
def test_quaternions_are_taken_repaired_or_dropped_by_their_length(told, norm, noticed_causes):
    poses, noticed = told
    poses.add(_tf(T0, yaw=0.8, norm=norm))
    assert noticed == noticed_causes
    if "bad_transform" in noticed_causes:
        with pytest.raises(TransformLookupError):
            poses.lookup("map", "camera", T0)
    else:
        R = poses.lookup("map", "camera", T0)[:3, :3]
        assert np.linalg.det(R) == pytest.approx(1.0) and math.atan2(R[1, 0], R[0, 0]) == pytest.approx(0.8)


def test_transforms_that_jump_back_start_anew_and_static_ones_stay(told):
    poses, noticed = told
    poses.add(_tf(0, x=0.5, parent="base", child="camera"), static=True)
    poses.add(_tf(T0, x=9.0, child="base"))
    poses.add(_tf(T0 - 100_000 * MS, x=1.0, child="base"))
    assert noticed == {"tf_time_jump": 1}
    assert poses.lookup("map", "camera", T0 - 100_000 * MS)[0, 3] == pytest.approx(1.5)
    with pytest.raises(TransformLookupError):
        poses.lookup("map", "camera", T0)


def test_a_jump_of_the_images_clears_old_transforms_but_not_those_of_the_new_time(told):
    poses, _ = told
    poses.add(_tf(T0))
    poses.jump_to(T0 - 50_000 * MS)
    with pytest.raises(TransformLookupError):
        poses.lookup("map", "camera", T0)
    poses.add(_tf(T0 - 50_000 * MS, x=3.0))
    poses.jump_to(T0 - 50_000 * MS)
    assert poses.lookup("map", "camera", T0 - 50_000 * MS)[0, 3] == pytest.approx(3.0)


def test_a_leading_slash_of_a_frame_is_ignored(told):
    poses, _ = told
    poses.add(_tf(T0, x=1.0))
    assert poses.lookup("/map", "/camera", T0)[0, 3] == pytest.approx(1.0)
