"""The EmbodiedOcc-ScanNet loader on files written by hand in the published layout."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sgrocc_core.data.embodied_scannet import EmbodiedScanNet
from sgrocc_core.errors import DataError
from sgrocc_core.geometry.lattice import voxel_centres
from tests.samples.recordings.published_layout import (
    array_bytes,
    dict_bytes,
    integers,
    text_list,
    write_lists,
    write_local,
)

SCENE = "scene0011_00"
SHAPE = (3, 4, 2)
PATHS = [f"/data1/someone/occscannet/posed_images/{SCENE}/{name}.jpg" for name in ("00100", "00009", "00020")]


def centres() -> np.ndarray:
    """Voxel centres written out: the grid's corner is (-1.0, 2.5, 0.3)."""
    return np.array(
        [[[(-0.96 + 0.08 * x, 2.54 + 0.08 * y, 0.34 + 0.08 * z) for z in range(2)] for y in range(4)] for x in range(3)]
    )


def write_scene(root: Path, **changes: bytes | None) -> Path:
    labels = np.zeros(SHAPE)
    labels[2, 1, 0], labels[0, 3, 1] = 5, 255
    seen = np.zeros(SHAPE)
    seen[2] = 1
    content = {
        "scene_dim": integers(*SHAPE),
        "global_labels": array_bytes(labels, "i8", SHAPE),
        "global_pts": array_bytes(centres(), "f8", (*SHAPE, 3)),
        "valid_img_paths": text_list(*PATHS),
        "global_mask": array_bytes(seen, "u1", SHAPE),
        **changes,
    }
    folder = root / "scene_occ" / "global_occ_package"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{SCENE}.pkl"
    path.write_bytes(dict_bytes(**{key: value for key, value in content.items() if value is not None}))
    return path


def write_stream(root: Path, part: str, number: int, frame: str, **changes: bytes) -> Path:
    """A frame of the stream: its mask is only voxel `number`; its label, stored [y, x, z], is 9 at [y 4, x 50, z 2]."""
    label, mask = np.zeros((60, 60, 36)), np.zeros(SHAPE)
    label[4, 50, 2], mask.ravel()[number] = 9, 1
    content = {
        "local_label": array_bytes(label, "i8", label.shape),
        "mask_in_global": array_bytes(mask, "b1", SHAPE),
        **changes,
    }
    folder = root / "scene_occ" / "streme_occ_new_package" / part
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{SCENE}_{frame}_new.pkl"
    path.write_bytes(dict_bytes(**content))
    return path


@pytest.fixture
def root(tmp_path):
    write_scene(tmp_path)
    for number, frame in enumerate(("00009", "00020", "00100")):
        write_local(tmp_path, SCENE, frame)
        write_stream(tmp_path, "test", number, frame)
    write_lists(tmp_path, test_online=[SCENE], test_mini_online=[SCENE], train_online=["scene0000_00"])
    return tmp_path


def test_a_published_scene_is_read_x_first_with_its_corner_half_a_voxel_before_the_first_centre(root):
    scene = EmbodiedScanNet(root, "test")[0]
    assert scene.name == SCENE and scene.labels.dtype == np.uint8 and scene.labels.shape == SHAPE
    assert scene.labels[2, 1, 0] == 5 and scene.labels[0, 3, 1] == 255 and np.count_nonzero(scene.labels) == 2
    np.testing.assert_allclose(scene.origin, (-1.0, 2.5, 0.3))
    np.testing.assert_allclose(voxel_centres(scene.origin, SHAPE)[2, 1, 0], (-0.8, 2.62, 0.34))
    assert scene.mask.dtype == bool and scene.mask[2].all() and not scene.mask[:2].any()


def test_frames_come_in_numeric_order_whatever_folders_their_author_had(root):
    data = EmbodiedScanNet(root, "test", None)
    scene = data[0]
    assert scene.frames == ("00009", "00020", "00100")
    for number, (sample, mask) in enumerate(data.frames(scene)):
        assert (sample.scene, sample.frame) == (SCENE, scene.frames[number]) and sample.image.shape == (16, 24, 3)
        assert mask.dtype == bool and np.flatnonzero(mask).tolist() == [number]
        np.testing.assert_array_equal(sample.voxel_origin, (0.613, 1.0, 0.101))


def test_a_frames_target_is_its_local_label_stored_y_first(root):
    data = EmbodiedScanNet(root, "test", None)
    for sample, _ in data.frames(data[0]):
        assert sample.target.dtype == np.uint8 and sample.target[50, 4, 2] == 9 and np.count_nonzero(sample.target) == 1


def test_the_mini_lists_read_the_same_stream(root):
    data = EmbodiedScanNet(root, "test_mini", None)
    assert len(list(data.frames(data[0]))) == 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"global_pts": None}, "has no 'global_pts'"),
        ({"scene_dim": integers(3, 4)}, r"scene_dim is \[3, 4\]"),
        (
            {"scene_dim": integers(4, 3, 2)},
            r"global_labels is int64 of shape \(3, 4, 2\); the scene's shape is \(4, 3, 2\)",
        ),
        ({"global_labels": array_bytes(np.full(SHAPE, 40), "u1", SHAPE)}, "global_labels holds 40"),
        (
            {"global_pts": array_bytes(centres()[..., ::-1], "f8", (*SHAPE, 3))},
            "global_pts are not the centres of a grid of 0.08 m",
        ),
        (
            {"global_pts": array_bytes(centres() * 2, "f8", (*SHAPE, 3))},
            "global_pts are not the centres of a grid of 0.08 m",
        ),
        ({"global_mask": array_bytes([1], "u1", (1,))}, r"global_mask is uint8 of shape \(1,\)"),
        ({"valid_img_paths": text_list("a/b.jpg")}, r"valid_img_paths must end in frame numbers.*\['b'\]"),
    ],
)
def test_a_damaged_scene_names_scene_file_and_fault(root, changes, words):
    write_scene(root, **changes)
    with pytest.raises(DataError, match=rf"scene {SCENE}: .*{SCENE}\.pkl.*{words}"):
        EmbodiedScanNet(root, "test")[0]


def test_a_damaged_or_missing_frame_of_the_stream_is_named_with_what_to_do(root):
    data = EmbodiedScanNet(root, "test")
    path = write_stream(root, "test", 0, "00020", mask_in_global=array_bytes([1, 0], "b1", (2,)))
    with pytest.raises(DataError, match=rf"scene {SCENE}, frame 00020: .*mask_in_global is bool of shape \(2,\)"):
        list(data.frames(data[0]))
    write_stream(root, "test", 0, "00020", local_label=array_bytes(np.zeros(8), "u1", (2, 2, 2)))
    with pytest.raises(DataError, match=rf"scene {SCENE}, frame 00020: .*local_label is \(2, 2, 2\)"):
        list(data.frames(data[0]))
    path.unlink()
    with pytest.raises(
        DataError, match=rf"scene {SCENE}, frame 00020: .*00020_new\.pkl does not exist: unpack streme_occ_new_package"
    ):
        list(data.frames(data[0]))


def test_missing_lists_and_scenes_say_what_to_do(root):
    with pytest.raises(
        DataError, match=r"train_mini_online\.txt does not exist; the split must be train, test.*beside occscannet"
    ):
        EmbodiedScanNet(root, "train_mini")
    with pytest.raises(
        DataError, match=r"scene scene0000_00: .*scene0000_00\.pkl does not exist: unpack global_occ_package"
    ):
        EmbodiedScanNet(root, "train")[0]
