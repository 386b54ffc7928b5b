"""Images that wait for their pose, their depth and a camera_info; out comes the newest complete one.

So latency is bounded by one frame's work at any rate, and a late tf delays frames but never starves the mapper. Knows messages only as
things with a stamp, and time only as seconds of the steady clock.
"""

from __future__ import annotations

import threading
import time
from bisect import insort
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sgrocc_core.geometry.transforms import TransformLookupError
from sgrocc_ros.input.cadence import Cadence

CAPACITY = 60
"""Images, depth images and camera_infos that are kept at most, each."""
JUMP_NS = 1_000_000_000
"""Stamps that go back by more than this, nanoseconds, mean that time has jumped (a recording that starts anew)."""


class PoseSource(Protocol):
    """What the waiting room asks of the poses."""

    def lookup(self, target: str, source: str, stamp: int) -> np.ndarray:
        """(4, 4) pose or a TransformLookupError."""

    def why_missing(self, target: str, source: str, stamp: int) -> tuple[str, str]:
        """Cause and message for a pose that did not come."""


class Report(Protocol):
    """Where images that go another way than into the map are counted."""

    def drop(self, cause: str, message: str) -> None:
        """An image that is not mapped."""

    def notice(self, cause: str, message: str) -> None:
        """Something wrong that did not cost an image."""


@dataclass(frozen=True)
class Waiting:
    """An image that has arrived: stamp (ns), when (steady s), its frame, its message."""

    stamp: int
    arrived: float
    frame_id: str
    message: Any


@dataclass(frozen=True)
class Complete:
    """An image with all that it needs; `depth` is None in mono mode and where an image is used alone."""

    image: Waiting
    info: Any
    depth: Any
    T_wc: np.ndarray


