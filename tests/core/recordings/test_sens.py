"""ScanNet's .sens files as bags: contents of the bag, and errors with file, frame, value and what is allowed."""

import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from sgrocc_core.cli import main
from sgrocc_core.data.bags import BagOptions, BagReader
from sgrocc_core.data.bags.writer import START_NS
from sgrocc_core.data.recordings.recording import WriteOptions, write_recording
from sgrocc_core.data.recordings.sens import SensRecording
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.poses import invert_pose, make_pose
from tests.samples.recordings.recording_samples import (
    DEPTH_K,
    DEPTH_SIZE,
    LOST,
    SIZE,
    K,
    Sens,
    image_at,
    jpeg_at,
    pose_at,
    wall_at,
    write_sens,
)


def converted(folder: Path, sens: Sens | None = None, **options) -> list:
    """The frames of the bag that a .sens file becomes."""
    with SensRecording(write_sens(folder / "scan.sens", sens)) as recording:
        write_recording(recording, folder / "bag", WriteOptions(bar=False, **options))
    with BagReader(folder / "bag", BagOptions(depth_source="topic")) as reader:
        return list(reader)


def error_of(folder: Path, sens: Sens | bytes, **options) -> str:
    """The error of a .sens file, which leaves no bag."""
    (folder / "scan.sens").write_bytes(sens if isinstance(sens, bytes) else sens.bytes())
    with pytest.raises(DataError) as found, SensRecording(folder / "scan.sens") as recording:
        write_recording(recording, folder / "bag", WriteOptions(bar=False, **options))
    assert [path.name for path in folder.iterdir()] == ["scan.sens"]
    return str(found.value)


@pytest.mark.parametrize("storage", ["mcap", "db3"])
def test_the_reader_of_map_finds_poses_depth_intrinsics_and_stamps_again(tmp_path, storage):
    frames = converted(tmp_path, storage=storage)
    assert len(list((tmp_path / "bag").glob(f"*.{storage}"))) == 1
    assert [frame.stamp_ns for frame in frames] == [5_000_000_000 + 33_000_000 * i for i in range(4)]
    for i, frame in enumerate(frames):
        np.testing.assert_allclose(frame.T_wc, pose_at(i), atol=1e-6)
        np.testing.assert_allclose(frame.K, K, rtol=1e-6)
        np.testing.assert_array_equal(frame.image, cv2.imdecode(np.frombuffer(jpeg_at(i), np.uint8), 1)[:, :, ::-1])
        assert frame.depth.shape == (30, 40)  # the image's aspect at the depth's resolution
        scaled = np.array([[37.5, 0, 19.5], [0, 37.5, 14.5], [0, 0, 1]])
        np.testing.assert_allclose(frame.depth, wall_at(i, (40, 30), scaled), atol=0.5 / 36 * 0.3 * 3.3)


def test_colour_is_the_very_jpeg_of_the_file(tmp_path):
    converted(tmp_path)
    with BagReader(tmp_path / "bag") as reader:
        connection = next(c for c in reader._reader.connections if c.topic == reader.selection.image.name)
        messages = [
            reader._reader.deserialize(raw, connection.msgtype) for _, _, raw in reader._reader.messages([connection])
        ]
    assert [bytes(message.data) for message in messages] == [jpeg_at(i) for i in range(4)]


@pytest.mark.parametrize(("color", "depth"), [(0, 0), (1, 1), (2, 0)])
def test_every_kind_that_is_known_is_read(tmp_path, color, depth):
    frame = converted(tmp_path, Sens(frames=2, color_kind=color, depth_kind=depth))[1]
    np.testing.assert_allclose(
        frame.image.astype(int), image_at(1), atol=0 if color == 1 else 12
    )  # a raw image becomes a JPEG
    assert (frame.depth > 1.5).all()


def test_raw_writes_plain_images(tmp_path):
    frame = converted(tmp_path, Sens(frames=2, color_kind=1), raw=True)[1]
    np.testing.assert_array_equal(frame.image, image_at(1))
    with BagReader(tmp_path / "bag") as reader:
        assert (reader.selection.image.coding, reader.selection.depth.coding) == ("rgb8", "16UC1")


@pytest.mark.parametrize("shift", [1000.0, 4000.0])
def test_the_depth_shift_is_units_a_metre(tmp_path, shift):
    frames = converted(tmp_path, Sens(frames=1, depth_size=SIZE, depth_K=K.copy(), shift=shift))
    np.testing.assert_allclose(frames[0].depth, wall_at(0, SIZE, K), atol=0.00101)


