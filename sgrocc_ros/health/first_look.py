"""The check of a live stream: the first frames are looked at as `sgrocc check` looks at a bag, for /diagnostics."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from sgrocc_core.checks.findings import Finding, Findings
from sgrocc_core.checks.stream import StreamCheck
from sgrocc_core.frame import Frame

APART = 0.5
"""Seconds between two frames that are looked at: the camera must have moved, and mapping must not wait."""
JUDGED_AFTER = (5, 10, 20, 40)
"""Numbers of frames after which the findings are made."""
UNCONNECTED_AFTER = 3
"""Looks at depth in another frame until it is told that no transform connects the frames; it may come late."""
SAME_PLACE, SAME_TURN = 2e-3, 2e-3
"""Metres and radians by which the frames of depth and image may differ if depth is registered to the image."""


class FirstLook:
    """Looks at the first frames; used by the worker's thread, read by others.

    Args:
        map_frame: frame of the map.
        clock: the steady clock, seconds.

    Attributes:
        findings: what was found so far; replaced as a whole.
    """

    def __init__(self, map_frame: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.findings = Findings()
        self._map_frame, self._clock = map_frame, clock
        self._check: StreamCheck | None = None
        self._of_stream = self.findings
        self._depth_frames: dict[tuple[str, str], Finding | None] = {}
        self._unconnected: Counter[tuple[str, str]] = Counter()
        self._last, self._over = -np.inf, False

    @property
    def is_due(self) -> bool:
        """Whether the next frame is wanted."""
        return not self._over and self._clock() - self._last >= APART

    def see(self, frame: Frame, camera_frame: str, depth: np.ndarray | None) -> None:
        """Look at a frame.

        Args:
            frame: the frame.
            camera_frame: its frame on /tf.
            depth: (H, W) metres as decoded, before readings are left out; None without depth.
        """
        self._last = self._clock()
        if self._check is None:
            self._check = StreamCheck(self._map_frame, camera_frame)
        check = self._check
        check.add_frame(frame)
        if depth is not None:
            check.add_depth(depth)
        if check.frames in JUDGED_AFTER:
            self._of_stream = check.findings()
            self._publish()
        if check.full:
            self._check, self._over = None, True

    def see_depth_frame(self, image_frame: str, depth_frame: str, find: Callable[[], np.ndarray | None]) -> None:
        """Look at the frames of an image and of its depth, which must be the same camera.

        Args:
            image_frame: frame of the image.
            depth_frame: frame of the depth image.
            find: returns the (4, 4) pose of the depth's frame in the image's, metres; None if it is not known.
        """
        if image_frame == depth_frame or not depth_frame or len(self._depth_frames) > 8:
            return
        pair = image_frame, depth_frame
        if pair in self._depth_frames and not self._unconnected[pair]:
            return
        T = find()
        if T is not None:
            del self._unconnected[pair]
            self._depth_frames[pair] = depth_frame_finding(image_frame, depth_frame, T)
            self._publish()
            return
        self._unconnected[pair] += 1
        if self._unconnected[pair] == UNCONNECTED_AFTER:
            self._depth_frames[pair] = unconnected_depth_finding(image_frame, depth_frame)
            self._publish()

    def _publish(self) -> None:
        whole = Findings(self._of_stream)
        whole.extend(found for found in self._depth_frames.values() if found is not None)
        self.findings = whole


def depth_frame_finding(image_frame: str, depth_frame: str, T: np.ndarray) -> Finding | None:
    """An error if depth is of another camera than the images, so that it is not registered to them.

    Args:
        image_frame: frame of the images.
        depth_frame: frame of the depth images.
        T: (4, 4) pose of the depth's frame in the images', metres.
    """
    turn = float(np.arccos(np.clip((np.trace(T[:3, :3]) - 1) / 2, -1, 1)))
    metres = float(np.linalg.norm(T[:3, 3]))
    if metres <= SAME_PLACE and turn <= SAME_TURN:
        return None
    return Finding(
        "error",
        "depth_frame",
        f"depth is in the frame {depth_frame!r}, {metres:.3f} m and {np.degrees(turn):.1f} degrees from the images' "
        f"{image_frame!r}, so it is not registered to them",
        "Subscribe to depth that the driver aligns to the colour images.",
    )


def unconnected_depth_finding(image_frame: str, depth_frame: str) -> Finding:
    """A warning of depth in another frame than the images', between which no transform says where they stand."""
    return Finding(
        "warning",
        "depth_frame",
        f"depth is in the frame {depth_frame!r}, the images in {image_frame!r}, and no transform connects them, so "
        "nothing shows that it is registered to the images",
        "Subscribe to depth that the driver aligns to the colour images.",
    )
