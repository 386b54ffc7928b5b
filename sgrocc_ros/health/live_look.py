"""The look at a live stream, as `sgrocc check --live` takes it: the node's own inputs, without a map.

What comes within some seconds is joined, decoded and counted as in the node, and looked at as in a recording. Where
nothing comes, the findings say what is missing.
"""

from __future__ import annotations

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.signals import SignalHandlerOptions

from sgrocc_core.checks.findings import Finding, not_mapped
from sgrocc_core.checks.motion import PoseGate
from sgrocc_core.checks.stream import MOST_FRAMES, StreamCheck
from sgrocc_core.data.bags.topics import base_name
from sgrocc_core.errors import FrameError
from sgrocc_core.geometry.calibration import is_rectified
from sgrocc_core.geometry.transforms import TransformLookupError
from sgrocc_ros.health.advice import ADVICE
from sgrocc_ros.health.first_look import depth_frame_finding, unconnected_depth_finding
from sgrocc_ros.health.statistics import QUIET, Statistics
from sgrocc_ros.health.threads import described
from sgrocc_ros.input.frames import FrameMaker
from sgrocc_ros.input.inputs import CameraPort, Inputs, pose_frame
from sgrocc_ros.input.poses import Poses
from sgrocc_ros.input.waiting import Complete, WaitingRoom
from sgrocc_ros.messages import info_size, read_camera_info
from sgrocc_ros.parameters.values import Parameters

WAKE_PERIOD = 0.2
"""Seconds after which the look at least asks whether it is over."""
DISCOVERY = 6.0
"""Seconds until the topics are chosen although no image is published; on a busy machine publishers show up late."""
FEW = 0.05
"""Share of the images up to which a loss is a note: one transform late under load is no fault of the stream."""
PARAMETERS = ("map_frame", "camera_frame", "depth_source", "depth_scale", "sync_slop", "rectified", "max_pose_gap")
"""Parameters of the node that a look may set."""


class _Counts(Statistics):
    """The node's counters; keeps the first message of each cause instead of printing it."""

    def __init__(self) -> None:
        super().__init__(lambda text: None, lambda: math.inf)
        self.examples: dict[str, str] = {}

    def drop(self, cause: str, message: str, camera: str = "") -> None:
        self.examples.setdefault(cause, message)
        super().drop(cause, message, camera)

    def notice(self, cause: str, message: str, camera: str = "") -> None:
        self.examples.setdefault(cause, message)
        super().notice(cause, message, camera)

    def forget(self) -> None:
        """Begin to count: before the first complete image transforms and camera_info were still on their way."""
        with self._lock:
            self.received = self.lost = 0
            self.noticed.clear()
        self.counts_of_input.clear_images()
        self.examples.clear()


