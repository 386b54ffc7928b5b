"""`~/depth`, `~/gaussians` and `classes`: content, subscribers and agreement with the map."""

from __future__ import annotations

import numpy as np
import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image
from visualization_msgs.msg import Marker, MarkerArray

from sgrocc_core.classes import NAMES, label_of
from tests.ros.clients import MarkerClient
from tests.ros.harness import running_node, save_voxels, set_parameters, wait_until


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node after three frames, the robot with markers, and the folder the node saves to."""
    folder = tmp_path_factory.mktemp("views")
    with running_node(folder, {"depth_source": "fused", "map_path": folder / "map"}) as (node, robot):
        robot.markers = MarkerClient(robot.node)
        for _ in range(3):
            robot.map_good_frame()
        yield node, robot, folder / "map"


def test_depth_is_the_depth_that_was_used_with_the_images_stamp_and_frame(bench):
    robot, images = bench[1], []
    qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
    subscription = robot.node.create_subscription(Image, "/embodied_occupancy/depth", images.append, qos)
    wait_until(subscription.get_publisher_count, 10)
    before = robot.count("processed")
    stamp = robot.send()
    robot.wait_for("processed", before + 1)
    wait_until(lambda: images, 5, "a depth image")
    robot.node.destroy_subscription(subscription)
    image = images[-1]
    assert (image.header.frame_id, image.encoding) == ("camera", "32FC1")
    assert image.header.stamp.sec * 10**9 + image.header.stamp.nanosec == stamp
    depth = np.frombuffer(image.data, np.float32).reshape(image.height, image.step // 4)
    assert depth.shape == (240, 320)  # the network's, 4 : 3 as the image
    np.testing.assert_allclose(depth, 2.0, atol=1e-3)


def test_gaussians_come_only_when_asked_for_and_are_taken_away_again(bench):
    robot, messages = bench[1], []
    subscription = robot.node.create_subscription(MarkerArray, "/embodied_occupancy/gaussians", messages.append, 10)
    wait_until(subscription.get_publisher_count, 10)
    robot.map_good_frame()
    assert not messages
    assert set_parameters(robot, publish_gaussians=True).successful
    robot.map_good_frame()
    wait_until(lambda: messages, 5, "Gaussians")
    shown = [m for m in messages[-1].markers if m.action == Marker.ADD]
    assert shown and all(m.type == Marker.SPHERE_LIST and m.header.frame_id == "map" for m in shown)
    points = np.array([(p.x, p.y, p.z) for m in shown for p in m.points])
    alpha = np.array([c.a for m in shown for c in m.colors])
    assert len(points) == len(alpha) > 100 and alpha.min() >= 0.25 and alpha.max() <= 1
    assert {round(m.scale.x, 4) for m in shown} <= {0.05, 0.07, 0.09, 0.11, 0.13, 0.15}
    occupied = robot.markers.voxels
    near = [
        any((x + dx, y, z) in occupied for dx in (-1, 0, 1)) for x, y, z in np.floor(points / 0.08).astype(int).tolist()
    ]
    assert np.mean(near) > 0.6
    assert set_parameters(robot, publish_gaussians=False).successful
    count = len(messages)
    robot.map_good_frame()
    wait_until(lambda: len(messages) > count, 5, "their end")
    assert all(m.action == Marker.DELETE for m in messages[-1].markers)
    count = len(messages)
    robot.map_good_frame()
    assert len(messages) == count
    robot.node.destroy_subscription(subscription)


def test_classes_choose_what_is_published_but_not_what_is_kept(bench):
    _, robot, folder = bench
    whole = save_voxels(robot, folder)
    counts = {name: sum(label == number for label, _ in whole.values()) for number, name in enumerate(NAMES)}
    chosen = max(counts, key=counts.__getitem__)
    assert set_parameters(robot, classes=f"{chosen}, tvs").successful
    labels = {label_of(chosen), label_of("tvs")}

    def part(voxels: dict) -> dict:
        return {voxel: value for voxel, value in voxels.items() if value[0] in labels}

    wait_until(lambda: robot.map.voxels == part(whole), 10, "a part of the map")
    assert 0 < len(robot.map.voxels) < len(whole)
    wait_until(lambda: robot.markers.voxels == set(part(whole)), 10, "a part of the markers")
    shown = robot.markers.shown
    wait_until(lambda: {m.text for (ns, _), m in shown.items() if ns == "legend"} == {chosen, "tvs"}, 5, "the legend")
    for _ in range(3):
        robot.map_good_frame()
    later = save_voxels(robot, folder)
    assert len(later) > len(part(later))
    wait_until(lambda: robot.map.voxels == part(later), 10, "the updates")
    assert set_parameters(robot, classes=["all"]).successful
    wait_until(lambda: robot.map.voxels == later, 10, "the whole map again")
    wait_until(lambda: robot.markers.voxels == set(later), 10, "all markers again")


def test_a_class_that_does_not_exist_is_refused(bench):
    answer = set_parameters(bench[1], classes="wall, dog")
    assert not answer.successful
    assert answer.reason.startswith(
        "parameter classes is 'wall, dog'; it must be all, or some of ceiling, floor, wall,"
    )
