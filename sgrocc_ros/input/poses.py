"""Camera poses: stores transforms (/tf, /tf_static or a pose topic) and interpolates the pose at an image's time stamp.

The buffer is that of tf2 if tf2_ros is installed, else the core's TransformTree; both have the same interface. Numbers
that are not finite and quaternions that are not of unit length are checked and counted before they reach the buffer.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from geometry_msgs.msg import TransformStamped
from tf2_msgs.msg import TFMessage

from sgrocc_core.geometry.poses import make_pose, rotation_from_quaternion
from sgrocc_core.geometry.transforms import (
    TooEarlyError,
    TooLateError,
    TransformLookupError,
    TransformTree,
    UnconnectedFramesError,
    UnknownFrameError,
)
from sgrocc_ros.input.stamps import JUMP_NS
from sgrocc_ros.messages import time_message, transform_values

try:
    import tf2_ros
except ImportError:  # not part of the ROS wheels
    tf2_ros = None

EXACT = 0.01
"""Deviation of a quaternion's norm from 1 that is accepted silently."""
REPAIRABLE = 0.1
"""Deviation up to which the quaternion is normalised, counted and used; beyond it the transform is dropped."""
HISTORY_NS = 10_000_000_000
"""Time for which moving transforms are kept, nanoseconds; as in tf2."""


class Buffer(Protocol):
    """Interface of both buffers."""

    def add(self, message: Any, translation: np.ndarray, quaternion: np.ndarray, static: bool) -> None:
        """Store a TransformStamped with its checked translation (3,), metres, and quaternion (4,)."""

    def lookup(self, target: str, source: str, stamp: int) -> np.ndarray:
        """Return the (4, 4) pose of `source` in `target` at a stamp (ns), or raise TransformLookupError."""

    def frames(self) -> list[str]:
        """Return the names of the known frames."""

    def clear(self) -> None:
        """Forget the moving transforms; static ones stay."""


class TreeBuffer:
    """The core's transform tree as a Buffer."""

    def __init__(self) -> None:
        self._tree = TransformTree(HISTORY_NS)

    def add(self, message: Any, translation: np.ndarray, quaternion: np.ndarray, static: bool) -> None:
        """See `Buffer.add`."""
        parent, child, stamp, _, _ = transform_values(message)
        self._tree.add(parent, child, stamp, translation, quaternion, static)

    def lookup(self, target: str, source: str, stamp: int) -> np.ndarray:
        """See `Buffer.lookup`."""
        return self._tree.lookup(target, source, stamp)

    def frames(self) -> list[str]:
        """See `Buffer.frames`."""
        return self._tree.frames()

    def clear(self) -> None:
        """See `Buffer.clear`."""
        self._tree.clear()


class Tf2Buffer:
    """tf2's buffer as a Buffer. Static transforms are kept separately, since clearing tf2's buffer forgets them too."""

    def __init__(self) -> None:
        self._buffer = tf2_ros.BufferCore()
        self._static: dict[str, Any] = {}
        self._names: set[str] = set()

    def add(self, message: Any, translation: np.ndarray, quaternion: np.ndarray, static: bool) -> None:
        """See `Buffer.add`."""
        rotation = message.transform.rotation
        rotation.x, rotation.y, rotation.z, rotation.w = (float(v) for v in quaternion)
        self._names |= {message.header.frame_id, message.child_frame_id}
        if static:
            self._static[message.child_frame_id] = message
            self._buffer.set_transform_static(message, "sgrocc")
        else:
            self._buffer.set_transform(message, "sgrocc")

    def lookup(self, target: str, source: str, stamp: int) -> np.ndarray:
        """See `Buffer.lookup`."""
        from rclpy.time import Time

        try:
            found = self._buffer.lookup_transform_core(target, source, Time.from_msg(time_message(stamp)))
        except tf2_ros.ConnectivityException as error:
            raise UnconnectedFramesError(str(error)) from error
        except tf2_ros.ExtrapolationException as error:
            raise (TooEarlyError if "past" in str(error) else TooLateError)(str(error)) from error
        except (tf2_ros.LookupException, tf2_ros.InvalidArgumentException) as error:
            raise UnknownFrameError(str(error)) from error
        _, _, _, translation, quaternion = transform_values(found)
        return make_pose(rotation_from_quaternion(quaternion), translation)

    def frames(self) -> list[str]:
        """See `Buffer.frames`."""
        return sorted(self._names)

    def clear(self) -> None:
        """See `Buffer.clear`."""
        self._buffer.clear()
        for message in self._static.values():
            self._buffer.set_transform_static(message, "sgrocc")


