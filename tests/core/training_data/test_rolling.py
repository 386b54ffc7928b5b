"""A folder filled while others read it: the newest and the leased scenes are kept; a dead reader holds no lease."""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from sgrocc_core.errors import DataError
from sgrocc_core.training.data import dataset
from sgrocc_core.training.data.dataset import DatasetOptions, PackedViews, loader
from sgrocc_core.training.data.packed import open_scene, packed_scenes
from sgrocc_core.training.data.rolling import make_rolling, newest, remove_old, scenes_to_read
from tests.samples.rooms.little_room import write_scene


def fill(folder: Path, *names: str) -> None:
    """Scenes of one view, made in this order whatever their names say."""
    for name in names:
        write_scene(folder / name, 1, len(packed_scenes(folder)), (160, 120))
        later = 10**9 * (1 + len(packed_scenes(folder)))
        os.utime(folder / name / "packed.json", ns=(later, later))


def names(scenes: list[Path]) -> list[str]:
    return [scene.name for scene in scenes]


def test_the_newest_scenes_are_read_and_kept(tmp_path):
    make_rolling(tmp_path, 2)
    fill(tmp_path, "c", "a", "b")
    assert names(newest(tmp_path)) == ["c", "a", "b"]
    scenes, lease = scenes_to_read(tmp_path)
    assert names(scenes) == ["a", "b"]
    assert remove_old(tmp_path, 2) == 2 and names(packed_scenes(tmp_path)) == ["a", "b"]
    assert lease is not None


def test_what_is_read_is_removed_only_after_the_reader_has_let_go(tmp_path):
    make_rolling(tmp_path, 2)
    fill(tmp_path, "a", "b")
    data = PackedViews([tmp_path], DatasetOptions(augment=False))
    fill(tmp_path, "c", "d", "e")
    assert remove_old(tmp_path, 2) == 4  # a and b are read, d and e are the newest
    assert names(packed_scenes(tmp_path)) == ["a", "b", "d", "e"]
    assert len(data) == 2 and data.view(0).image.shape == (120, 160, 3)
    data = PackedViews([tmp_path], DatasetOptions(augment=False))
    assert names(data.scenes) == ["d", "e"]
    assert remove_old(tmp_path, 2) == 2 and not (tmp_path / "a").exists()
    assert [path.name for path in tmp_path.glob(".*.gone")] == []


def test_a_worker_that_still_reads_holds_what_its_parent_let_go(tmp_path):
    make_rolling(tmp_path, 1)
    fill(tmp_path, "a")
    batches = iter(loader(PackedViews([tmp_path], DatasetOptions()), 1, 0, 30, 1))
    next(batches)
    fill(tmp_path, "b")
    assert remove_old(tmp_path, 1) == 2
    assert sum(1 for _ in batches) == 29
    del batches
    assert remove_old(tmp_path, 1) == 1


def test_a_reader_that_was_killed_holds_nothing(tmp_path):
    make_rolling(tmp_path, 1)
    fill(tmp_path, "a")
    code = (
        "import sys, time; from pathlib import Path; from sgrocc_core.training.data.rolling import scenes_to_read\n"
        "held = scenes_to_read(Path(sys.argv[1])); print('reads', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True) as reader:
        assert reader.stdout is not None and reader.stdout.readline() == "reads\n"
        fill(tmp_path, "b")
        assert remove_old(tmp_path, 1) == 2
        reader.kill()
    assert remove_old(tmp_path, 1) == 1 and names(packed_scenes(tmp_path)) == ["b"]
    assert not list(tmp_path.glob(".reading.*"))


def test_a_copy_of_the_data_for_another_process_can_be_made(tmp_path):
    make_rolling(tmp_path, 1)
    fill(tmp_path, "a")
    data = PackedViews([tmp_path], DatasetOptions(augment=False))
    copy = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(copy[0, 0, 0]["image"], data[0, 0, 0]["image"])


def test_a_damaged_mark_is_named(tmp_path):
    (tmp_path / "rolling.json").write_text("{}")
    with pytest.raises(DataError, match=r"rolling\.json is damaged"):
        scenes_to_read(tmp_path)


def test_a_process_keeps_a_bounded_number_of_scenes_open(tmp_path, monkeypatch):
    opened = functools.lru_cache(2)(open_scene.__wrapped__)
    monkeypatch.setattr(dataset, "open_scene", opened)
    fill(tmp_path, "a", "b", "c", "d")
    data = PackedViews([tmp_path], DatasetOptions(augment=False))
    first = [data.view(i).image.copy() for i in range(4)]
    before = len(os.listdir("/proc/self/fd"))
    for i in (3, 1, 2, 0, 0, 3):
        np.testing.assert_array_equal(data.view(i).image, first[i])
    assert len(os.listdir("/proc/self/fd")) == before
    assert opened.cache_info().currsize == 2 < open_scene.cache_parameters()["maxsize"] <= 64
