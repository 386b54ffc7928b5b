"""Whether a camera could have moved as its poses say; bags and the node ask it for every frame."""

from __future__ import annotations

import numpy as np

from sgrocc_core.errors import FrameError

FASTEST = 10.0
"""Speed up to which a motion between two images is believed, m/s; a runner's is 3, a fast drone's 10."""
SLACK = 1.0
"""Metres that are believed at once, as when a SLAM system corrects its map."""
LONGEST_NS = 60_000_000_000
"""Time between two images that counts as time to move, at most, nanoseconds."""
AGREEING = 3
"""Consecutive images that must agree with each other before a jump to another place is believed."""


class PoseGate:
    """Drops frames whose pose is further from the last one than the camera can have moved.

    One wrong pose would put a room's worth of voxels far from the map. A camera that really is elsewhere, after a loop
    closure or a restart of the localisation, is believed once AGREEING consecutive images agree with each other.
    """

    def __init__(self) -> None:
        self._last: tuple[int, np.ndarray] | None = None
        self._elsewhere: list[tuple[int, np.ndarray]] = []

    def check(self, T_wc: np.ndarray, stamp_ns: int) -> None:
        """Judge the next frame; the frames are given in the order in which they are mapped.

        Args:
            T_wc: (4, 4) pose of the camera in the map, metres.
            stamp_ns: time of the image, nanoseconds.

        Raises:
            FrameError: `pose_jump`: the frame must not be mapped.
        """
        here = int(stamp_ns), np.array(T_wc[:3, 3], np.float64)
        if self._last is None or _reached(self._last, here):
            self._accept(here)
            return
        if self._elsewhere and not _reached(self._elsewhere[-1], here):
            self._elsewhere.clear()
        self._elsewhere.append(here)
        if len(self._elsewhere) >= AGREEING:
            self._accept(here)
            return
        distance, seconds = float(np.linalg.norm(here[1] - self._last[1])), abs(here[0] - self._last[0]) / 1e9
        raise FrameError(
            "pose_jump",
            f"the camera's pose is {distance:.1f} m from that of the image {seconds:.2f} s before; at most "
            f"{FASTEST:g} m/s and {SLACK:g} m are believed, or {AGREEING} consecutive images that agree",
        )

    def restart(self) -> None:
        """Forget the last pose: after a jump of time, or where another map begins."""
        self._last = None
        self._elsewhere.clear()

    def _accept(self, here: tuple[int, np.ndarray]) -> None:
        self._last = here
        self._elsewhere.clear()


def _reached(before: tuple[int, np.ndarray], after: tuple[int, np.ndarray]) -> bool:
    """Whether a camera can have come from one place (stamp in ns, (3,) position in metres) to the other."""
    seconds = min(abs(after[0] - before[0]), LONGEST_NS) / 1e9
    return float(np.linalg.norm(after[1] - before[1])) <= SLACK + FASTEST * seconds
