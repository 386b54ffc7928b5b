"""Tree of frames: composition, interpolation, and the errors of failed lookups."""

import numpy as np
import pytest

from sgrocc_core.geometry.transforms import (
    TooEarlyError,
    TooLateError,
    TransformTree,
    UnconnectedFramesError,
    UnknownFrameError,
)

IDENTITY = (0.0, 0.0, 0.0, 1.0)
QUARTER_LEFT = (0.0, 0.0, np.sqrt(0.5), np.sqrt(0.5))


def walking_robot() -> TransformTree:
    tree = TransformTree()
    tree.add("map", "odom", 0, (10, 0, 0), QUARTER_LEFT, static=True)
    tree.add("odom", "base", 1000, (0, 0, 0), IDENTITY)
    tree.add("odom", "base", 2000, (2, 0, 0), QUARTER_LEFT)
    tree.add("base", "camera", 0, (0, 0, 1), IDENTITY, static=True)
    return tree


def test_a_pose_is_composed_along_the_chain_and_interpolated_between_its_stamps():
    T = walking_robot().lookup("map", "camera", 1500)
    # Half way: 1 m along odom's x, which is the map's y; turned by 90 + 45 degrees.
    np.testing.assert_allclose(T[:3, 3], (10, 1, 1), atol=1e-12)
    np.testing.assert_allclose(T[:2, 0], (np.cos(np.radians(135)), np.sin(np.radians(135))), atol=1e-12)


def test_looking_up_the_other_way_gives_the_inverse():
    tree = walking_robot()
    np.testing.assert_allclose(
        tree.lookup("camera", "map", 1300) @ tree.lookup("map", "camera", 1300), np.eye(4), atol=1e-12
    )


def test_two_branches_meet_at_their_nearest_common_frame_even_when_it_does_not_move():
    tree = walking_robot()
    tree.add("base", "lidar", 0, (0.5, 0, 0), IDENTITY, static=True)
    np.testing.assert_allclose(tree.lookup("lidar", "camera", 10**12)[:3, 3], (-0.5, 0, 1), atol=1e-12)


@pytest.mark.parametrize(
    ("target", "source", "stamp", "error"),
    [
        ("map", "gripper", 1500, UnknownFrameError),
        ("map", "moon", 1500, UnconnectedFramesError),
        ("map", "camera", 999, TooEarlyError),
        ("map", "camera", 2001, TooLateError),
    ],
)
def test_a_missing_pose_says_why(target, source, stamp, error):
    tree = walking_robot()
    tree.add("space", "moon", 0, (0, 0, 0), IDENTITY, static=True)
    with pytest.raises(error):
        tree.lookup(target, source, stamp)


def test_transforms_that_arrive_out_of_order_are_sorted():
    tree = TransformTree()
    for stamp, x in ((3000, 3.0), (1000, 1.0), (2000, 2.0)):
        tree.add("map", "base", stamp, (x, 0, 0), IDENTITY)
    assert tree.lookup("map", "base", 1750)[0, 3] == pytest.approx(1.75)


def test_old_transforms_are_forgotten_after_the_history():
    tree = TransformTree(history_ns=1000)
    for stamp in (0, 900, 1800):
        tree.add("map", "base", stamp, (0, 0, 0), IDENTITY)
    tree.lookup("map", "base", 900)
    with pytest.raises(TooEarlyError):
        tree.lookup("map", "base", 899)


@pytest.mark.parametrize("quaternion", [(0, 0, 0, 0), (0, 0, 0, 2), (0, 0, np.nan, 1)])
def test_a_quaternion_that_is_no_rotation_is_refused(quaternion):
    with pytest.raises(ValueError, match="quaternion"):
        TransformTree().add("map", "base", 0, (0, 0, 0), quaternion)


def test_a_leading_slash_does_not_matter_and_clearing_keeps_static_frames():
    tree = walking_robot()
    tree.lookup("/map", "/camera", 1000)
    tree.clear()
    assert tree.frames() == ["base", "camera", "map", "odom"]
    with pytest.raises(UnconnectedFramesError):
        tree.lookup("map", "camera", 1000)
