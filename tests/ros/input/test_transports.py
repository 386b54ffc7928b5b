"""Another robot's setup: compressed images and depth, best-effort publishers, static transforms, a namespace."""

from __future__ import annotations

import math

import numpy as np
import pytest
import rclpy
from geometry_msgs.msg import TransformStamped
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from sgrocc_core.data.images import decode_image, encode_compressed_depth, encode_jpeg
from tests.ros.harness import HEIGHT, WIDTH, NodeProcess, Robot, wait_until

BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class _OtherRobot(Robot):
    """Publishes compressed images and depth, best effort, and poses map -> base (moving) -> camera (static)."""

    def __init__(self) -> None:
        super().__init__(ReliabilityPolicy.BEST_EFFORT)
        for publisher in (self.images, self.infos, self.depths):
            self.node.destroy_publisher(publisher)
        self.images = self.node.create_publisher(CompressedImage, "/front/color/image_raw/compressed", BEST_EFFORT)
        self.infos = self.node.create_publisher(CameraInfo, "/front/color/camera_info", BEST_EFFORT)
        self.depths = self.node.create_publisher(CompressedImage, "/front/depth/compressedDepth", BEST_EFFORT)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.static = self.node.create_publisher(TFMessage, "/tf_static", latched)
        mount = TransformStamped(header=self.header(0, "base"), child_frame_id="camera")
        mount.transform.translation.z = 0.5
        q = mount.transform.rotation
        q.x, q.y, q.z, q.w = -0.5, 0.5, -0.5, 0.5
        self.static.publish(TFMessage(transforms=[mount]))

    def transform(self, stamp: int, norm: float = 1.0, y: float | None = None, frame: str = "base") -> TFMessage:
        message = super().transform(stamp, frame="base")
        rotation = message.transforms[0].transform.rotation
        rotation.x, rotation.y, rotation.z, rotation.w = 0.0, 0.0, math.sin(0.1), math.cos(0.1)
        return message

    def image(self, stamp: int, encoding: str = "rgb8", frame: str = "camera") -> CompressedImage:
        raw: Image = super().image(stamp, encoding, frame)
        pixels = decode_image(raw.encoding, raw.width, raw.height, raw.step, raw.data)
        return CompressedImage(header=raw.header, format="rgb8; jpeg compressed bgr8", data=encode_jpeg(pixels))

    def depth(self, stamp: int, metres: np.ndarray | None = None) -> CompressedImage:
        coded = encode_compressed_depth(np.full((HEIGHT, WIDTH), 2.0, np.float32))
        return CompressedImage(header=self.header(stamp), format="16UC1; compressedDepth png", data=coded)


@pytest.fixture(scope="module")
def bench(ros_context, tmp_path_factory):
    """The node in a namespace, with compressed images, and the other robot."""
    robot = _OtherRobot()
    parameters = {"depth_source": "topic", "image_transport": "compressed"}
    remaps = {"image": "/front/color/image_raw", "depth": "/front/depth", "__ns": "/robot1"}
    node = NodeProcess(tmp_path_factory.mktemp("transports"), parameters, remaps)
    try:
        robot.wait_for_node()
        yield node, robot
    finally:
        robot.close()
        node.stop()


def test_compressed_best_effort_streams_and_a_static_mount_are_mapped(bench):
    node, robot = bench
    wait_until(lambda: "best effort" in node.log, 5)
    for _ in range(3):
        robot.map_good_frame()
    wait_until(lambda: robot.count("map.voxels") > 100, 5, "a map")
    assert robot.count("dropped") == 0, robot.values


def test_topics_follow_the_image_and_lie_under_the_namespace(bench):
    robot = bench[1]
    for topic in ("/front/color/image_raw/compressed", "/front/color/camera_info", "/front/depth/compressedDepth"):
        assert robot.node.count_subscribers(topic) == 1, topic
    published = dict(robot.node.get_publisher_names_and_types_by_node("embodied_occupancy", "/robot1"))
    assert {"/robot1/embodied_occupancy/occupancy", "/robot1/embodied_occupancy/markers", "/diagnostics"} <= set(
        published
    )


def test_a_subscription_follows_a_publisher_that_becomes_reliable(bench):
    node, robot = bench
    before = robot.count("processed")
    robot.node.destroy_publisher(robot.infos)
    robot.infos = robot.node.create_publisher(CameraInfo, "/front/color/camera_info", 10)
    wait_until(
        lambda: "subscribed to /front/color/camera_info (reliable)" in node.log.partition("publishing")[2],
        5,
        "the change",
    )
    wait_until(lambda: robot.infos.get_subscription_count(), 5)
    robot.map_good_frame()
    assert robot.count("processed") == before + 1


def test_a_body_frame_in_place_of_the_optical_one_is_noticed(bench):
    node, robot = bench
    stamp = robot.next_stamp()
    robot.send(stamp, image=robot.image(stamp, frame="base"))
    robot.wait_for("noticed.not_optical_frame", 1)
    assert "z forward, x right, y down" in node.log


def test_a_forced_reliability_does_not_follow(ros_context, tmp_path):
    publisher_node = rclpy.create_node("best_effort_camera")
    publisher_node.create_publisher(Image, "image", BEST_EFFORT)
    node = NodeProcess(tmp_path, {"qos_overrides./image.subscription.reliability": "reliable"})
    try:
        wait_until(lambda: len(publisher_node.get_subscriptions_info_by_topic("/image")) == 1, 5)
        offered = publisher_node.get_subscriptions_info_by_topic("/image")[0].qos_profile.reliability
        assert offered == ReliabilityPolicy.RELIABLE
        assert "/image (reliable)" in node.log
    finally:
        publisher_node.destroy_node()
        node.stop()
