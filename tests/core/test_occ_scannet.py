"""The Occ-ScanNet loader: hostile and damaged files, scaling, errors in a sentence."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest

from sgrocc_core.data.occ_scannet import OccScanNet, load_plain_pickle
from sgrocc_core.errors import DataError


def write_sample(root: Path, **changes) -> Path:
    """A set of one sample of 64 x 48 pixels; the target counts voxels in storage order modulo 12."""
    base = root / "occscannet"
    for folder in ("gathered_data/s", "posed_images/s"):
        (base / folder).mkdir(parents=True, exist_ok=True)
    content = {
        "cam_pose": np.eye(4), "intrinsic": np.array([[50.0, 0, 31.5, 0], [0, 52.0, 23.5, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
        "voxel_origin": np.array([1.0, 2.0, 3.0]), "target_1_4": (np.arange(60 * 60 * 36) % 12).reshape(60, 60, 36).astype(np.float32),
    }  # fmt: skip
    content.update(changes)
    path = base / "gathered_data/s/00000.pkl"
    path.write_bytes(pickle.dumps({k: v for k, v in content.items() if v is not None}))
    image = np.zeros((48, 64, 3), np.uint8)
    image[:, :, 2] = 200  # red, as OpenCV orders it
    cv2.imwrite(str(base / "posed_images/s/00000.jpg"), image)
    depth = np.full((48, 64), 1500, np.uint16)
    depth[:, 32:] = 3000
    cv2.imwrite(str(base / "posed_images/s/00000.png"), depth)
    (base / "train_final.txt").write_text("gathered_data/s/00000.pkl\n")
    return path


def test_a_sample_is_in_metres_red_first_and_x_first(tmp_path):
    write_sample(tmp_path)
    sample = OccScanNet(tmp_path, "train", None)[0]
    assert sample.image[0, 0, 0] > 180 and sample.image[0, 0, 2] < 20
    np.testing.assert_allclose(np.unique(sample.depth), (1.5, 3.0))
    assert sample.target.dtype == np.uint8 and sample.target[7, 3, 2] == (3 * 60 * 36 + 7 * 36 + 2) % 12
    assert sample.labels_2d is None and sample.K.shape == (3, 3)


def test_half_the_size_halves_the_focal_length_and_never_mixes_depths(tmp_path):
    write_sample(tmp_path)
    sample = OccScanNet(tmp_path, "train", (32, 24))[0]
    np.testing.assert_allclose(sample.K, [[25, 0, (31.5 + 0.5) / 2 - 0.5], [0, 26, (23.5 + 0.5) / 2 - 0.5], [0, 0, 1]])
    np.testing.assert_allclose(np.unique(sample.depth), (1.5, 3.0))
    assert sample.image.shape == (24, 32, 3)


class Hostile:
    """A pickle that would run a command when it is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_a_hostile_pickle_is_refused_and_does_nothing(tmp_path):
    write_sample(tmp_path, voxel_origin=Hostile(tmp_path / "owned"))
    with pytest.raises(DataError, match="only NumPy arrays and plain containers"):
        OccScanNet(tmp_path)[0]
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_every_protocol_are_read(tmp_path, protocol):
    content = {"a": np.arange(6.0).reshape(2, 3), "b": np.float64(2.5), "c": [1, (2, "x")], "d": np.array([True, False])}
    (tmp_path / "p.pkl").write_bytes(pickle.dumps(content, protocol))
    read = load_plain_pickle(tmp_path / "p.pkl")
    np.testing.assert_array_equal(read["a"], content["a"])
    assert read["b"] == 2.5 and read["c"] == [1, (2, "x")] and read["d"].tolist() == [True, False]


def test_pickles_of_older_numpy_are_read(tmp_path):
    text = pickle.dumps({"a": np.arange(3)}, 2).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    (tmp_path / "p.pkl").write_bytes(text)
    assert load_plain_pickle(tmp_path / "p.pkl")["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("changes", "words"),
    [({"cam_pose": None}, "has no 'cam_pose'"), ({"target_1_4": np.zeros((30, 30, 18))}, r"is \(30, 30, 18\); it must be \(60, 60, 36\)")],
)
def test_a_sample_that_lacks_something_says_what(tmp_path, changes, words):
    write_sample(tmp_path, **changes)
    with pytest.raises(DataError, match=words):
        OccScanNet(tmp_path)[0]


def test_a_damaged_file_is_named(tmp_path):
    path = write_sample(tmp_path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=r"00000\.pkl cannot be read"):
        OccScanNet(tmp_path)[0]
    write_sample(tmp_path)
    (tmp_path / "occscannet/posed_images/s/00000.png").unlink()
    with pytest.raises(DataError, match=r"00000\.png does not exist"):
        OccScanNet(tmp_path)[0]


def test_a_folder_without_data_or_list_says_what_is_missing(tmp_path):
    with pytest.raises(DataError, match="no gathered_data"):
        OccScanNet(tmp_path)
    write_sample(tmp_path)
    with pytest.raises(DataError, match=r"test_final\.txt does not exist"):
        OccScanNet(tmp_path, "test")
