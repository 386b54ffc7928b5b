"""Solid texture of clips: frames agree about it, some surfaces stay bare, and what is far away has no fine grain."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from sgrocc_core.geometry.poses import make_pose
from sgrocc_core.training.data.augmentation import View
from sgrocc_core.training.data.texture import textured

K = np.array([[72.0, 0, 39.5], [0, 72.0, 29.5], [0, 0, 1]])


def wall(distance: float, x: float = 0.0, size: tuple[int, int] = (60, 80)) -> View:
    """A grey wall across the optical axis, seen from x metres to the right; its middle rows' depth is unknown."""
    depth = np.full(size, distance, np.float32)
    depth[28:32] = 0
    return View(
        image=np.full((*size, 3), 128, np.uint8), mask=np.ones(size, np.uint8), depth=depth,
        labels=np.zeros(size, np.uint8), K=K.copy(), T_bc=make_pose(np.eye(3), np.array([x, 0.0, 0.0])),
        target=np.zeros((0, 0, 0), np.uint8),
    )  # fmt: skip


def grain(seed: int, *views: View) -> list[np.ndarray]:
    return [view.image.astype(int) - 128 for view in textured(list(views), np.random.default_rng(seed))]


def test_frames_agree_about_the_grain_of_a_surface() -> None:
    """A wall at 1.44 m, from 10 cm further right: the same grain 5 pixels further left."""
    for seed in range(5):
        one, other = grain(seed, wall(1.44), wall(1.44, x=0.1))
        assert one.std() > 0.5
        assert np.abs(one[:, 5:] - other[:, :-5]).max() <= 1  # rounding
        assert np.abs(one - other).max() > 5


def test_pixels_of_unknown_depth_stay_as_they_are() -> None:
    (found,) = grain(0, wall(1.5))
    assert not found[28:32].any() and found[:28].any()


def test_some_of_a_large_surface_stays_bare_in_most_clips() -> None:
    bare = [float((np.abs(grain(seed, wall(6.0))[0][:28]) <= 0).all(-1).mean()) for seed in range(20)]
    assert 0.1 < np.mean(bare) < 0.9


def test_grain_that_is_finer_than_a_pixel_fades() -> None:
    """The same wall at 8 m through a camera of eight times the resolution shows more of the grain."""
    fine = wall(8.0, size=(480, 640))
    fine.K[:2] *= 8
    coarse, sharp = (np.mean([grain(seed, view)[0].std() for seed in range(8)]) for view in (wall(8.0), fine))
    assert coarse < 0.8 * sharp


def test_the_same_draws_give_the_same_picture() -> None:
    assert np.array_equal(grain(3, wall(2.0))[0], grain(3, wall(2.0))[0])
    assert not np.array_equal(grain(3, wall(2.0))[0], grain(4, wall(2.0))[0])
