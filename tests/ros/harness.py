"""The real node as a separate process, and a simulated robot in the test's process, connected over real DDS."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import TransformStamped
from rcl_interfaces.srv import SetParametersAtomically
from rclpy.exceptions import InvalidHandle
from rclpy.executors import Executor, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from sgrocc_core.geometry.poses import quaternion_from_rotation
from sgrocc_ros.messages import byte_array
from tests.ros.clients import MapClient
from tests.samples.engines import QUICK

ROOT = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT = 160, 120
K = np.array([[140.0, 0, 79.5], [0, 140.0, 59.5], [0, 0, 1]])
FORWARD = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""Rotation of a level camera that looks along the map's x axis."""


def node_with(**seconds: float) -> str:
    """Python code that starts the node with other periods of its diagnostics: PERIOD, JUDGED_SECONDS."""
    changes = "; ".join(f"diagnostics.{name} = {value}" for name, value in seconds.items())
    lines = ["import sys", "from sgrocc_ros.health import diagnostics", changes, "from sgrocc_ros.start import main"]
    return "\n".join([*lines, "sys.exit(main())"])


OFTEN = node_with(PERIOD=0.1)
"""Diagnostics ten times a second: a test that waits for a number would else wait for most of a second each time."""


def model_folder() -> Path:
    """Return the trained model or, without one, a model with random weights exported to runs/."""
    for folder in (ROOT / "models" / "small", ROOT / "runs" / "untrained_small"):
        if (folder / "model.yaml").exists():
            return folder
    raise FileNotFoundError("no model: models/small is missing")


def wait_until(condition: Callable[[], Any], timeout: float = 10.0, what: str | Callable[[], str] = "") -> Any:
    """Return the condition's first true value; raise AssertionError after the timeout."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {timeout} s: {(what() if callable(what) else what) or condition}")


def resident_mb(pid: int, field: str = "VmRSS") -> float:
    """Resident memory of a process, MB; `VmHWM` is its largest so far."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1e3


def spin(executor: Executor) -> None:
    """Spin until the executor is shut down, whatever a test destroys meanwhile.

    rclpy gathers the entities of a node and then waits for them; one that another thread has destroyed between the two
    raises InvalidHandle, and without this the thread would end and with it all that a test hears.
    """
    while True:
        try:
            executor.spin()
            return
        except InvalidHandle:
            continue