class WaitingRoom:
    """The buffer between the callbacks, which only store, and the worker, which takes.

    Args:
        poses, report: see the protocols.
        map_frame, camera_frame: of the pose; an empty camera_frame means the image's.
        depth_source: `mono`, `topic` (no image without depth) or `fused` (an image without depth is used alone).
        timeout: seconds an image waits. slop: seconds between an image and its depth.
        clock: the steady clock, seconds.
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
    ) -> None:
        self._poses, self._report, self._clock = poses, report, clock
        self._map_frame, self._camera_frame = map_frame, camera_frame
        self._depth_source, self._timeout, self._slop_ns = depth_source, timeout, int(slop * 1e9)
        self._images: list[Waiting] = []
        self._depths: OrderedDict[int, Any] = OrderedDict()
        self._infos: OrderedDict[int, Any] = OrderedDict()
        self._changed = threading.Condition()
        self._woken = False
        self._cadence = Cadence()
        self._taken_at: float | None = None  # when the image in work was taken, until its work has been measured
        self._work = 0.0

    def add_image(self, stamp: int, frame_id: str, message: Any) -> None:
        """Store an image; beyond the capacity the oldest is dropped."""
        with self._changed:
            now = self._clock()
            insort(self._images, Waiting(stamp, now, frame_id, message), key=lambda image: image.stamp)
            self._cadence.arrive(now)
            if len(self._images) > CAPACITY:
                self._images.pop(0)
                self._report.drop("overtaken", "more images wait than are kept")
            self._changed.notify()

    def add_depth(self, stamp: int, message: Any) -> None:
        """Store a depth image."""
        with self._changed:
            _keep(self._depths, stamp, message)
            self._changed.notify()

    def add_info(self, stamp: int, message: Any) -> None:
        """Store a camera_info."""
        with self._changed:
            _keep(self._infos, stamp, message)
            self._changed.notify()

    def poses_changed(self) -> None:
        """Transforms came: look again."""
        with self._changed:
            if self._images:
                self._changed.notify()

    def wake(self) -> None:
        """Make `take` return at once, with or without an image."""
        with self._changed:
            self._woken = True
            self._changed.notify()

    def drop_all(self, cause: str, message: str) -> None:
        """Drop the images that wait."""
        with self._changed:
            for _ in self._images:
                self._report.drop(cause, message)
            self._images.clear()

    def jump_to(self, stamp: int) -> None:
        """Time has jumped back to `stamp` (ns): what waits from the other time is dropped."""
        self.drop_all("time_jump", "waited while time jumped back")
        with self._changed:
            for kept in (self._depths, self._infos):
                for old in [s for s in kept if s > stamp + JUMP_NS]:
                    if kept is self._depths or len(kept) > 1:  # the last camera_info still holds
                        del kept[old]

    @property
    def waiting(self) -> int:
        """Images that wait now."""
        return len(self._images)

    def take(self, not_before: float = 0.0) -> Complete | None:
        """The newest complete image, waiting for one; None after `wake`. An old one gives way to the next where `Cadence` says so.

        Args:
            not_before: steady time before which nothing is taken (a bound on the rate).
        """
        with self._changed:
            if self._taken_at is not None:  # measured once: after a wake the time since then was spent waiting
                self._work, self._taken_at = self._clock() - self._taken_at, None
            while not self._woken:
                now = self._clock()
                patience = self._patience(now) if now >= not_before else 0.0
                if now >= not_before and not patience:
                    found = self._pick(now)
                    if found is not None:
                        self._cadence.take(now - found.image.arrived)
                        self._taken_at = now
                        return found
                self._changed.wait(patience or self._next_deadline(now, not_before))
            self._woken = False
            return None

    def _patience(self, now: float) -> float:
        """Seconds for which the newest complete image waits for the next one."""
        for image in reversed(self._images):
            if self._look(image, now)[0] is not None:
                return self._cadence.patience(now - image.arrived, self._work)
        return 0.0

    def _next_deadline(self, now: float, not_before: float) -> float | None:
        if not self._images:
            return None
        return max(min(image.arrived for image in self._images) + self._timeout, not_before) - now + 0.001

    def _pick(self, now: float) -> Complete | None:
        """Newest first; what is older than the one taken goes, and so does what has waited too long."""
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
        if found is not None and found.depth is None and self._depth_source == "fused":
            self._report.notice(
                "no_depth", f"no depth within {self._slop_ns / 1e9:g} s of the image; it is mapped without"
            )
        return found

    def _look(self, image: Waiting, now: float) -> tuple[Complete | None, str, str]:
        """The image made complete, or the cause and message of what it lacks."""
        if not self._infos:
            return None, "no_camera_info", "no camera_info has arrived; without it the camera's lens is unknown"
        info = self._infos.get(image.stamp) or next(reversed(self._infos.values()))
        depth = None
        if self._depth_source != "mono":
            newest = next(reversed(self._depths), None)
            passed = (
                newest is not None and newest > image.stamp + self._slop_ns
            )  # depth comes in order: a missing one will not come
            final = passed or now - image.arrived >= self._timeout
            depth = self._depth_of(image, final)
            if depth is None:
                if not final:
                    return None, "overtaken", "a newer image was complete while it waited for its depth"
                if self._depth_source == "topic":
                    return None, "no_depth", f"no depth within {self._slop_ns / 1e9:g} s of the image"
        try:
            T_wc = self._poses.lookup(self._map_frame, self._camera_frame or image.frame_id, image.stamp)
        except TransformLookupError as error:
            return None, "no_pose", str(error)
        return Complete(image, info, depth, T_wc), "", ""

    def _depth_of(self, image: Waiting, final: bool) -> Any:
        """The nearest depth, once no nearer one can come or the wait is over (`final`); None before."""
        if image.stamp in self._depths:
            return self._depths[image.stamp]
        near = [stamp for stamp in self._depths if abs(stamp - image.stamp) <= self._slop_ns]
        if not near or (not final and next(reversed(self._depths)) < image.stamp):
            return None
        return self._depths[min(near, key=lambda stamp: abs(stamp - image.stamp))]


def _keep(kept: OrderedDict[int, Any], stamp: int, message: Any) -> None:
    kept[stamp] = message
    kept.move_to_end(stamp)
    if len(kept) > CAPACITY:
        kept.popitem(last=False)


class StampGate:
    """The rules for stamps: a little back is dropped, a lot back is a jump of time, far ahead of the node's clock is dropped.

    Args:
        report: where drops are counted.
    """

    AHEAD_NS = 10_000_000_000

    def __init__(self, report: Report) -> None:
        self._report = report
        self._newest: int | None = None

    def admit(self, stamp: int, now: int) -> str:
        """Judge an image's stamp.

        Args:
            stamp: of the image, ns. now: the node's clock, ns; 0 while a simulated clock has not started.

        Returns:
            `pass`, `drop` (counted here) or `jump`: passes, but time has jumped back.
        """
        if now > 0 and stamp - now > self.AHEAD_NS:
            self._report.drop(
                "stamp_ahead", f"the image's stamp is {(stamp - now) / 1e9:.1f} s ahead of the node's clock"
            )
            return "drop"
        if self._newest is None or stamp > self._newest:
            self._newest = stamp
            return "pass"
        back = self._newest - stamp
        if back <= JUMP_NS:
            self._report.drop("stamp_back", f"the image's stamp is {back / 1e9:.3f} s older than the newest one")
            return "drop"
        self._newest = stamp
        return "jump"

    def restart(self) -> None:
        """Forget the newest stamp (the clock has jumped)."""
        self._newest = None
