"""Publishes the map on a thread of its own: `~/occupancy`, `~/occupancy_update`, `~/markers`, the grid and the views.

The worker passes each MapUpdate on and continues. Messages are made only for topics with subscribers, and from blocks,
so that the cost of a frame depends on its changes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import MarkerArray

from sgrocc_core.classes import NAMES, UNKNOWN
from sgrocc_core.gaussians.last_view import GaussiansInView
from sgrocc_core.mapping.mapper import MapUpdate
from sgrocc_ros.distributions import RCLError, create_publisher
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.health.threads import ALARM, LastingThread
from sgrocc_ros.messages import cloud_message, voxel_points
from sgrocc_ros.output.backlog import Backlog, Job
from sgrocc_ros.output.columns import Changes, Feed
from sgrocc_ros.output.grid import LATCHED_QOS
from sgrocc_ros.output.markers import delete_all, legend, marker_maker
from sgrocc_ros.output.published import PublishedMap
from sgrocc_ros.output.views import Views

UPDATES_QOS = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)
# At depth one the next change would replace the complete map that a late subscriber has not acknowledged yet.
MARKERS_QOS = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


CLOSE_TIMEOUT = 10.0
"""Seconds that the last messages have at shutdown."""


class Outputs(LastingThread):
    """The publishers of the map and their thread.

    Args:
        node: owns the publishers.
        frame_id: frame of the map.
        statistics: counts frames once their update is published, and failed publications.
        full_map_period: returns the seconds between complete maps; called each time.
        feed: passes the columns of the map on to the outputs that are made from them, such as `~/grid`.
        views: the publishers of `~/depth` and `~/gaussians`.
        between_frames: runs a function on the worker's thread.
        labels: labels published on `~/occupancy`, `~/occupancy_update` and `~/markers`.
        whole: returns all occupied voxels, their labels and probability; called on the worker's thread.
    """

    def __init__(
        self,
        node: Node,
        frame_id: str,
        statistics: Statistics,
        full_map_period: Callable[[], float],
        feed: Feed,
        views: Views,
        between_frames: Callable[[Callable[[], None]], Any],
        labels: Sequence[int],
        whole: Callable[[], tuple[np.ndarray, np.ndarray, np.ndarray]],
    ) -> None:
        super().__init__("outputs", statistics)
        self.views, self._shown = views, _mask(labels)
        self._frame_id, self._period, self._feed = frame_id, full_map_period, feed
        self._from_columns = tuple(feed.users)
        self.published = PublishedMap()
        self._jobs, self._between_frames, self._whole, self._updates_given = Backlog(), between_frames, whole, 0
        self._snapshot_sequence = -1
        self._snapshot_time = 0.0
        self._legend_corner: tuple[float, float, float] | None = None
        self._markers_lost = False
        self._make_markers = marker_maker()
        # A new subscriber is served without checking the count, which may lag behind; latched messages wait for it.
        self._occupancy = create_publisher(
            node,
            PointCloud2,
            "~/occupancy",
            LATCHED_QOS,
            lambda: self._jobs.put_once("snapshot", self._publish_snapshot),
        )
        self._updates = create_publisher(
            node,
            PointCloud2,
            "~/occupancy_update",
            UPDATES_QOS,
            lambda: self._jobs.put_once("snapshot if heard", self._snapshot_if_heard),
        )
        self._markers = create_publisher(
            node,
            MarkerArray,
            "~/markers",
            MARKERS_QOS,
            lambda: self._jobs.put_once("markers", self._publish_all_markers),
        )
        for output in self._from_columns:
            output.open(self.serve_columns)
        self.start()

    def update(
        self,
        update: MapUpdate,
        arrived: float,
        stages: dict[str, float],
        camera: str,
        gaussians: GaussiansInView | None = None,
        processed: Callable[[dict[str, float]], None] | None = None,
    ) -> None:
        """Publish the changes of a frame; called on the worker's thread.

        Args:
            update: the changes.
            arrived: arrival of the image on the steady clock, seconds.
            stages: time spent on the image so far, milliseconds by name.
            camera: frame of the image.
            gaussians: the Gaussians in view; None if they are not published.
            processed: counts the image, with the milliseconds of its stages; None: the node's statistics.
        """
        count = processed or self._statistics.process
        self._updates_given += 1
        number = self._updates_given

        def publish() -> None:
            start = time.monotonic()
            try:
                self._apply(update.stamp_ns, update.voxels, update.labels, update.probability)
            finally:
                end = time.monotonic()
                count(stages | {"publish": 1e3 * (end - start), "arrival_to_update": 1e3 * (end - arrived)})
            if number < self._updates_given:
                return  # a newer view waits
            for publisher, message in self.views.messages(update, camera, self._frame_id, gaussians):
                self._publish(publisher, message)

        self._give(publish, update.stamp_ns, lambda: count(stages))

    def change(self, update: MapUpdate) -> None:
        """Publish changes that do not belong to a frame; called on the worker's thread."""
        self._give(
            lambda: self._apply(update.stamp_ns, update.voxels, update.labels, update.probability), update.stamp_ns
        )

    def show(
        self, labels: Sequence[int], stamp: int, voxels: np.ndarray, values: np.ndarray, probability: np.ndarray
    ) -> None:
        """Change the labels that are published; called on the worker's thread.

        Args:
            labels: labels to publish.
            stamp: time stamp, nanoseconds.
            voxels: (N, 3) int32, all occupied voxels.
            values: (N,) uint8, their labels.
            probability: (N,) float, multiples of 1/16.
        """

        def publish() -> None:
            self._shown = _mask(labels)
            self._publish_replacement(stamp, voxels, values, probability)

        self._jobs.put(publish)

    def reset(self, stamp: int) -> None:
        """Publish an empty map on every topic; called on the worker's thread. stamp: nanoseconds."""
        self.replace(stamp, np.zeros((0, 3), np.int32), np.zeros(0, np.uint8), np.zeros(0, np.float32))

    def replace(self, stamp: int, voxels: np.ndarray, labels: np.ndarray, probability: np.ndarray) -> None:
        """Publish a map that replaces the previous one, as an update and complete; called on the worker's thread.

        Args:
            stamp: time stamp, nanoseconds.
            voxels: (N, 3) int32, all occupied voxels.
            labels: (N,) uint8.
            probability: (N,) float, multiples of 1/16.
        """
        self._jobs.drop_changes()
        self._jobs.put_change(lambda: self._publish_replacement(stamp, voxels, labels, probability))
        self._give_columns(self._feed.replaced())

    def close(self) -> None:
        """Publish everything that is queued, then end the thread; what is not published in time is left out.

        The thread must have ended before the node's publishers are destroyed, so the job it is at is waited for.
        """
        self._jobs.put(self._end)
        self.join(CLOSE_TIMEOUT)
        if self.is_alive():
            self._end()
            told = f"the last changes took more than {CLOSE_TIMEOUT:g} s and are left out; a saved map has them"
            self._statistics.notice("publish_unfinished", told)
            self.join(CLOSE_TIMEOUT)

    def _end(self) -> None:
        self._stopping = True

    @property
    def topics(self) -> str:
        """Names of the topics, each with its quality of service."""
        latched = "reliable, transient local"
        publishers = {
            self._occupancy: latched,
            self._updates: "reliable, last 50",
            self._markers: latched,
        }
        for output in self._from_columns:
            publishers |= output.publishers
        return ", ".join(
            f"{publisher.topic_name} ({word})" for publisher, word in (publishers | self.views.publishers).items()
        )

    @property
    def not_offered(self) -> str:
        """A sentence for each topic that is not offered, with the package of messages that it needs; else empty."""
        return "; ".join(f"{topic} needs {package}, which is not installed" for topic, package in self._lacking)

    @property
    def _lacking(self) -> list[tuple[str, str]]:
        return [lack for output in self._from_columns if (lack := output.lacks) is not None]

    def serve_columns(self) -> None:
        """Pass the columns on if an output that is wanted lacks them, as for a new subscriber."""

        def serve() -> None:  # on the worker's thread
            if self._feed.missed:
                self._give_columns(self._feed.changes())

        self._between_frames(serve)

    def _give(self, publish: Job, stamp: int, left_out: Job | None = None) -> None:
        """Pass a change of the map on, or the whole map if the thread is too far behind; on the worker's thread."""
        self._jobs.put_change(publish, left_out)
        if self._jobs.is_full:
            self._statistics.notice("publish_behind", "publishing is 50 frames behind; the whole map follows at once")
            self.replace(stamp, *self._whole())
        else:
            self._give_columns(self._feed.changes())

    def _give_columns(self, changes: Changes | None) -> None:
        self._jobs.put_change(lambda: self._feed.apply(changes))

    def step(self) -> bool:
        """Do the next job, and publish what is due: the complete map, and what is made from the columns."""
        job = self._jobs.get(0.1)
        if job is not None:
            job()
        if self._stopping:
            return True
        self._maybe_snapshot()
        for output in self._from_columns:
            for publisher, message in output.due(self.published.stamp):
                output.sent(self._publish(publisher, message))
        for publisher, message in self.views.objects.due(self.published):
            self._publish(publisher, message)
        return job is not None

    def failed(self, error: Exception) -> None:
        """Count the exception, and begin anew with the whole map, because a change may be lost."""
        super().failed(error)
        if self.failures < ALARM:
            self._between_frames(lambda: self.replace(self.published.stamp, *self._whole()))

    def _maybe_snapshot(self) -> None:
        changed = self.published.sequence != self._snapshot_sequence
        if (
            changed
            and time.monotonic() - self._snapshot_time >= self._period()
            and self._occupancy.get_subscription_count()
        ):
            self._publish_snapshot()

    def _apply(self, stamp: int, voxels: np.ndarray, labels: np.ndarray, probability: np.ndarray) -> None:
        if not self._shown.all():
            voxels, labels, probability = self.published.without(self._shown, voxels, labels, probability)
        if len(voxels) and self._updates.get_subscription_count():  # published before the blocks are updated
            points = voxel_points(voxels, labels, probability)
            points["sequence"] = self.published.sequence + 1
            self._publish(self._updates, cloud_message(points, self._frame_id, stamp))
        changed = self.published.apply(stamp, voxels, labels, probability)
        if not changed or not self._markers.get_subscription_count():
            return
        if self._markers_lost:
            self._publish_all_markers()
            return
        corner = self.published.corner()
        first = self._legend(corner) if corner != self._legend_corner else []
        message = self._make_markers(self.published.markers(changed), self._frame_id, stamp, first)
        self._markers_lost = not self._publish(self._markers, message)

    def _snapshot_if_heard(self) -> None:
        if self._occupancy.get_subscription_count():
            self._publish_snapshot()

    def _publish_snapshot(self) -> None:
        if self._publish(self._occupancy, cloud_message(self.published.points(), self._frame_id, self.published.stamp)):
            self._snapshot_sequence, self._snapshot_time = self.published.sequence, time.monotonic()

    def _publish_all_markers(self) -> None:
        stamp = self.published.stamp
        first = [delete_all(self._frame_id, stamp), *self._legend(self.published.corner())]
        message = self._make_markers(self.published.markers(), self._frame_id, stamp, first)
        self._markers_lost = not self._publish(self._markers, message)

    def _publish_replacement(self, stamp: int, voxels: np.ndarray, labels: np.ndarray, probability: np.ndarray) -> None:
        shown = self._shown[labels]
        self._apply(stamp, *self.published.replacing(voxels[shown], labels[shown], probability[shown]))
        self._snapshot_if_heard()
        if self._markers.get_subscription_count():
            self._publish_all_markers()

    def _legend(self, corner: tuple[float, float, float]) -> list[Any]:
        self._legend_corner = corner
        labels = [label for label in (*range(1, len(NAMES)), UNKNOWN) if self._shown[label]]
        return legend(labels, np.array(corner), self._frame_id, self.published.stamp)

    def _publish(self, publisher: Publisher, message: Any) -> bool:
        """Publish and report success; a subscriber too slow for a reliable topic must not stop the node."""
        try:
            publisher.publish(message)
        except RCLError as error:
            self._statistics.notice("publish_failed", f"{publisher.topic_name}: {error}")
            return False
        return True


def _mask(labels: Sequence[int]) -> np.ndarray:
    """Return (256,) bool, true for these labels and for 0 (free), and for every byte if all labels are among them."""
    every = set(range(1, len(NAMES))) | {UNKNOWN}
    mask = np.full(256, every <= set(labels))
    mask[[0, *labels]] = True
    return mask
