"""Kept files: whole or made again, also under two processes and under one that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sgrocc_core.engines import cache
from sgrocc_core.engines.cache import cache_folder, key_of, load_or_make, read_kept, write_kept

CONTENT = bytes(range(256)) * 40


def no_making() -> tuple[bytes, bytes]:
    raise AssertionError("it was made again")


def made() -> tuple[bytes, bytes]:
    return CONTENT, CONTENT


def test_what_was_made_is_loaded_by_the_next_start(tmp_path: Path) -> None:
    assert load_or_make(tmp_path / "a.blob", bytes, made) == (CONTENT, False)
    assert load_or_make(tmp_path / "a.blob", bytes, no_making) == (CONTENT, True)


def test_it_is_made_afresh_when_asked(tmp_path: Path) -> None:
    write_kept(tmp_path / "a.blob", b"old")
    assert load_or_make(tmp_path / "a.blob", bytes, made, afresh=True) == (CONTENT, False)
    assert read_kept(tmp_path / "a.blob") == CONTENT


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def foreign(path: Path) -> None:
    """A whole file of another name: that of another model, graph, version or machine."""
    write_kept(path.with_name("b.blob"), b"of another model")
    path.with_name("b.blob").replace(path)


def unmarked(path: Path) -> None:
    path.write_bytes(CONTENT)


@pytest.mark.parametrize("harm", [truncate, empty, flip, foreign, unmarked, Path.unlink])
def test_a_file_that_is_not_whole_or_not_its_own_is_made_again(tmp_path: Path, harm) -> None:
    path = tmp_path / "a.blob"
    write_kept(path, CONTENT)
    harm(path)
    assert read_kept(path) is None
    assert load_or_make(path, bytes, made) == (CONTENT, False)
    assert read_kept(path) == CONTENT


def test_a_file_that_its_reader_refuses_is_made_again(tmp_path: Path) -> None:
    def load(content: bytes) -> bytes:
        if content != CONTENT:
            raise RuntimeError("not a plan")
        return content

    write_kept(tmp_path / "a.blob", b"of another driver")
    assert load_or_make(tmp_path / "a.blob", load, made) == (CONTENT, False)
    assert load_or_make(tmp_path / "a.blob", load, no_making) == (CONTENT, True)


def test_a_folder_that_cannot_be_written_costs_the_making_only(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    for _ in range(2):
        assert load_or_make(tmp_path / "file" / "a.blob", bytes, made) == (CONTENT, False)


def test_what_fails_to_be_made_leaves_no_lock_behind(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        load_or_make(tmp_path / "a.blob", bytes, no_making)
    assert load_or_make(tmp_path / "a.blob", bytes, made) == (CONTENT, False)


MAKER = """
import sys, time
from pathlib import Path
from sgrocc_core.engines.cache import load_or_make
def make():
    with open(sys.argv[2], "a") as log: log.write("made\\n")
    time.sleep(1)
    return b"plan", b"plan"
while not Path(sys.argv[3]).exists(): time.sleep(0.01)
print(load_or_make(Path(sys.argv[1]), bytes, make)[0])
"""


def test_of_three_processes_one_makes_and_the_others_wait_for_it(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKER, tmp_path / "a.blob", tmp_path / "log", tmp_path / "go"]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    (tmp_path / "go").touch()
    assert [process.communicate(timeout=60)[0] for process in processes] == ["b'plan'\n"] * 3
    assert (tmp_path / "log").read_text() == "made\n"
    assert sorted(p.name for p in tmp_path.glob(".a.blob*")) == [".a.blob.lock"]


WRITER = """
import sys
from pathlib import Path
from sgrocc_core.engines.cache import write_kept
number = 0
while True:
    number += 1
    write_kept(Path(sys.argv[1]), number.to_bytes(4, "big") * 500_000)
"""


def test_a_reader_never_sees_a_part_and_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.blob"
    write_kept(path, bytes(4))
    seen = set()
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", WRITER, path])
        try:
            until = time.monotonic() + 1.0
            while time.monotonic() < until:
                content = read_kept(path)
                assert content is not None and content == content[:4] * (len(content) // 4)
                seen.add(content[:4])
        finally:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
    assert read_kept(path) is not None
    assert len(seen) > 3


def test_the_files_that_were_not_used_for_longest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MOST_BYTES", 3 * (len(CONTENT) + 64))
    for age, name in enumerate("abc"):
        write_kept(tmp_path / name, CONTENT)
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    assert read_kept(tmp_path / "a") == CONTENT  # used last
    write_kept(tmp_path / "d", CONTENT)
    assert sorted(p.name for p in tmp_path.iterdir() if p.name[0] != ".") == ["a", "c", "d"]


def test_the_folder_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder("openvino") == Path("/somewhere/sgrocc/openvino")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, by the specification
    monkeypatch.setenv("HOME", "/home/robot")
    assert cache_folder("openvino") == Path("/home/robot/.cache/sgrocc/openvino")


def test_a_key_stands_for_all_its_parts_in_order() -> None:
    assert len({key_of("a", "b"), key_of("b", "a"), key_of("ab"), key_of("a", "b", "")}) == 4
