"""Counts what is not used, and why; bags, the commands and the node count with it, so that the names are the same."""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from typing import Any

from sgrocc_core.checks.stamps import no_time
from sgrocc_core.errors import FrameError
from sgrocc_core.geometry.transforms import TransformLookupError

NEAR_NS = 100_000_000
"""A transform that was refused within this time of an image, nanoseconds, is why the image has no pose."""
KEPT = 10_000
"""Times, each NEAR_NS long, of which a refused transform is remembered."""


class Counts:
    """Counters of an input; thread-safe.

    Attributes:
        dropped: images that are not mapped, by cause.
        depth_unused: depth that is not used although its image is mapped, by cause; `no_depth` where none came.
        transforms_refused: transforms that are not used, by cause.
        without_source: images mapped with the depth of that image alone: no sensor's, and no earlier image to compare.
        examples: the first message of each cause.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.dropped: Counter[str] = Counter()
        self.depth_unused: Counter[str] = Counter()
        self.transforms_refused: Counter[str] = Counter()
        self.without_source = 0
        self.examples: dict[str, str] = {}
        self._refused: OrderedDict[int, tuple[int, str]] = OrderedDict()

    def drop(self, cause: str, message: str) -> int:
        """Count an image that is not mapped; returns how many there are of the cause."""
        return self._count(self.dropped, cause, message)

    def leave_out_depth(self, cause: str, message: str) -> int:
        """Count depth that is not used; returns how many there are of the cause."""
        return self._count(self.depth_unused, cause, message)

    def refuse_transform(self, cause: str, message: str, stamp_ns: int) -> int:
        """Count a transform that is not used, of a stamp in nanoseconds; returns how many there are of the cause."""
        with self._lock:
            self._refused.setdefault(stamp_ns // NEAR_NS, (stamp_ns, message))
            if len(self._refused) > KEPT:
                self._refused.popitem(last=False)
        return self._count(self.transforms_refused, cause, message)

    def map_without_source(self) -> None:
        """Count an image that was mapped with the depth of that image alone."""
        with self._lock:
            self.without_source += 1

    def clear_images(self) -> None:
        """Begin another pass over the images; transforms stay counted."""
        with self._lock:
            self.dropped.clear()
            self.depth_unused.clear()
            self.without_source = 0
            self.examples = {cause: text for cause, text in self.examples.items() if cause in self.transforms_refused}

    def forget_refused(self) -> None:
        """Forget the stamps of refused transforms, after a jump of time."""
        with self._lock:
            self._refused.clear()

    def why_no_pose(self, error: TransformLookupError, stamp_ns: int) -> FrameError:
        """The error of an image without a pose: `bad_pose` if a transform of its time was refused, else `no_pose`."""
        at = stamp_ns // NEAR_NS
        with self._lock:
            refused = [self._refused[k] for k in (at - 1, at, at + 1) if k in self._refused]
        near = [message for stamp, message in refused if abs(stamp - stamp_ns) <= NEAR_NS]
        return FrameError("bad_pose", near[0]) if near else FrameError("no_pose", str(error))

    def figures(self) -> dict[str, Any]:
        """A consistent copy for a report."""
        with self._lock:
            return {
                "dropped": dict(self.dropped),
                "depth_unused": dict(self.depth_unused),
                "transforms_refused": dict(self.transforms_refused),
                "without_source": self.without_source,
            }

    def _count(self, counter: Counter[str], cause: str, message: str) -> int:
        with self._lock:
            counter[cause] += 1
            self.examples.setdefault(cause, message)
            return counter[cause]


def check_image_stamp(stamp_ns: int) -> None:
    """Raise FrameError, `stamp_zero` or `stamp_invalid`, if the stamp of an image, nanoseconds, is no time."""
    if wrong := no_time(stamp_ns, "the image's"):
        raise FrameError("stamp_zero" if stamp_ns == 0 else "stamp_invalid", wrong)
