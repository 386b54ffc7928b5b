"""Corrected poses from a nav_msgs/Path or from tf, as a correction of the keyframes that were kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sgrocc_core.checks.stamps import no_time
from sgrocc_core.geometry.correction import CorrectionField, PosesOverTime, moved
from sgrocc_core.geometry.poses import invert_pose, make_pose, rotation_from_quaternion
from sgrocc_core.geometry.transforms import RejectedTransformError, TransformLookupError, checked_quaternion
from sgrocc_core.map_files.keyframes import Keyframe
from sgrocc_ros.messages import stamp_ns

Lookup = Callable[[str, str, int], np.ndarray]
"""Returns the (4, 4) pose of a frame (second) in another (first) at a stamp (ns); raises TransformLookupError."""


@dataclass(frozen=True)
class CorrectedPoses:
    """Corrected poses of a body at stamps.

    Attributes:
        stamps: of the poses, nanoseconds.
        poses: (N, 4, 4) body to map, metres.
        refused: sentence about the first pose that cannot be used; empty if there is none.
    """

    stamps: list[int]
    poses: np.ndarray
    refused: str = ""


@dataclass(frozen=True)
class Judgement:
    """What corrected poses mean for the keyframes.

    Attributes:
        poses: corrected poses, (4, 4) camera to map, by the number of the keyframe.
        anchors: number of corrected poses whose pose before is known, because keyframes lie around their stamps.
        share: share of the keyframes that moved.
        field: the correction of the body's poses.
    """

    poses: dict[int, np.ndarray]
    anchors: int
    share: float
    field: CorrectionField


def read_path(message: Any, map_frame: str) -> CorrectedPoses:
    """Read a nav_msgs/Path.

    Raises:
        ValueError: its poses are in another frame than the map's.
    """
    stamps, poses, refused = [], [], ""
    for stamped in message.poses:
        frame = (stamped.header.frame_id or message.header.frame_id).removeprefix("/")
        if frame != map_frame.removeprefix("/"):
            raise ValueError(f"they are in the frame {frame!r}; they must be in the map frame {map_frame!r}")
        stamp, p, q = stamp_ns(stamped.header.stamp), stamped.pose.position, stamped.pose.orientation
        translation, quaternion = np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w])
        try:
            if wrong := no_time(stamp, "a corrected pose's"):
                raise RejectedTransformError("bad_transform", wrong)
            unit, _ = checked_quaternion(map_frame, "a corrected pose", translation, quaternion)
        except RejectedTransformError as error:
            refused = refused or str(error)
            continue
        stamps.append(stamp)
        poses.append(make_pose(rotation_from_quaternion(unit), translation))
    return CorrectedPoses(stamps, np.array(poses).reshape(-1, 4, 4), refused)


def judge(
    keyframes: Sequence[Keyframe],
    trail: Sequence[tuple[int, np.ndarray]],
    corrected: CorrectedPoses,
    body: str,
    lookup: Lookup,
    by_tf: str = "",
) -> Judgement:
    """Say how the keyframes move.

    Args:
        keyframes: the keyframes with the poses that they were mapped with.
        trail: stamps (ns) and poses before, (4, 4) in the map, of the body at all frames that are remembered.
        corrected: corrected poses of the body.
        body: frame whose poses they are; empty: the camera's own.
        lookup: looks up the camera on the body.
        by_tf: map frame in which poses at the keyframes' stamps are asked of tf again; empty: they are not. A pose that
            tf tells as it did when the keyframe came says nothing.
    """
    on_body = [_pose_on(body, keyframe, lookup) for keyframe in keyframes]
    placed = [(keyframe, T_bc) for keyframe, T_bc in zip(keyframes, on_body) if T_bc is not None]
    stamps = [keyframe.stamp_ns for keyframe, _ in placed]
    before = np.array([keyframe.pose @ invert_pose(T_bc) for keyframe, T_bc in placed]).reshape(-1, 4, 4)
    known = [*zip(stamps, before), *trail]
    path = PosesOverTime([stamp for stamp, _ in known], np.array([pose for _, pose in known]))
    anchors: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    for stamp, pose in zip(corrected.stamps, corrected.poses):
        if (earlier := path.at(stamp)) is not None:
            anchors[stamp] = earlier, pose
    if by_tf:
        for (keyframe, T_bc), earlier in zip(placed, before):
            try:
                again = lookup(by_tf, keyframe.frame_id, keyframe.stamp_ns)
            except TransformLookupError:
                continue
            if moved(np.array(keyframe.told).reshape(1, 4, 4), again[None])[0]:
                anchors[keyframe.stamp_ns] = earlier, again @ invert_pose(T_bc)
    pairs = list(anchors.values())
    field = CorrectionField(list(anchors), np.array([old for old, _ in pairs]), np.array([new for _, new in pairs]))
    after = np.array([field.apply(stamp, pose) for stamp, pose in zip(stamps, before)]).reshape(-1, 4, 4)
    poses = {keyframe.number: pose @ T_bc for (keyframe, T_bc), pose in zip(placed, after)}
    share = float(moved(before, after).mean()) if len(before) else 0.0
    return Judgement(poses, len(anchors), share, field)


def _pose_on(body: str, keyframe: Keyframe, lookup: Lookup) -> np.ndarray | None:
    """The camera of a keyframe on the body, (4, 4); None if it is not known."""
    if not body:
        return np.eye(4)
    try:
        return lookup(body, keyframe.frame_id, keyframe.stamp_ns)
    except TransformLookupError:
        return None
