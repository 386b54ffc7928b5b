"""Rooms rendered during training: they equal those of a set on disk, the folder is bounded, and faults are reported."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("embreex")

from sgrocc_core.data.occ_scannet import OccScanNet
from sgrocc_core.data.synthetic.write import SynthConfig, write_scenes
from sgrocc_core.errors import ConfigError, DataError
from sgrocc_core.training.data import rendering
from sgrocc_core.training.data.dataset import DatasetOptions, PackedViews, loader
from sgrocc_core.training.data.packed import ARRAYS, open_scene, pack, packed_scenes, write_scene
from sgrocc_core.training.data.rendering import RenderConfig, RoomRenderer, rendered_samples

SIZE = (96, 72)


def config(folder: Path, **changes) -> RenderConfig:
    return RenderConfig(**{"folder": folder, "keep": 2, "frames": 1, "size": SIZE, "seed": 5, "niceness": 0, **changes})


def until(condition, seconds: float = 240.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def names(folder: Path) -> list[str]:
    return [scene.name for scene in packed_scenes(folder)]


def test_a_room_rendered_on_the_fly_is_the_one_a_set_on_disk_would_give(tmp_path):
    write_scenes(SynthConfig(tmp_path / "set", scenes=1, frames=2, seed=5, size=SIZE, jobs=1, first=3))
    pack(OccScanNet(tmp_path / "set", "train", SIZE), tmp_path / "packed")
    (tmp_path / "direct").mkdir()
    assert write_scene(tmp_path / "direct", "train0005_00003", rendered_samples(config(tmp_path, frames=2), 3))
    expected, found = (open_scene(tmp_path / name / "train0005_00003") for name in ("packed", "direct"))
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)


@pytest.mark.slow
def test_new_rooms_replace_old_ones_in_a_bounded_folder_while_views_are_read(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(rendering, "PAUSE", 0.1)
    folder = tmp_path / "rooms"
    most = 0

    def grown(first: str) -> bool:
        nonlocal most
        most = max(most, len(names(folder)))
        return names(folder)[:1] > [first]

    with RoomRenderer(config(folder), least=2) as rooms:
        rooms()
        assert "first rooms in" in capsys.readouterr().err  # what it waits for
        data = PackedViews([folder], DatasetOptions())
        held = [scene.name for scene in data.scenes]
        assert len(held) == 2 and next(iter(loader(data, 2, 0, 1, 0)))["image"].shape == (2, 3, 72, 96)
        assert until(lambda: len(names(folder)) == 4)  # twice what is kept: full, since the two are read
        time.sleep(0.5)
        assert set(held) < set(names(folder))
        data = PackedViews([folder], DatasetOptions())
        assert not set(held) & {scene.name for scene in data.scenes}
        assert until(lambda: grown(held[-1]))
        assert most <= 2 * 2 + 1
        processes = rooms._processes
    assert not any(process.is_alive() for process in processes)
    last = names(folder)[-1]
    with RoomRenderer(config(folder), least=1) as again:  # goes on with rooms that were never there
        again()
        assert until(lambda: names(folder)[-1] > last)


def test_a_folder_has_one_renderer_and_others_wait_for_it(tmp_path):
    with RoomRenderer(config(tmp_path / "rooms", keep=1)):
        with pytest.raises(
            DataError, match="another process renders rooms into .*rooms: give this run a folder of its own"
        ):
            RoomRenderer(config(tmp_path / "rooms")).start()
        follower = RoomRenderer(config(tmp_path / "rooms", keep=1), leader=False)
        follower()
        assert names(tmp_path / "rooms") and not follower._processes


def test_a_renderer_that_died_is_an_error_not_a_long_wait(tmp_path):
    with RoomRenderer(config(tmp_path / "rooms")) as rooms:
        rooms._processes[0].kill()
        rooms._processes[0].join()
        with pytest.raises(DataError, match="ended with code -9"):
            rooms()


@pytest.mark.parametrize(
    ("changes", "words"), [({"keep": 0}, "keep is 0; it must be from 1"), ({"size": (8, 8)}, "size is 8x8; each side")]
)
def test_a_wrong_value_names_what_is_allowed(tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        config(tmp_path, **changes)
