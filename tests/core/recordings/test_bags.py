"""Bags of every kind to frames: values, pairing, choice of topics, and an error for everything that may be missing."""

from pathlib import Path

import numpy as np
import pytest
from rosbags.rosbag2 import Writer

from sgrocc_core.data.bags import BagOptions, BagReader, BagWriter
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.geometry.poses import make_pose
from tests.samples.recordings.bag_samples import HEIGHT, SECOND, START, WIDTH, Recipe, image_at, write_bag

LOOKING_ALONG_X = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
LOUNGE = Path(__file__).parents[4] / "shared/data/lounge_a"


def read(path: Path, **options) -> tuple[list, BagReader]:
    with BagReader(path, BagOptions(**options)) as reader:
        return list(reader), reader


@pytest.mark.parametrize(("kind", "name"), [("mcap", "walk"), ("db3", "walk"), ("bag", "walk.bag")])
def test_every_kind_of_bag_gives_the_same_frames(tmp_path, kind, name):
    frames, reader = read(write_bag(tmp_path / name, Recipe(kind=kind)))
    assert len(frames) == 6 and not reader.dropped and reader.map_frame == "map"
    frame = frames[2]
    assert frame.stamp_ns == START + 2 * SECOND
    np.testing.assert_array_equal(frame.image, image_at(2))
    np.testing.assert_allclose(frame.depth, 2.2, rtol=1e-6)
    np.testing.assert_allclose(frame.T_wc[:3, 3], (3, 0, 1.5), atol=1e-12)
    np.testing.assert_allclose(frame.T_wc[:3, :3], LOOKING_ALONG_X, atol=1e-12)
    assert frame.K[0].tolist() == [60, 0, 31.5]


@pytest.mark.parametrize("suffix", [".mcap", ".db3"])
def test_a_bag_file_without_its_metadata_is_read(tmp_path, suffix):
    folder = write_bag(tmp_path / "walk", Recipe(kind=suffix[1:]))
    (folder / "metadata.yaml").unlink()
    assert len(read(folder)[0]) == 6
    assert len(read(next(folder.glob(f"*{suffix}")))[0]) == 6


def test_what_the_writer_writes_the_reader_reads(tmp_path):
    image = np.random.default_rng(3).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    depth = np.full((48, 64), 1.25)
    K = np.array([[60.0, 0, 31.5], [0, 61.0, 23.5], [0, 0, 1]])
    T_wc = make_pose(LOOKING_ALONG_X, np.array([1.0, -2.0, 0.5]))
    with BagWriter(tmp_path / "walk") as writer:
        writer.write(5 * SECOND, image, depth, K, T_wc, jpeg=False)
        writer.write(6 * SECOND, image, None, K, T_wc, jpeg=False)
    (first, second), _ = read(tmp_path / "walk")
    np.testing.assert_array_equal(first.image, image)
    np.testing.assert_allclose(first.depth, depth, atol=0.0005)
    np.testing.assert_allclose(first.K, K)
    np.testing.assert_allclose(first.T_wc, T_wc, atol=1e-12)
    assert second.depth is None and second.stamp_ns == 6 * SECOND


