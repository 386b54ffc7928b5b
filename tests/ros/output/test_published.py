"""The published map is the sum of its updates; clouds contain it without loss."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import PointCloud2

from sgrocc_core.classes import COLORS
from sgrocc_ros.messages import POINT, cloud_message, read_cloud, voxel_points
from sgrocc_ros.output.published import PublishedMap
from tests.ros.clients import as_voxels

_UPDATE = st.dictionaries(
    st.tuples(*[st.integers(-40, 40)] * 3),
    st.tuples(st.sampled_from([0, 1, 5, 11, 255]), st.integers(1, 16)),
    max_size=30,
)


def _arrays(update: dict) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    voxels = np.array(list(update), np.int32).reshape(-1, 3)
    labels = np.array([label for label, _ in update.values()], np.uint8)
    return voxels, labels, np.array([n / 16 if label else 0.0 for label, n in update.values()], np.float32)


@settings(max_examples=60, deadline=None)
@given(st.lists(_UPDATE, max_size=6))
def test_a_snapshot_is_the_sum_of_all_updates(updates):
    published, expected, sequence = PublishedMap(), {}, 0
    for update in updates:
        published.apply(1, *_arrays(update))
        sequence += bool(update)
        for voxel, (label, n) in update.items():
            expected.pop(voxel, None)
            if label:
                expected[voxel] = (label, n / 16)
    points = read_cloud(
        deserialize_message(serialize_message(cloud_message(published.points(), "map", 1)), PointCloud2)
    )
    assert as_voxels(points) == expected
    assert published.voxel_count == len(expected)
    assert published.block_count == len({(x // 16, y // 16, z // 16) for x, y, z in expected})
    assert published.sequence == sequence and (points["sequence"] == sequence).all()


@settings(max_examples=30, deadline=None)
@given(st.lists(_UPDATE, min_size=1, max_size=4))
def test_markers_show_the_same_voxels_and_empty_blocks_have_none(updates):
    published, touched = PublishedMap(), set()
    for update in updates:
        touched |= published.apply(1, *_arrays(update))
    shown = {tuple(v) for marker in published.markers() for v in marker.voxels.tolist()}
    assert shown == set(as_voxels(published.points()))
    assert len({marker.number for marker in published.markers(touched)}) == len(touched)
    assert all(len(marker.voxels) for marker in published.markers())


@settings(max_examples=60, deadline=None)
@given(st.lists(_UPDATE, min_size=1, max_size=6))
def test_the_corner_is_that_of_the_blocks_that_hold_something(updates):
    published = PublishedMap()
    for update in updates:
        published.apply(1, *_arrays(update))
        voxels = list(as_voxels(published.points()))
        assert published.corner() == (tuple(np.min(voxels, 0) // 16 * 1.28) if voxels else (0, 0, 0))


def test_an_emptied_block_is_deleted_under_its_number_and_comes_back_under_it():
    published, voxel = PublishedMap(), np.array([[40, 3, -7]])
    published.apply(1, np.array([[0, 0, 0]]), np.array([1], np.uint8), np.array([0.5]))
    (first,) = published.markers(published.apply(2, voxel, np.array([5], np.uint8), np.array([1.0])))
    (gone,) = published.markers(published.apply(3, voxel, np.array([0], np.uint8), np.array([0.0])))
    (back,) = published.markers(published.apply(4, voxel, np.array([5], np.uint8), np.array([1.0])))
    assert first.number == gone.number == back.number
    assert len(gone.voxels) == 0 and back.voxels.tolist() == [[40, 3, -7]]


def test_only_blocks_that_changed_are_named():
    published = PublishedMap()
    assert published.apply(
        1, np.array([[0, 0, 0], [15, 15, 15], [-1, 0, 16]]), np.array([1, 2, 3]), np.full(3, 0.5)
    ) == {
        (0, 0, 0),
        (-1, 0, 1),
    }


@settings(max_examples=30, deadline=None)
@given(_UPDATE, _UPDATE)
def test_one_update_replaces_the_map_by_another(old, new):
    published, wanted = PublishedMap(), {voxel: (label, n / 16) for voxel, (label, n) in new.items() if label}
    published.apply(1, *_arrays(old))
    voxels, labels, probability = published.replacing(*_arrays({v: x for v, x in new.items() if x[0]}))
    assert len(np.unique(voxels, axis=0)) == len(voxels)  # each voxel occurs once
    published.apply(2, voxels, labels, probability)
    assert as_voxels(published.points()) == wanted and published.voxel_count == len(wanted)


def test_a_point_carries_centre_colour_label_and_probability():
    point = voxel_points(np.array([[1, -1, 0]]), np.array([9], np.uint8), np.array([0.75]))[0]
    assert np.allclose([point["x"], point["y"], point["z"]], [0.12, -0.04, 0.04])
    assert [int(point["rgb"]) >> 16, int(point["rgb"]) >> 8 & 255, int(point["rgb"]) & 255] == COLORS[9].tolist()
    assert (point["label"], point["probability"]) == (9, 0.75)


def test_the_clouds_fields_describe_the_points():
    message = cloud_message(np.zeros(3, POINT), "map", 1_500_000_000)
    assert [(f.name, f.offset) for f in message.fields] == [(name, POINT.fields[name][1]) for name in POINT.names]
    assert (message.point_step, message.row_step, message.width, message.height) == (28, 84, 3, 1)
    assert (message.header.stamp.sec, message.header.stamp.nanosec) == (1, 500_000_000)
