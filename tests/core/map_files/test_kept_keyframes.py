"""Keyframes on disk: what is kept comes back, the folder stays within its size, and a kill leaves whole keyframes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sgrocc_core.errors import DataError
from sgrocc_core.frame import Frame
from sgrocc_core.map_files.keyframes import KeyframeStore
from tests.samples.rooms.box_room import K, frames, look, pose


@pytest.fixture(scope="module")
def walk():
    return frames(12)


def stored(folder, walk, limit_mb=100.0, depth=True):
    store = KeyframeStore(folder, limit_mb)
    for frame in walk:
        store.add(frame if depth else replace(frame, depth=None), "optical")
    return store


def test_a_keyframe_comes_back_with_its_image_depth_and_pose(tmp_path, walk):
    stored(tmp_path, walk)
    again = KeyframeStore(tmp_path)
    assert len(again.keyframes) == 12 and again.damaged == 0
    keyframe = again.keyframes[3]
    assert (keyframe.number, keyframe.frame_id, keyframe.camera) == (4, "optical", "")
    frame = again.load(keyframe)
    np.testing.assert_allclose(frame.T_wc, walk[3].T_wc, atol=1e-12)
    np.testing.assert_array_equal(frame.K, K)
    assert frame.stamp_ns == walk[3].stamp_ns
    assert np.abs(frame.depth - walk[3].depth).max() <= 0.0006
    assert np.abs(frame.image.astype(int) - walk[3].image).mean() < 3
    np.testing.assert_allclose(again.load(keyframe, pose(1, 1, 0)).T_wc, pose(1, 1, 0), atol=1e-12)


def test_images_alone_have_no_depth_and_half_of_the_files(tmp_path, walk):
    store = stored(tmp_path, walk, depth=False)
    assert store.load(store.keyframes[0]).depth is None and not list(tmp_path.glob("*.png"))
    assert store.bytes == sum(file.stat().st_size for file in tmp_path.glob("*.jpg"))


def test_a_frame_that_has_hardly_moved_is_no_keyframe_and_each_camera_has_its_own_last(tmp_path):
    store = KeyframeStore(tmp_path, 10)
    assert store.wants(pose(1, 1, 0.0)) and not store.wants(pose(1.03, 1, 0.03)) and store.wants(pose(1.06, 1, 0.0))
    assert store.wants(pose(1.06, 1, 0.06)) and not store.wants(pose(1.06, 1, 0.1))
    assert store.wants(pose(1.06, 1, 0.1), "left")


def test_a_full_folder_loses_the_keyframes_that_others_replace(tmp_path):
    """Twenty frames in one place and ten along a walk: the walk stays covered."""
    image, depth = look(pose(1, 1, 0))
    standing = [Frame(image, K, pose(1, 1, 0.001 * k), k * 10**8, depth) for k in range(20)]
    walking = [Frame(image, K, pose(1 + 0.2 * k, 1, 0), (20 + k) * 10**8, depth) for k in range(1, 11)]
    size = stored(tmp_path / "one", standing[:1]).bytes
    store = stored(tmp_path / "all", standing + walking, 14.5 * size / 1e6)
    assert store.bytes <= 14.5 * size and len(store.keyframes) >= 12
    kept = {keyframe.stamp_ns // 10**8 for keyframe in store.keyframes}
    assert set(range(21, 31)) <= kept
    assert KeyframeStore(tmp_path / "all").keyframes == store.keyframes


def test_new_poses_are_there_after_a_restart(tmp_path, walk):
    store = stored(tmp_path, walk)
    store.set_poses({3: pose(2, 2, 1)})
    again = KeyframeStore(tmp_path)
    np.testing.assert_allclose(again.keyframes[2].pose, pose(2, 2, 1))
    np.testing.assert_array_equal(again.keyframes[3].pose, walk[3].T_wc)


def test_what_a_killed_process_left_is_read_as_far_as_it_is_whole(tmp_path, walk):
    stored(tmp_path, walk)
    index = tmp_path / "index.jsonl"
    lines = index.read_text().splitlines()
    (tmp_path / "00000005.png").unlink()
    index.write_text("\n".join([*lines[:-1], lines[-1][:40]]) + '\n{"number": "x"}\n[]\n')
    store = KeyframeStore(tmp_path, 100)
    assert [keyframe.number for keyframe in store.keyframes] == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11] and store.damaged == 4
    assert store.add(walk[0]).number == 12
    (tmp_path / "00000006.jpg").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"the keyframe .*00000006.jpg is missing or damaged"):
        store.load(store.keyframes[4])


def test_keyframes_after_a_stamp_are_removed_and_all_of_them(tmp_path, walk):
    store = stored(tmp_path, walk)
    store.keep(walk[4].stamp_ns)
    assert len(store.keyframes) == len(KeyframeStore(tmp_path).keyframes) == 5
    store.keep(None)
    assert not list(tmp_path.glob("*.jpg")) and not KeyframeStore(tmp_path).keyframes