def test_depth_of_a_camera_aside_is_registered_and_the_pose_is_the_colour_cameras(tmp_path):
    T_cd = make_pose(np.eye(3), np.array([0.04, 0.0, 0.0]))  # depth camera to colour camera
    sens = Sens(frames=2, depth_size=SIZE, depth_K=K.copy(), depth_pose=T_cd)
    frames = converted(tmp_path, sens)
    np.testing.assert_allclose(frames[1].T_wc, pose_at(1) @ invert_pose(T_cd), atol=1e-6)
    x = (np.arange(SIZE[0]) - K[0, 2]) / K[0, 0]
    expected = (2 + 0.3 * 0.04) / (1 + 0.3 * x)
    row = frames[0].depth[20]
    np.testing.assert_allclose(row[row > 0], expected[row > 0], atol=0.012)
    assert (row > 0).mean() > 0.9


def test_frames_without_a_pose_are_left_out_and_counted(tmp_path, capsys):
    path = write_sens(
        tmp_path / "scan.sens", Sens(frames=5, poses={0: LOST, 3: np.full((4, 4), np.nan), 4: np.zeros((4, 4))})
    )
    assert main(["bag", "from-scannet", str(path), "--out", str(tmp_path / "bag"), "--no-progress"]) == 0
    assert "2 frames in" in (text := capsys.readouterr().out) and "3 without a pose" in text
    with BagReader(tmp_path / "bag") as reader:
        assert [round(frame.T_wc[0, 3], 4) for frame in reader] == [0.1, 0.2]


def test_every_and_limit_take_frames_of_the_file(tmp_path):
    frames = converted(tmp_path, Sens(frames=10), every=3, limit=2)
    assert [round(frame.T_wc[0, 3], 4) for frame in frames] == [0.0, 0.3]


@pytest.mark.parametrize("micros", [[0, 0, 0], [1000, 2000, 2000], [3000, 2000, 4000], [1, 2, 1 << 63]])
def test_stamps_that_are_no_clock_make_one_of_30_hz(tmp_path, micros):
    frames = converted(tmp_path, Sens(frames=3, micros=micros))
    assert [frame.stamp_ns - START_NS for frame in frames] == [0, 33_333_333, 66_666_667]


def test_what_is_read_how_is_said(tmp_path, capsys):
    path = write_sens(tmp_path / "scan.sens", Sens(frames=2, micros=[0, 0]))
    assert main(["bag", "from-scannet", str(path), "--out", str(tmp_path / "bag"), "--rate", "10"]) == 0
    text = capsys.readouterr().out
    assert (
        "2 frames of 64 x 48" in text
        and "depth of 40 x 32 is registered to the colour image by its own intrinsics, as 40 x 30" in text
    )
    assert "unusable (frame 0 has 0 us), so stamps are generated at 10 Hz" in text and "2 frames in" in text


@pytest.mark.parametrize("missing", [1, 200, 3000])
def test_a_file_that_is_cut_off_keeps_the_frames_before_and_says_so(tmp_path, capsys, missing):
    sens = Sens(frames=4, color_kind=0)
    whole = sens.bytes()[:-8]  # without the IMU's count
    (tmp_path / "scan.sens").write_bytes(whole[:-missing])
    assert (
        main(["bag", "from-scannet", str(tmp_path / "scan.sens"), "--out", str(tmp_path / "bag"), "--no-progress"]) == 3
    )
    out, err = capsys.readouterr()
    assert "3 frames in" in out and "scan.sens is cut off: it ends within frame 3 (from 0) of 4" in err
    with BagReader(tmp_path / "bag") as reader:
        assert [round(frame.T_wc[0, 3], 4) for frame in reader] == [0.0, 0.1, 0.2]


def test_a_file_that_is_cut_off_within_a_frames_header_keeps_the_frames_before(tmp_path):
    sens = Sens(frames=2)
    (tmp_path / "scan.sens").write_bytes(sens.header() + sens.frame(0) + sens.frame(1)[:50])
    with SensRecording(tmp_path / "scan.sens") as recording:
        assert recording.count == 1 and "within frame 1 (from 0) of 2" in recording.cut


def test_a_file_that_ends_before_its_first_frame_does(tmp_path):
    assert "ends within its header (100 bytes)" in error_of(tmp_path, Sens().bytes()[:100])
    assert "ends within its header (0 bytes)" in error_of(tmp_path, b"")
    assert (
        "no whole frame; " in (text := error_of(tmp_path, Sens().header() + bytes(40)))
        and "within frame 0 (from 0) of 4" in text
    )
    assert "no whole frame; its header announces none" in error_of(tmp_path, Sens(frames=0))


