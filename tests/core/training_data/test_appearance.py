"""Other colours of surfaces: only colours change, one part has one colour, and shading stays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from sgrocc_core.classes import UNKNOWN
from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.training.config import TrainConfig, load_config
from sgrocc_core.training.data import appearance
from sgrocc_core.training.data.appearance import restyled
from sgrocc_core.training.data.augmentation import View
from sgrocc_core.training.data.dataset import DatasetOptions, item
from sgrocc_core.training.local.stage import dataset_options

K = np.array([[72.0, 0, 39.5], [0, 72.0, 29.5], [0, 0, 1]])


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> View:
    """A wall with a ramp of light, two chairs (one 40 cm before the other) and a strip without label; no grain."""
    monkeypatch.setattr(appearance, "GRAIN", 0.0)
    image = np.full((60, 80, 3), 100, np.uint8) + np.arange(80, dtype=np.uint8)[None, :, None] // 4
    labels, depth = np.full((60, 80), 3, np.uint8), np.full((60, 80), 3.0, np.float32)
    labels[20:40, 10:50] = 5
    depth[20:40, 10:30], depth[20:40, 30:50] = 1.6, 2.0
    labels[55:] = UNKNOWN
    return View(
        image=image, mask=np.ones((60, 80), np.uint8), depth=depth, labels=labels, K=K.copy(),
        T_bc=make_pose(np.eye(3), np.zeros(3)), target=np.full((60, 60, 36), UNKNOWN, np.uint8),
    )  # fmt: skip


def ratios(room: View, seed: int) -> np.ndarray:
    new = restyled(room, np.random.default_rng(seed))
    assert new.labels is room.labels and new.depth is room.depth and new.target is room.target
    return new.image / room.image.astype(np.float64)


def test_a_part_has_one_factor_and_parts_have_their_own(room: View) -> None:
    """Wall, near chair and far chair: each is multiplied by one colour, where the result is not clipped."""
    seen = set()
    for seed in range(30):
        ratio = ratios(room, seed)
        factors = []
        for part in (ratio[2:18, 2:78], ratio[24:36, 13:27], ratio[24:36, 33:47]):
            clipped = part * 121 > 250
            assert np.where(clipped, 0, part - np.median(part, (0, 1))).__abs__().max() < 0.02
            factors.append(tuple(np.round(np.median(part, (0, 1)), 1)))
        seen.add(tuple(factor != (1.0, 1.0, 1.0) for factor in factors))
        assert len(set(factors)) == 3 or (1.0, 1.0, 1.0) in factors
    assert len(seen) == 8  # each part with and without the others


def test_edges_of_a_part_have_its_colour(room: View) -> None:
    for seed in range(10):
        ratio = ratios(room, seed)
        assert np.abs(ratio[20:40, 10:28] - ratio[30, 20]).max() < 0.05
        assert np.abs(ratio[20:40, 32:50] - ratio[30, 40]).max() < 0.05


def test_pixels_without_a_class_stay(room: View) -> None:
    assert all((ratios(room, seed)[55:] == 1).all() for seed in range(10))


def test_grain_comes_half_of_the_time(room: View, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = [ratios(room, seed) for seed in range(60)]
    monkeypatch.setattr(appearance, "GRAIN", 0.5)
    grained = [not np.array_equal(ratios(room, seed), plain[seed]) for seed in range(60)]
    assert 15 < sum(grained) < 45


def test_the_same_draws_give_the_same_picture(room: View) -> None:
    assert np.array_equal(ratios(room, 4), ratios(room, 4))


def test_the_share_of_restyled_views(room: View, monkeypatch: pytest.MonkeyPatch) -> None:
    """`appearance` of the configuration reaches the samples; held-out views are never restyled."""
    calls = []
    monkeypatch.setattr("sgrocc_core.training.data.dataset.restyled", lambda view, rng: calls.append(0) or view)
    options = dataset_options(TrainConfig(appearance=0.25), grid=False)
    for seed in range(200):
        item(room, options, np.random.default_rng(seed))
    assert 30 < len(calls) < 70
    item(room, DatasetOptions(augment=False, appearance=1.0), np.random.default_rng(0))
    assert len(calls) < 70


def test_a_share_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("appearance: 1.5\n")
    with pytest.raises(Exception, match="appearance is 1.5; it must be from 0 to 1"):
        load_config(tmp_path / "config.yaml")
