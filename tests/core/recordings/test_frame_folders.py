"""Folders of images, depth and poses as bags: public layouts, detection, and errors with file, line and value."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from sgrocc_core.cli import main
from sgrocc_core.data.bags import BagOptions, BagReader
from sgrocc_core.data.bags.writer import START_NS
from sgrocc_core.data.recordings.folder import FolderOptions, FolderRecording
from sgrocc_core.data.recordings.layouts import detect
from sgrocc_core.data.recordings.recording import WriteOptions, write_recording
from sgrocc_core.errors import ConfigError, DataError
from tests.samples.recordings.recording_samples import (
    DEPTH_K,
    DEPTH_SIZE,
    SIZE,
    K,
    image_at,
    png16,
    pose_at,
    wall_at,
    write_frames,
    write_seven_scenes,
    write_tum,
)

USUAL = np.array([[525.0, 0, 319.5], [0, 525.0, 239.5], [0, 0, 1]])


def converted(folder: Path, **options) -> list:
    """The frames of the bag that a folder becomes."""
    bag = folder.parent / "bag"
    write_recording(FolderRecording(folder, FolderOptions(**options)), bag, WriteOptions(bar=False))
    with BagReader(bag, BagOptions(depth_source="fused")) as reader:
        return list(reader)


def error_of(folder: Path, **options) -> str:
    """The error of a folder, which leaves no bag."""
    with pytest.raises(DataError) as found:
        write_recording(
            FolderRecording(folder, FolderOptions(**options)), folder.parent / "bag", WriteOptions(bar=False)
        )
    assert not (folder.parent / "bag").exists()
    return str(found.value)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_tum_has_its_stamps_depth_of_1_5000_m_and_poses_between_those_of_the_list(tmp_path):
    frames = converted(write_tum(tmp_path / "room"))
    assert [frame.stamp_ns for frame in frames] == [1305031102_075304000 + i * 100_000_000 for i in range(4)]
    for i, frame in enumerate(frames):
        np.testing.assert_array_equal(frame.image, image_at(i, (640, 480)))
        np.testing.assert_allclose(
            frame.depth, wall_at(i, (640, 480), USUAL), atol=0.0006
        )  # the bag rounds to millimetres
        np.testing.assert_allclose(frame.T_wc[:3, 3], (0.1 * i, 0.2, 1.5), atol=1e-5)
        np.testing.assert_allclose(frame.T_wc[:3, 2], (1, 0, 0), atol=1e-9)  # looks along x
        np.testing.assert_array_equal(frame.K, USUAL)


def test_tum_depth_and_poses_beyond_the_tolerance_are_not_taken(tmp_path):
    folder = write_tum(tmp_path / "room", depth_delay=0.03)
    lines = (folder / "groundtruth.txt").read_text().splitlines()
    (folder / "groundtruth.txt").write_text("\n".join(line for line in lines if "1305031102.2" not in line) + "\n")
    recording = FolderRecording(folder)
    assert "0 of 4 images have depth within 0.02 s" in recording.notes
    assert [bool(np.isfinite(frame.T_wc).all()) for frame in recording.frames()] == [True, True, False, True]
    wide = FolderRecording(folder, FolderOptions(tolerance=0.05))
    assert "4 of 4 images have depth within 0.05 s" in wide.notes
    assert [round(float(frame.T_wc[0, 3]), 4) for frame in wide.frames()] == [0.0, 0.1, 0.2, 0.3]


def test_tum_images_before_and_after_the_poses_are_left_out(tmp_path, capsys):
    folder = write_tum(tmp_path / "room")
    lines = (folder / "groundtruth.txt").read_text().splitlines()
    (folder / "groundtruth.txt").write_text("\n".join(lines[:1] + lines[10:30]) + "\n")
    arguments = ["bag", "from-frames", str(folder), "--out", str(tmp_path / "bag"), "--no-progress"]
    assert main([*arguments, "--force"]) == 0  # the wall moves with the camera, which the checks refuse
    assert "2 frames in" in (text := capsys.readouterr().out) and "2 without a pose" in text


def test_seven_scenes_is_turned_upright_and_65535_is_no_reading(tmp_path):
    frames = converted(write_seven_scenes(tmp_path / "seq-01"))
    usual = np.array([[585.0, 0, 320.0], [0, 585.0, 240.0], [0, 0, 1]])
    assert [frame.stamp_ns - START_NS for frame in frames] == [0, 33_333_333, 66_666_667]
    for i, frame in enumerate(frames):
        np.testing.assert_allclose(frame.T_wc, pose_at(i), atol=1e-6)
        np.testing.assert_array_equal(frame.K, usual)
        expected = wall_at(i, (640, 480), usual)
        expected[:100, :100] = 0
        np.testing.assert_allclose(frame.depth, expected, atol=0.00101)


def test_seven_scenes_depth_is_registered_where_both_cameras_are_said(tmp_path):
    folder = write_seven_scenes(tmp_path / "seq-01", frames=1)
    colors, depths = (525.0, 525.0, 320.0, 240.0), (585.0, 585.0, 320.0, 240.0)
    frame = converted(folder, intrinsics=colors, depth_intrinsics=depths)[0]
    wall = wall_at(0, (640, 480), np.array([[525.0, 0, 320.0], [0, 525.0, 240.0], [0, 0, 1]]))
    assert frame.depth.shape == (480, 640) and frame.K[0, 0] == 525
    inside = frame.depth[240] > 0
    assert inside[40:600].all() and not inside[:30].any()  # depth sees less than the image
    np.testing.assert_allclose(frame.depth[240][inside], wall[240][inside], atol=0.003)


@pytest.mark.parametrize("many_poses", [False, True])
@pytest.mark.parametrize("world", ["z-up", "y-up"])
def test_loose_frames_are_taken_in_the_order_of_their_numbers_and_turned_upright(tmp_path, world, many_poses):
    frames = converted(write_frames(tmp_path / "walk", world=world, many_poses=many_poses))
    assert len(frames) == 12
    for i, frame in enumerate(frames):
        np.testing.assert_allclose(frame.T_wc, pose_at(i), atol=1e-6)
        np.testing.assert_allclose(frame.depth, wall_at(i, SIZE, K), atol=0.00101)
        assert abs(int(frame.image[20, 20, 0]) - (30 + 15 * i)) < 6


def test_the_world_can_be_said(tmp_path):
    folder = write_frames(tmp_path / "walk", frames=2, world="y-up")
    recording = FolderRecording(folder, FolderOptions(world="z-up"))
    assert "the world is z-up" in recording.notes
    np.testing.assert_allclose(next(iter(recording.frames())).T_wc[:3, 3], (0, 1.5, -0.2))


def test_the_hololens_walks_of_deep_video_mvs_and_exported_scannet_scenes_are_loose_frames(tmp_path):
    walk = write_frames(tmp_path / "walk", frames=3, world="y-up")
    (walk / "rgb").rename(walk / "images")
    (walk / "intrinsics.txt").rename(walk / "K.txt")
    assert detect(walk) == "frames" and len(converted(walk)) == 3
    shutil.rmtree(tmp_path / "bag")
    scene = write_frames(tmp_path / "scene", frames=3, many_poses=True)
    (scene / "rgb").rename(scene / "color")
    (scene / "intrinsics.txt").unlink()
    (scene / "intrinsic").mkdir()
    four = np.eye(4)
    for name, matrix in (("color", K), ("depth", DEPTH_K)):
        four[:3, :3] = matrix
        np.savetxt(scene / f"intrinsic/intrinsic_{name}.txt", four)
    for i in range(3):
        (scene / f"depth/{i}.png").write_bytes(png16(wall_at(i, DEPTH_SIZE, DEPTH_K), 1000))
    (scene / "pose/1.txt").write_text("-inf -inf -inf -inf\n" * 4)
    frames = converted(scene)
    assert [round(frame.T_wc[0, 3], 3) for frame in frames] == [0.0, 0.2] and frames[0].depth.shape == (30, 40)


def test_stamps_and_a_lens_from_files_beside_the_images(tmp_path):
    folder = write_frames(tmp_path / "walk", frames=3)
    (folder / "timestamps.txt").write_text("1.5\n1.75\n2.000000001\n")
    (folder / "intrinsics.txt").unlink()
    (folder / "camera.yaml").write_text(
        "image_width: 64\nimage_height: 48\ncamera_matrix: {rows: 3, cols: 3, data: [60, 0, 31.5, 0, 60, 23.5, 0, "
        "0, 1]}\n"
        "distortion_model: plumb_bob\ndistortion_coefficients: {rows: 1, cols: 5, data: [0.1, -0.02, 0.001, 0, 0]}\n"
    )
    frames = converted(folder)
    assert [frame.stamp_ns for frame in frames] == [1_500_000_000, 1_750_000_000, 2_000_000_001]
    with BagReader(tmp_path / "bag") as reader:
        np.testing.assert_allclose(reader.calibration.distortion, [0.1, -0.02, 0.001, 0, 0])
    assert frames[0].depth[24, 32] == pytest.approx(2.0, abs=0.03)


def test_colour_alone_will_do_and_missing_depth_is_counted(tmp_path):
    folder = write_frames(tmp_path / "walk", frames=3)
    (folder / "depth/1.png").unlink()
    assert f"1 of 3 images have no depth of the same name in {folder / 'depth'}" in FolderRecording(folder).notes
    assert [frame.depth is not None for frame in converted(folder)] == [True, False, True]
    shutil.rmtree(folder / "depth")
    assert "there is no depth" in FolderRecording(folder).notes


def test_a_folder_of_no_layout_says_what_was_looked_for_and_what_there_is(tmp_path):
    (tmp_path / "x/seq-01").mkdir(parents=True)
    (tmp_path / "x/notes.md").write_text("")
    text = error_of(tmp_path / "x")
    assert "rgb.txt and groundtruth.txt (tum); frame-*.color.png with frame-*.pose.txt (7scenes); a folder rgb" in text
    assert text.endswith("it has notes.md, seq-01/")
    assert error_of(tmp_path / "none") == f"no such folder: {tmp_path / 'none'}"
    assert error_of(tmp_path / "none", layout="tum") == f"no such folder: {tmp_path / 'none'}"


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ("tum", "no such file: "),
        ("7scenes", "has no frames; frame-*.color.png is expected"),
        ("frames", "has no folder of colour images; looked for rgb, color"),
    ],
)
def test_an_empty_folder_of_a_given_layout(tmp_path, layout, message):
    (tmp_path / "x").mkdir()
    assert message in error_of(tmp_path / "x", layout=layout)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("rgb.txt", "rgb/1305031102.1", "rgb/gone", "rgb.txt, line 3: no such file"),
        (
            "rgb.txt",
            "1305031102.0",
            "soon",
            "rgb.txt, line 2: 'soon75304' is not a time; seconds from 0 to 2147483647 are allowed",
        ),
        ("rgb.txt", "1305031102.0", "1e9999999", "is not a time"),
        ("depth.txt", ".png", ".png extra", "depth.txt, line 2: 3 words; a time and a file name are expected"),
        (
            "groundtruth.txt",
            " 1.5 -0.5",
            " 1.5 -0.9",
            "line 2: quaternion [-0.9, 0.5, -0.5, 0.5] of length 1.249; a pose must be rigid",
        ),
        (
            "groundtruth.txt",
            " 1.5 -0.5 0.5",
            " 1.5 -0.5",
            "groundtruth.txt, line 2: 7 words; time tx ty tz qx qy qz qw are expected",
        ),
        ("groundtruth.txt", " 1.5 ", " high ", "groundtruth.txt, line 2: could not convert string to float: 'high'"),
    ],
)
def test_faults_of_tums_lists_name_the_line(tmp_path, file, old, new, message):
    folder = write_tum(tmp_path / "room", frames=2)
    rewrite(folder / file, old, new)
    assert message in error_of(folder)


def test_faults_of_seven_scenes_name_the_file(tmp_path):
    folder = write_seven_scenes(tmp_path / "seq", frames=2)
    (folder / "frame-000001.pose.txt").write_text("1 0 0\n")
    assert "frame-000001.pose.txt has 3 numbers; a pose of 4 x 4 or 3 x 4 is expected" in error_of(folder)
    (folder / "frame-000001.pose.txt").unlink()
    assert "no such file: " in (text := error_of(folder)) and "frame-000001.pose.txt" in text


def _broken_frames(folder: Path, case: str) -> None:
    if case == "poses":
        np.savetxt(folder / "poses.txt", np.eye(4).reshape(1, 16))
    elif case == "rigid":
        np.savetxt(folder / "poses.txt", np.tile(np.diag([1.0, 1, 1.5, 1]).ravel(), (3, 1)))
    elif case == "width":
        (folder / "poses.txt").write_text("1 2 3\n")
    elif case == "K":
        (folder / "intrinsics.txt").unlink()
    elif case == "K0":
        np.savetxt(folder / "intrinsics.txt", np.zeros((3, 3)))
    elif case == "image":
        (folder / "rgb/1.jpg").write_bytes(b"GIF89a")
    elif case == "size":
        shutil.copy(write_frames(folder.parent / "other", frames=1) / "depth/0.png", folder / "rgb/1.png")
        (folder / "rgb/1.jpg").unlink()
        (folder / "rgb/1.png").write_bytes(png16(np.ones((60, 80)), 1000))
    elif case == "depth":
        (folder / "depth/2.png").write_bytes((folder / "rgb/0.jpg").read_bytes())
    elif case == "8 bit":
        import cv2

        (folder / "depth/2.png").write_bytes(cv2.imencode(".png", np.zeros((48, 64), np.uint8))[1].tobytes())
    elif case == "aspect":
        for i in range(3):
            (folder / f"depth/{i}.png").write_bytes(png16(np.ones((48, 48)), 1000))
    elif case == "times":
        (folder / "timestamps.txt").write_text("3\n2\n1\n")
    elif case == "yaml":
        (folder / "intrinsics.txt").unlink()
        (folder / "camera.yaml").write_text("image_width: 64\n")
    elif case == "none":
        for path in (folder / "rgb").iterdir():
            path.unlink()


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("poses", "poses.txt has 1 poses for 3 images in"),
        ("rigid", "0.jpg: pose has the rotation"),
        ("width", "poses.txt, line 1: 3 words; a pose, row by row, 12 or 16 numbers, is expected"),
        (
            "K",
            "has no intrinsics for its images of 64 x 48 pixels: add intrinsics.txt (3 x 3, or fx fy cx cy) "
            "or camera.yaml, or use --intrinsics",
        ),
        ("K0", "intrinsics (from intrinsics.txt): focal lengths fx=0"),
        ("image", "1.jpg: 6 bytes that begin with 47 49 46 38 are not a JPEG or PNG image"),
        ("size", "1.png: PNG image of 80 x 60 pixels; it must be 64 x 48"),
        ("depth", "2.png: JPEG of 64 x 48 pixels; it must be a PNG of 64 x 48, as the first is"),
        ("8 bit", "bytes of format '16UC1' are not a 12-byte header and a 16 bit PNG"),
        (
            "aspect",
            "0.png has 48 x 48 pixels, the images 64 x 48: depth of another aspect ratio is not registered to them; "
            "give its own",
        ),
        ("times", "timestamps.txt: time 2, 2.000000000, is not later than the one before"),
        (
            "yaml",
            "camera.yaml is not a camera calibration: 'image_height' is missing; its keys are image_width, "
            "image_height, camera_matrix",
        ),
        ("none", "rgb has no frames; *.jpg or *.png is expected"),
    ],
)
def test_faults_of_loose_frames_name_the_file(tmp_path, case, message):
    folder = write_frames(tmp_path / "walk", frames=3)
    _broken_frames(folder, case)
    assert message in error_of(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "kitti"}, "--layout is 'kitti'; allowed: auto, tum, 7scenes, frames, transforms"),
        ({"intrinsics": (500.0, 500.0)}, "--intrinsics has 2 numbers; fx,fy,cx,cy are expected"),
        ({"depth_scale": -1.0}, r"--depth-scale is -1; it must lie in \(0, 10\)"),
        ({"tolerance": float("nan")}, "--tolerance is nan"),
        ({"rate": 0.0}, "--rate is 0"),
        ({"world": "up"}, "--world is 'up'; allowed: auto, z-up"),
    ],
)
def test_wrong_options_name_what_is_allowed(options, message):
    with pytest.raises(ConfigError, match=message):
        FolderOptions(**options)


def test_the_command_reads_a_folder(tmp_path, capsys):
    folder = write_frames(tmp_path / "walk", frames=4)
    arguments = [
        "bag",
        "from-frames",
        str(folder),
        "--out",
        str(tmp_path / "bag"),
        "--every",
        "2",
        "--intrinsics",
        "61,61,32,24",
    ]
    assert main([*arguments, "--storage", "db3", "--no-progress", "--force"]) == 0  # the wall moves with the camera
    text = capsys.readouterr().out
    assert "layout frames" in text and "intrinsics are as given: 61, 61, 32, 24" in text and "2 frames in" in text
    with pytest.raises(SystemExit):
        main(["bag", "from-frames", str(folder), "--out", "x", "--intrinsics", "wide"])
    assert "'wide' is not fx,fy,cx,cy" in capsys.readouterr().err
