"""Folders of people's own captures: other cameras in public layouts, other axes, files that are missing or turned."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from sgrocc_core.cli import main
from sgrocc_core.data.bags import BagReader
from sgrocc_core.data.recordings.folder import FolderOptions, FolderRecording
from sgrocc_core.data.recordings.folder import _read_file as read_file
from sgrocc_core.errors import DataError, FrameError
from tests.samples.rooms import box_room
from tests.samples.rooms.room_folders import camera, oriented, write_camera_yaml, write_room, write_tum_room


@pytest.mark.parametrize(("size", "focal"), [((160, 120), 130.0), ((640, 480), 542.0)])
def test_a_tum_folder_of_another_camera_is_read_with_its_own_intrinsics(tmp_path, size, focal):
    folder = write_tum_room(tmp_path / "room", size, focal)
    write_camera_yaml(folder, size, focal)
    recording = FolderRecording(folder)
    np.testing.assert_array_equal(recording.camera.K, camera(size, focal))
    assert any(note.startswith(f"intrinsics are from camera.yaml: {focal:g}, ") for note in recording.notes)
    np.savetxt(folder / "intrinsics.txt", camera(size, focal + 1))
    recording = FolderRecording(folder)
    np.testing.assert_allclose(recording.camera.K, camera(size, focal + 1))
    assert any(note.startswith(f"intrinsics are from intrinsics.txt: {focal + 1:g}, ") for note in recording.notes)
    assert "camera.yaml is not read, because there is intrinsics.txt" in recording.notes
    given = FolderRecording(folder, FolderOptions(intrinsics=(99.0, 98.0, 80.0, 60.0)))
    assert given.camera.K[0, 0] == 99


@pytest.mark.parametrize("name", ["intrinsics.txt", "K.txt", "calibration.txt"])
def test_four_numbers_are_fx_fy_cx_cy(tmp_path, name):
    folder = write_tum_room(tmp_path / "room", (160, 120), 130.0, 1)
    (folder / name).write_text("# fx fy cx cy\n131 132 79 58\n")
    np.testing.assert_array_equal(FolderRecording(folder).camera.K, [[131, 0, 79], [0, 132, 58], [0, 0, 1]])


def test_another_number_of_intrinsics_is_an_error_that_names_the_file(tmp_path):
    folder = write_tum_room(tmp_path / "room", (160, 120), 130.0, 1)
    (folder / "intrinsics.txt").write_text("131 132 79\n")
    with pytest.raises(DataError, match=r"intrinsics.txt has 3 numbers; .* fx fy cx cy .* is expected"):
        FolderRecording(folder)


def from_frames(folder: Path, *options: str) -> int:
    return main(["bag", "from-frames", str(folder), "--out", str(folder.parent / "bag"), "--no-progress", *options])


@pytest.mark.parametrize("axes", ["opencv", "opengl", "ros"])
def test_with_their_axes_named_poses_become_those_of_the_optical_frame(tmp_path, capsys, axes):
    folder = write_room(tmp_path / "room", axes)
    assert from_frames(folder, "--axes", axes) == 0
    assert "error" not in (text := capsys.readouterr()).err and "the world is y-up, estimated" in text.out
    with BagReader(tmp_path / "bag") as reader:
        for frame, expected in zip(reader, box_room.walk(8), strict=True):
            np.testing.assert_allclose(frame.T_wc, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("axes", "said"),
    [("opencv", "opengl"), *(pytest.param(axes, "opencv", marks=pytest.mark.slow) for axes in ("opengl", "ros"))],
)
def test_poses_with_other_axes_are_refused_with_the_axes_that_fit(tmp_path, capsys, axes, said):
    folder = write_room(tmp_path / "room", axes)
    assert from_frames(folder, "--axes", said) != 0
    assert f"Give --axes {axes}" in capsys.readouterr().err and not (tmp_path / "bag").exists()
    assert main(["check", str(folder), "--axes", said]) == 1
    assert f"Give --axes {axes}" in capsys.readouterr().out
    assert main(["check", str(folder), "--axes", axes]) == 0
    assert from_frames(folder, "--axes", said, "--force") == 0


def test_without_depth_a_world_that_looks_upside_down_is_told_with_the_other_reading(tmp_path):
    folder = write_room(tmp_path / "room", "opengl", depth=False)
    assert "if the world is y-up, the camera's axes are OpenGL's: give --axes opengl" in FolderRecording(folder).notes
    turned = FolderRecording(folder, FolderOptions(axes="opengl"))
    np.testing.assert_allclose(next(iter(turned.frames())).T_wc, box_room.walk(1)[0], atol=1e-9)


def test_listed_files_that_are_missing_are_left_out_and_counted_with_skip_bad(tmp_path, capsys):
    folder = write_tum_room(tmp_path / "room", (160, 120), 130.0, 6)
    np.savetxt(folder / "intrinsics.txt", camera((160, 120), 130.0))
    images, depths = sorted((folder / "rgb").iterdir()), sorted((folder / "depth").iterdir())
    images[1].unlink(), images[4].unlink(), depths[2].unlink()
    assert from_frames(folder) != 0
    assert "rgb.txt, line 2: no such file: " in (text := capsys.readouterr().err) and "--skip-bad" in text
    assert from_frames(folder, "--skip-bad") == 0
    text = capsys.readouterr().out
    assert "2 files that rgb.txt lists are missing and left out, the first is line 2, rgb/1700000000.1" in text
    assert "1 files that depth.txt lists are missing" in text
    assert "4 frames in" in text and "3 with depth; left out: 0 without a pose, 0 damaged, 2 missing" in text
    for path in images:
        path.unlink(missing_ok=True)
    assert from_frames(folder, "--skip-bad") != 0
    assert "rgb.txt (6 of its files are missing) has no frames" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["pipe", "endless"])
def test_files_that_never_end_are_refused_at_once(tmp_path, capsys, kind):
    folder = write_tum_room(tmp_path / "room", (160, 120), 130.0, 3)
    np.savetxt(folder / "intrinsics.txt", camera((160, 120), 130.0))
    image = sorted((folder / "rgb").iterdir())[0]
    image.unlink()
    os.mkfifo(image) if kind == "pipe" else image.symlink_to("/dev/zero")
    with pytest.raises(FrameError, match="is not a regular file"):
        read_file(image)
    assert from_frames(folder) != 0
    assert image.name in capsys.readouterr().err


def test_the_orientation_of_a_jpeg_is_ignored_in_the_bag_and_in_the_check(tmp_path):
    frames = []
    for orientation in (1, 6):
        folder = write_room(tmp_path / f"{orientation}/room", count=3)
        for path in (folder / "images").iterdir():
            path.write_bytes(oriented(path.read_bytes(), orientation))
        turned = cv2.imread(str(folder / "images/0000.jpg")).shape[:2]
        assert turned == ((120, 160) if orientation == 1 else (160, 120))  # a viewer turns it
        assert main(["check", str(folder)]) == 0
        assert from_frames(folder) == 0
        with BagReader(tmp_path / f"{orientation}/bag") as reader:
            frames.append([frame.image for frame in reader])
    np.testing.assert_array_equal(*frames)
