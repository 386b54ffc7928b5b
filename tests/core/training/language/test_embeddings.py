"""Kept embeddings: by the image, bounded, whole or made again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from sgrocc_core.training.language.cache import EmbeddingCache
from sgrocc_core.training.language.towers import Seen


def image(value: int) -> torch.Tensor:
    return torch.full((3, 4, 6), value, dtype=torch.uint8)


def seen(value: float) -> Seen:
    return Seen(torch.full((1, 8, 5, 5), value).half(), torch.full((1, 8), -value).half())


def test_what_was_written_is_read_and_nothing_else(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "model", 1e6)
    path = cache.path_of(image(1))
    assert cache.read(path) is None
    cache.write(path, seen(3.0))
    found = EmbeddingCache(tmp_path, "model", 1e6).read(path)
    assert found is not None and torch.equal(found.local, seen(3.0).local) and torch.equal(found.scene, seen(3.0).scene)
    assert cache.path_of(image(1)) == path
    for other in (image(2), image(1).view(3, 6, 4)):
        assert cache.path_of(other) != path
    assert EmbeddingCache(tmp_path, "another", 1e6).path_of(image(1)) != path


@pytest.mark.parametrize("length", [0, 5, 60, -1])
def test_a_file_that_was_cut_short_is_made_again(tmp_path: Path, length: int) -> None:
    cache = EmbeddingCache(tmp_path, "model", 1e6)
    path = cache.path_of(image(1))
    cache.write(path, seen(3.0))
    path.write_bytes(path.read_bytes()[:length])
    assert cache.read(path) is None
    cache.write(path, seen(3.0))
    assert cache.read(path) is not None


def test_a_file_of_something_else_counts_as_absent(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    cache = EmbeddingCache(tmp_path, "model", 1e6)
    path = cache.path_of(image(1))
    path.parent.mkdir()
    for tensors in ({"local": torch.zeros(1, 8, 5, 5)}, {"local": torch.zeros(2), "scene": torch.zeros(2)}):
        save_file(tensors, path)
        assert cache.read(path) is None


def test_the_folder_stays_within_its_bound_and_loses_what_was_not_used(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "model", 1e9)
    cache.write(cache.path_of(image(0)), seen(0))
    size = next(tmp_path.rglob("*.safetensors")).stat().st_size
    bound = 4.5 * size
    cache = EmbeddingCache(tmp_path, "model", bound)
    paths = [cache.path_of(image(value)) for value in range(8)]
    for age, path in enumerate(paths):
        cache.write(path, seen(age))
        os.utime(path, (1000 + age, 1000 + age))
        if age >= 1:
            assert cache.read(paths[0]) is not None  # this one is used again and again
            os.utime(paths[0], (2000 + age, 2000 + age))
    files = list(tmp_path.rglob("*.safetensors"))
    assert sum(path.stat().st_size for path in files) <= bound
    assert paths[0] in files and paths[7] in files and paths[1] not in files


def test_without_room_nothing_is_kept(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path / "none", "model", 0)
    path = cache.path_of(image(1))
    cache.write(path, seen(1))
    assert cache.read(path) is None and not (tmp_path / "none").exists()
