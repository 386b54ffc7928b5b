"""Corrected poses of a body's past, as a SLAM system gives them after a loop closure, for everything seen on the way.

A SLAM system corrects its own keyframes, whose stamps are not those of our frames. At each of its corrected poses (an
anchor) the pose before is known too. A frame before the first anchor and after the last one moves rigidly with that
one; between two anchors it is where it would be if it moved with either, weighted by the time to each.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from sgrocc_core.geometry.poses import (
    invert_pose,
    make_pose,
    quaternion_from_rotation,
    rotation_from_quaternion,
    slerp,
)

MOVED, TURNED = 0.02, math.radians(0.5)
"""Metres and radians beyond which a frame counts as moved: a quarter of a voxel, and as much at 2 m."""
FAR_STEP, FAR_TURN = 0.5, math.radians(30)
"""Metres and radians between two poses beyond which none is interpolated between them (round guesses)."""
LONG_NS, STOOD, STOOD_TURN = 1_000_000_000, 0.01, math.radians(0.3)
"""Time between two poses beyond which none is interpolated either, nanoseconds, unless the body stood (m, radians):
it may have begun to move at any moment (round guesses)."""


class CorrectionField:
    """The correction of poses over time.

    Args:
        stamps: A stamps of anchors, nanoseconds, in any order; of two equal ones the last counts.
        before: (A, 4, 4) the body's poses before, body to map, metres.
        after: (A, 4, 4) the corrected ones.
    """

    def __init__(self, stamps: Sequence[int], before: np.ndarray, after: np.ndarray) -> None:
        self._stamps, (old, new) = _in_order(stamps, before, after)
        self._moves = [b @ invert_pose(a) for a, b in zip(old, new)]

    def __len__(self) -> int:
        return len(self._stamps)

    def apply(self, stamp: int, pose: np.ndarray) -> np.ndarray:
        """Correct the body's pose, (4, 4) metres, at a stamp, nanoseconds; unchanged without anchors."""
        if not self._stamps:
            return np.array(pose, np.float64)
        later = bisect_left(self._stamps, stamp)
        if later < len(self._stamps) and self._stamps[later] == stamp:
            return self._moved_with(later, pose)
        if later in (0, len(self._stamps)):
            return self._moved_with(max(later - 1, 0), pose)
        share = (stamp - self._stamps[later - 1]) / (self._stamps[later] - self._stamps[later - 1])
        return between(self._moved_with(later - 1, pose), self._moved_with(later, pose), share)

    def _moved_with(self, anchor: int, pose: np.ndarray) -> np.ndarray:
        """The pose, (4, 4), moved rigidly with an anchor."""
        return self._moves[anchor] @ pose


class PosesOverTime:
    """Poses at stamps, interpolated between those that lie near each other.

    Args:
        stamps: N stamps, nanoseconds, in any order.
        poses: (N, 4, 4) metres.
    """

    def __init__(self, stamps: Sequence[int], poses: np.ndarray) -> None:
        self._stamps, (self._poses,) = _in_order(stamps, poses)

    def at(self, stamp: int) -> np.ndarray | None:
        """The pose at a stamp, (4, 4); None before the first, after the last, and between two too far apart."""
        later = bisect_left(self._stamps, stamp)
        if later < len(self._stamps) and self._stamps[later] == stamp:
            return self._poses[later]  # type: ignore[no-any-return]
        if later in (0, len(self._stamps)):
            return None
        a, b = self._poses[later - 1], self._poses[later]
        step, turn = difference(a[None], b[None])
        span = self._stamps[later] - self._stamps[later - 1]
        stood = step[0] <= STOOD and turn[0] <= STOOD_TURN
        if step[0] > FAR_STEP or turn[0] > FAR_TURN or (span > LONG_NS and not stood):
            return None
        share = (stamp - self._stamps[later - 1]) / span
        return between(a, b, share)


def _in_order(stamps: Sequence[int], *poses: np.ndarray) -> tuple[list[int], list[np.ndarray]]:
    """Sorted stamps, each once (the last one counts), and poses (N, 4, 4) in their order."""
    rows = {int(stamp): k for k, stamp in enumerate(stamps)}
    ordered = sorted(rows)
    at = [rows[stamp] for stamp in ordered]
    return ordered, [np.array(each, np.float64).reshape(-1, 4, 4)[at] for each in poses]


def between(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    """The pose, (4, 4), at a share of the way from a pose to another one."""
    q = slerp(quaternion_from_rotation(a[:3, :3]), quaternion_from_rotation(b[:3, :3]), share)
    return make_pose(rotation_from_quaternion(q), (1 - share) * a[:3, 3] + share * b[:3, 3])


def difference(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance (N,), metres, and angle (N,), radians, between poses (N, 4, 4)."""
    distance = np.linalg.norm(b[:, :3, 3] - a[:, :3, 3], axis=1)
    trace = np.einsum("nij,nij->n", a[:, :3, :3], b[:, :3, :3])
    return distance, np.arccos(np.clip((trace - 1) / 2, -1, 1))


def moved(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Whether poses (N, 4, 4) differ by more than MOVED or TURNED, (N,) bool."""
    distance, angle = difference(before, after)
    return (distance > MOVED) | (angle > TURNED)  # type: ignore[no-any-return]
