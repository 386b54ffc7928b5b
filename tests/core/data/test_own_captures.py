"""Folders of people's own captures: other cameras in public layouts, other axes, files that are missing or turned."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from sgrocc_core.data.recordings.folder import FolderOptions, FolderRecording
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.poses import quaternion_from_rotation
from tests.samples import box_room

CAMERA_YAML = """image_width: {size[0]}
image_height: {size[1]}
camera_matrix: {{rows: 3, cols: 3, data: [{f}, 0, {c[0]}, 0, {f}, {c[1]}, 0, 0, 1]}}
distortion_model: plumb_bob
distortion_coefficients: {{rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}}
"""


def camera(size: tuple[int, int], focal: float) -> np.ndarray:
    return np.array([[focal, 0, size[0] / 2 - 0.5], [0, focal, size[1] / 2 - 0.5], [0, 0, 1]])


def write_camera_yaml(folder: Path, size: tuple[int, int], focal: float) -> None:
    centre = size[0] / 2 - 0.5, size[1] / 2 - 0.5
    (folder / "camera.yaml").write_text(CAMERA_YAML.format(size=size, f=focal, c=centre))


def write_tum_room(folder: Path, size: tuple[int, int], focal: float, count: int = 3) -> Path:
    """The ray-cast room in TUM's layout, ten images a second, without intrinsics."""
    lists: dict[str, list[str]] = {"rgb": [], "depth": [], "groundtruth": []}
    for name in ("rgb", "depth"):
        (folder / name).mkdir(parents=True)
    for i, T_wc in enumerate(box_room.walk(count)):
        image, metres = box_room.look(T_wc, camera(size, focal), size)
        stamp = f"{1.7e9 + i / 10:.6f}"
        cv2.imwrite(str(folder / f"rgb/{stamp}.png"), image[:, :, ::-1])
        cv2.imwrite(str(folder / f"depth/{stamp}.png"), np.rint(metres * 5000).astype(np.uint16))
        for name in ("rgb", "depth"):
            lists[name].append(f"{stamp} {name}/{stamp}.png")
        values = (*T_wc[:3, 3], *quaternion_from_rotation(T_wc[:3, :3]))
        lists["groundtruth"].append(" ".join((stamp, *(f"{value:.7f}" for value in values))))
    for name, lines in lists.items():
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
    return folder


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
