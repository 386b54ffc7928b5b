"""`~/objects`: the things of the map as boxes, with numbers that stay; silent unless it is switched on."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.qos import QoSProfile
from std_msgs.msg import Header
from visualization_msgs.msg import Marker, MarkerArray

from sgrocc_core.classes import label_of
from sgrocc_core.voxels.objects import objects_of
from sgrocc_ros.output.objects import Detection3DArray, markers


def sofa():
    voxels = np.argwhere(np.ones((20, 10, 8), bool))
    label = np.full(len(voxels), label_of("sofa"), np.uint8)
    return objects_of(voxels, label, np.full(len(voxels), 0.75, np.float32), np.zeros((0, 3), np.int32))


def test_a_thing_is_a_box_and_its_name_after_a_marker_that_removes_the_old_ones():
    first, box, name = markers(sofa(), [7], Header(frame_id="map")).markers
    assert first.action == Marker.DELETEALL
    assert (box.type, box.id, box.header.frame_id) == (Marker.CUBE, 7, "map")
    np.testing.assert_allclose((box.scale.x, box.scale.y, box.scale.z), (1.6, 0.8, 0.64))
    np.testing.assert_allclose((box.pose.position.x, box.pose.position.y, box.pose.position.z), (0.8, 0.4, 0.32))
    assert (name.type, name.text) == (Marker.TEXT_VIEW_FACING, "sofa 7")


@pytest.mark.slow
@pytest.mark.skipif(Detection3DArray is not None, reason="vision_msgs is installed: the messages are others")
def test_things_are_published_where_they_are_switched_on_and_keep_their_numbers(ros_context, tmp_path):
    from tests.ros.harness import running_node, set_parameters, wait_until, wall_with_hole

    parameters = {"depth_source": "topic", "full_map_period": 0.2}
    with running_node(tmp_path, parameters) as (_, robot):
        got: list[MarkerArray] = []
        robot.node.create_subscription(MarkerArray, "/embodied_occupancy/objects", got.append, QoSProfile(depth=5))

        def look(n):
            processed, stamp = robot.count("processed"), robot.next_stamp()
            robot.send(stamp, depth=robot.depth(stamp, wall_with_hole(n)))
            robot.wait_for("processed", processed + 1, 20)

        look(0)
        assert got == []
        assert set_parameters(robot, publish_objects=True).successful
        look(1)
        wait_until(lambda: bool(got), 10, "the things of the map")
        assert got[-1].markers[0].action == Marker.DELETEALL
        boxes = {(m.id, m.type) for m in got[-1].markers[1:]}
        assert len(boxes) == len(got[-1].markers) - 1
