"""Poses from transforms: interpolated, checked, and true to their time."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
from geometry_msgs.msg import TransformStamped
from nav_msgs.msg import Odometry
from tf2_msgs.msg import TFMessage

from sgrocc_core.geometry.transforms import TransformLookupError
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.input.poses import MOST_FRAMES, Poses
from sgrocc_ros.messages import time_message

MS = 1_000_000
T0 = 1_700_000_000_000_000_000


def _quiet() -> Statistics:
    return Statistics(lambda text: None, lambda: 0.0)


@pytest.fixture
def told():
    """Poses, and their notices."""
    statistics = _quiet()
    return Poses(statistics, now=lambda: T0), statistics.noticed


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


def test_odometry_is_the_pose_of_the_frame_that_is_named_or_of_its_own_child_frame(told):
    poses, noticed = told
    message = Odometry()
    message.header.frame_id, message.header.stamp = "odom", time_message(T0)
    message.pose.pose.position.x = 3.0
    poses.add_odometry(message)
    assert noticed == {"bad_transform": 1}  # nobody says what it is the pose of
    poses.add_odometry(message, "base_link")
    message.child_frame_id, message.pose.pose.position.x = "body", 4.0
    poses.add_odometry(message)
    assert poses.lookup("odom", "base_link", T0)[0, 3] == 3.0
    assert poses.lookup("odom", "body", T0)[0, 3] == 4.0


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


def test_transforms_that_jump_back_start_anew_at_the_third_and_static_ones_stay(told):
    poses, noticed = told
    past = T0 - 100_000 * MS
    poses.add(_tf(0, x=0.5, parent="base", child="camera"), static=True)
    poses.add(_tf(T0, x=9.0, child="base"))
    for i in range(2):
        poses.add(_tf(past + 20 * i * MS, x=1.0, child="base"))
        assert poses.lookup("map", "camera", T0)[0, 3] == pytest.approx(9.5)
    assert not noticed
    poses.add(_tf(past + 40 * MS, x=1.0, child="base"))
    assert noticed == {"tf_time_jump": 1}
    for i in range(3):  # those before it was believed count, too
        assert poses.lookup("map", "camera", past + 20 * i * MS)[0, 3] == pytest.approx(1.5)
    with pytest.raises(TransformLookupError):
        poses.lookup("map", "camera", T0)


def test_one_transform_of_another_time_changes_nothing(told):
    poses, _ = told
    for stamp in (T0 - 20 * MS, T0 - 60_000 * MS, T0 + 5_000 * MS, T0 + 20 * MS, T0 + 40 * MS, T0 + 60 * MS):
        poses.add(_tf(stamp, x=stamp / 1e9 - T0 / 1e9))
    assert poses.lookup("map", "camera", T0 + 50 * MS)[0, 3] == pytest.approx(0.05, abs=1e-3)
    assert poses.lookup("map", "camera", T0)[0, 3] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("stamp", [0, -1_000 * MS, T0 + 60_000 * MS], ids=["zero", "before_1970", "a_minute_ahead"])
def test_a_transform_without_a_believable_time_is_dropped(told, stamp):
    poses, noticed = told
    message = _tf(T0)
    message.transforms[0].header.stamp.sec, message.transforms[0].header.stamp.nanosec = divmod(stamp, 1000 * MS)
    poses.add(message)
    assert noticed == {"bad_transform": 1}
    with pytest.raises(TransformLookupError):
        poses.lookup("map", "camera", T0)


@pytest.mark.parametrize("static", [False, True], ids=["tf", "tf_static"])
def test_a_transform_that_puts_the_map_below_the_camera_is_dropped(told, static):
    poses, noticed = told
    poses.add(_tf(T0, x=1.0))
    poses.add(_tf(T0 if not static else 0, parent="camera", child="map"), static=static)
    poses.add(_tf(T0 + 10 * MS, x=2.0))
    assert noticed == {"tf_loop": 1}
    assert poses.lookup("map", "camera", T0 + 10 * MS)[0, 3] == pytest.approx(2.0)


def test_a_second_parent_of_a_frame_is_dropped(told):
    poses, noticed = told
    poses.add(_tf(T0, x=1.0))
    poses.add(_tf(T0 + MS, x=7.0, parent="other_map"))
    poses.add(_tf(T0 + 2 * MS, x=1.0))
    assert noticed == {"tf_second_parent": 1}
    assert poses.lookup("map", "camera", T0 + MS)[0, 3] == pytest.approx(1.0)


def test_another_parent_is_believed_after_three_transforms_once_the_first_is_silent(told):
    poses, noticed = told
    poses.add(_tf(T0 - 5_000 * MS, x=1.0))
    poses.add(_tf(T0 - 4_980 * MS, x=1.0))
    for i in range(3):
        assert noticed["tf_second_parent"] == i
        poses.add(_tf(T0 + 20 * i * MS, x=7.0, parent="other_map"))
    assert noticed == {"tf_second_parent": 2}
    for i in range(3):  # those that were refused count, too
        assert poses.lookup("other_map", "camera", T0 + 20 * i * MS)[0, 3] == pytest.approx(7.0)


def test_one_wrong_parent_and_a_loop_after_a_silence_do_not_keep_the_poses_away(told):
    poses, _ = told
    poses.add(_tf(T0 - 5_000 * MS, x=1.0))
    poses.add(_tf(T0 - 4_980 * MS, x=1.0))
    poses.add(_tf(T0, x=7.0, parent="odom"))
    poses.add(_tf(T0, parent="camera", child="map"))
    poses.add(_tf(T0 + MS, x=2.0))
    assert poses.lookup("map", "camera", T0 + MS)[0, 3] == pytest.approx(2.0)


def test_a_loop_that_was_there_before_the_poses_gives_way_to_them(told):
    poses, _ = told
    poses.add(_tf(0, parent="camera", child="map"), static=True)
    for i in range(10):
        poses.add(_tf(T0 + 20 * i * MS, x=2.0))
    assert poses.lookup("map", "camera", T0)[0, 3] == pytest.approx(2.0)


def test_a_static_transform_does_not_give_a_moving_frame_another_parent(told):
    poses, noticed = told
    poses.add(_tf(T0, x=1.0))
    poses.add(_tf(0, x=7.0, parent="other_map"), static=True)
    assert noticed == {"tf_second_parent": 1} and poses.lookup("map", "camera", T0)[0, 3] == pytest.approx(1.0)


def test_static_frames_that_are_sent_again_on_tf_stay_static(told):
    poses, noticed = told
    poses.add(_tf(0, x=0.5, parent="base"), static=True)
    poses.add(_tf(T0, x=1.0, child="base"))
    poses.add(_tf(T0 - 500 * MS, x=0.5, parent="base"))
    assert poses.lookup("map", "camera", T0)[0, 3] == pytest.approx(1.5) and not noticed


def test_poses_are_not_interpolated_over_a_gap_in_which_the_camera_moved():
    poses = Poses(_quiet(), max_gap=0.2)
    poses.add(_tf(T0, x=1.0))
    poses.add(_tf(T0 + 300 * MS, x=1.3))
    poses.add(_tf(T0 + 900 * MS, x=1.3))
    assert poses.why_missing("map", "camera", T0 + 100 * MS)[0] == "no_pose"
    assert poses.lookup("map", "camera", T0 + 600 * MS)[0, 3] == pytest.approx(1.3)


def test_ever_new_frames_take_bounded_memory_and_short_messages(told):
    poses, _ = told
    for k in range(MOST_FRAMES + 1000):
        poses.add(_tf(T0 + k, child=f"object_{k}"))
        if not k % 500:
            poses.add(_tf(T0 + k, x=1.0))
    with pytest.raises(TransformLookupError) as error:
        poses.lookup("map", "nowhere", T0)
    assert len(str(error.value)) < 500 and "more" in str(error.value)
    with pytest.raises(TransformLookupError):
        poses.lookup("map", "object_1", T0 + 1)
    assert poses.lookup("map", "camera", T0 + MOST_FRAMES + 500)[0, 3] == pytest.approx(1.0)


def test_looking_for_a_pose_while_bad_transforms_rain_in_fails_in_no_other_way(told):
    poses, _ = told
    bad, ended = _tf(T0, x=math.nan), threading.Event()

    def rain() -> None:
        while not ended.is_set():
            poses.add(bad)

    thread = threading.Thread(target=rain)
    thread.start()
    try:
        for _ in range(3000):
            assert poses.why_missing("map", "camera", T0 + 10**12)[0] == "no_pose"
    finally:
        ended.set()
        thread.join()


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