class _Room(WaitingRoom):
    """The node's waiting room; remembers what has come."""

    def __init__(self, check: StreamCheck, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._check = check
        self.images: list[tuple[int, str]] = []
        self.infos: dict[tuple[int, int], Any] = {}
        self.depths = 0

    def add_image(self, stamp: int, frame_id: str, message: Any, size: tuple[int, int] | None = None) -> None:
        self._check.add_stamp(stamp)
        if size is not None:
            self._check.add_image_size(size)
        self.images.append((stamp, frame_id))
        super().add_image(stamp, frame_id, message, size)

    def add_info(self, stamp: int, message: Any, size: tuple[int, int] | None = None) -> None:
        self.infos[size or info_size(message)] = message
        super().add_info(stamp, message, size)

    def add_depth(self, stamp: int, message: Any, needed: tuple[str, int] | None = None) -> None:
        self.depths += 1
        super().add_depth(stamp, message, needed)


class LiveLook:
    """Subscribes as the node does and looks at what comes.

    Args:
        node: a bare node, with the remappings of the topics `image`, `camera_info` and `depth`.
        check: is fed.
    """

    def __init__(self, node: Node, check: StreamCheck) -> None:
        self._node, self._check = node, check
        p = self._parameters = Parameters(node)
        self.counts = _Counts()
        self.poses = Poses(self.counts, max_gap=p["max_pose_gap"], now=lambda: node.get_clock().now().nanoseconds)
        self.room = _Room(
            check,
            self.poses,
            self.counts,
            p["map_frame"],
            pose_frame(p.of_camera("")),
            p["depth_source"],
            p["tf_timeout"],
            p["sync_slop"],
        )
        port = CameraPort(p.of_camera(""), self.room, self.counts)
        self.inputs = Inputs(node, p, {"": port}, self.poses, self.counts, lambda: None)
        self._rectified = is_rectified(p["rectified"], self.inputs.cameras[""].image_topic)
        self._frames = FrameMaker(self.counts, p["depth_source"], p["depth_scale"], self._rectified)
        self._gate = PoseGate()
        self.looked = self.complete = 0
        self._unconnected: set[tuple[str, str]] = set()

    def watch(self, seconds: float) -> None:
        """Look at frames for some seconds; the node must be spinning in another thread, which calls `room.wake`."""
        end, taken = time.monotonic() + seconds, -math.inf
        while time.monotonic() < end:
            complete = self.room.take(taken + seconds / MOST_FRAMES)
            if complete is None:
                continue
            taken = time.monotonic()
            if not self.complete:
                self.counts.forget()
            self.complete += 1
            try:
                self._look(complete)
            except FrameError as error:
                self.counts.drop(error.cause, str(error))
            except Exception as error:
                self.counts.drop("internal_error", described("the look", error))

    def _look(self, complete: Complete) -> None:
        if (readings := self._frames.readings(complete)) is not None:
            self._check.add_depth(readings)
        frame = self._frames.make(complete)
        self._gate.check(frame.T_wc, frame.stamp_ns)
        self._check.camera_frame = repr(self._parameters["camera_frame"] or complete.image.frame_id)
        self._check.add_frame(frame)
        self.looked += 1
        if complete.depth is None:
            return
        image, other = complete.image.frame_id, complete.depth.header.frame_id
        if other and other != image:
            try:
                T = self.poses.lookup(image, other, complete.image.stamp)
            except TransformLookupError:
                self._unconnected.add((image, other))  # the transform may still come
                return
            self._unconnected.discard((image, other))
            if found := depth_frame_finding(image, other, T):
                self._check.add_finding(found)

    def conclude(self) -> None:
        """Add what is missing, and what was counted, to the findings."""
        for message in self.room.infos.values():
            try:
                calibration = read_camera_info(message, self._rectified)
            except FrameError as error:
                self._check.add_finding(Finding("error", error.cause, str(error), ADVICE.get(error.cause, "")))
                continue
            self._check.add_calibration(calibration.K, info_size(message))
        if (span := self.poses.span()) is not None:
            self._check.add_pose_stamps(*span)
        unconnected = (unconnected_depth_finding(*pair) for pair in sorted(self._unconnected))
        for finding in (*self._missing(), *self._counted(), *unconnected):
            self._check.add_finding(finding)

    def _missing(self) -> Iterator[Finding]:
        camera, poses, static = self.inputs.cameras[""], self.inputs.moving, self.inputs.static
        image, info, depth = camera.image, camera.info, camera.depth
        if not self.counts.received and not self.room.images:
            yield self._nothing("no_image", "image", image.topic, "--image-topic", str(image))
        if not self.room.infos:
            yield self._nothing("no_camera_info", "camera_info", info.topic, "--info-topic", str(info))
        if depth and not self.room.depths:
            needed = self._parameters["depth_source"] == "topic"
            missing = self._nothing("no_depth", "depth image", depth.topic, "--depth-topic", str(depth))
            yield missing if needed else Finding("warning", missing.code, missing.message, missing.advice)
        if not self.poses.frames():
            published = [topic for topic in (poses.topic, static.topic) if self._node.count_publishers(topic)]
            what = f"no transform came on {' and '.join(published)}" if published else "nobody publishes /tf"
            yield Finding("error", "no_pose", what, "Start the localisation; --tf-topic names another tf topic.")
        elif self.room.images and not self.complete:
            yield from self._unplaced()

    def _unplaced(self) -> Iterator[Finding]:
        """The pose that no image had."""
        target, problem = self._parameters["map_frame"], ""
        for stamp, frame_id in self.room.images[len(self.room.images) // 2 :]:
            source = self._parameters["camera_frame"] or frame_id
            try:
                self.poses.lookup(target, source, stamp)
                return
            except TransformLookupError:
                problem = problem or self.poses.why_missing(target, source, stamp)[1]
        yield Finding("error", "images_no_pose", problem, "Name the frames with --map-frame and --camera-frame.")

    def _nothing(self, code: str, what: str, topic: str, option: str, subscription: str) -> Finding:
        """Why a topic has given nothing."""
        publishers = self._node.get_publishers_info_by_topic(topic)
        kinds = sorted({kind for name, kinds in self._node.get_topic_names_and_types() for kind in kinds
                        if name == topic})  # fmt: skip
        if not publishers:
            text = f"no {what} came: nobody publishes {topic}"
            others = _listing(self._node, "CameraInfo" if what == "camera_info" else "Image")
            advice = f"{others}. {option} names another; ROS_DOMAIN_ID must be that of the camera."
        else:
            text = (
                f"no {what} came on {subscription}, though {len(publishers)} publish{'es' * (len(publishers) == 1)} it"
                f" ({', '.join(kinds)})"
            )
            advice = (
                "Check the driver; big best-effort images need config/fastdds.xml on both sides, and the type must be "
                "that of the transport."
            )
        return Finding("error", code, text, advice)

    def _counted(self) -> Iterator[Finding]:
        """A finding for each cause that was counted."""
        received, _, dropped, noticed = self.counts.counts()
        for cause, count in dropped.items():
            if cause not in QUIET and (cause != "no_camera_info" or self.room.infos):  # said once
                finding = not_mapped(cause, count, max(received, count), self.counts.examples[cause], not self.looked)
                yield _weighed(finding, count, received, bool(self.looked), ADVICE.get(cause, ""))
        for cause, count in noticed.items():
            if cause == "no_depth" and not self.room.depths:
                continue  # said once
            finding = Finding("warning", cause, f"{count} times: {self.counts.examples[cause]}")
            few = cause == "no_depth"
            yield _weighed(finding, count if few else received, received, few, ADVICE.get(cause, ""))
        if self.counts.lost > FEW * max(received, 1):
            yield Finding(
                "warning", "lost", f"{self.counts.lost} images were lost on their way, {received} arrived",
                "Check the network; big best-effort images need config/fastdds.xml on both sides.",
            )  # fmt: skip


def _weighed(finding: Finding, count: int, received: int, may_be_few: bool, advice: str) -> Finding:
    """The finding with advice, as a note where it concerns few of the images."""
    level = "note" if may_be_few and count <= max(FEW * received, 1) else finding.level
    return Finding(level, finding.code, finding.message, f"{advice[:1].upper()}{advice[1:]}." if advice else "")


def _listing(node: Node, kind: str) -> str:
    """The topics of a kind of message that are published, as a sentence without its end."""
    names = [
        topic
        for topic, kinds in node.get_topic_names_and_types()
        if any(name.rpartition("/")[2] in (kind, f"Compressed{kind}") for name in kinds)
        and node.count_publishers(topic)
    ]
    return f"Published as {kind}: {', '.join(names[:12])}" if names else f"Nobody publishes any {kind}"


def look_live(
    topics: Callable[[list[tuple[str, str]]], tuple[str, str, str, bool]],
    parameters: Mapping[str, Any],
    tf_topic: str,
    seconds: float,
) -> StreamCheck:
    """Look at a live stream.

    Args:
        topics: chooses the topics of the image, its camera_info (empty: beside the image) and its depth from (topic,
            type) of all that is published, and whether the image is compressed.
        parameters: of the node, some of PARAMETERS.
        tf_topic: topic of the transforms if it is not /tf.
        seconds: how long.
    """
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    try:
        image, info, depth, compressed = _discovered(context, topics)
        remaps = {"image": base_name(image), "depth": base_name(depth)} | ({"camera_info": info} if info else {})
        if tf_topic:
            remaps |= {"/tf": tf_topic, "/tf_static": f"{tf_topic}_static"}
        values = {**parameters, "image_transport": "compressed" if compressed else "raw"}
        node = rclpy.create_node(
            "sgrocc_check",
            context=context,
            cli_args=["--ros-args", *(part for name, to in remaps.items() for part in ("-r", f"{name}:={to}"))],
            parameter_overrides=[Parameter(name, value=value) for name, value in values.items()],
        )
        check = StreamCheck(values.get("map_frame", "map"))
        look = LiveLook(node, check)
        subscribed = ", ".join(str(follower) for follower in look.inputs.followers)
        print(f"listening for {seconds:g} s to {subscribed}; move the camera", file=sys.stderr, flush=True)
        with _spinning(node, look):
            look.watch(seconds)
            look.conclude()
        return check
    finally:
        context.try_shutdown()


def _discovered(
    context: Context, topics: Callable[[list[tuple[str, str]]], tuple[str, str, str, bool]]
) -> tuple[str, str, str, bool]:
    """The chosen topics, once the graph has an image and has stayed the same for a moment, or DISCOVERY is over."""
    node = rclpy.create_node("sgrocc_check_graph", context=context)
    try:
        end, before = time.monotonic() + DISCOVERY, None
        while True:
            graph = [(topic, kind) for topic, kinds in node.get_topic_names_and_types() for kind in kinds]
            published = [(topic, kind) for topic, kind in graph if node.count_publishers(topic)]
            has_image = any(kind.endswith("Image") for _, kind in published)
            if (has_image and published == before) or time.monotonic() > end:
                return topics(published)
            before = published
            time.sleep(0.5)
    finally:
        node.destroy_node()


@contextmanager
def _spinning(node: Node, look: LiveLook) -> Iterator[None]:
    """Run the node's callbacks in a thread."""
    executor, stop = SingleThreadedExecutor(context=node.context), threading.Event()
    executor.add_node(node)

    def spin() -> None:
        woken = time.monotonic()
        while not stop.is_set():
            try:
                executor.spin_once(timeout_sec=WAKE_PERIOD / 2)
            except Exception as error:
                look.counts.notice("internal_error", described("a callback", error))
            if time.monotonic() - woken >= WAKE_PERIOD:
                woken = time.monotonic()
                look.room.wake()

    thread = threading.Thread(target=spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(5)
        executor.shutdown()
        node.destroy_node()
