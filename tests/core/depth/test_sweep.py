"""The plane sweep: places worked out by hand, and the compiled kernel beside the PyTorch reference."""

import numpy as np
import pytest

from sgrocc_core.depth.sweep import CHANNELS, content_bounds, plane_depths, plane_sweep, sweep_transform
from sgrocc_core.geometry.camera import Letterbox
from tests.samples.sweeps import HEIGHT, WHOLE, WIDTH, K, moved, normalised

INVERSE = (1 / plane_depths()).astype(np.float32)


def transform(pose: np.ndarray) -> np.ndarray:
    return sweep_transform(K, np.eye(4), K, pose)


def test_planes_reach_from_a_quarter_to_ten_metres_and_grow_apart_with_distance():
    depths = plane_depths(64)
    assert depths[[0, -1]] == pytest.approx([0.25, 10.0])
    assert (np.diff(depths) > 0).all() and (np.diff(depths, 2) > 0).all()
    assert np.diff(depths**-0.5) == pytest.approx(np.full(63, (10**-0.5 - 2.0) / 63))


def test_a_camera_that_moves_right_sees_a_point_further_left_by_focal_length_times_baseline_over_depth():
    Q, r = np.split(transform(moved(x=0.2)), [3], 1)
    at = Q[:, 0] * 50 + Q[:, 1] * 20 + Q[:, 2] + r[:, 0] / 2.0
    assert at == pytest.approx([50 - 72 * 0.2 / 2.0, 20, 1])


def test_the_best_plane_is_that_of_a_fronto_parallel_wall():
    rng, baseline = np.random.default_rng(1), 0.25
    wide = normalised(rng, HEIGHT, WIDTH + 40)
    shift = 6  # pixels, which a baseline of 0.25 m gives at 3 m
    target, source = wide[:, 20 : 20 + WIDTH], wide[:, 20 + shift : 20 + shift + WIDTH]
    score, count = plane_sweep(
        target.copy(), source[None].copy(), transform(moved(x=baseline))[None], WHOLE[None], INVERSE
    )
    nearest = np.abs(plane_depths() - 72 * baseline / shift).argmin()
    assert (score[:, :, shift + 1 :].argmax(0) == nearest).mean() > 0.99
    assert not count[nearest, :, : shift - 1].any() and count[nearest, :, shift + 1 :].all()


def test_scores_average_over_the_sources_that_see_the_point():
    rng = np.random.default_rng(2)
    target, sources = normalised(rng, HEIGHT, WIDTH), normalised(rng, 2, HEIGHT, WIDTH)
    both = np.stack([transform(moved(x=0.1)), transform(moved(x=-0.1))])
    together, count = plane_sweep(target, sources, both, np.stack([WHOLE] * 2), INVERSE)
    (first, seen_first), (second, seen_second) = (
        plane_sweep(target, sources[s : s + 1], both[s : s + 1], WHOLE[None], INVERSE) for s in range(2)
    )
    assert np.array_equal(count, seen_first + seen_second)
    assert together == pytest.approx((first + second) / np.maximum(count, 1), abs=1e-5)


def test_without_sources_nothing_matches():
    empty = np.zeros((0, HEIGHT, WIDTH, CHANNELS), np.float32)
    target = normalised(np.random.default_rng(3), HEIGHT, WIDTH)
    score, count = plane_sweep(target, empty, np.zeros((0, 3, 4), np.float32), np.zeros((0, 4), np.float32), INVERSE)
    assert not score.any() and not count.any()


def test_a_source_that_looks_the_other_way_sees_nothing():
    rng = np.random.default_rng(4)
    target, source = normalised(rng, HEIGHT, WIDTH), normalised(rng, 1, HEIGHT, WIDTH)
    score, count = plane_sweep(target, source, transform(moved(turn=np.pi))[None], WHOLE[None], INVERSE)
    assert not score.any() and not count.any()


def test_points_that_a_camera_ahead_has_passed_are_behind_it():
    rng = np.random.default_rng(5)
    target, source = normalised(rng, HEIGHT, WIDTH), normalised(rng, 1, HEIGHT, WIDTH)
    _, count = plane_sweep(target, source, transform(moved(z=1.0))[None], WHOLE[None], INVERSE)
    depths = plane_depths()
    assert not count[depths < 1.0].any() and count[depths > 3.0, 30, 40].all()


