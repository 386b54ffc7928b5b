"""Frames of a bag with corrected poses, from a file of a SLAM system's trajectory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from sgrocc_core.data.bags.cameras import CamerasReader
from sgrocc_core.data.bags.reader import BagReader
from sgrocc_core.data.recordings.layouts import read_trajectory
from sgrocc_core.errors import DataError
from sgrocc_core.frame import Frame
from sgrocc_core.geometry.correction import CorrectionField, moved
from sgrocc_core.geometry.poses import invert_pose
from sgrocc_core.geometry.transforms import TransformLookupError


class CorrectedFrames:
    """The frames of a bag, moved as a trajectory of corrected poses says.

    Args:
        reader: the bag; its transforms are the poses before.
        file: lines `time tx ty tz qx qy qz qw`, the corrected poses of a body in the map frame.
        body: frame of the body; empty: the camera's optical frame, which needs a bag of one camera.

    Attributes:
        moved: number of frames that moved by more than 2 cm or 0.5 degrees in the last pass.
        anchors: number of corrected poses that are used.

    Raises:
        DataError: the file cannot be read, or none of its stamps is one of which the bag has the body's pose.
    """

    def __init__(self, reader: CamerasReader, file: Path, body: str = "") -> None:
        if not body and len(reader.readers) > 1:
            raise DataError("with several cameras --poses-frame must name the frame of the poses, such as base_link")
        self._reader, self._body, self.moved = reader, body, 0
        first = next(iter(reader.readers.values()))
        tree, stamps = read_trajectory(file)
        before, after, used = [], [], []
        for stamp in stamps:
            try:
                before.append(self._pose(first, body or first.camera_frame, stamp))
            except TransformLookupError:
                continue
            after.append(tree.lookup("world", "camera", stamp))
            used.append(stamp)
        self.anchors = len(used)
        if not used:
            raise DataError(
                f"{file}: of none of its {len(stamps)} stamps the bag has a pose; they must be the bag's, in seconds"
            )
        self._field = CorrectionField(used, np.array(before), np.array(after))

    @staticmethod
    def _pose(reader: BagReader, frame: str, stamp: int) -> np.ndarray:
        return reader.turn @ reader.tree.lookup(reader.pose_frame, frame, stamp)  # type: ignore[no-any-return]

    def __iter__(self) -> Iterator[Frame]:
        """Yield the frames with their corrected poses."""
        self.moved = 0
        first = next(iter(self._reader.readers.values()))
        for frame in self._reader:
            reader = self._reader.readers.get(frame.camera, first)
            T_wb = self._pose(reader, self._body or reader.camera_frame, frame.stamp_ns)
            T_wc = self._field.apply(frame.stamp_ns, T_wb) @ invert_pose(T_wb) @ frame.T_wc
            self.moved += bool(moved(frame.T_wc[None], T_wc[None])[0])
            yield replace(frame, T_wc=T_wc)
