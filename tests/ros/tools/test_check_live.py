"""`sgrocc check --live` as a process, beside a camera on real DDS: a good stream, wrong ones, and none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import rclpy
from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from tf2_msgs.msg import TFMessage

from sgrocc_core.cli import main
from sgrocc_core.geometry.poses import quaternion_from_rotation
from sgrocc_ros.messages import byte_array
from sgrocc_ros.tools.check_command import choose
from tests.ros.harness import ROOT
from tests.samples.rooms.box_room import SIZE, K, look, walk

COLOR, INFO, DEPTH = "/eye/color/image_raw", "/eye/color/camera_info", "/eye/aligned_depth_to_color/image_raw"


class Camera:
    """A camera that walks to and fro in the box room, ten images a second, in a thread.

    Args:
        depth_factor: 1000 sends millimetres as 32FC1.
        k_factor: 2 sends the K of twice the size.
        topics: topics that are published.
        parent: frame above the camera's.
    """

    def __init__(
        self,
        depth_factor: float = 1.0,
        k_factor: float = 1.0,
        topics: tuple[str, ...] = (COLOR, INFO, DEPTH, "/tf"),
        parent: str = "map",
    ) -> None:
        self._factors, self._parent = (depth_factor, k_factor), parent
        self._node = rclpy.create_node("camera")
        qos = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        kinds = {COLOR: Image, INFO: CameraInfo, DEPTH: Image, "/tf": TFMessage}
        self._publishers = {topic: self._node.create_publisher(kinds[topic], topic, qos) for topic in topics}
        there = [(*look(T_wc), T_wc) for T_wc in walk()]
        self._walk = there + there[-2:0:-1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join(5)
        self._node.destroy_node()

    def _send(self) -> None:
        number = 0
        while not self._stop.wait(0.1):
            image, depth, T_wc = self._walk[number % len(self._walk)]
            number += 1
            now = time.time_ns()
            header = Header(stamp=Time(sec=now // 10**9, nanosec=now % 10**9), frame_id="eye")
            messages = {
                "/tf": self._transform(header, T_wc),
                INFO: self._info(header),
                DEPTH: self._image(header, (depth * self._factors[0]).astype(np.float32), "32FC1"),
                COLOR: self._image(header, image, "rgb8"),
            }
            for topic, message in messages.items():
                if topic in self._publishers:
                    self._publishers[topic].publish(message)

    def _transform(self, header: Header, T_wc: np.ndarray) -> TFMessage:
        message = TransformStamped(header=Header(stamp=header.stamp, frame_id=self._parent), child_frame_id="eye")
        to, turn = message.transform.translation, message.transform.rotation
        to.x, to.y, to.z = map(float, T_wc[:3, 3])
        turn.x, turn.y, turn.z, turn.w = map(float, quaternion_from_rotation(T_wc[:3, :3]))
        return TFMessage(transforms=[message])

    def _info(self, header: Header) -> CameraInfo:
        k = K.copy()
        k[:2] *= self._factors[1]
        message = CameraInfo(header=header, width=SIZE[0], height=SIZE[1], distortion_model="plumb_bob", d=[0.0] * 5)
        message.k, message.p = k.reshape(-1), np.concatenate([k, np.zeros((3, 1))], 1).reshape(-1)
        return message

    def _image(self, header: Header, values: np.ndarray, encoding: str) -> Image:
        message = Image(header=header, width=SIZE[0], height=SIZE[1], encoding=encoding)
        message.step, message.data = values.nbytes // SIZE[1], byte_array(values)
        return message


@contextmanager
def camera(**options: object) -> Iterator[Camera]:
    """A camera that ends with the block."""
    sends = Camera(**options)  # type: ignore[arg-type]
    try:
        yield sends
    finally:
        sends.close()


COMMAND = [sys.executable, "-m", "sgrocc_core.cli", "check", "--live"]


def checked(*options: str, seconds: float = 5) -> tuple[int, str, str]:
    """Exit code and output of the command."""
    command = [*COMMAND, "--seconds", str(seconds), *options]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, timeout=120)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_a_good_stream_is_found_by_itself_and_has_no_error_or_warning(ros_context):
    with camera():
        code, text, said = checked(seconds=8)
    assert code == 0 and "error" not in text and "warning" not in text, text
    assert "160 x 120 pixels" in text and "camera axes       opencv" in text and "by the floor" in text
    assert COLOR in said and INFO in said and DEPTH in said


@pytest.mark.slow
def test_k_of_another_size_and_depth_in_millimetres_are_told(ros_context):
    with camera(depth_factor=1000.0, k_factor=2.0):
        code, text, _ = checked()
    assert code == 1
    assert "K would fit an image of 2 times this size" in text and "millimetres?" in text


@pytest.mark.slow
def test_each_missing_topic_is_named(ros_context):
    with camera(topics=(COLOR, "/tf"), parent="odom"):
        code, text, _ = checked(seconds=4)
    assert code == 1
    assert f"no camera_info came: nobody publishes {INFO}" in text
    assert "no transform from 'map' to 'eye'" in text and "eye, odom" in text
    assert "warning: no depth image came: nobody publishes" in text


@pytest.mark.slow
def test_nothing_at_all_is_an_error_and_ends_in_time(ros_context):
    start = time.monotonic()
    code, text, _ = checked("--image-topic", "/nowhere", seconds=3)
    assert code == 1 and time.monotonic() - start < 60
    assert "no image came: nobody publishes /nowhere. Nobody publishes any Image" in text
    assert "nobody publishes /tf" in text


@pytest.mark.slow
def test_ctrl_c_ends_it_without_a_trace(ros_context):
    process = subprocess.Popen(
        [*COMMAND, "--seconds", "300"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    while "listening" not in (line := process.stderr.readline()):
        assert line
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and said.strip() == "interrupted"


class Options:
    """The options of topics, as parsed."""

    def __init__(self, image: str = "", info: str = "", depth: str = "") -> None:
        self.image_topic, self.info_topic, self.depth_topic = image, info, depth


RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"


@pytest.mark.parametrize(
    ("published", "options", "chosen"),
    [
        ({COLOR: RAW, DEPTH: RAW}, Options(), (COLOR, "", DEPTH, False)),
        ({f"{COLOR}/compressed": COMPRESSED}, Options(image=COLOR), (COLOR, "", None, True)),
        ({"/a/image": RAW, "/b/image": RAW}, Options("/b/image", "/i", "/d"), ("/b/image", "/i", "/d", False)),
        ({}, Options(), ("/camera/color/image_raw", "", None, False)),
    ],
    ids=["by name", "compressed", "named", "none"],
)
def test_topics_are_chosen_as_those_of_a_bag_and_the_launch_file(published, options, chosen):
    found = choose(list(published.items()), options)
    assert found == tuple("/camera/aligned_depth_to_color/image_raw" if part is None else part for part in chosen)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["walk.mcap"], "give one of them"),
        (["--seconds", "0"], "--seconds is 0"),
        (["--axes", "opengl"], "--axes is for recordings"),
        (["--every", "3"], "--every is for recordings"),
    ],
    ids=["recording", "no time", "axes", "every"],
)
def test_options_that_do_not_fit_are_refused(options, message, capsys):
    assert main(["check", "--live", *options]) == 1
    assert message in capsys.readouterr().err
