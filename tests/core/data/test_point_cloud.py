"""Points of every driver's layout are decoded; what is no point is left out, and what is no cloud is named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sgrocc_core.data.bags import BagOptions, BagReader
from sgrocc_core.data.point_cloud import PointLayout, decode_points, last_offset_ns
from sgrocc_core.errors import DataError, FrameError
from tests.samples.recordings.point_clouds import LidarBag, packed
from tests.samples.rooms.box_room import look

STAMP = 1_700_000_000 * 10**9
POINTS = np.array([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])


def test_points_that_are_no_reading_are_left_out_with_their_times():
    points = np.array([[1.0, 2, 3], [np.nan, 1, 1], [0, 0, 0], [np.inf, 0, 0], [4, 5, 6], [5000, 0, 0]])
    layout, data = packed(points, t=np.arange(6, dtype=np.uint32))
    cloud = decode_points(layout, data, STAMP)
    np.testing.assert_array_equal(cloud.points, points[[0, 4]].astype(np.float32))
    np.testing.assert_array_equal(cloud.offsets_ns, [0, 4])


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("t", np.array([0, 10_000_000, 20_000_000], np.uint32)),  # Ouster
        ("offset_time", np.array([0, 10_000_000, 20_000_000], np.uint32)),  # Livox
        ("time", np.array([0.0, 0.01, 0.02], np.float32)),  # Velodyne
        ("timestamp", STAMP / 1e9 + np.array([0.0, 0.01, 0.02])),  # Hesai, RoboSense
        ("timestamp", STAMP + np.array([0.0, 1e7, 2e7])),  # Livox, in a float64
    ],
)
def test_times_of_every_driver_are_nanoseconds_after_the_stamp(name, times):
    layout, data = packed(POINTS, **{name: times})
    cloud = decode_points(layout, data, STAMP)
    np.testing.assert_allclose(cloud.offsets_ns, [0, 10_000_000, 20_000_000], atol=300)
    assert last_offset_ns(layout, data, STAMP) == cloud.offsets_ns[-1]


def test_times_that_cannot_be_are_told_and_not_used():
    layout, data = packed(POINTS, time=np.array([0.0, 5.0, 10.0], np.float32))
    cloud = decode_points(layout, data, STAMP)
    assert cloud.offsets_ns is None and "(field time) are not within 1 s of its stamp" in cloud.problem
    assert last_offset_ns(layout, data, STAMP) == 0
    assert decode_points(*packed(POINTS), STAMP).problem == ""


def test_rows_with_bytes_between_them_and_the_other_byte_order_are_read():
    rows = np.zeros((2, 50), np.uint8)
    for k in range(2):
        rows[k, :36] = np.arange(9 * k, 9 * k + 9).astype(">f4").view(np.uint8)
    layout = PointLayout([(axis, 4 * k, 7) for k, axis in enumerate("xyz")], 12, 50, 3, 2, True)
    cloud = decode_points(layout, rows.tobytes(), STAMP)
    np.testing.assert_array_equal(cloud.points, np.arange(18, dtype=np.float32).reshape(6, 3))


LAYOUT, DATA = packed(POINTS)


@pytest.mark.parametrize(
    ("layout", "data", "cause", "words"),
    [
        (replace(LAYOUT, fields=LAYOUT.fields[:2]), DATA, "bad_cloud", "has no field z; it has x, y"),
        (replace(LAYOUT, fields=[]), DATA, "bad_cloud", "has no field x; it has none"),
        (replace(LAYOUT, fields=[("x", 0, 4), *LAYOUT.fields[1:]]), DATA, "bad_cloud", "field x has the datatype 4"),
        (replace(LAYOUT, fields=[*LAYOUT.fields[:2], ("z", 30, 7)]), DATA, "bad_cloud", "at byte 30 does not fit"),
        (replace(LAYOUT, fields=[*LAYOUT.fields, ("x", 0, 7)]), DATA, "bad_cloud", "two fields of one name"),
        (replace(LAYOUT, point_step=0), DATA, "bad_cloud", "does not fit a point of 0 bytes"),
        (LAYOUT, DATA[:-1], "bad_cloud", "the cloud holds 95 bytes; 1 x 3 points of 32 bytes"),
        (replace(LAYOUT, row_step=10), DATA, "bad_cloud", "in rows of 10 are more"),
        (replace(LAYOUT, width=0), b"", "cloud_without_points", "the cloud is empty"),
        (LAYOUT, packed(POINTS * np.nan)[1], "cloud_without_points", "none of the cloud's 3 points is a reading"),
    ],
)
def test_what_is_no_cloud_is_told_in_a_sentence(layout, data, cause, words):
    with pytest.raises(FrameError) as refusal:
        decode_points(layout, data, STAMP)
    assert refusal.value.cause == cause and words in str(refusal.value)
    assert last_offset_ns(layout, data, STAMP) == 0


def _errors(bag, **options) -> list[np.ndarray]:
    """Differences of the depth of each frame of a bag of points from the true depth, metres, where there is any."""
    with BagReader(bag, BagOptions(depth_source="cloud", **options)) as reader:
        frames = list(reader)
        assert len(frames) == 12 and not reader.dropped
    found = []
    for frame in frames:
        height, width = frame.depth.shape
        K = frame.K.copy()
        s = width / frame.image.shape[1]
        K[:2, :2], K[:2, 2] = K[:2, :2] * s, (K[:2, 2] + 0.5) * s - 0.5
        truth = look(frame.T_wc, K, (width, height))[1]
        found.append(np.abs(frame.depth - truth)[frame.depth > 0])
    return found


def test_the_points_of_a_bag_are_the_depth_that_the_camera_would_have_measured(tmp_path):
    errors = _errors(LidarBag().write(tmp_path / "bag"))
    assert min(len(each) for each in errors) > 5000
    assert np.mean([(each < 0.05).mean() for each in errors]) > 0.93


def test_without_the_times_of_the_points_the_motion_shows(tmp_path):
    errors = _errors(LidarBag(has_times=False).write(tmp_path / "bag"))
    assert np.mean([(each < 0.05).mean() for each in errors[1:]]) < 0.85


def test_an_image_without_a_cloud_near_in_time_is_without_depth(tmp_path):
    bag = LidarBag(points_topic="/lidar/points")
    bag.write(tmp_path / "bag")
    with BagReader(tmp_path / "bag", BagOptions(depth_source="cloud", cloud_slop=0.01)) as reader:
        frames = list(reader)
        assert all(frame.depth is None for frame in frames) and reader.depth_unused == {"no_cloud": 12}
    with pytest.raises(
        DataError, match=r"the bag has no points on /points \(PointCloud2\), as depth_source cloud needs"
    ):
        BagReader(tmp_path / "bag", BagOptions(depth_source="cloud", points_topic="/points"))
