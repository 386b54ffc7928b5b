"""Maps on disk: round trip, complete generations after a kill, unread maps are kept, and clear errors."""

import io
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from sgrocc_core.classes import NAMES
from sgrocc_core.errors import DataError
from sgrocc_core.map_files.file import FILES, KEYS, MapFolder, SavedMap, load_map
from sgrocc_core.map_files.format import MapModel

SAVER = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from sgrocc_core.map_files.file import MapFolder, SavedMap, load_map
from sgrocc_core.map_files.format import MapModel

def save_for_ever(path, size, told):
    folder, n = MapFolder(path), 0
    if not folder.empty:
        n = folder.load().stamp_ns
    while True:
        n += 1
        voxels = np.full((size, 3), n, np.int32)
        ones, rows = np.ones(size), {"means": np.full((size, 3), n, np.float32)}
        labels, probability = ones.astype(np.uint8), ones.astype(np.float32)
        saved = SavedMap(voxels, labels, probability, voxels, "map", n, rows, MapModel("m", 4, 32))
        folder.save(saved, {"n": n}, picture=False)
        os.write(told, n.to_bytes(8, "little"))

path, size, kills, longest = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
chance = random.Random(4)
for _ in range(kills):
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        save_for_ever(path, size, write)
    os.close(write)
    first = int.from_bytes(os.read(read, 8), "little")
    time.sleep(chance.uniform(0.0, longest))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    rest = os.read(read, 1 << 16)
    last = int.from_bytes(rest[-8:], "little") if rest else first
    saved = load_map(path)
    whole = len(saved.voxels) == size and (saved.voxels == saved.stamp_ns).all()
    whole = whole and (saved.gaussians["means"] == saved.stamp_ns).all()
    print(last, saved.stamp_ns, bool(whole), flush=True)
"""
"""Repeatedly forks a process that saves maps, kills it at a random moment and loads the map.

