"""Frames of a bag with a corrected trajectory lie where the trajectory says, also between its poses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sgrocc_core.data.bags import BagOptions
from sgrocc_core.data.bags.cameras import CamerasReader, options_of_cameras
from sgrocc_core.data.bags.corrected import CorrectedFrames
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.poses import quaternion_from_rotation
from tests.samples.recordings.room_bag import START, STEP, RoomBag
from tests.samples.recordings.two_cameras import FRONT, REAR, write_two_cameras
from tests.samples.rooms.box_room import walk


@dataclass
class _DriftingBag(RoomBag):
    """A bag whose transforms drift by 3 cm a frame along x."""

    def _transform(self, stamp: int, parent: str, child: str, T: np.ndarray, *more: Any) -> Any:
        off = T.copy()
        off[0, 3] += 0.03 * (stamp - START) / STEP
        return super()._transform(stamp, parent, child, off, *more)


def trajectory(path: Path, poses: dict[int, np.ndarray]) -> Path:
    """Write poses by number of the frame, as a SLAM system would."""
    lines = [
        f"{(START + number * STEP) / 1e9:.9f} " + " ".join(map(str, [*T[:3, 3], *quaternion_from_rotation(T[:3, :3])]))
        for number, T in poses.items()
    ]
    path.write_text("# time tx ty tz qx qy qz qw\n" + "\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return _DriftingBag().write(tmp_path_factory.mktemp("drift") / "bag")


def _read(bag, **options) -> CamerasReader:
    return CamerasReader(bag, options_of_cameras(BagOptions(**options)))


def test_every_third_pose_corrects_all_frames(bag, tmp_path):
    true = walk()
    with _read(bag) as reader:
        corrected = CorrectedFrames(reader, trajectory(tmp_path / "slam.txt", dict(list(enumerate(true))[::3])))
        frames = list(corrected)
    assert corrected.anchors == 4 and len(frames) == 12 and corrected.moved == 11  # the first has no drift yet
    for frame, T in zip(frames[:10], true):
        np.testing.assert_allclose(frame.T_wc, T, atol=1e-6)
    for frame, T in zip(frames[10:], true[10:]):  # after the last corrected pose the drift goes on from there
        assert np.linalg.norm(frame.T_wc[:3, 3] - T[:3, 3]) < 0.065


def test_poses_of_no_time_of_the_bag_are_refused(bag, tmp_path):
    file = trajectory(tmp_path / "slam.txt", {-500: np.eye(4)})
    with _read(bag) as reader, pytest.raises(DataError, match="of none of its 1 stamps the bag has a pose"):
        CorrectedFrames(reader, file)


def test_poses_of_a_body_need_its_name_with_two_cameras(tmp_path):
    file = trajectory(tmp_path / "slam.txt", dict(enumerate(walk())))
    bag = write_two_cameras(tmp_path / "bag")
    with _read(bag, image_topic=f"{FRONT},{REAR}") as reader:
        with pytest.raises(DataError, match="with several cameras --poses-frame must name the frame of the poses"):
            CorrectedFrames(reader, file)
        frames = list(CorrectedFrames(reader, file, "front"))
    assert len(frames) == 24
    np.testing.assert_allclose(frames[0].T_wc, walk()[0], atol=1e-9)


def test_a_file_that_is_no_trajectory_names_its_line(bag, tmp_path):
    (tmp_path / "slam.txt").write_text("1 2 3\n")
    with (
        _read(bag) as reader,
        pytest.raises(DataError, match="line 1: 3 words; time tx ty tz qx qy qz qw are expected"),
    ):
        CorrectedFrames(reader, tmp_path / "slam.txt")