def test_a_writer_that_fails_leaves_nothing_and_none_overwrites(tmp_path):
    with pytest.raises(RuntimeError), BagWriter(tmp_path / "walk"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    write_bag(tmp_path / "walk")
    with pytest.raises(DataError, match="exists already"):
        BagWriter(tmp_path / "walk")


def test_a_writer_that_is_told_to_end_while_it_opens_leaves_nothing(tmp_path, monkeypatch):
    def opened_and_told_to_end(writer):
        opened(writer)
        raise SystemExit

    opened = Writer.open
    monkeypatch.setattr(Writer, "open", opened_and_told_to_end)
    with pytest.raises(SystemExit), BagWriter(tmp_path / "walk"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_pose_is_interpolated_at_the_images_stamp(tmp_path):
    frames, _ = read(write_bag(tmp_path / "walk", Recipe(tf_stamps=[0, 10])), max_pose_gap=10.0)
    assert frames[3].T_wc[0, 3] == pytest.approx(4.0)


def test_no_pose_is_interpolated_over_a_gap(tmp_path):
    frames, reader = read(write_bag(tmp_path / "walk", Recipe(tf_stamps=[0, 1, 4, 5])))
    assert [(f.stamp_ns - START) // SECOND for f in frames] == [0, 1, 4, 5] and reader.dropped == {"no_pose": 2}
    assert "lie 3.00 s apart; at most 0.2 s" in reader.examples["no_pose"]


def test_images_before_and_after_the_poses_are_dropped_and_counted(tmp_path):
    frames, reader = read(write_bag(tmp_path / "walk", Recipe(tf_stamps=[1, 2, 3])))
    assert [f.stamp_ns - START for f in frames] == [1 * SECOND, 2 * SECOND, 3 * SECOND]
    assert reader.dropped == {"no_pose": 3} and reader.received == 6


def test_depth_pairs_within_the_slop_only(tmp_path):
    path = write_bag(tmp_path / "walk", Recipe(depth_delay=20_000_000))
    assert [f.depth is not None for f in read(path)[0]] == [True] * 6
    assert [f.depth is not None for f in read(path, sync_slop=0.01)[0]] == [False] * 6
    with pytest.raises(DataError, match="6 no_depth"):
        read(path, sync_slop=0.01, depth_source="topic")


def test_mono_reads_no_depth_and_every_takes_each_nth_image(tmp_path):
    frames, reader = read(write_bag(tmp_path / "walk"), depth_source="mono", every=4)
    assert [(f.stamp_ns - START) // SECOND for f in frames] == [0, 4] and all(f.depth is None for f in frames)
    assert reader.image_count == 2


def test_color_and_depth_are_told_apart_by_encoding_not_by_name(tmp_path):
    recipe = Recipe(
        image_topic="/cam/left/view", encoding="bgr8", depth_topic="/cam/left/range", depth_encoding="32FC1"
    )
    frames, reader = read(write_bag(tmp_path / "walk", recipe))
    assert (reader.selection.image.name, reader.selection.depth.name) == ("/cam/left/view", "/cam/left/range")
    np.testing.assert_array_equal(frames[1].image, image_at(1))


def test_infrared_images_and_depth_of_another_camera_are_passed_over(tmp_path):
    recipe = Recipe(
        depth_topic="", extra={"/camera/depth/image_rect_raw": "16UC1", "/camera/infra1/image_rect_raw": "mono8"}
    )
    frames, reader = read(write_bag(tmp_path / "walk", recipe))
    assert reader.selection.image.name == "/camera/color/image_raw" and reader.selection.depth is None
    assert frames[0].depth is None


def test_a_named_topic_wins(tmp_path):
    path = write_bag(tmp_path / "walk", Recipe(depth_topic="", extra={"/camera/depth/image_rect_raw": "16UC1"}))
    frames, _ = read(path, depth_topic="/camera/depth/image_rect_raw", depth_registered=True)
    np.testing.assert_allclose(frames[0].depth, 0.9, rtol=1e-6)


def test_no_such_file():
    with pytest.raises(DataError, match="no such file or folder: /nowhere/at_all.bag"):
        BagReader("/nowhere/at_all.bag")


@pytest.mark.parametrize("name", ["notes.txt", "broken.mcap", "broken.bag", "broken.db3"])
def test_a_file_that_is_no_bag(tmp_path, name):
    (tmp_path / name).write_text("this is no bag, whatever its name says " * 20)
    with pytest.raises(DataError, match="is not a bag"):
        BagReader(tmp_path / name)


def test_a_bag_that_is_cut_off(tmp_path):
    folder = write_bag(tmp_path / "walk")
    file = next(folder.glob("*.mcap"))
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match="cannot be read|is not a bag"):
        BagReader(folder)


def test_no_image_topic_lists_what_there_is(tmp_path):
    path = write_bag(tmp_path / "walk", Recipe(write_image=False))
    with pytest.raises(
        DataError, match=r"no colour image topic in the bag; .*/camera/color/camera_info \(CameraInfo, 6\).*/tf"
    ):
        BagReader(path)


def test_no_camera_info(tmp_path):
    with pytest.raises(DataError, match="no camera_info in the bag"):
        BagReader(write_bag(tmp_path / "walk", Recipe(write_info=False)))


def test_no_depth_for_depth_source_topic(tmp_path):
    path = write_bag(tmp_path / "walk", Recipe(depth_frame="depth_optical"))
    with pytest.raises(DataError, match=r"no depth topic in the frame of /camera/color/image_raw \('camera_optical'\)"):
        BagReader(path, BagOptions(depth_source="topic"))


def test_a_camera_that_tf_does_not_know_names_the_frames_there_are(tmp_path):
    with pytest.raises(DataError, match=r"'webcam' \(--camera-frame\); frames on /tf: base, camera_optical, map"):
        BagReader(write_bag(tmp_path / "walk", Recipe(camera_frame="webcam")))


def test_a_map_frame_that_tf_does_not_know_names_the_frames_there_are(tmp_path):
    with pytest.raises(
        DataError, match=r"in 'earth' for any frame \(--map-frame\).*frames on /tf: base, camera_optical, map"
    ):
        BagReader(write_bag(tmp_path / "walk"), BagOptions(map_frame="earth"))


def test_poses_of_another_time_are_no_pose_for_any_frame(tmp_path):
    with pytest.raises(DataError, match="6 no_pose.*'map' to 'base'"):
        read(write_bag(tmp_path / "walk", Recipe(tf_stamps=[1000, 1001])))


def test_images_in_an_encoding_that_cannot_be_read_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no colour image topic.*/camera/color/image_raw \(Image jpeg2000, 6\)"):
        BagReader(write_bag(tmp_path / "walk", Recipe(encoding="jpeg2000")))
    with pytest.raises(DataError, match="6 unknown_encoding.*'jpeg2000'"):
        read(tmp_path / "walk", image_topic="/camera/color/image_raw")


def test_a_named_topic_that_is_missing_or_of_the_wrong_kind(tmp_path):
    path = write_bag(tmp_path / "walk")
    with pytest.raises(DataError, match="no topic /front/image for the image"):
        BagReader(path, BagOptions(image_topic="/front/image"))
    with pytest.raises(DataError, match="is not a depth image"):
        BagReader(path, BagOptions(depth_topic="/camera/color/image_raw"))


def test_truncated_images_and_images_of_another_size_are_counted(tmp_path):
    with pytest.raises(DataError, match="6 truncated_image"):
        read(write_bag(tmp_path / "cut", Recipe(cut=100)))
    with pytest.raises(
        DataError, match=f"6 size_mismatch.*{WIDTH} x {HEIGHT} pixels, but camera_info describes 640 x 480"
    ):
        read(write_bag(tmp_path / "size", Recipe(info_size=(640, 480))))


def test_options_are_checked():
    with pytest.raises(ConfigError, match="depth_source is 'lidar'; allowed: mono, topic, fused"):
        BagOptions(depth_source="lidar")
    with pytest.raises(ConfigError, match="every is 0"):
        BagOptions(every=0)


@pytest.mark.skipif(not LOUNGE.exists(), reason=f"real data is not at {LOUNGE}")
def test_the_real_walk_has_200_frames_with_depth():
    frames, reader = read(LOUNGE, every=20)
    assert len(frames) == 10 and not reader.dropped and reader.image_count == 10
    assert all(f.image.shape == (360, 540, 3) and 0.4 < (f.depth > 0).mean() < 0.95 for f in frames)
