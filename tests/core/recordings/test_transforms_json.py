"""Folders with a transforms.json: intrinsics, OpenGL poses, depth, and errors that name file and key."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from sgrocc_core.cli import main
from sgrocc_core.data.bags import BagReader
from sgrocc_core.data.recordings.folder import FolderOptions, FolderRecording
from sgrocc_core.errors import DataError
from tests.samples.rooms import box_room

Y_UP = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1.0]])
FULL = {"fl_x": 130.0, "fl_y": 130.0, "cx": 79.5, "cy": 59.5, "w": 160, "h": 120}


def write_capture(folder: Path, camera: dict | None = None, count: int = 6, **changes) -> Path:
    """The ray-cast room as a capture in a world with y up; `changes` are keys of the second frame."""
    folder.mkdir(parents=True)
    entries = []
    for i, T_wc in enumerate(box_room.walk(count)):
        image, metres = box_room.look(T_wc)
        cv2.imwrite(str(folder / f"{i}.png"), image[:, :, ::-1])
        cv2.imwrite(str(folder / f"{i}.depth.png"), np.rint(metres * 1000).astype(np.uint16))
        right, down, forward = T_wc[:3, :3].T
        pose = T_wc.copy()
        pose[:3, :3] = np.stack([right, -down, -forward], 1)
        entries.append(
            {
                "file_path": f"./{i}.png",
                "depth_file_path": f"{i}.depth.png",
                "transform_matrix": (Y_UP @ pose).tolist(),
            }
        )
    entries[1].update(changes)
    (folder / "transforms.json").write_text(
        json.dumps({**(FULL if camera is None else camera), "frames": entries[::-1]})
    )
    return folder


def test_a_capture_becomes_a_bag_of_optical_poses_in_the_order_of_the_names(tmp_path, capsys):
    folder = write_capture(tmp_path / "room", count=11)
    assert main(["bag", "from-frames", str(folder), "--out", str(tmp_path / "bag"), "--no-progress"]) == 0
    text = capsys.readouterr()
    assert "layout transforms" in text.out and "intrinsics are from transforms.json: 130, 130, 79.5, 59.5" in text.out
    assert text.err == ""
    with BagReader(tmp_path / "bag") as reader:
        for frame, T_wc in zip(reader, box_room.walk(11), strict=True):
            image, metres = box_room.look(T_wc)
            np.testing.assert_allclose(frame.T_wc, T_wc, atol=1e-5)
            np.testing.assert_array_equal(frame.image, image)
            np.testing.assert_allclose(frame.depth, metres, atol=0.00051)


def test_the_angle_of_view_gives_the_focal_length_and_the_middle_is_the_principal_point(tmp_path):
    angle = 2 * np.arctan(80 / 130)
    camera = FolderRecording(write_capture(tmp_path / "room", {"camera_angle_x": angle})).camera
    np.testing.assert_allclose(camera.K, box_room.K)


def test_the_lens_is_read(tmp_path):
    lens = {"camera_model": "OPENCV", "k1": 0.1, "k2": -0.02, "p1": 0.001, "p2": 0.002}
    camera = FolderRecording(write_capture(tmp_path / "room", {**FULL, **lens})).camera
    np.testing.assert_array_equal(camera.distortion, [0.1, -0.02, 0.001, 0.002, 0])
    assert not camera.fisheye


def test_other_axes_can_be_said_and_a_scale_is_undone(tmp_path):
    folder = write_capture(tmp_path / "room", {**FULL, "applied_scale": 0.5})
    frame = next(iter(FolderRecording(folder).frames()))
    np.testing.assert_allclose(frame.T_wc[:3, 3], 2 * box_room.walk(1)[0][:3, 3], atol=1e-9)
    assert main(["check", str(write_capture(tmp_path / "good"))]) == 0
    assert main(["check", str(tmp_path / "good"), "--axes", "opencv"]) == 1


def test_missing_files_are_left_out_with_skip_bad(tmp_path):
    folder = write_capture(tmp_path / "room")
    (folder / "1.png").unlink()
    (folder / "2.depth.png").unlink()
    with pytest.raises(DataError, match=r"transforms.json, frames\[3\]: no such file: .*2.depth.png .--skip-bad"):
        FolderRecording(folder)
    recording = FolderRecording(folder, FolderOptions(skip_bad=True))
    assert (recording.count, recording.missing) == (5, 1)
    assert [frame.load().depth is not None for frame in recording.frames()] == [True, False, True, True, True]


@pytest.mark.parametrize(
    ("camera", "changes", "message"),
    [
        ({**FULL, "w": 320}, {}, r"w is 320, but .*0.png has 160 x 120 pixels"),
        ({**FULL, "fl_x": "wide"}, {}, "fl_x is 'wide'; a finite number is expected"),
        ({**FULL, "fl_x": -1}, {}, "fl_x is -1; it must be more than 0 pixels"),
        ({"camera_angle_x": 4}, {}, r"camera_angle_x is 4; it must lie in \(0, pi\)"),
        ({}, {}, "has no intrinsics for its images of 160 x 120 pixels"),
        ({**FULL, "camera_model": "EQUIRECTANGULAR"}, {}, "camera_model is 'EQUIRECTANGULAR'; allowed: PINHOLE"),
        ({**FULL, "k4": 0.1}, {}, "k4 is 0.1, but OPENCV has only k1, k2, p1, p2, k3"),
        ({**FULL, "applied_scale": 0}, {}, "applied_scale is 0; it must be more than 0"),
        (None, {"fl_x": 99.0}, r"frames\[4\].fl_x is 99.0, but that of frames\[0\] is 130.0"),
        (None, {"file_path": 7}, r"frames\[4\].file_path is 7; the name of a file"),
        (None, {"transform_matrix": [1, 2]}, r"frames\[4\].transform_matrix is \[1, 2\]; 4 x 4 numbers"),
    ],
)
def test_faults_name_the_file_and_the_key(tmp_path, camera, changes, message):
    folder = write_capture(tmp_path / "room", camera, **changes)
    with pytest.raises(DataError, match=message) as found:
        FolderRecording(folder)
    assert str(folder) in str(found.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [("{", "is not JSON"), ("[]", "holds a list; an object"), ("{}", "frames is None; a list of one or more objects")],
)
def test_a_damaged_file_is_an_error(tmp_path, text, message):
    (tmp_path / "transforms.json").write_text(text)
    with pytest.raises(DataError, match=message):
        FolderRecording(tmp_path)
