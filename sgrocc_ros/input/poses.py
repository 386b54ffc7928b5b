"""Camera poses: stores transforms (/tf, /tf_static or a pose topic) and interpolates the pose at an image's time stamp.

What is wrong with a transform is counted before it reaches the tree of frames: numbers that are not finite, quaternions
that are not of unit length, stamps that are no time, loops and second parents.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from geometry_msgs.msg import TransformStamped
from tf2_msgs.msg import TFMessage

from sgrocc_core.checks.stamps import no_time
from sgrocc_core.geometry.transforms import (
    RejectedTransformError,
    TransformLookupError,
    TransformTree,
    UnknownFrameError,
    checked_quaternion,
)
from sgrocc_ros.health.statistics import Statistics
from sgrocc_ros.input.stamps import AHEAD_NS, JUMP_NS, OtherTime
from sgrocc_ros.messages import transform_values

HISTORY_NS = 10_000_000_000
"""Time for which moving transforms are kept, nanoseconds; as in tf2."""
MOST_FRAMES = 5000
"""Moving frames that are kept, at most; those silent for longest make room for new ones."""


class _Moving:
    """What is known of the stamps of one moving frame.

    Attributes:
        newest: its newest stamp, nanoseconds.
        back: counts transforms of an earlier time.
        kept: those transforms, which are stored anew when the jump is believed.
    """

    def __init__(self, stamp: int) -> None:
        self.newest = stamp
        self.back = OtherTime()
        self.kept: deque[tuple[str, str, int, np.ndarray, np.ndarray]] = deque(maxlen=3)
        self._ahead = OtherTime()

    def advance(self, stamp: int) -> None:
        """Follow the stamps; those far ahead count when several agree."""
        if stamp - self.newest <= JUMP_NS:
            self.newest = max(self.newest, stamp)
            self._ahead.clear()
        elif self._ahead.believes(stamp):
            self.newest = stamp
            self._ahead.clear()


class Poses:
    """Checks and stores transforms and looks up poses; thread-safe.

    Args:
        statistics: told if a transform is repaired (`unnormalised_quaternion`) or refused (`bad_transform`, `tf_loop`,
            `tf_second_parent`), and if transforms jump back in time (`tf_time_jump`).
        topics: topics of the poses, named in messages.
        max_gap: longest time between two transforms that is interpolated over, seconds; 0: any.
        now: returns the time of the node's clock, nanoseconds; 0 while it is unknown.
    """

    def __init__(
        self,
        statistics: Statistics,
        topics: str = "/tf or /tf_static",
        max_gap: float = 0.0,
        now: Callable[[], int] = lambda: 0,
    ) -> None:
        self._statistics, self._topics, self._now = statistics, topics, now
        self._tree = TransformTree(HISTORY_NS, round(max_gap * 1e9) or None)
        self._moving: dict[str, _Moving] = {}
        self._lock = threading.Lock()

    def add(self, message: Any, static: bool = False) -> None:
        """Store the transforms of a TFMessage."""
        now = self._now()
        for transform in message.transforms:
            parent, child, stamp, translation, quaternion = transform_values(transform)
            with self._lock:
                if not static and not self._timely(parent, child, stamp, now):
                    continue
                checked = self._checked(parent, child, stamp, translation, quaternion)
                if checked is not None:
                    values = parent, child, stamp, translation, checked
                    if static:
                        self._store(*values, True)
                    else:
                        self._store_moving(values)

    def add_pose(self, message: Any, of: str) -> None:
        """Store a PoseStamped as the pose of the frame `of`."""
        self.add(TFMessage(transforms=[_as_transform(message.header, of, message.pose)]))

    def add_odometry(self, message: Any, of: str = "") -> None:
        """Store an Odometry as the pose of the frame `of`, or of its child_frame_id if `of` is empty."""
        child = of or message.child_frame_id
        if not child:
            self._notice(
                "bad_transform",
                "odometry has no child_frame_id; set the parameter base_frame to what it is the pose of",
            )
            return
        self.add(TFMessage(transforms=[_as_transform(message.header, child, message.pose.pose)]))

    def lookup(self, target: str, source: str, stamp: int) -> np.ndarray:
        """Return the pose of `source` in `target` at a stamp (ns), (4, 4) float64.

        Raises:
            TransformLookupError: there is no such pose; the subclass and its message say why.
        """
        try:
            return self._tree.lookup(target, source, stamp)
        except TransformLookupError as error:
            nothing = isinstance(error, UnknownFrameError) and not self._tree.frames()
            more = f"; nothing was received on {self._topics}" if nothing else ""
            raise type(error)(f"no transform from {target!r} to {source!r}: {error}{more}") from error

    def why_missing(self, target: str, source: str, stamp: int) -> tuple[str, str]:
        """Return cause and message for a missing pose.

        The cause is `bad_pose` if a transform of that time was refused, else `no_pose`.
        """
        try:
            self.lookup(target, source, stamp)
        except TransformLookupError as error:
            why = self._statistics.counts_of_input.why_no_pose(error, stamp)
            return why.cause, str(why)
        return "no_pose", f"the transform from {target!r} to {source!r} came too late"

    def jump_to(self, stamp: int) -> None:
        """Forget the moving transforms of the time before a jump back to `stamp` (ns), if there are any."""
        with self._lock:
            if max((moving.newest for moving in self._moving.values()), default=stamp) - stamp > JUMP_NS:
                self._forget()

    def frames(self) -> list[str]:
        """Names of all frames, sorted."""
        return self._tree.frames()

    def span(self) -> tuple[int, int] | None:
        """Stamps of the oldest and the newest moving transform, nanoseconds; None without one."""
        return self._tree.span()

    def _timely(self, parent: str, child: str, stamp: int, now: int) -> bool:
        """Whether the stamp of a moving transform is a time, and not far ahead of the node's clock."""
        if wrong := no_time(stamp, f"the transform {parent!r} to {child!r}: its"):
            self._statistics.refuse_transform("bad_transform", wrong, stamp)
            return False
        if now > 0 and stamp - now > AHEAD_NS:
            ahead = f"is stamped {(stamp - now) / 1e9:.1f} s ahead of the node's clock"
            message = f"the transform {parent!r} to {child!r} {ahead}"
            self._statistics.refuse_transform("bad_transform", message, stamp)
            return False
        return True

    def _store_moving(self, values: tuple[str, str, int, np.ndarray, np.ndarray]) -> None:
        """Store a moving transform; several in a row of an earlier time mean that time has jumped back."""
        _, child, stamp, _, _ = values
        moving = self._moving.get(child)
        if moving is None:
            moving = self._moving[child] = _Moving(stamp)
            self._make_room()
        back = moving.newest - stamp
        if back <= JUMP_NS:
            moving.back.clear()
            moving.kept.clear()
        else:
            moving.kept.append(values)
            if moving.back.believes(stamp):
                self._notice(
                    "tf_time_jump",
                    f"the transforms of {child!r} jumped back by {back / 1e9:.1f} s; those before are forgotten",
                )
                again = list(moving.kept)
                self._forget()
                self._moving[child] = moving = _Moving(stamp)
                for kept in again[:-1]:
                    self._store(*kept, False)
        moving.advance(stamp)
        self._store(*values, False)

    def _store(
        self, parent: str, child: str, stamp: int, translation: np.ndarray, quaternion: np.ndarray, static: bool
    ) -> None:
        try:
            self._tree.add(parent, child, stamp, translation, quaternion, static)
        except RejectedTransformError as error:
            self._statistics.refuse_transform(error.cause, str(error), stamp)

    def _make_room(self) -> None:
        if len(self._moving) <= MOST_FRAMES:
            return
        silent = sorted(self._moving, key=lambda child: self._moving[child].newest)[: MOST_FRAMES // 10]
        for child in silent:
            del self._moving[child]
        self._tree.forget(silent)

    def _forget(self) -> None:
        self._tree.clear()
        self._moving.clear()
        self._statistics.counts_of_input.forget_refused()

    def _checked(
        self, parent: str, child: str, stamp: int, translation: np.ndarray, quaternion: np.ndarray
    ) -> np.ndarray | None:
        """Return the normalised quaternion, or None if the transform cannot be used."""
        try:
            unit, repaired = checked_quaternion(parent, child, translation, quaternion)
        except RejectedTransformError as error:
            self._statistics.refuse_transform(error.cause, str(error), stamp)
            return None
        if repaired:
            self._notice("unnormalised_quaternion", repaired)
        return unit

    def _notice(self, cause: str, message: str) -> None:
        self._statistics.notice(cause, message)


def _as_transform(header: Any, child: str, pose: Any) -> TransformStamped:
    """Convert a geometry_msgs/Pose in a header's frame to the transform of a child frame."""
    message = TransformStamped(header=header, child_frame_id=child)
    to, at = message.transform.translation, pose.position
    to.x, to.y, to.z = at.x, at.y, at.z
    message.transform.rotation = pose.orientation
    return message
