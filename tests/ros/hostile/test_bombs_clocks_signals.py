"""Small files that decode to gigabytes, clocks of every kind, signals amid saves; each test has a node of its own."""

from __future__ import annotations

import array
import signal
import struct
import time
import zlib
from typing import Any

import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from sgrocc_core.map_files.file import load_map
from sgrocc_ros.messages import time_message
from tests.ros.harness import Robot, resident_mb, running_node, wait_until

pytestmark = pytest.mark.slow
SECOND = 1_000_000_000


def png(width: int, height: int, bits: int, claimed: tuple[int, int] | None = None) -> bytes:
    """A black PNG of one channel; its header may claim another size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(9), b"\0" * (1 + (width * bits + 7) // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", *(claimed or (width, height)), bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


class _Compressed(Robot):
    """Sends images and depth as PNG."""

    def __init__(self) -> None:
        super().__init__()
        reliable = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)
        for publisher in (self.images, self.depths):
            self.node.destroy_publisher(publisher)
        self.images = self.node.create_publisher(CompressedImage, "image/compressed", reliable)
        self.depths = self.node.create_publisher(CompressedImage, "depth/compressedDepth", reliable)

    def coded(self, stamp: int, data: bytes, kind: str) -> CompressedImage:
        """A message with coded bytes."""
        return CompressedImage(header=self.header(stamp), format=kind, data=array.array("B", data))

    def image(self, stamp: int, encoding: str = "rgb8", frame: str = "camera") -> Any:
        return self.coded(stamp, png(160, 120, 8), "png")

    def depth(self, stamp: int, metres: Any = None) -> Any:
        return self.coded(stamp, bytes(12) + png(160, 120, 16), "16UC1; compressedDepth png")


def test_small_files_that_decode_to_gigabytes_are_refused_by_their_header(ros_context, tmp_path):
    parameters = {"depth_source": "fused", "image_transport": "compressed", "depth_transport": "compressedDepth"}
    with running_node(tmp_path, parameters, robot=_Compressed) as (node, robot):
        for _ in range(3):
            robot.map_good_frame()
        peak = resident_mb(node.process.pid, "VmHWM")
        for data in (png(20_000, 20_000, 1), png(64, 64, 1, claimed=(30_000, 30_000))):
            stamp, dropped = robot.next_stamp(), robot.count("dropped.bad_image")
            robot.send(stamp, image=robot.coded(stamp, data, "png"))
            robot.wait_for("dropped.bad_image", dropped + 1)
        stamp = robot.next_stamp()
        deep = bytes(12) + png(9_000, 9_000, 16)
        robot.send(stamp, depth=robot.coded(stamp, deep, "16UC1; compressedDepth png"))
        robot.wait_for("depth_unused.bad_depth", 1)
        robot.map_good_frame()
        assert resident_mb(node.process.pid, "VmHWM") < peak + 200
        assert node.stop() == 0


def test_a_clock_of_every_kind_ends_nothing(ros_context, tmp_path):
    with running_node(tmp_path, {"depth_source": "mono", "use_sim_time": True}, robot=_Still) as (node, robot):
        clock = robot.node.create_publisher(Clock, "/clock", 10)
        wait_until(clock.get_subscription_count, 10)
        for seconds in (0, 1000, 500, 2**31 - 1, 1000, -1, -(2**31)):
            message = Clock()
            message.clock.sec = seconds
            message.clock.nanosec = 0 if seconds else 2**32 - 1
            clock.publish(message)
            time.sleep(0.5)
        robot.wait_for("noticed.bad_clock", 2)
        clock.publish(Clock(clock=time_message(2000 * SECOND)))
        for number in range(5):
            robot.send(2000 * SECOND + number * 50_000_000)
            time.sleep(0.5)
        robot.wait_for("processed", 1)
        assert node.stop() == 0 and "Traceback" not in node.log


class _Still(Robot):
    """A robot without depth whose pose is static."""

    def __init__(self) -> None:
        super().__init__()
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self._static = self.node.create_publisher(TFMessage, "/tf_static", latched)
        self._static.publish(self.transform(SECOND))

    def wait_for_node(self) -> None:
        wait_until(lambda: self.images.get_subscription_count() and self.infos.get_subscription_count(), 20)
        wait_until(lambda: self.values, 10)


@pytest.mark.parametrize(("number", "delay"), [(signal.SIGINT, 0.05), (signal.SIGTERM, 0.4), (signal.SIGINT, 1.0)])
def test_a_signal_in_the_middle_of_a_save_leaves_a_whole_map(ros_context, tmp_path, number, delay):
    parameters = {"depth_source": "fused", "map_path": tmp_path / "map", "autosave_period": 0.3}
    with running_node(tmp_path, parameters) as (node, robot):
        for _ in range(3):
            robot.map_good_frame()
        client = robot.node.create_client(Trigger, "/embodied_occupancy/save_map")
        assert client.wait_for_service(timeout_sec=10)
        client.call_async(Trigger.Request())
        time.sleep(delay)
        for _ in range(3):
            node.process.send_signal(number)
            time.sleep(0.05)
        assert node.process.wait(60) == 0, node.log
        assert "Traceback" not in node.log
        robot.node.destroy_client(client)
    saved = load_map(tmp_path / "map")
    assert len(saved.voxels) and not list((tmp_path / "map" / ".generations").glob(".part*"))