class NodeProcess:
    """The node, started with parameters and remappings. program: Python code that starts it instead.

    Unless told otherwise it maps with one thread and the runtime that `auto` takes, without the seconds of its trial.
    """

    def __init__(
        self,
        folder: Path,
        parameters: dict[str, Any] | None = None,
        remaps: dict[str, str] | None = None,
        ready: bool = True,
        program: str = "",
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log_file = folder / "node.log"
        values = {"model": model_folder(), "engine": QUICK, "threads": 1, "warn_period": 3600.0} | (parameters or {})
        arguments = [part for name, value in values.items() for part in ("-p", f"{name}:={value}")]
        arguments += [part for name, target in (remaps or {}).items() for part in ("-r", f"{name}:={target}")]
        start = ["-c", program] if program else ["-m", "sgrocc_ros.start"]
        command = [sys.executable, *start, "--ros-args", *arguments]
        with self.log_file.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, stdout=log, stderr=log, env=os.environ | {"PYTHONUNBUFFERED": "1"}
            )
        if ready:
            wait_until(lambda: "publishing /" in self.log or self.process.poll() is not None, 180, "the node's start")
            assert self.process.poll() is None, self.log

    @property
    def log(self) -> str:
        """Output of the node."""
        return self.log_file.read_text()

    def warnings(self, cause: str) -> int:
        """Number of warnings with a cause."""
        return sum(1 for line in self.log.splitlines() if "[WARN]" in line and cause in line)

    def stop(self, number: int = signal.SIGINT, timeout: float = 30.0) -> int:
        """Send a signal to the process and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


class Robot:
    """A robot with camera, depth and poses that subscribes to the node; its executor runs in a thread."""

    def __init__(
        self, reliability: ReliabilityPolicy = ReliabilityPolicy.RELIABLE, listens_to: str = "embodied_occupancy"
    ) -> None:
        self.node: Node = rclpy.create_node("robot")
        self.listens_to = listens_to  # the node whose diagnostics count: another test's may run beside it
        qos = QoSProfile(depth=50, reliability=reliability)
        self.images = self.node.create_publisher(Image, "image", qos)
        self.infos = self.node.create_publisher(CameraInfo, "camera_info", qos)
        self.depths = self.node.create_publisher(Image, "depth", qos)
        self.transforms = self.node.create_publisher(TFMessage, "/tf", 100)
        self.values: dict[str, str] = {}
        self.status, self.level = "", b""
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)
        self.map = MapClient()
        latched = QoSProfile(
            depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL
        )
        self.node.create_subscription(PointCloud2, "/embodied_occupancy/occupancy_update", self.map.on_update, 50)
        self.node.create_subscription(PointCloud2, "/embodied_occupancy/occupancy", self.map.on_snapshot, latched)
        self._stamp = self.node.get_clock().now().nanoseconds
        self._step = 0
        self.sent = 0
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._thread = threading.Thread(target=spin, args=(self._executor,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._executor.shutdown()
        self._thread.join(5)
        self.node.destroy_node()

    def wait_for_node(self) -> None:
        """Wait until the node has subscribed to everything and sent diagnostics."""
        publishers = (self.images, self.infos, self.depths, self.transforms)
        wait_until(lambda: all(p.get_subscription_count() for p in publishers), 20, "the node's subscriptions")
        wait_until(lambda: self.values, 10, "diagnostics")

    def count(self, key: str) -> int:
        """Return a number of the newest diagnostics, 0 if it is missing."""
        return int(self.values.get(key, "0"))

    def wait_for(self, key: str, value: int, timeout: float = 10.0) -> None:
        """Wait until a number of the diagnostics has reached a value."""
        wait_until(lambda: self.count(key) >= value, timeout, lambda: f"{key} >= {value}; last: {self.values}")

    def next_stamp(self, step_ns: int = 33_000_000) -> int:
        """Return a stamp later than all before, close to the clock."""
        self._stamp = max(self._stamp + step_ns, self.node.get_clock().now().nanoseconds)
        return self._stamp

    @property
    def newest_stamp(self) -> int:
        """The stamp that `next_stamp` returned last."""
        return self._stamp

    def header(self, stamp: int, frame: str = "camera") -> Header:
        """A header with a stamp in nanoseconds."""
        return Header(stamp=Time(sec=stamp // 10**9, nanosec=stamp % 10**9), frame_id=frame)

    def transform(self, stamp: int, norm: float = 1.0, y: float | None = None, frame: str = "camera") -> TFMessage:
        """Pose of the camera, which moves sideways a little with each call, to and fro over 2 m."""
        self._step += 1
        message = TransformStamped(header=self.header(stamp, "map"), child_frame_id=frame)
        message.transform.translation.y = 0.04 * (50 - abs(50 - self._step % 100)) if y is None else y
        qx, qy, qz, qw = (float(v * norm) for v in quaternion_from_rotation(FORWARD))
        rotation = message.transform.rotation
        rotation.x, rotation.y, rotation.z, rotation.w = qx, qy, qz, qw
        return TFMessage(transforms=[message])

    def info(self, stamp: int, width: int = WIDTH, k: np.ndarray = K) -> CameraInfo:
        """The camera's calibration."""
        message = CameraInfo(
            header=self.header(stamp), width=width, height=HEIGHT, distortion_model="plumb_bob", d=[0.0] * 5
        )
        message.k = k.reshape(-1)
        message.p = np.concatenate([k, np.zeros((3, 1))], 1).reshape(-1)
        return message

    def image(self, stamp: int, encoding: str = "rgb8", frame: str = "camera") -> Image:
        """An image with some texture."""
        rows, columns = np.indices((HEIGHT, WIDTH))
        pixels = np.stack([rows + self._step, columns, rows ^ columns], -1).astype(np.uint8)
        message = Image(header=self.header(stamp, frame), width=WIDTH, height=HEIGHT, encoding=encoding, step=3 * WIDTH)
        message.data = byte_array(pixels)
        return message

    def depth(self, stamp: int, metres: np.ndarray | None = None) -> Image:
        """A 32FC1 depth image, by default of a wall 2 m ahead."""
        metres = np.full((HEIGHT, WIDTH), 2.0, np.float32) if metres is None else metres
        message = Image(header=self.header(stamp), width=WIDTH, height=HEIGHT, encoding="32FC1", step=4 * WIDTH)
        message.data = byte_array(metres.astype(np.float32))
        return message

    def send(self, stamp: int | None = None, **parts: Any) -> int:
        """Publish a frame; `image`, `info`, `depth` and `transform` replace its messages, None omits one."""
        stamp = self.next_stamp() if stamp is None else stamp
        self.sent += parts.get("image", True) is not None
        makers = {"transform": self.transform, "info": self.info, "depth": self.depth, "image": self.image}
        publishers = {"transform": self.transforms, "info": self.infos, "depth": self.depths, "image": self.images}
        for name, publisher in publishers.items():
            message = parts[name] if name in parts else makers[name](stamp)  # type: ignore[operator]
            if message is not None:
                publisher.publish(message)
        return stamp

    def wait_until_settled(self, timeout: float = 30.0) -> None:
        """Wait until every image that was sent is mapped or dropped."""
        wait_until(
            lambda: self.count("processed") + self.count("dropped") >= self.sent,
            timeout,
            f"{self.sent} images to be judged",
        )

    def send_until(self, send: Callable[[Robot], Any], key: str, value: int) -> None:
        """Send once and wait for a number of the diagnostics; send again if the image got lost on its way."""
        for _ in range(3):
            send(self)
            try:
                return self.wait_for(key, value)
            except AssertionError as error:
                late = error
        raise late

    def map_good_frame(self) -> None:
        """Send a good frame and wait until it is mapped."""
        self.send_until(Robot.send, "processed", self.count("processed") + 1)

    def call(self, kind: type, name: str, timeout: float = 30.0, **request: Any) -> Any:
        """Call a service of the node."""
        client = self.node.create_client(kind, f"/embodied_occupancy/{name}")
        try:
            assert client.wait_for_service(timeout_sec=10)
            future = client.call_async(kind.Request(**request))
            wait_until(future.done, timeout, f"the answer of {name}")
            return future.result()
        finally:
            self.node.destroy_client(client)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        node = message.status[0].name.partition(":")[0]
        if node.rpartition("/")[2] != self.listens_to:
            return
        self.values = {pair.key: pair.value for pair in message.status[0].values}
        self.status, self.level = message.status[0].message, message.status[0].level


