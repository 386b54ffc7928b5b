"""The player publishes every message of a bag, byte for byte, in order and on time; also of ROS 1 bags."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosbags.rosbag1 import Writer as Rosbag1Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from tf2_msgs.msg import TFMessage

from sgrocc_core.data.bags import BagWriter
from sgrocc_core.geometry.poses import make_pose
from sgrocc_ros.messages import read_depth, read_image, stamp_ns, time_message
from tests.ros.harness import FORWARD, ROOT, K, NodeProcess, Robot, spin, wait_until

FRAMES, PERIOD = 12, 50_000_000
T0 = 1_700_000_000_000_000_000
IMAGE, DEPTH = "/camera/color/image_raw/compressed", "/camera/aligned_depth_to_color/image_raw/compressedDepth"


@pytest.fixture(scope="module")
def bag(tmp_path_factory) -> Path:
    """A short walk."""
    path = tmp_path_factory.mktemp("bag") / "walk"
    rng = np.random.default_rng(0)
    with BagWriter(path) as writer:
        for i in range(FRAMES):
            image = rng.integers(0, 255, (120, 160, 3)).astype(np.uint8)
            T_wc = make_pose(FORWARD, np.array([0.0, 0.02 * i, 0.0]))
            writer.write(T0 + i * PERIOD, image, np.full((120, 160), 2.0, np.float32), K, T_wc)
    return path


class _Listener:
    """Subscribes to topics and keeps the messages."""

    def __init__(self, kinds: dict[str, type]) -> None:
        self.node = rclpy.create_node("listener")
        self.got: dict[str, list] = {topic: [] for topic in kinds}
        self.times: dict[str, list[float]] = {topic: [] for topic in kinds}
        for topic, kind in kinds.items():
            qos = QoSProfile(depth=500, reliability=ReliabilityPolicy.RELIABLE)
            if topic == "/tf_static":
                qos.durability = DurabilityPolicy.TRANSIENT_LOCAL
            self.node.create_subscription(kind, topic, lambda message, topic=topic: self._keep(topic, message), qos)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=spin, args=(self._executor,), daemon=True)
        self._thread.start()

    def _keep(self, topic: str, message) -> None:
        self.times[topic].append(time.monotonic())
        self.got[topic].append(message)

    def __enter__(self) -> _Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._thread.join(5)
        self.node.destroy_node()


def _play(*arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "sgrocc_ros.tools.player", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=60)


def test_every_message_arrives_in_order_and_at_the_bags_pace(ros_context, bag):
    kinds = {
        IMAGE: CompressedImage,
        DEPTH: CompressedImage,
        "/camera/color/camera_info": CameraInfo,
        "/tf": TFMessage,
        "/clock": Clock,
    }
    with _Listener(kinds) as listener:
        done = _play(bag, "--clock", "--wait-for", IMAGE, DEPTH, "/tf", "/camera/color/camera_info")
        assert done.returncode == 0, done.stderr
        assert f"played {4 * FRAMES} messages" in done.stdout
        for topic in (IMAGE, DEPTH, "/camera/color/camera_info"):
            stamps = [stamp_ns(message.header.stamp) for message in listener.got[topic]]
            assert stamps == [T0 + i * PERIOD for i in range(FRAMES)], topic
        assert [round(m.transforms[0].transform.translation.y, 3) for m in listener.got["/tf"]] == [
            round(0.02 * i, 3) for i in range(FRAMES)
        ]
        assert read_depth(listener.got[DEPTH][3], 0.001).max() == pytest.approx(2.0)
        took = listener.times[IMAGE][-1] - listener.times[IMAGE][0]
        assert took >= 0.9 * (FRAMES - 1) * PERIOD / 1e9
        clock = [stamp_ns(message.clock) for message in listener.got["/clock"]]
        assert clock == sorted(clock) and clock[0] >= T0 - PERIOD and clock[-1] == T0 + (FRAMES - 1) * PERIOD


def test_rate_topics_duration_and_remapping(ros_context, bag):
    with _Listener({"/renamed": CameraInfo, "/tf": TFMessage}) as listener:
        info = "/camera/color/camera_info"
        done = _play(
            bag, "--rate", 10, "--topics", info, "--duration", 0.22, "--remap", f"{info}:=/renamed", "--wait-for", info
        )
        assert done.returncode == 0, done.stderr
        assert len(listener.got["/renamed"]) == 5
        assert not listener.got["/tf"]
        assert listener.times["/renamed"][-1] - listener.times["/renamed"][0] < 0.15


def test_a_ros_1_bag_is_played_as_ros_2_messages(ros_context, tmp_path):
    path = tmp_path / "old.bag"
    _write_ros1(path)
    kinds = {"/cam/image": Image, "/cam/camera_info": CameraInfo, "/tf": TFMessage, "/tf_static": TFMessage}
    with _Listener(kinds) as listener:
        done = _play(path, "--wait-for", *kinds)
        assert done.returncode == 0, done.stderr
        wait_until(lambda: all(listener.got.values()), 5, "all topics")
        image = listener.got["/cam/image"][0]
        assert (image.encoding, image.header.frame_id, stamp_ns(image.header.stamp)) == ("bgr8", "cam", T0)
        assert (read_image(image) == np.arange(36).reshape(3, 4, 3)[:, :, ::-1]).all()
        assert listener.got["/cam/camera_info"][0].k.tolist() == [5.0, 0, 2, 0, 6, 1, 0, 0, 1]
        transform = listener.got["/tf"][0].transforms[0]
        assert (transform.header.frame_id, transform.child_frame_id, transform.transform.translation.x) == (
            "map",
            "cam",
            1.5,
        )
        assert listener.got["/tf_static"][0].transforms[0].child_frame_id == "mount"


def _write_ros1(path: Path) -> None:
    store = get_typestore(Stores.ROS1_NOETIC)
    store.register(get_types_from_msg("geometry_msgs/TransformStamped[] transforms", "tf2_msgs/msg/TFMessage"))
    kinds = store.types
    time_class, header_class = kinds["builtin_interfaces/msg/Time"], kinds["std_msgs/msg/Header"]
    header = header_class(seq=3, stamp=time_class(*divmod(T0, 10**9)), frame_id="cam")
    image = kinds["sensor_msgs/msg/Image"](header, 3, 4, "bgr8", 0, 12, np.arange(36, dtype=np.uint8))
    roi = kinds["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    k = np.array([5.0, 0, 2, 0, 6, 1, 0, 0, 1])
    info = kinds["sensor_msgs/msg/CameraInfo"](
        header, 3, 4, "plumb_bob", np.zeros(5), k, np.eye(3).ravel(), np.zeros(12), 0, 0, roi
    )
    vector, quaternion = kinds["geometry_msgs/msg/Vector3"], kinds["geometry_msgs/msg/Quaternion"]
    pose = kinds["geometry_msgs/msg/Transform"](vector(1.5, 0.0, 0.0), quaternion(0.0, 0.0, 0.0, 1.0))
    stamped = kinds["geometry_msgs/msg/TransformStamped"]
    map_header = header_class(seq=1, stamp=header.stamp, frame_id="map")
    messages = {
        "/cam/image": image,
        "/cam/camera_info": info,
        "/tf": kinds["tf2_msgs/msg/TFMessage"]([stamped(map_header, "cam", pose)]),
        "/tf_static": kinds["tf2_msgs/msg/TFMessage"]([stamped(map_header, "mount", pose)]),
    }
    with Rosbag1Writer(path) as writer:
        for topic, message in messages.items():
            connection = writer.add_connection(topic, message.__msgtype__, typestore=store)
            writer.write(connection, T0, store.serialize_ros1(message, message.__msgtype__))


@pytest.mark.slow
def test_the_node_receives_every_image_that_is_played_and_sees_the_clock_jump_back(ros_context, bag, tmp_path):
    parameters = {"depth_source": "fused", "image_transport": "compressed", "use_sim_time": True}
    remaps = {"image": "/camera/color/image_raw", "depth": "/camera/aligned_depth_to_color/image_raw"}
    node = NodeProcess(tmp_path, parameters, remaps)
    robot = Robot()
    try:
        done = _play(bag, "--clock", "--rate", 0.25, "--wait-for", IMAGE, DEPTH, "/tf", "/camera/color/camera_info")
        assert done.returncode == 0, done.stderr
        robot.wait_for("received", FRAMES)
        wait_until(lambda: robot.count("processed") + robot.count("dropped") == FRAMES, 5, "all to be judged")
        assert robot.count("processed") >= 1  # how many more depends on the machine; the others are overtaken
        assert robot.count("dropped") == robot.count("dropped.overtaken"), robot.values
        clock = robot.node.create_publisher(Clock, "/clock", 10)
        wait_until(clock.get_subscription_count, 5)
        for seconds in (0, -100):
            clock.publish(Clock(clock=time_message(T0 + FRAMES * PERIOD + seconds * 10**9)))
        robot.wait_for("noticed.time_jump", 1)
    finally:
        robot.close()
        node.stop()


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGTERM, 143, id="SIGTERM"),
        pytest.param(signal.SIGINT, 130, id="SIGINT", marks=pytest.mark.slow),
    ],
)
def test_a_signal_ends_the_player_at_once_and_without_a_trace(ros_context, bag, number, code):
    command = [sys.executable, "-m", "sgrocc_ros.tools.player", str(bag), "--loop", "0", "--rate", "0.1"]
    with _Listener({"/tf": TFMessage}) as listener:
        player = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: listener.got["/tf"], 30, "the first transform")
            player.send_signal(number)
            _, said = player.communicate(timeout=20)
        finally:
            player.kill()
    assert player.returncode == code and said == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/no/such/bag"], "no such file or folder: /no/such/bag"),
        (["BAG", "--topics", "/nothing"], "the bag has no topic /nothing; it has /camera"),
        (["BAG", "--wait-for", "/nothing"], "nobody can wait for /nothing"),
        (["BAG", "--wait-for", "/tf", "--wait-timeout", "0.2"], "nobody has subscribed to /tf in 0.2 s"),
        (["BAG", "--rate", "0"], "--rate is 0; it must be above 0"),
        (["BAG", "--loop", "-1"], "--loop is -1; it must be 0 (until interrupted) or more"),
    ],
    ids=["no_bag", "no_topic", "wait_for_nothing", "nobody_comes", "rate", "loop"],
)
def test_what_cannot_be_played_is_one_line_and_exit_code_1(bag, arguments, words):
    done = _play(*[bag if argument == "BAG" else argument for argument in arguments])
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and words in done.stderr
    assert "Traceback" not in done.stderr
