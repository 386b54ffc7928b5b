"""How long a rebuild beside images without pause takes, and what it does to the node's latency, over real DDS.

`python -m tests.ros.correction.beside_images --keyframes 200 --load 0` prints, with a camera of `--rate` Hz, the time
in which the node mapped as many frames, the time of the rebuild, and the latency, from sending an image to the arrival
of its update, before and meanwhile. `--load N` keeps N other processes busy all the time.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import rclpy
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import PointCloud2
from std_srvs.srv import Trigger

import tests.ros.conftest  # noqa: F401  sets the environment before rclpy is imported
from sgrocc_ros.messages import stamp_ns
from tests.ros.harness import NodeProcess, Robot, wait_until

BUSY = "while True: pass"
END = 900.0
"""Seconds after which a rebuild is given up."""


class Walker(Robot):
    """A robot that walks to and fro before a wall, of whose frames each is a keyframe, and notes when updates come."""

    def __init__(self) -> None:
        super().__init__()
        self.sent_at: dict[int, float] = {}
        self.latencies: list[float] = []
        self.walks = True
        self._sending = threading.Event()
        self.node.create_subscription(PointCloud2, "/embodied_occupancy/occupancy_update", self._on_update, 50)

    def transform(self, stamp: int, norm: float = 1.0, y: float | None = None, frame: str = "camera"):
        """Pose 6 cm beside the one before, or where the robot began if it stands."""
        return super().transform(stamp, norm, 0.06 * abs(15 - self._step % 30) if self.walks else 0.9, frame)

    @contextmanager
    def camera(self, rate: float) -> Iterator[None]:
        """Send `rate` images a second, whatever the node does with them."""
        self._sending.set()
        thread = threading.Thread(target=self._film, args=(rate,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._sending.clear()
            thread.join()

    def _film(self, rate: float) -> None:
        due = time.monotonic()
        while self._sending.is_set():
            stamp = self.next_stamp()
            self.sent_at[stamp] = time.monotonic()
            self.send(stamp)
            due = max(due + 1 / rate, time.monotonic())
            time.sleep(max(due - time.monotonic(), 0.0))

    def _on_update(self, message: PointCloud2) -> None:
        sent = self.sent_at.get(stamp_ns(message.header.stamp))
        if sent is not None:
            self.latencies.append(1e3 * (time.monotonic() - sent))


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Keep `count` processes of this one's priority busy."""
    processes = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def measure(keyframes: int, rate: float, load: int, engine: str, walks: bool) -> None:
    """Measure and print; the robot walks or stands while the map is built again."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    with tempfile.TemporaryDirectory() as name, busy_cores(load):
        values = {"engine": engine, "depth_source": "topic", "map_path": Path(name) / "map", "keep_keyframes": 100.0}
        node, robot = NodeProcess(Path(name), values), Walker()
        try:
            robot.wait_for_node()
            with robot.camera(rate):
                robot.wait_for("processed", 5, 120)
                first, start = robot.count("keyframes"), time.monotonic()
                robot.wait_for("keyframes", first + keyframes, END)
                mapping, mapped = time.monotonic() - start, robot.count("keyframes") - first
                before = np.array(robot.latencies)
                robot.walks = walks
                start, processed = time.monotonic(), robot.count("processed")
                total = robot.count("keyframes")
                assert robot.call(Trigger, "rebuild").success
                wait_until(
                    lambda: robot.count("rebuild.count") + robot.count("rebuild.failed"), END, lambda: str(robot.values)
                )
                rebuilding, frames = time.monotonic() - start, robot.count("processed") - processed
                meanwhile = np.array(robot.latencies)[len(before) :]
            print({key: value for key, value in robot.values.items() if key.startswith(("rebuild", "keyframes"))})
            print(f"mapping: {mapping:.1f} s for {mapped} keyframes, {mapping / mapped:.3f} s each")
            print(f"rebuild: {rebuilding:.1f} s, of {total} keyframes at its start, beside {frames} frames; "
                  f"{rebuilding / (total * mapping / mapped):.2f} times the mapping of these")  # fmt: skip
            for q in (50, 95):
                was, now = np.percentile(before, q), np.percentile(meanwhile, q)
                print(f"latency p{q}: {was:.0f} ms before, {now:.0f} ms meanwhile: {now / was:.2f} times")
        finally:
            robot.close()
            node.stop()
            rclpy.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keyframes", type=int, default=200, metavar="N", help="keyframes before the rebuild (200)")
    parser.add_argument("--rate", type=float, default=10.0, metavar="HZ", help="images a second (10)")
    parser.add_argument("--load", type=int, default=0, metavar="N", help="other busy processes (0)")
    parser.add_argument("--engine", default="auto", metavar="NAME", help="runtime of the model (auto)")
    parser.add_argument("--walk", action="store_true", help="go on walking: each frame becomes a keyframe, too")
    chosen = parser.parse_args()
    measure(chosen.keyframes, chosen.rate, chosen.load, chosen.engine, chosen.walk)
