"""The check of a live stream: the first frames are looked at as `sgrocc check` looks at a bag, for /diagnostics."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from sgrocc_core.checks.findings import Finding, Findings
from sgrocc_core.checks.stream import StreamCheck
from sgrocc_core.frame import Frame

APART = 0.5
"""Seconds between two frames that are looked at: the camera must have moved, and mapping must not wait."""
JUDGED_AFTER = (5, 10, 20, 40)
"""Numbers of frames after which the findings are made."""
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
        self._depth_frames: dict[tuple[str, str], Finding | None] = {}
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
            self._publish(check.findings())
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
        if (image_frame, depth_frame) in self._depth_frames:
            return
        T = find()
        if T is None:
            return  # it may still come
        found = depth_frame_finding(image_frame, depth_frame, T)
        self._depth_frames[image_frame, depth_frame] = found
        if found is not None:
            self._publish(self.findings)

    def _publish(self, findings: Findings) -> None:
        whole = Findings(findings)
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