def test_a_header_that_announces_more_frames_than_there_are_is_a_cut(tmp_path):
    with SensRecording(write_sens(tmp_path / "scan.sens", Sens(announced=(1 << 64) - 1))) as recording:
        assert recording.count == 4 and f"of {(1 << 64) - 1}" in recording.cut


@pytest.mark.parametrize(
    ("sens", "message"),
    [
        (Sens(version=3), "begins with version 3; only 4 is known"),
        (Sens(color_kind=-1), "colour compression is -1 (UNKNOWN); supported: RAW, PNG, JPEG"),
        (Sens(color_kind=9), "colour compression is 9 (not in the format)"),
        (Sens(depth_kind=2), "depth compression is 2 (OCCI_USHORT); supported: RAW_USHORT, ZLIB_USHORT"),
        (Sens(size=(1 << 31, 48), colors=dict.fromkeys(range(4), b"")),
            "colour images of 2147483648 x 48 pixels; sides of 8 to 8192"),
        (Sens(depth_size=(0, 0)), "depth images of 0 x 0 pixels"),
        (Sens(shift=0.0), "depth shift is 0 units per metre; 1 to 100000 are allowed"),
        (Sens(shift=float("nan")), "depth shift is nan"),
        (Sens(K=np.zeros((3, 3))), "calibration in its header cannot be used: focal lengths fx=0"),
        (Sens(depth_pose=np.diag([2.0, 2, 2, 1])), "calibration in its header cannot be used: pose has the rotation"),
        (Sens(colors={2: b"not a jpeg"}), "scan.sens, frame 2: 10 bytes that begin with 6e 6f 74 20 are not a JPEG "
                                          "or PNG image"),
        (Sens(colors={1: jpeg_at(0)[:-300]}), "scan.sens, frame 1: a JPEG of"),
        (Sens(colors={3: jpeg_at(0, (80, 48))}), "scan.sens, frame 3: JPEG image of 80 x 48 pixels; it must be 64 x "
                                                 "48"),
        (Sens(depths={1: b"no zlib"}), "scan.sens, frame 1: 7 bytes of depth are not a zlib stream"),
        (Sens(depths={1: zlib.compress(bytes(100))}), "frame 1: depth of 100 bytes, or without its end, after zlib; "
                                                      "it must have 2560"),
        (Sens(depths={1: zlib.compress(bytes(2560))[:-4]}), "frame 1: depth of 2560 bytes, or without its end"),
        (Sens(poses={2: np.diag([1.0, 1, 1.2, 1])}), "scan.sens, frame 2: pose has the rotation"),
        (Sens(poses={2: np.diag([1.0, 1, -1, 1])}), "scan.sens, frame 2: pose has the rotation"),
        (Sens(poses=dict.fromkeys(range(4), LOST)), "scan.sens: of 4 frames none can be written: 4 without a pose"),
    ],
)  # fmt: skip
def test_every_fault_is_named_and_leaves_nothing(tmp_path, sens, message):
    assert message in error_of(tmp_path, sens)


@pytest.mark.parametrize(
    ("sens", "message"),
    [
        (Sens(lengths={1: (1 << 62, 10)}), "frame 1: its colour, a JPEG image of 64 x 48 pixels, has "
                                           "4611686018427387904 bytes; at most"),
        (Sens(lengths={1: (10, (1 << 64) - 1)}), "frame 1: its depth, a ZLIB_USHORT image of 40 x 32 pixels, has "
                                                 "18446744073709551615"),
        (Sens(color_kind=0, lengths={0: (100, 10)}), "frame 0: its colour, a RAW image of 64 x 48 pixels, has 100 "
                                                     "bytes; it must"),
        (Sens(depth_kind=0, lengths={0: (100, 10)}), "its depth, a RAW_USHORT image of 40 x 32 pixels, has 10 "
                                                     "bytes; it must have 2560"),
        (Sens(depths={1: zlib.compress(bytes(300 << 20))}), "frame 1: depth of more than 2560 bytes"),
    ],
)  # fmt: skip
def test_lengths_that_lie_take_no_memory(tmp_path, sens, message):
    tracemalloc.start()
    try:
        assert message in error_of(tmp_path, sens)
        assert tracemalloc.get_traced_memory()[1] < 60 << 20
    finally:
        tracemalloc.stop()


def test_a_name_that_lies_takes_no_memory(tmp_path):
    whole = Sens().bytes()
    assert f"the sensor's name has {1 << 62} bytes; at most 4096" in error_of(
        tmp_path, whole[:4] + struct.pack("<Q", 1 << 62) + whole[12:]
    )


