"""The Occ-ScanNet loader on files written by hand in the published layout: axes, scaling, lists, leaks, errors."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from sgrocc_core.data.occ_scannet import OccScanNet, embodied_test_scenes
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.camera import project
from sgrocc_core.geometry.lattice import VOXEL_SIZE, box_pose, voxel_centres
from tests.samples.recordings.published_layout import array_bytes, depth_png, write_lists, write_local

SCENE, FRAME = "scene0191_00", "00012"
LINE = f"gathered_data/{SCENE}/{FRAME}.pkl"


@pytest.fixture
def root(tmp_path):
    write_local(tmp_path, SCENE, FRAME)
    write_lists(tmp_path, train_final=[LINE])
    return tmp_path


def test_a_published_sample_is_in_metres_red_first_and_x_first(root):
    sample = OccScanNet(root, "train", None)[0]
    assert (sample.scene, sample.frame) == (SCENE, FRAME)
    assert sample.image.shape == (16, 24, 3) and sample.image[8, 2, 0] > 180 > 60 > sample.image[8, 2, 2]
    assert sample.depth.shape == (16, 24) and sample.depth.dtype == np.float32
    np.testing.assert_allclose((sample.depth[0, 0], sample.depth[15, 23]), (1.5, 3.0), rtol=1e-6)
    assert sample.target.dtype == np.uint8 and sample.target[7, 5, 0] == 2 and sample.target[0, 59, 35] == 8
    assert (sample.target[:, 0] == 255).all() and np.count_nonzero(sample.target[:, 1:]) == 2
    np.testing.assert_array_equal(sample.voxel_origin, (0.613, 1.0, 0.101))
    np.testing.assert_array_equal(sample.T_wc[:3, 3], (3.0, 1.0, 1.5))
    assert sample.labels_2d is None


def test_intrinsics_of_the_native_size_are_scaled_with_the_image_each_axis_by_itself(root):
    np.testing.assert_array_equal(OccScanNet(root, "train", None)[0].K, [[20, 0, 11.5], [0, 21, 7.5], [0, 0, 1]])
    sample = OccScanNet(root, "train", (12, 4))[0]  # half as wide, a quarter as high
    np.testing.assert_allclose(
        sample.K, [[10, 0, 5.5], [0, 5.25, 1.5], [0, 0, 1]]
    )  # the centre of the image stays its centre
    assert sample.image.shape == (4, 12, 3) and sample.depth.shape == (4, 12)


def test_depths_are_never_mixed_across_an_edge(root):
    for size in ((12, 8), (7, 5), (31, 19)):
        sample = OccScanNet(root, "train", size)[0]
        np.testing.assert_allclose(np.unique(sample.depth), (1.5, 3.0), rtol=1e-6)


def test_the_networks_box_is_the_stored_grid_wherever_that_stands(root):
    """Computed by hand: the corner is (0.613, 1.0, 0.101), no multiple of 0.08 m; voxel [7, 5, 0] has label 2."""
    sample = OccScanNet(root, "train", None)[0]
    T_bc = box_pose(sample.T_wc, sample.voxel_origin)
    np.testing.assert_allclose(T_bc[:3, 3], (2.387, 0.0, 1.399))  # the camera at (3, 1, 1.5), seen from the corner
    np.testing.assert_array_equal(T_bc[:3, :3], sample.T_wc[:3, :3])
    centre = voxel_centres(sample.voxel_origin)[7, 5, 0]
    np.testing.assert_allclose(
        centre, (0.613 + 7.5 * 0.08, 1.0 + 5.5 * 0.08, 0.101 + 0.5 * 0.08)
    )  # (1.213, 1.44, 0.141)
    # from the camera: 1.787 to the left, 1.359 down, 0.44 ahead;
    # so u = 11.5 - 20 * 1.787 / 0.44, v = 7.5 + 21 * 1.359 / 0.44
    for point, T in ((centre, sample.T_wc), (np.array([7.5, 5.5, 0.5]) * VOXEL_SIZE, T_bc)):
        u, v, z = project(point[None], sample.K, T)
        np.testing.assert_allclose((u[0], v[0], z[0]), (-69.7272727, 72.3613636, 0.44), atol=1e-6)


def test_a_packed_view_keeps_the_grid_where_it_stood(root, tmp_path):
    pytest.importorskip("torch")
    from sgrocc_core.training.data.packed import open_scene, pack

    pack(OccScanNet(root, "train", None), tmp_path / "packed")
    scene = open_scene(tmp_path / "packed" / SCENE)
    np.testing.assert_allclose(scene.T_bc[0, :3, 3], (2.387, 0.0, 1.399))
    assert scene.target[0, 7, 5, 0] == 2 and scene.target[0, 0, 59, 35] == 8 and scene.target[0, 30, 0, 9] == 255


def test_2d_labels_of_a_set_without_them_are_those_of_the_voxels_that_the_pixels_lie_in(root):
    """Walls 1.5 m ahead (label 3) and, from voxel x 40 on, 3 m ahead (label 10).

    The latter is where u >= 11.5 + (40 * 0.08 - 2.387) / 3.02 * 20.
    """
    pytest.importorskip("torch")
    from sgrocc_core.training.data.packed import labels_from_grid

    stored = np.zeros((60, 60, 36))
    stored[18:20], stored[37, 40:] = 3, 10
    write_local(root, SCENE, FRAME, target_1_4=array_bytes(stored, "u1", stored.shape))
    labels = labels_from_grid(OccScanNet(root, "train", None)[0])
    assert (labels[:, :12] == 3).all() and (labels[:, 12:17] == 255).all() and (labels[:, 17:] == 10).all()


@pytest.mark.parametrize("code", ["f8", "f4", "i8"])
def test_labels_of_any_stored_type_are_read(root, code):
    stored = np.zeros((60, 60, 36))
    stored[3, 50, 1], stored[3, 51, 1] = 11, 255
    write_local(root, SCENE, FRAME, target_1_4=array_bytes(stored, code, stored.shape))
    target = OccScanNet(root)[0].target
    assert (
        target.dtype == np.uint8
        and target[50, 3, 1] == 11
        and target[51, 3, 1] == 255
        and np.count_nonzero(target) == 2
    )


def test_lines_of_lists_are_read_with_and_without_folders_before_them(root):
    (root / "mine.txt").write_text(f"{LINE}\n\n/home/someone/data/{LINE}\n{SCENE}/{FRAME}\n")
    assert OccScanNet(root, root / "mine.txt").names == [(SCENE, FRAME)] * 3
    (root / "mine.txt").write_text(f"{LINE}\nscene0191_00\n")
    with pytest.raises(
        DataError, match=r"mine\.txt, line 2 is 'scene0191_00'; it must be gathered_data/SCENE/NNNNN\.pkl"
    ):
        OccScanNet(root, root / "mine.txt")


def test_the_mini_split_has_lists_of_its_own(root):
    write_local(root, "scene0000_00", "00001")
    write_lists(
        root,
        train_final=[LINE, "gathered_data/scene0000_00/00001.pkl"],
        train_mini_final=[LINE],
        test_mini_final=[LINE],
    )
    assert len(OccScanNet(root, "train")) == 2
    assert OccScanNet(root, "train_mini").names == OccScanNet(root, "test_mini").names == [(SCENE, FRAME)]
    assert len(OccScanNet(root / "occscannet", "train")) == 2


@pytest.fixture
def leaking(root):
    """Scenes a, b, c on both sides of the local split, as published; b is an embodied test scene."""
    lines = [f"gathered_data/{scene}/{frame}.pkl" for scene in "abc" for frame in ("00000", "00001")]
    mini = [line for line in lines if "/c/" not in line]
    write_lists(
        root, train_final=lines, test_final=lines, train_mini_final=mini, test_mini_final=mini, test_online=["b", "z"]
    )
    return root


def test_no_leak_leaves_the_embodied_test_scenes_out_of_training(leaking):
    data = OccScanNet(leaking, "train", no_leak=True)
    assert [scene for scene, _ in data.names] == ["a", "a", "c", "c"] and data.left_out == ("b",)
    assert {scene for scene, _ in OccScanNet(leaking, "train_mini", no_leak=True).names} == {"a"}
    assert {scene for scene, _ in OccScanNet(leaking, leaking / "occscannet/train_final.txt", no_leak=True).names} == {
        "a",
        "c",
    }
    assert len(OccScanNet(leaking, "train")) == 6 and OccScanNet(leaking, "train").left_out == ()


def test_no_leak_tests_on_scenes_that_training_did_not_have_and_on_no_other(leaking):
    for suffix in ("", "_mini"):
        trained = {scene for scene, _ in OccScanNet(leaking, f"train{suffix}", no_leak=True).names}
        tested = OccScanNet(leaking, f"test{suffix}", no_leak=True)
        assert {scene for scene, _ in tested.names} == {"b"} and "b" not in trained and "a" in tested.left_out
    assert {scene for scene, _ in OccScanNet(leaking / "occscannet", "test", no_leak=True).names} == {"b"}
    assert embodied_test_scenes(leaking) == {"b", "z"}


def test_no_leak_without_the_embodied_list_is_an_error_that_says_what_to_do(root):
    with pytest.raises(
        DataError,
        match=r"test_online\.txt, which does not exist: put scene_occ/test_online\.txt .* or omit no-leak",
    ):
        OccScanNet(root, "train", no_leak=True)
    write_lists(root, test_online=[SCENE])
    with pytest.raises(DataError, match="leaves nothing of .*train_final"):
        OccScanNet(root, "train", no_leak=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cam_pose": None}, "has no 'cam_pose'; its keys are img, depth_gt, intrinsic"),
        ({"target_1_4": array_bytes(np.zeros(60 * 60 * 4), "u1", (60, 60, 4))},
            r"target_1_4 is \(60, 60, 4\); it must be \(60, 60, 36\)"),
        ({"target_1_4": array_bytes(np.full(60 * 60 * 36, 12), "u1", (60, 60, 36))},
            "holds 12 .* labels are 0 to 11, and 255"),
        ({"cam_pose": array_bytes([-np.inf] * 16, "f4", (4, 4))},
            "cam_pose is not a pose .* remove the frame's line from the list"),
        ({"cam_pose": array_bytes(np.eye(3), "f4", (3, 3))}, r"cam_pose is float32 of shape \(3, 3\)"),
        ({"intrinsic": array_bytes(np.zeros(9), "f4", (3, 3))}, "focal lengths must be positive"),
        ({"voxel_origin": array_bytes([1.0, np.nan, 2.0], "f8", (3,))}, "voxel_origin is .* three numbers"),
        ({"voxel_origin": b"cposix\nsystem\n(S'true'\ntR"}, r"is refused: it asks for posix\.system"),
    ],
)  # fmt: skip
def test_a_damaged_sample_names_scene_frame_file_and_fault(root, changes, words):
    write_local(root, SCENE, FRAME, **changes)
    with pytest.raises(DataError, match=rf"scene {SCENE}, frame {FRAME}: .*{FRAME}\.pkl.* {words}"):
        OccScanNet(root)[0]


@pytest.mark.parametrize(
    "file",
    [f"gathered_data/{SCENE}/{FRAME}.pkl", f"posed_images/{SCENE}/{FRAME}.jpg", f"posed_images/{SCENE}/{FRAME}.png"],
)
def test_a_missing_or_cut_file_is_named_with_what_to_do(root, file):
    folder, name = file.split("/")[0], file.split("/")[-1].replace(".", r"\.")
    path = root / "occscannet" / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    told = f"unpack {folder} of the set again .* or remove its line from the list"
    with pytest.raises(DataError, match=rf"scene {SCENE}, frame {FRAME}: .*{name} cannot be (read|decoded).*: {told}"):
        OccScanNet(root)[0]
    path.unlink()
    with pytest.raises(DataError, match=rf"scene {SCENE}, frame {FRAME}: .*{name} does not exist: {told}"):
        OccScanNet(root)[0]


def test_depth_of_8_bit_is_refused(root):
    path = root / f"occscannet/posed_images/{SCENE}/{FRAME}.png"
    path.write_bytes(depth_png([[1]]))
    assert OccScanNet(root, "train", None)[0].depth.max() == pytest.approx(0.001)
    shutil.copy(root / f"occscannet/posed_images/{SCENE}/{FRAME}.jpg", path)
    with pytest.raises(DataError, match=r"00012\.png is uint8 .* 16 bit"):
        OccScanNet(root)[0]


def test_a_folder_without_data_or_list_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="no gathered_data in it; unpack"):
        OccScanNet(tmp_path)
    write_local(tmp_path, SCENE, FRAME)
    with pytest.raises(DataError, match=r"test_final\.txt does not exist; the split must be train, test"):
        OccScanNet(tmp_path, "test")
    write_lists(tmp_path, test_final=[])
    with pytest.raises(DataError, match="lists no frames"):
        OccScanNet(tmp_path, "test")