def test_the_padding_of_a_letterboxed_source_matches_nothing():
    mask = Letterbox((640, 360), (320, 240)).mask()  # 320 x 180 inside, 30 rows of padding above and below
    bounds = content_bounds(mask, 4)
    assert bounds.tolist() == [0, 8, 79, 51]
    rng = np.random.default_rng(6)
    target, source = normalised(rng, HEIGHT, WIDTH), normalised(rng, 1, HEIGHT, WIDTH)
    _, count = plane_sweep(target, source, transform(np.eye(4))[None], bounds[None], INVERSE)
    assert count[:, 8:52].all() and not count[:, :8].any() and not count[:, 52:].any()


def test_a_mask_without_content_has_bounds_that_hold_no_pixel():
    x0, y0, x1, y1 = content_bounds(np.zeros((240, 320), np.float32), 4)
    assert x1 < x0 and y1 < y0


def test_results_are_written_into_the_arrays_that_are_given():
    rng = np.random.default_rng(7)
    target, source = normalised(rng, HEIGHT, WIDTH), normalised(rng, 1, HEIGHT, WIDTH)
    room = np.full((64, HEIGHT, WIDTH), 7, np.float32), np.full((64, HEIGHT, WIDTH), 7, np.float32)
    arguments = target, source, transform(moved(x=0.1))[None], WHOLE[None], INVERSE
    found, fresh = plane_sweep(*arguments, out=room), plane_sweep(*arguments)
    assert found is room
    assert np.array_equal(room[0], fresh[0]) and np.array_equal(room[1], fresh[1])


def many_poses(rng: np.random.Generator) -> list[np.ndarray]:
    """Beside, ahead of, turned away from and opposite to the target, and just where it is."""
    near = [moved(*rng.uniform(-0.4, 0.4, 3), rng.uniform(-0.5, 0.5)) for _ in range(4)]
    return [*near, moved(z=1.2), moved(turn=1.0), moved(turn=np.pi), np.eye(4)]


def a_batch(seed: int) -> tuple[np.ndarray, ...]:
    """Two images with four sources each, in pictures with and without padding; features (.., C, H, W)."""
    rng = np.random.default_rng(seed)
    target, sources = (np.moveaxis(normalised(rng, *shape, HEIGHT, WIDTH), -1, -3).copy() for shape in ((2,), (2, 4)))
    transforms = np.stack([transform(pose) for pose in many_poses(rng)]).reshape(2, 4, 3, 4)
    bounds = np.tile(WHOLE, (2, 4, 1))
    bounds[:, 1] = 0, 8, 79, 51
    return target, sources, transforms, bounds


def test_the_compiled_sweep_gives_the_values_of_the_reference():
    torch = pytest.importorskip("torch")
    from sgrocc_core.network.stereo.sweep_torch import sweep, sweep_reference

    for seed in range(3):
        arguments = [torch.from_numpy(part) for part in (*a_batch(seed), INVERSE)]
        (found, seen), (wanted, wanted_seen) = sweep(*arguments), sweep_reference(*arguments)
        agree = seen == wanted_seen  # a point on the very edge may fall on either side of it
        assert agree.float().mean() > 0.999
        assert all((seen == number).any() for number in range(5))
        assert torch.allclose(found[agree], wanted[agree], atol=1e-4)


def test_the_compiled_sweep_has_the_gradients_of_the_reference():
    torch = pytest.importorskip("torch")
    from sgrocc_core.network.stereo.sweep_torch import sweep, sweep_reference

    target, sources, *rest = (torch.from_numpy(part) for part in (*a_batch(3), INVERSE))
    weights = torch.randn(2, 64, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    gradients = []
    for way in (sweep, sweep_reference):
        features = target.clone().requires_grad_(), sources.clone().requires_grad_()
        score, _ = way(*features, *rest)
        gradients.append(torch.autograd.grad((score * weights).sum(), features))
    for found, wanted in zip(*gradients):
        assert (found - wanted).norm() < 1e-3 * wanted.norm()