Prints a line per kill: the last number that the process reported, the number in the file, and whether all rows hold it.
"""


def a_map(stamp_ns: int = 7) -> SavedMap:
    voxels = np.array([[0, 0, 0], [1, 0, 0], [-5, 2, 3]], np.int32)
    labels, probability = np.array([2, 3, 11], np.uint8), np.array([0.5, 0.75, 1.0], np.float32)
    gaussians = {"means": np.arange(6, dtype=np.float32).reshape(2, 3), "blocks": np.array([[0, 0, 1]], np.int32)}
    return SavedMap(
        voxels,
        labels,
        probability,
        np.array([[9, 9, 9]], np.int32),
        "odom",
        stamp_ns,
        gaussians,
        MapModel("small", 4, 32),
    )


def test_a_saved_map_is_read_back_as_it_was(tmp_path):
    MapFolder(tmp_path / "m").save(a_map())
    read, written = load_map(tmp_path / "m"), a_map()
    for name in ("voxels", "labels", "probability", "free"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
        assert getattr(read, name).dtype == getattr(written, name).dtype
    assert (read.frame_id, read.stamp_ns, read.voxel_size, read.classes) == ("odom", 7, 0.08, NAMES)
    assert read.model == MapModel("small", 4, 32)
    assert sorted(read.gaussians) == ["blocks", "means"]
    np.testing.assert_array_equal(read.gaussians["means"], written.gaussians["means"])


def test_the_files_lie_under_their_plain_names_and_the_map_has_exactly_its_keys(tmp_path):
    paths = MapFolder(tmp_path).save(a_map(), {"figures": 1}, ply=True)
    assert paths == [tmp_path / name for name in FILES] and all(
        path.is_file() and path.stat().st_size for path in paths
    )
    with np.load(tmp_path / "map.npz", allow_pickle=False) as arrays:
        assert set(arrays.files) == set(KEYS)
        assert (
            arrays["voxel_size"] == 0.08 and arrays["stamp_ns"].dtype == np.int64 and int(arrays["format_version"]) == 3
        )


def test_the_mesh_has_the_outer_faces_of_the_voxels_only(tmp_path):
    MapFolder(tmp_path).save(a_map(), ply=True)
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


def killed(folder, kills):
    command = [sys.executable, "-c", SAVER, str(folder), "20000", str(kills), "0.1"]
    lines = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    assert len(lines) == kills
    return [(int(told), int(stamp), whole == "True") for told, stamp, whole in map(str.split, lines)]


@pytest.mark.parametrize("kills", [25, pytest.param(500, marks=pytest.mark.slow)])
def test_a_kill_at_any_moment_leaves_the_last_whole_map(tmp_path, kills):
    for told, stamp, whole in killed(tmp_path, kills):
        assert whole and stamp in (told, told + 1)
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
    np.savez(tmp_path / "map.npz", voxels=np.zeros((0, 3), np.int32))
    with pytest.raises(DataError, match="is not a map: it lacks labels, probability"):
        load_map(tmp_path)
    np.savez(tmp_path / "map.npz", voxels=np.zeros((0, 3), np.int32), format_version=np.int64(1))
    with pytest.raises(DataError, match="format version 1; this program reads version 3"):
        load_map(tmp_path)


def rewritten(folder, **changed):
    """A valid saved map with some arrays of map.npz replaced."""
    MapFolder(folder).save(a_map(), picture=False)
    with np.load(folder / "map.npz") as arrays:
        kept = {key: arrays[key] for key in arrays.files}
    np.savez(folder / "map.npz", **kept | changed)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"voxels": np.array([Path("/")], object)}, r"'voxels' is \(1,\) object; it must be \(N, 3\) int32"),
        ({"labels": np.ones(3, np.int64)}, r"'labels' is \(3,\) int64; it must be \(N = 3\) uint8"),
        ({"probability": np.ones(4, np.float32)}, r"'probability' is \(4,\) float32; it must be \(N = 3\) float32"),
        ({"free": np.zeros((2, 2), np.int32)}, r"'free' is \(2, 2\) int32; it must be \(M = 2, 3\) int32"),
        ({"stamp_ns": np.float64(3)}, r"'stamp_ns' is \(\) float64; it must be \(\) int64"),
        ({"probability": np.array([0.5, np.nan, 1], np.float32)}, "'probability' holds nan"),
        ({"probability": np.array([0.5, 1.5, 1], np.float32)}, "'probability' holds 1.5; it must lie between 0 and 1"),
        ({"labels": np.array([1, 12, 255], np.uint8)}, "'labels' holds 12; it must lie between 1 and 11"),
        ({"voxels": np.full((3, 3), 2_000_000, np.int32)}, "'voxels' holds 2000000"),
        ({"free": np.full((3, 3), -2_000_000, np.int32)}, "'free' holds -2000000"),
        ({"stamp_ns": np.int64(-1)}, "'stamp_ns' holds -1"),
        ({"voxel_size": np.float64(0.1)}, "'voxel_size' holds 0.1"),
        ({"model": np.array("m" * 1000)}, "'model' has texts of 1000 characters; 256 are allowed"),
        ({"frame_id": np.array("map")}, "belongs to another map than the map.npz beside it"),
    ],
)  # fmt: skip
def test_contents_that_no_map_has_are_named(tmp_path, changed, words):
    rewritten(tmp_path, **changed)
    with pytest.raises(DataError, match=words):
        load_map(tmp_path)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (10**12, "holds 12000.0 GB of arrays; this machine reads at most"),
        (10**8 + 1, "rows; at most 100000000 are read"),
    ],
    ids=["12_TB", "1.2_GB"],
)
def test_arrays_of_absurd_size_are_refused_before_memory_is_taken_for_them(tmp_path, rows, words):
    """The header announces so much in a file of a few hundred bytes."""
    rewritten(tmp_path)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i4", "fortran_order": False, "shape": (rows, 3)})
    with zipfile.ZipFile(tmp_path / "map.npz") as good:
        members = {name: good.read(name) for name in good.namelist()}
    with zipfile.ZipFile(tmp_path / "map.npz", "w") as bad:
        for name, content in (members | {"free.npy": header.getvalue()}).items():
            bad.writestr(name, content)
    with pytest.raises(DataError, match=words):
        load_map(tmp_path)


@pytest.mark.parametrize("name", ["map.npz", "gaussians.safetensors"])
@pytest.mark.parametrize("left", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_says_so(tmp_path, name, left):
    MapFolder(tmp_path).save(a_map(), picture=False)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(left * len(content))])
    with pytest.raises(DataError, match=f"{name} is damaged"):
        load_map(tmp_path)


def test_bytes_changed_anywhere_give_a_clear_error_or_a_map_that_is_whole(tmp_path):
    """Any damage to map.npz gives a DataError or arrays of the right shape."""
    MapFolder(tmp_path).save(a_map(), picture=False)
    content, chance, refused = (tmp_path / "map.npz").read_bytes(), random.Random(5), 0
    for _ in range(300):
        spoilt = bytearray(content)
        spoilt[chance.randrange(len(spoilt))] ^= 1 << chance.randrange(8)
        (tmp_path / "map.npz").write_bytes(spoilt)
        try:
            assert load_map(tmp_path).voxels.shape == (3, 3)
        except DataError:
            refused += 1
    assert refused > 100


def test_a_map_that_take_refuses_is_not_overwritten(tmp_path):
    MapFolder(tmp_path).save(a_map(1), picture=False)
    second = MapFolder(tmp_path)

    def refuse(saved):
        raise DataError("not this one")

    with pytest.raises(DataError, match="not this one"):
        second.load(refuse)
    second.save(a_map(2), picture=False)
    assert load_map(tmp_path / "previous_1").stamp_ns == 1


def test_a_folder_without_its_generation_is_damaged_not_empty(tmp_path):
    assert MapFolder(tmp_path / "nothing").empty
    MapFolder(tmp_path).save(a_map(), picture=False)
    shutil.rmtree(tmp_path / ".generations")
    assert not MapFolder(tmp_path).empty
    with pytest.raises(DataError, match="is damaged: its pointer names the generation 000001"):
        MapFolder(tmp_path).load()


def test_a_mesh_is_written_only_where_it_is_asked_for(tmp_path):
    assert tmp_path / "map.ply" not in MapFolder(tmp_path).save(a_map())


def test_a_changed_byte_of_the_gaussians_is_found(tmp_path):
    MapFolder(tmp_path).save(a_map(), picture=False)
    file = (tmp_path / "gaussians.safetensors").resolve()
    data = bytearray(file.read_bytes())
    data[-1] ^= 1  # the last value
    file.write_bytes(data)
    with pytest.raises(DataError, match="SHA-256"):
        load_map(tmp_path)


@pytest.mark.parametrize("name", ["map.npz", "gaussians.safetensors"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_regular_files_are_opened(tmp_path, name, kind):
    MapFolder(tmp_path).save(a_map(), picture=False)
    file = (tmp_path / name).resolve()
    file.unlink()
    if kind == "pipe":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        file.mkdir()
    with pytest.raises(DataError, match="not a regular file"):
        load_map(tmp_path)


def test_one_folder_is_claimed_by_one_process_at_a_time(tmp_path):
    first, second = MapFolder(tmp_path / "m"), MapFolder(tmp_path / "m")
    first.claim()
    first.claim()
    with pytest.raises(DataError, match=rf"another process \({os.getpid()}\) saves its maps"):
        second.claim()
    first.release()
    second.claim()
    assert second.empty


@pytest.mark.parametrize("where", ["file/map", "file"])
def test_a_folder_that_cannot_be_written_is_told_when_it_is_claimed(tmp_path, where):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="the map cannot be written to"):
        MapFolder(tmp_path / where).claim()


def test_copies_of_a_time_before_a_jump_are_numbered_and_the_newest_five_kept(tmp_path):
    folder = MapFolder(tmp_path)
    folder.save(a_map(1), picture=False)
    paths = [folder.save_copy(a_map(10 + i)) for i in range(7)]
    assert [path.name for path in paths] == [f"jump_{i}" for i in range(1, 8)]
    assert sorted(path.name for path in tmp_path.glob("jump_*")) == [f"jump_{i}" for i in range(3, 8)]
    assert load_map(tmp_path / "jump_7").stamp_ns == 16 and load_map(tmp_path).stamp_ns == 1


def test_two_processes_that_overwrite_each_other_do_not_fill_the_disk(tmp_path):
    first, second = MapFolder(tmp_path), MapFolder(tmp_path)
    for i in range(12):
        (first if i % 2 else second).save(a_map(i), picture=False)
    assert len(list(tmp_path.glob("previous_*"))) <= 10
    assert load_map(tmp_path).stamp_ns == 11


def test_saving_two_voxels_two_kilometres_apart_takes_little_memory(tmp_path):
    """The box around them has 1.6e10 voxels; in a process of its own, because the peak is one of the whole process."""
    program = f"""
import resource, sys
import numpy as np
from sgrocc_core.map_files.file import MapFolder
from sgrocc_core.map_files.format import MapModel, SavedMap
def a_map(far):
    voxels, labels = np.array([[0, 0, 0], [far, far, 25]], np.int32), np.array([2, 3], np.uint8)
    return SavedMap(voxels, labels, np.ones(2, np.float32), voxels[:0], "map", 7, {{}}, MapModel("small", 4, 32))
MapFolder({str(tmp_path)!r}).save(a_map(50), ply=True)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
MapFolder({str(tmp_path)!r}).save(a_map(25000), ply=True)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(run.stdout) < 400_000  # kilobytes
    assert "element face 12\n" in (tmp_path / "map.ply").read_bytes().split(b"end_header\n")[0].decode()
