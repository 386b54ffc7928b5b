"""Checks of a frame: an error names the wrong value and the cause under which the frame is counted."""

import numpy as np
import pytest

from sgrocc_core.errors import FrameError
from sgrocc_core.frame import Frame

K = np.array([[250.0, 0, 160], [0, 250.0, 120], [0, 0, 1]])


def frame(**changes) -> Frame:
    return Frame(**({"image": np.zeros((240, 320, 3), np.uint8), "K": K, "T_wc": np.eye(4), "stamp_ns": 1} | changes))


def refused(cause: str, **changes) -> str:
    with pytest.raises(FrameError) as error:
        frame(**changes)
    assert error.value.cause == cause
    return str(error.value)


def test_intrinsics_of_zeros_are_refused():
    assert "fx=0" in refused("bad_intrinsics", K=np.zeros((3, 3)))


def test_a_pose_with_nan_is_refused():
    T = np.eye(4)
    T[0, 3] = np.nan
    assert "nan" in refused("bad_pose", T_wc=T)


def test_a_rotation_that_is_not_orthonormal_is_refused():
    refused("bad_pose", T_wc=np.diag([1.0, 1.0, 1.2, 1.0]))


def test_a_slightly_rounded_rotation_is_made_orthonormal():
    T = np.eye(4)
    T[0, 1] = 0.004
    R = frame(T_wc=T).T_wc[:3, :3]
    np.testing.assert_allclose(R @ R.T, np.eye(3), atol=1e-12)


def test_a_grey_image_is_refused():
    assert "(240, 320)" in refused("bad_image", image=np.zeros((240, 320), np.uint8))


def test_invalid_depth_readings_become_no_reading():
    depth = np.full((240, 320), 2.0)
    depth[0, :5] = [np.nan, np.inf, -1.0, 0.0, 500.0]
    checked = frame(depth=depth).depth
    assert checked.dtype == np.float32 and (checked[0, :5] == 0).all() and checked[0, 5] == 2.0


def test_depth_without_a_reading_is_refused():
    said = refused("depth_without_readings", depth=np.full((240, 320), np.nan, np.float32))
    assert said.endswith("all are 0, NaN, infinite, negative or beyond 100 m")


def test_depth_of_metres_in_millimetres_is_refused_with_its_median():
    depth = np.full((240, 320), 1800.0, np.float32)
    depth[:50] = np.nan
    assert "1.8e+03 m: millimetres?" in refused("depth_without_readings", depth=depth)


def test_depth_of_another_aspect_is_refused():
    assert "200 x 240" in refused("bad_depth", depth=np.ones((240, 200), np.float32))
