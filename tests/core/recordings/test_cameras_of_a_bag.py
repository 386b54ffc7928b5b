"""Several cameras of one bag are one stream in the order of time, each with its own depth and counts."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.data.bags import BagOptions, BagReader
from sgrocc_core.data.bags.cameras import CamerasReader, options_of_cameras
from sgrocc_core.errors import ConfigError, DataError
from tests.samples.recordings.two_cameras import ABOUT, FRONT, REAR, write_two_cameras

BOTH = f"{FRONT},{REAR}"


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write_two_cameras(tmp_path_factory.mktemp("two") / "bag")


def test_the_frames_of_both_cameras_come_in_the_order_of_time(bag):
    with CamerasReader(bag, options_of_cameras(BagOptions(image_topic=BOTH))) as reader:
        frames = list(reader)
        assert reader.image_count == reader.received == 24 and reader.map_frame == "map"
        assert not reader.findings() and reader.figures()["dropped"] == {}
    stamps = [frame.stamp_ns for frame in frames]
    assert stamps == sorted(stamps) and len(frames) == 24
    assert [frame.camera for frame in frames[:4]] == [FRONT, REAR, FRONT, REAR]
    front, rear = frames[:2]
    np.testing.assert_allclose(front.T_wc @ ABOUT, rear.T_wc, atol=1e-9)
    assert front.depth is not None and rear.depth is not None and not np.allclose(front.depth, rear.depth)


def test_one_camera_alone_has_no_name_and_the_frames_of_its_reader(bag):
    options = BagOptions(image_topic=REAR)
    with CamerasReader(bag, options_of_cameras(options)) as several, BagReader(bag, options) as one:
        for a, b in zip(several, one, strict=True):
            assert a.camera == "" and a.stamp_ns == b.stamp_ns
            np.testing.assert_array_equal(a.image, b.image)


def test_a_camera_with_one_pose_gives_one_frame_and_the_other_is_read(tmp_path):
    bag = write_two_cameras(tmp_path / "bag", rear_has_poses=False)
    with CamerasReader(bag, options_of_cameras(BagOptions(image_topic=BOTH))) as reader:
        frames = list(reader)
        told = [finding for finding in reader.findings() if finding.code == "camera_silent"]
    assert [frame.camera for frame in frames].count(FRONT) == 12
    assert len(frames) == 13 and not told  # the rear camera has one pose
    figures = reader.figures()
    assert figures["dropped"] == {"no_pose": 11}
    assert reader.readers[REAR].dropped == {"no_pose": 11} and not reader.readers[FRONT].dropped


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image_topic": f"{FRONT},{FRONT}"}, f"{FRONT} is named twice; name each camera once"),
        ({"image_topic": f"{FRONT},{FRONT}/compressed"}, f"{FRONT} is named twice"),
        ({"image_topic": BOTH, "depth_topic": "/front/depth"}, "1 values for 2 cameras; it must list one per"),
    ],
)
def test_lists_that_do_not_fit_are_refused(options, words):
    with pytest.raises(ConfigError) as refusal:
        options_of_cameras(BagOptions(**options))
    assert words in str(refusal.value)


def test_a_topic_that_is_not_there_is_named(bag):
    with pytest.raises(DataError, match="the bag has no topic /left/image_raw for the image"):
        CamerasReader(bag, options_of_cameras(BagOptions(image_topic=f"{FRONT},/left/image_raw")))
