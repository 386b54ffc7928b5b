"""Keeps images until their pose, depth and camera_info have arrived, and supplies the newest complete one.

Latency is therefore bounded by the time of one frame at any image rate, and late transforms delay frames but never
starve the mapper. This module needs only the messages' stamps, and measures time in seconds of the steady clock.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import insort
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sgrocc_core.geometry.transforms import TransformLookupError
from sgrocc_ros.health.threads import described
from sgrocc_ros.input.cadence import Cadence
from sgrocc_ros.input.stamps import JUMP_NS

CAPACITY = 60
"""Maximum number of images, of depth images and of camera_infos that are kept."""
LONGEST_WAIT = 60.0
"""Seconds after which a thread that waits looks again, whatever it waits for."""
PAUSED = "the node is paused; call ~/pause with data: false to go on"
"""Why what arrives or waits while the node is paused is dropped."""


class PoseSource(Protocol):
    """The part of `Poses` that the waiting room uses."""

    def lookup(self, target: str, source: str, stamp: int) -> np.ndarray:
        """Return the (4, 4) pose or raise TransformLookupError."""

    def why_missing(self, target: str, source: str, stamp: int) -> tuple[str, str]:
        """Return cause and message for a missing pose."""


class Report(Protocol):
    """The part of `Statistics` that the waiting room uses."""

    def drop(self, cause: str, message: str) -> None:
        """Count an image that is not mapped."""

    def leave_out_depth(self, cause: str, message: str) -> None:
        """Count an image that is mapped without its depth."""


@dataclass(frozen=True)
class Waiting:
    """An image that has arrived.

    Attributes:
        stamp: time stamp, nanoseconds.
        arrived: arrival on the steady clock, seconds.
        frame_id: frame of the image.
        message: the message.
        size: (width, height), pixels; None if unknown.
    """

    stamp: int
    arrived: float
    frame_id: str
    message: Any
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Complete:
    """An image with everything that is needed to map it.

    Attributes:
        image: the image.
        info: its camera_info message.
        depth: its depth message; None with `mono`, or if a `fused` image is used without depth.
        T_wc: (4, 4) pose of the camera in the map, metres.
        camera: name of the camera, of several; else empty.
    """

    image: Waiting
    info: Any
    depth: Any
    T_wc: np.ndarray
    camera: str = ""


class WaitingRoom:
    """The buffer between the callbacks, which store messages, and the worker, which takes images.

    Args:
        poses: looks up poses.
        report: counts dropped images.
        map_frame: frame of the map.
        camera_frame: optical frame of the camera; empty means the frame_id of each image.
        depth_source: `mono`, `topic` (images without depth are dropped), `fused` (they are used without it), or `cloud`
            (likewise, and depth is a cloud of points, whose poses must be known, too).
        timeout: maximum time that an image waits, seconds.
        slop: maximum difference between the stamps of an image and its depth, seconds.
        clock: the steady clock, seconds.
        camera: name of the camera, of several; else empty.
        changed: notified when a message has arrived; several rooms share one.
    """

    def __init__(
        self,
        poses: PoseSource,
        report: Report,
        map_frame: str = "map",
        camera_frame: str = "",
        depth_source: str = "mono",
        timeout: float = 0.2,
        slop: float = 0.03,
        clock: Callable[[], float] = time.monotonic,
        camera: str = "",
        changed: threading.Condition | None = None,
    ) -> None:
        self.camera = camera
        self._poses, self._report, self._clock = poses, report, clock
        self._map_frame, self._camera_frame = map_frame, camera_frame
        self._depth_source, self._timeout, self._slop_ns = depth_source, timeout, int(slop * 1e9)
        self._images: list[Waiting] = []
        self._depths: OrderedDict[int, tuple[Any, tuple[str, int] | None]] = OrderedDict()
        self._infos: OrderedDict[tuple[int, tuple[int, int] | None], Any] = OrderedDict()
        self._changed = changed or threading.Condition()
        self._woken = False
        self._cadence = Cadence()
        self._taken_at: float | None = None  # when the image in work was taken, until its work has been measured
        self._work = 0.0

    def add_image(self, stamp: int, frame_id: str, message: Any, size: tuple[int, int] | None = None) -> None:
        """Store an image of a size (width, height), pixels; drop the oldest one if there are more than CAPACITY."""
        with self._changed:
            now = self._clock()
            insort(self._images, Waiting(stamp, now, frame_id, message, size), key=lambda image: image.stamp)
            self._cadence.arrive(now)
            if len(self._images) > CAPACITY:
                self._images.pop(0)
                self._report.drop("overtaken", "more images wait than are kept")
            self._changed.notify()

    def add_depth(self, stamp: int, message: Any, needed: tuple[str, int] | None = None) -> None:
        """Store a depth image, or a cloud of points together with the frame and the last stamp (ns) of its points."""
        with self._changed:
            _keep(self._depths, stamp, (message, needed))
            self._changed.notify()

    def add_info(self, stamp: int, message: Any, size: tuple[int, int] | None = None) -> None:
        """Store a camera_info of images of a size (width, height), pixels."""
        with self._changed:
            _keep(self._infos, (stamp, size), message)
            self._changed.notify()

    def poses_changed(self) -> None:
        """Check the waiting images again, because transforms have arrived."""
        with self._changed:
            if self._images:
                self._changed.notify()

    def wake(self) -> None:
        """Make `take` return None at once."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def drop_all(self, cause: str, message: str) -> None:
        """Drop all waiting images."""
        with self._changed:
            for _ in self._images:
                self._report.drop(cause, message)
            self._images.clear()

    def jump_to(self, stamp: int) -> None:
        """Drop what was received before time jumped back to `stamp` (ns)."""
        self.drop_all("time_jump", "waited while time jumped back")
        with self._changed:
            for old in [at for at in self._depths if at > stamp + JUMP_NS]:
                del self._depths[old]
            for key in [key for key in self._infos if key[0] > stamp + JUMP_NS]:
                if sum(other[1] == key[1] for other in self._infos) > 1:  # the last of each size stays valid
                    del self._infos[key]

    @property
    def waiting(self) -> int:
        """Number of waiting images."""
        return len(self._images)

    @property
    def oldest(self) -> float:
        """Arrival of the image that has waited longest, on the steady clock; infinite if none waits."""
        return min((image.arrived for image in self._images), default=math.inf)

    def take(self, not_before: float = 0.0) -> Complete | None:
        """Wait for a complete image and return the newest one; return None after `wake`.

        An image that is already old is skipped for the next one if `Cadence` recommends it.

        Args:
            not_before: time on the steady clock before which no image is returned, seconds; limits the rate.
        """
        with self._changed:
            if self._taken_at is not None:  # measured once: after a wake the time since then was spent waiting
                self._work, self._taken_at = self._clock() - self._taken_at, None
            while not self._woken:
                now = self._clock()
                patience = self._patience(now) if now >= not_before else 0.0
                if now >= not_before and not patience:
                    found = self.pick(now)
                    if found is not None:
                        self._cadence.take(now - found.image.arrived)
                        self._taken_at = now
                        return found
                self._changed.wait(patience or min(self.next_deadline(now, not_before), LONGEST_WAIT))
            self._woken = False
            return None

    def _patience(self, now: float) -> float:
        """Return how long to wait for an image newer than the newest complete one, seconds."""
        for image in reversed(self._images):
            if self._look(image, now)[0] is not None:
                return self._cadence.patience(now - image.arrived, self._work)
        return 0.0

    def next_deadline(self, now: float, not_before: float) -> float:
        """Return the seconds until an image has waited too long, if nothing arrives before."""
        if not self._images:
            return LONGEST_WAIT
        return max(self.oldest + self._timeout, not_before) - now + 0.001

    def pick(self, now: float) -> Complete | None:
        """Remove and return the newest complete image; drop those older than it and those that have waited too long.

        The caller holds the condition `changed`.
        """
        found = None
        for i in range(len(self._images) - 1, -1, -1):
            image = self._images[i]
            complete, cause, message = self._look(image, now)
            if complete is not None and found is None:
                found = complete
                del self._images[i]
            elif complete is not None:
                del self._images[i]
                self._report.drop("overtaken", "a newer image was complete")
            elif found is not None or now - image.arrived >= self._timeout or cause == "no_depth":
                del self._images[i]
                if cause == "no_pose":
                    cause, message = self._poses.why_missing(
                        self._map_frame, self._camera_frame or image.frame_id, image.stamp
                    )
                self._report.drop(cause, message)
        if found is not None and found.depth is None and self._depth_source in ("fused", "cloud"):
            self._report.leave_out_depth(
                "no_cloud" if self._depth_source == "cloud" else "no_depth",
                f"no depth within {self._slop_ns / 1e9:g} s of the image; it is mapped without",
            )
        return found

    def _look(self, image: Waiting, now: float) -> tuple[Complete | None, str, str]:
        """Return the complete image, or None with the cause and the message of what is missing."""
        info = self._info_of(image)
        if info is None:
            return None, "no_camera_info", "no camera_info has arrived; without it the camera's lens is unknown"
        depth = None
        if self._depth_source != "mono":
            newest = next(reversed(self._depths), None)
            # Depth arrives in order: once a later one is here, the image's own will not come.
            passed = newest is not None and newest > image.stamp + self._slop_ns
            final = passed or now - image.arrived >= self._timeout
            stamp = self._depth_of(image, final)
            depth = None if stamp is None or not (final or self._is_placed(stamp)) else self._depths[stamp][0]
            if depth is None:
                if not final:
                    return None, "overtaken", "a newer image was complete while it waited for its depth"
                if self._depth_source == "topic":
                    return None, "no_depth", f"no depth within {self._slop_ns / 1e9:g} s of the image"
        try:
            T_wc = self._poses.lookup(self._map_frame, self._camera_frame or image.frame_id, image.stamp)
        except TransformLookupError as error:
            return None, "no_pose", str(error)
        except Exception as error:  # must not hold up the images behind this one
            return None, "internal_error", described("the look-up of a pose", error)
        return Complete(image, info, depth, T_wc, self.camera), "", ""

    def _info_of(self, image: Waiting) -> Any:
        """Return the camera_info of the image's size: that of its stamp, else the newest; None before the first.

        Two cameras, or a node that resizes, may publish on one topic. If none has the size, any is returned, and its
        size is told when the image is mapped.
        """
        fitting = [key for key in self._infos if key[1] == image.size] or list(self._infos)
        if not fitting:
            return None
        same_time = [key for key in fitting if key[0] == image.stamp]
        return self._infos[(same_time or fitting)[-1]]

    def _is_placed(self, stamp: int) -> bool:
        """Whether the poses of a cloud's points are known up to its last; true of a depth image."""
        needed = self._depths[stamp][1]
        return needed is None or not why_not_placed(self._poses, self._map_frame, needed[0], (stamp, needed[1]))

    def _depth_of(self, image: Waiting, final: bool) -> int | None:
        """Return the stamp of the nearest depth once no nearer one can arrive or waiting is over; None before."""
        if image.stamp in self._depths:
            return image.stamp
        near = [stamp for stamp in self._depths if abs(stamp - image.stamp) <= self._slop_ns]
        if not near or (not final and next(reversed(self._depths)) < image.stamp):
            return None
        return min(near, key=lambda stamp: abs(stamp - image.stamp))


def why_not_placed(poses: PoseSource, map_frame: str, frame: str, stamps: Iterable[int]) -> str:
    """Return why a frame has no poses in the map at some stamps (ns) yet, or an empty text."""
    try:
        for stamp in stamps:
            poses.lookup(map_frame, frame, stamp)
    except TransformLookupError as error:
        return str(error)
    return ""


def _keep(kept: OrderedDict[Any, Any], key: Any, message: Any) -> None:
    kept[key] = message
    kept.move_to_end(key)
    if len(kept) > CAPACITY:
        kept.popitem(last=False)