def test_a_long_file_is_never_in_memory_as_a_whole(tmp_path):
    converted(tmp_path, Sens(frames=1, color_kind=0))  # loads modules and caches before memory is measured
    big = tmp_path / "big"
    big.mkdir()
    path = write_sens(big / "scan.sens", Sens(frames=120, color_kind=0, size=(320, 240), K=K * [[5], [5], [1]]))
    tracemalloc.start()
    try:
        with SensRecording(path) as recording:
            write_recording(recording, big / "bag", WriteOptions(bar=False))
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 3
    finally:
        tracemalloc.stop()


def test_damaged_frames_can_be_left_out_and_are_counted(tmp_path, capsys):
    path = write_sens(tmp_path / "scan.sens", Sens(frames=4, colors={1: b"no"}, poses={2: np.diag([2.0, 1, 1, 1])}))
    assert (
        main(
            [
                "bag",
                "from-scannet",
                str(path),
                "--out",
                str(tmp_path / "bag"),
                "--skip-bad",
                "--no-progress",
                "--limit",
                "1",
            ]
        )
        == 0
    )
    assert main(["bag", "from-scannet", str(path), "--out", str(tmp_path / "all"), "--skip-bad", "--no-progress"]) == 0
    text = capsys.readouterr().out
    assert "1 frames in" in text and "2 frames in" in text and "2 damaged" in text and "the first damaged frame" in text


def test_frames_without_depth_are_written_without(tmp_path):
    with SensRecording(write_sens(tmp_path / "scan.sens", Sens(depths={1: b""}))) as recording:
        assert write_recording(recording, tmp_path / "bag", WriteOptions(bar=False)).with_depth == 3
    with BagReader(tmp_path / "bag", BagOptions(sync_slop=0.01)) as reader:
        assert [frame.depth is not None for frame in reader] == [True, False, True, True]


def test_an_interrupted_run_leaves_nothing(tmp_path, monkeypatch):
    path = write_sens(tmp_path / "scan.sens")
    load, taken = SensRecording._load, []

    def interrupted(self, entry):
        taken.append(entry)
        if len(taken) == 3:
            raise KeyboardInterrupt
        return load(self, entry)

    monkeypatch.setattr(SensRecording, "_load", interrupted)
    assert main(["bag", "from-scannet", str(path), "--out", str(tmp_path / "bag")]) == 130
    assert [p.name for p in tmp_path.iterdir()] == ["scan.sens"]


def test_a_run_that_is_told_to_end_leaves_nothing(tmp_path):
    path = write_sens(tmp_path / "scan.sens", Sens(frames=300, size=(640, 480), K=K * [[10], [10], [1]], color_kind=0))
    command = [
        sys.executable,
        "-m",
        "sgrocc_core.cli",
        "bag",
        "from-scannet",
        str(path),
        "--out",
        str(tmp_path / "bag"),
        "--no-progress",
    ]
    with subprocess.Popen(command) as process:
        while process.poll() is None and len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.01)
        process.terminate()
    assert process.returncode == 143
    assert [p.name for p in tmp_path.iterdir()] == ["scan.sens"]


def test_a_bag_is_never_overwritten_and_a_missing_file_is_named(tmp_path, capsys):
    path = write_sens(tmp_path / "scan.sens")
    (tmp_path / "bag").mkdir()
    assert main(["bag", "from-scannet", str(path), "--out", str(tmp_path / "bag")]) == 1
    assert main(["bag", "from-scannet", str(tmp_path / "no.sens"), "--out", str(tmp_path / "b")]) == 1
    assert "bag exists already" in (text := capsys.readouterr().err) and f"no such file: {tmp_path / 'no.sens'}" in text


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (("--every", "0"), "--every is 0; it must be 1 or more"),
        (("--limit", "-1"), "--limit is -1"),
        (("--storage", "zip"), "--storage is 'zip'; allowed: mcap, db3"),
        (("--rate", "0"), "--rate is 0; it must lie in [0.1, 1000] Hz"),
    ],
)
def test_wrong_options_name_what_is_allowed(tmp_path, capsys, option, message):
    path = write_sens(tmp_path / "scan.sens")
    assert main(["bag", "from-scannet", str(path), "--out", str(tmp_path / "bag"), *option]) == 1
    assert message in capsys.readouterr().err and not (tmp_path / "bag").exists()


def test_the_samples_depth_camera_covers_the_colour_image():
    corners = np.array([[0, 0, 1], [SIZE[0] - 1, SIZE[1] - 1, 1]]) @ np.linalg.inv(K).T @ DEPTH_K.T
    assert (corners[:, :2] >= -0.5).all() and (corners[:, :2] <= np.array(DEPTH_SIZE) - 0.5).all()