class Poses:
    """Checks and stores transforms and looks up poses; thread-safe.

    Args:
        notice: called with a cause and a message if a transform is repaired (`unnormalised_quaternion`) or dropped
            (`bad_transform`), and if transforms jump back in time (`tf_time_jump`).
        buffer: the buffer to use; None selects tf2's if it is installed.
        topics: topics of the poses, named in messages.
    """

    def __init__(
        self, notice: Callable[[str, str], None], buffer: Buffer | None = None, topics: str = "/tf or /tf_static"
    ) -> None:
        self._notice, self._topics = notice, topics
        self._buffer: Buffer = buffer or (Tf2Buffer() if tf2_ros else TreeBuffer())
        self._newest: dict[str, int] = {}
        self._rejected: deque[tuple[int, str]] = deque(maxlen=100)
        self._lock = threading.Lock()

    def add(self, message: Any, static: bool = False) -> None:
        """Store the transforms of a TFMessage."""
        for transform in message.transforms:
            parent, child, stamp, translation, quaternion = transform_values(transform)
            checked = self._checked(parent, child, stamp, translation, quaternion)
            if checked is None:
                continue
            with self._lock:
                newest = self._newest.get(child, stamp)
                if not static and newest - stamp > JUMP_NS:
                    back = (newest - stamp) / 1e9
                    self._notice(
                        "tf_time_jump",
                        f"the transforms of {child!r} jumped back by {back:.1f} s; those before are forgotten",
                    )
                    self._forget()
                if not static:
                    self._newest[child] = max(self._newest.get(child, stamp), stamp)
                try:
                    self._buffer.add(transform, translation, checked, static)
                except ValueError as error:
                    self._reject(stamp, str(error))

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
            return self._buffer.lookup(target.removeprefix("/"), source.removeprefix("/"), stamp)
        except (UnknownFrameError, UnconnectedFramesError) as error:
            known = ", ".join(self._buffer.frames()) or f"none, nothing was received on {self._topics}"
            raise type(error)(f"no transform from {target!r} to {source!r}: {error}; frames known: {known}") from error
        except TransformLookupError as error:
            raise type(error)(f"no transform from {target!r} to {source!r}: {error}") from error

    def why_missing(self, target: str, source: str, stamp: int) -> tuple[str, str]:
        """Return cause and message for a missing pose.

        The cause is `bad_pose` if a transform of that time was dropped, else `no_pose`.
        """
        with self._lock:
            for rejected, message in self._rejected:
                if abs(rejected - stamp) <= JUMP_NS // 10:
                    return "bad_pose", message
        try:
            self.lookup(target, source, stamp)
        except TransformLookupError as error:
            return "no_pose", str(error)
        return "no_pose", f"the transform from {target!r} to {source!r} came too late"

    def jump_to(self, stamp: int) -> None:
        """Forget the moving transforms of the time before a jump back to `stamp` (ns), if there are any."""
        with self._lock:
            if max(self._newest.values(), default=stamp) - stamp > JUMP_NS:
                self._forget()

    def _forget(self) -> None:
        self._buffer.clear()
        self._newest.clear()
        self._rejected.clear()

    def _checked(
        self, parent: str, child: str, stamp: int, translation: np.ndarray, quaternion: np.ndarray
    ) -> np.ndarray | None:
        """Return the normalised quaternion, or None if the transform cannot be used."""
        if not (np.isfinite(translation).all() and np.isfinite(quaternion).all()):
            self._reject(
                stamp, f"transform {parent!r} to {child!r} is not finite: {translation.tolist()}, {quaternion.tolist()}"
            )
            return None
        norm = float(np.linalg.norm(quaternion))
        message = f"transform {parent!r} to {child!r} has a quaternion of length {norm:.3g}; it must be 1"
        if abs(norm - 1.0) > REPAIRABLE:
            self._reject(stamp, message)
            return None
        if abs(norm - 1.0) > EXACT:
            self._notice("unnormalised_quaternion", f"{message}, and is normalised")
        return quaternion / norm

    def _reject(self, stamp: int, message: str) -> None:
        self._rejected.append((stamp, message))
        self._notice("bad_transform", f"{message}; it is dropped")


def _as_transform(header: Any, child: str, pose: Any) -> TransformStamped:
    """Convert a geometry_msgs/Pose in a header's frame to the transform of a child frame."""
    message = TransformStamped(header=header, child_frame_id=child)
    to, at = message.transform.translation, pose.position
    to.x, to.y, to.z = at.x, at.y, at.z
    message.transform.rotation = pose.orientation
    return message
