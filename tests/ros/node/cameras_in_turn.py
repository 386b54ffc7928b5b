"""Two cameras of one robot, one with depth and one compressed without, and the shares that the node maps of each.

`python -m tests.ros.node.cameras_in_turn --seconds 45` sends `--rate` images a second of each camera over DDS and
prints how many of each the node received, mapped and dropped; `--load N` keeps N other processes busy meanwhile.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rclpy
from rclpy.qos import QoSProfile
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

import tests.ros.conftest  # noqa: F401  sets the environment before rclpy is imported
from sgrocc_core.data.images import decode_image, encode_jpeg
from sgrocc_core.geometry.poses import quaternion_from_rotation
from tests.ros.correction.beside_images import busy_cores
from tests.ros.harness import FORWARD, OFTEN, NodeProcess, Robot, running_node, wait_until

BACKWARD = np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])
"""Rotation of a level camera that looks against the map's x axis."""
MOUNTS = {"front": FORWARD, "rear": BACKWARD}


class TwoCameras(Robot):
    """A robot whose `front` camera has depth and whose `rear` camera sends compressed images alone."""

    def __init__(self) -> None:
        super().__init__()
        for publisher in (self.images, self.infos, self.depths):
            self.node.destroy_publisher(publisher)
        qos = QoSProfile(depth=20)
        self.of_camera = {
            "front": {
                "image": self.node.create_publisher(Image, "/cam0/image_raw", qos),
                "info": self.node.create_publisher(CameraInfo, "/cam0/camera_info", qos),
                "depth": self.node.create_publisher(Image, "/cam0/depth", qos),
            },
            "rear": {
                "image": self.node.create_publisher(CompressedImage, "/rear/image/compressed", qos),
                "info": self.node.create_publisher(CameraInfo, "/rear/camera_info", qos),
            },
        }
        self.images, self.infos, self.depths = self.of_camera["front"].values()

    def send_of(self, camera: str, stamp: int | None = None) -> None:
        """Publish one frame of a camera."""
        stamp = self.next_stamp() if stamp is None else stamp
        message = self.transform(stamp, frame=camera)
        rotation = message.transforms[0].transform.rotation
        rotation.x, rotation.y, rotation.z, rotation.w = map(float, quaternion_from_rotation(MOUNTS[camera]))
        self.transforms.publish(message)
        publishers = self.of_camera[camera]
        publishers["info"].publish(self.info(stamp))
        if "depth" in publishers:
            depth = self.depth(stamp)
            depth.header.frame_id = camera
            publishers["depth"].publish(depth)
        image = self.image(stamp, frame=camera)
        if camera == "rear":
            pixels = decode_image(image.encoding, image.width, image.height, image.step, image.data)
            image = CompressedImage(header=image.header, format="jpeg", data=encode_jpeg(pixels))
        publishers["image"].publish(image)

    def send_both_until(self, key: str, value: int) -> None:
        """Publish frames of both cameras, five a second each, until a number of the diagnostics is reached."""
        for _ in range(200):
            if self.count(key) >= value:
                return
            for camera in self.of_camera:
                self.send_of(camera)
            time.sleep(0.2)
        raise AssertionError(f"{key} is not {value}: {self.values}")


@contextmanager
def two_cameras(
    folder: Path, parameters: dict[str, object] | None = None, program: str = OFTEN
) -> Iterator[tuple[NodeProcess, TwoCameras]]:
    """Run the node with the two cameras, and the robot. program: as of NodeProcess."""
    values = {
        "cameras": "front, rear",
        "depth_source": "topic",
        "rear.depth_source": "mono",
        "rear.image_transport": "compressed",
        "map_path": folder / "map",
        "tf_timeout": 1.0,
    } | (parameters or {})
    remaps = {"front/image": "/cam0/image_raw", "front/depth": "/cam0/depth"}
    with running_node(folder, values, remaps, TwoCameras, program) as (node, robot):
        rear = robot.of_camera["rear"].values()
        wait_until(lambda: all(p.get_subscription_count() for p in rear), 20, "the node's subscriptions")
        yield node, robot


def measure(seconds: float, rate: float, load: int, engine: str) -> None:
    """Send images of both cameras and print what became of them."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    with tempfile.TemporaryDirectory() as name, two_cameras(Path(name), {"engine": engine}) as (_, robot):
        robot.send_both_until("processed", 6)
        keys = [f"camera.{camera}.{key}" for camera in robot.of_camera for key in ("received", "processed", "lost")]
        before = {key: robot.count(key) for key in keys}
        with busy_cores(load):
            start = due = time.monotonic()
            while time.monotonic() < start + seconds:
                for camera in robot.of_camera:
                    robot.send_of(camera)
                due = max(due + 1 / rate, time.monotonic())
                time.sleep(max(due - time.monotonic(), 0.0))
            taken = time.monotonic() - start
        time.sleep(2)  # the last image, and /diagnostics, which tell once a second
        found = {key: robot.count(key) - before[key] for key in keys}
        mapped = [found[f"camera.{camera}.processed"] for camera in robot.of_camera]
        print(f"{taken:.1f} s at {rate:g} Hz each:", ", ".join(f"{key} {value}" for key, value in found.items()))
        print("shares:", ", ".join(f"{100 * n / max(sum(mapped), 1):.1f} %" for n in mapped))
        print({key: robot.values[key] for key in ("latency.total.p50_ms", "latency.arrival_to_update.p50_ms")})
    rclpy.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=45.0, metavar="S", help="how long images are sent (45)")
    parser.add_argument("--rate", type=float, default=5.0, metavar="HZ", help="images a second of each camera (5)")
    parser.add_argument("--load", type=int, default=0, metavar="N", help="other busy processes (0)")
    parser.add_argument("--engine", default="auto", metavar="NAME", help="runtime of the model (auto)")
    chosen = parser.parse_args()
    measure(chosen.seconds, chosen.rate, chosen.load, chosen.engine)