@contextmanager
def running_node(
    folder: Path,
    parameters: dict[str, Any],
    remaps: dict[str, str] | None = None,
    robot: type[Robot] = Robot,
    program: str = OFTEN,
) -> Iterator[tuple[NodeProcess, Any]]:
    """Run a connected node and robot; both end with the block. program: as of NodeProcess."""
    node, chosen = NodeProcess(folder, parameters, remaps, program=program), robot()
    try:
        chosen.wait_for_node()
        yield node, chosen
    finally:
        chosen.close()
        node.stop()


def wall_with_hole(n: int, distance: float = 2.0) -> np.ndarray:
    """Depth, (HEIGHT, WIDTH) float32, metres, of a wall whose hole moves with n: voxels appear and disappear."""
    depth = np.full((HEIGHT, WIDTH), distance, np.float32)
    depth[40:80, 20 * (n % 6) : 20 * (n % 6) + 30] += 1.0
    return depth


def set_parameters(robot: Robot, **values: Any) -> Any:
    """Set parameters of the node atomically; the answer has `successful` and `reason`."""
    client = robot.node.create_client(SetParametersAtomically, "/embodied_occupancy/set_parameters_atomically")
    assert client.wait_for_service(timeout_sec=10)
    parameters = [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]
    future = client.call_async(SetParametersAtomically.Request(parameters=parameters))
    wait_until(future.done, 10, "the answer")
    robot.node.destroy_client(client)
    return future.result().result


def saved_voxels(file: Path) -> dict[tuple[int, int, int], tuple[int, float]]:
    """Return label and probability by voxel index from a map.npz."""
    with np.load(file) as arrays:
        rows = zip(arrays["voxels"].tolist(), arrays["labels"], arrays["probability"])
        return {tuple(voxel): (int(label), float(p)) for voxel, label, p in rows}


def save_voxels(robot: Robot, folder: Path) -> dict[tuple[int, int, int], tuple[int, float]]:
    """Have the node save its map to `folder` and return its `saved_voxels`."""
    answer = robot.call(Trigger, "save_map")
    assert answer.success, answer.message
    return saved_voxels(folder / "map.npz")


def saved_cells(file: Path, low: float, high: float) -> dict[tuple[int, int], int]:
    """Expected grid from a map.npz between two heights, metres: 100 or 0 by x and y index."""
    with np.load(file) as arrays:
        heights = [voxels[low <= (voxels[:, 2] + 0.5) * 0.08] for voxels in (arrays["free"], arrays["voxels"])]
        free, occupied = (voxels[(voxels[:, 2] + 0.5) * 0.08 <= high][:, :2].tolist() for voxels in heights)
    return {tuple(column): 0 for column in free} | {tuple(column): 100 for column in occupied}
