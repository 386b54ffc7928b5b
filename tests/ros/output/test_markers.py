"""Packed markers equal those serialised by ROS."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rclpy.serialization import deserialize_message
from visualization_msgs.msg import Marker, MarkerArray

from sgrocc_ros.output.markers import BlockMarker, delete_all, fast_path_agrees, legend, list_marker, pack, plain


def _block(number: int, count: int, seed: int) -> BlockMarker:
    rng = np.random.default_rng(seed)
    return BlockMarker(
        number, rng.integers(-5000, 5000, (count, 3)).astype(np.int32), rng.integers(0, 256, count).astype(np.uint8)
    )


@settings(max_examples=60, deadline=None)
@given(
    frame=st.text("abc/_", min_size=1, max_size=9), counts=st.lists(st.integers(0, 9), max_size=4), first=st.booleans()
)
def test_packed_markers_equal_those_made_by_ros(frame, counts, first):
    blocks = [_block(i * 7, count, i) for i, count in enumerate(counts)]
    extra = [delete_all(frame, 1), *legend([1, 9, 255], np.array([1.0, 2.0, 3.0]), frame, 1)] if first else []
    packed = deserialize_message(pack(blocks, frame, 12_345_678_901, extra), MarkerArray)
    assert packed == plain(blocks, frame, 12_345_678_901, extra)


def test_the_check_at_start_up_passes_with_this_ros():
    assert fast_path_agrees()


def test_an_empty_block_deletes_its_marker():
    assert list_marker(_block(5, 0, 0), "map", 0).action == Marker.DELETE


def test_a_cube_lies_at_its_voxels_centre():
    marker = list_marker(BlockMarker(1, np.array([[0, -1, 12]]), np.array([2], np.uint8)), "map", 0)
    assert (marker.points[0].x, marker.points[0].y, marker.points[0].z) == pytest.approx((0.04, -0.04, 1.0))


def test_the_legend_names_each_class_once_in_its_colour():
    texts = {
        marker.text: (round(marker.color.r * 255), round(marker.color.g * 255))
        for marker in legend([2, 255], np.zeros(3), "map", 0)
    }
    assert texts == {"floor": (152, 134), "unlabelled": (128, 128)}


def test_packing_is_faster_than_python_objects():
    import time

    blocks = [_block(i, 400, i) for i in range(10)]
    start = time.perf_counter()
    pack(blocks, "map", 0)
    packed = time.perf_counter() - start
    start = time.perf_counter()
    plain(blocks, "map", 0)
    assert packed < (time.perf_counter() - start) / 3
