"""Maps on disk: the round trip, whole generations whatever is killed, nothing overwritten unread, and clear errors."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sgrocc_core.classes import NAMES
from sgrocc_core.errors import DataError
from sgrocc_core.map_file import FILES, KEYS, MapFolder, SavedMap, load_map

SAVER = """
import sys, numpy as np
from sgrocc_core.map_file import MapFolder, SavedMap
folder, size = MapFolder(sys.argv[1]), int(sys.argv[2])
for n in range(1, 10**6):
    voxels = np.full((size, 3), n, np.int32)
    rows = {"means": np.full((size, 3), n, np.float32)}
    folder.save(SavedMap(voxels, np.ones(size, np.uint8), np.ones(size, np.float32), voxels, "map", n, rows), {"n": n}, picture=False)
    print(n, flush=True)
"""


def a_map(stamp_ns: int = 7) -> SavedMap:
    voxels = np.array([[0, 0, 0], [1, 0, 0], [-5, 2, 3]], np.int32)
    labels, probability = np.array([2, 3, 11], np.uint8), np.array([0.5, 0.75, 1.0], np.float32)
    gaussians = {"means": np.arange(6, dtype=np.float32).reshape(2, 3), "blocks": np.array([[0, 0, 1]], np.int32)}
    return SavedMap(voxels, labels, probability, np.array([[9, 9, 9]], np.int32), "odom", stamp_ns, gaussians)


def test_a_saved_map_is_read_back_as_it_was(tmp_path):
    MapFolder(tmp_path / "m").save(a_map())
    read, written = load_map(tmp_path / "m"), a_map()
    for name in ("voxels", "labels", "probability", "free"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    assert (read.frame_id, read.stamp_ns, read.voxel_size, read.classes) == ("odom", 7, 0.08, NAMES)
    assert sorted(read.gaussians) == ["blocks", "means"]
    np.testing.assert_array_equal(read.gaussians["means"], written.gaussians["means"])


def test_the_files_lie_under_their_plain_names_and_the_map_has_exactly_its_keys(tmp_path):
    paths = MapFolder(tmp_path).save(a_map(), {"figures": 1})
    assert paths == [tmp_path / name for name in FILES] and all(path.is_file() and path.stat().st_size for path in paths)
    with np.load(tmp_path / "map.npz", allow_pickle=False) as arrays:
        assert set(arrays.files) == set(KEYS)
        assert arrays["voxel_size"] == 0.08 and arrays["stamp_ns"].dtype == np.int64 and int(arrays["format_version"]) == 1


def test_the_mesh_has_the_outer_faces_of_the_voxels_only(tmp_path):
    MapFolder(tmp_path).save(a_map())
    header = (tmp_path / "map.ply").read_bytes().split(b"end_header\n")[0].decode()
    # Two touching cubes have 10 faces outside, the third has 6; each face has its own 4 corners.
    assert "element face 16\n" in header and "element vertex 64\n" in header


def test_saving_again_replaces_only_what_was_written_or_loaded_here(tmp_path):
    first = MapFolder(tmp_path)
    first.save(a_map(1), picture=False)
    first.save(a_map(2), picture=False)
    assert load_map(tmp_path).stamp_ns == 2 and not list(tmp_path.glob("previous_*"))
    assert len(list((tmp_path / ".generations").iterdir())) == 1


def test_a_map_that_was_not_loaded_is_kept_as_a_numbered_copy(tmp_path):
    MapFolder(tmp_path).save(a_map(1), picture=False)
    MapFolder(tmp_path).save(a_map(2), picture=False)
    MapFolder(tmp_path).save(a_map(3), picture=False)
    assert [load_map(tmp_path / name).stamp_ns for name in (".", "previous_1", "previous_2")] == [3, 1, 2]


def test_a_map_that_was_loaded_is_replaced(tmp_path):
    MapFolder(tmp_path).save(a_map(1), picture=False)
    second = MapFolder(tmp_path)
    assert second.load().stamp_ns == 1
    second.save(a_map(2), picture=False)
    assert load_map(tmp_path).stamp_ns == 2 and not list(tmp_path.glob("previous_*"))


def test_plain_files_that_somebody_copied_there_are_kept_too(tmp_path):
    (tmp_path / "map.npz").write_bytes(b"precious")
    MapFolder(tmp_path).save(a_map(), picture=False)
    assert (tmp_path / "previous_1/map.npz").read_bytes() == b"precious" and load_map(tmp_path).stamp_ns == 7


def test_a_kill_at_any_moment_leaves_a_whole_map(tmp_path):
    chance = random.Random(4)
    for round_ in range(6):
        process = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path), "20000"], stdout=subprocess.PIPE, text=True)
        assert process.stdout.readline().strip() == "1"
        time.sleep(chance.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        told = [1, *(int(line) for line in process.stdout.read().split())]
        process.wait()
        saved = load_map(tmp_path)
        assert saved.stamp_ns in (told[-1], told[-1] + 1), f"round {round_}"
        assert (saved.voxels == saved.stamp_ns).all() and len(saved.voxels) == 20000
        assert (saved.gaussians["means"] == saved.stamp_ns).all()
    MapFolder(tmp_path).save(a_map(), picture=False)
    assert [p.name for p in (tmp_path / ".generations").iterdir() if p.name.startswith(".part")] == []


def test_a_save_that_fails_leaves_the_old_map_and_no_rubbish(tmp_path):
    folder = MapFolder(tmp_path)
    folder.save(a_map(1), picture=False)
    with pytest.raises(TypeError):
        folder.save(a_map(2), {"not json": object()}, picture=False)
    assert load_map(tmp_path).stamp_ns == 1 and len(list((tmp_path / ".generations").iterdir())) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_an_os_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        MapFolder(tmp_path / "m").save(a_map())


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 but no more"])
def test_a_damaged_map_says_so(tmp_path, content):
    (tmp_path / "map.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"map\.npz is damaged or not a map"):
        load_map(tmp_path)


def test_a_missing_map_a_foreign_file_and_another_version_say_so(tmp_path):
    with pytest.raises(DataError, match="no map at"):
        load_map(tmp_path)
    np.savez(tmp_path / "map.npz", voxels=np.zeros((0, 3)))
    with pytest.raises(DataError, match="it lacks labels, probability"):
        load_map(tmp_path)
    np.savez(tmp_path / "map.npz", **{key: np.array(0) for key in KEYS} | {"format_version": np.array(99)})
    with pytest.raises(DataError, match="format version 99; this program reads version 1"):
        load_map(tmp_path)


def test_a_pickle_inside_a_map_is_not_opened(tmp_path):
    arrays = {key: np.array(0) for key in KEYS} | {"format_version": np.array(1), "voxels": np.array([Path("/")], object)}
    np.savez(tmp_path / "map.npz", **arrays)
    with pytest.raises(DataError, match="damaged or not a map"):
        load_map(tmp_path)
