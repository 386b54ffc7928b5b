"""The second sweep: places worked out by hand, and the compiled kernel beside the PyTorch reference."""

import numpy as np
import pytest

from sgrocc_core.depth.cascade import SCALE, cascade_sweep, finer, hypotheses, offsets
from sgrocc_core.depth.sweep import plane_depths, sweep_transform
from sgrocc_core.geometry.camera import scale_intrinsics
from tests.samples.sweeps import HEIGHT, WHOLE, WIDTH, K, moved, normalised


def test_hypotheses_lie_a_quarter_of_a_plane_apart_around_the_depth_nearest_first():
    depth = np.full((2, 3), 2.5)
    inverse = hypotheses(depth, 16)
    assert inverse.shape == (16, 2, 3) and inverse.dtype == np.float32
    assert (np.diff(1 / inverse, axis=0) > 0).all()
    apart = np.diff(plane_depths() ** -0.5)[0]
    assert np.diff(np.sqrt(inverse), axis=0) == pytest.approx(np.full((15, 2, 3), apart / 4), rel=1e-3)
    assert np.sqrt(inverse).mean(0) == pytest.approx(np.full((2, 3), 2.5**-0.5), rel=1e-5)
    assert offsets(3).sum() == pytest.approx(0)


def test_hypotheses_of_a_far_depth_stay_finite_and_in_front_of_the_camera():
    assert (1 / hypotheses(np.full((1, 1), 30.0), 64)).max() < 45


def test_the_finer_projection_is_that_of_the_finer_camera():
    pose = moved(0.2, -0.1, 0.05, 0.1)
    fine, edges = finer(sweep_transform(K, np.eye(4), K, pose)[None], np.array([[2, 8, 70, 51]], np.float32))
    twice = scale_intrinsics(K, SCALE, SCALE)
    assert fine[0] == pytest.approx(sweep_transform(twice, np.eye(4), twice, pose), abs=1e-4)
    assert edges.tolist() == [[4, 16, 141, 103]]


def test_a_source_that_is_not_there_stays_so():
    _, edges = finer(np.zeros((1, 3, 4)), np.array([[0, 0, -1, -1]], np.float32))
    assert edges[0, 2] < edges[0, 0] and edges[0, 3] < edges[0, 1]


def test_the_best_hypothesis_tells_half_a_pixel_of_the_first_sweep():
    """A wall at 2.76 m: 13 pixels of the fine features, which is 6.5 of the others, at a baseline of 0.25 m."""
    rng, baseline, shift = np.random.default_rng(1), 0.25, 13
    wide = normalised(rng, 2 * HEIGHT, 2 * WIDTH + 40)
    target, source = wide[:, 20 : 20 + 2 * WIDTH].copy(), wide[:, 20 + shift : 20 + shift + 2 * WIDTH].copy()
    true = 144 * baseline / shift
    for guess in (0.93 * true, 1.08 * true):
        inverse = hypotheses(np.full((HEIGHT, WIDTH), guess), 16)
        to, within = finer(sweep_transform(K, np.eye(4), K, moved(x=baseline))[None], WHOLE[None])
        score, count = cascade_sweep(target, source[None], to, within, inverse)
        best = 1 / np.take_along_axis(inverse, score.argmax(0)[None], 0)[0]
        nearest = np.abs(1 / inverse[:, 0, 0] - true).argmin()
        assert (best[:, 8:] == 1 / inverse[nearest, 0, 0]).mean() > 0.99
        assert abs(best[0, 20] / true - 1) < 0.012
        assert (count[:, :, 9:] == 1).all()


def test_a_pixel_of_which_half_is_seen_counts_as_half_a_source_and_its_score_is_of_that_half():
    rng = np.random.default_rng(2)
    target = normalised(rng, 2 * HEIGHT, 2 * WIDTH)
    to, _ = finer(sweep_transform(K, np.eye(4), K, np.eye(4))[None], WHOLE[None])
    inverse = hypotheses(np.full((HEIGHT, WIDTH), 2.0), 8)
    half = np.array([[21, 0, 2 * WIDTH - 1, 2 * HEIGHT - 1]], np.float32)
    score, count = cascade_sweep(target, target[None], to, half, inverse)
    assert count[0, 5].tolist() == [0.0] * 10 + [0.5] + [1.0] * (WIDTH - 11)
    assert score[0, 5, 10:] == pytest.approx(np.ones(WIDTH - 10), abs=1e-5) and not score[:, :, :10].any()


def a_batch(seed: int) -> tuple[np.ndarray, ...]:
    """Two images with four sources each; features (.., C, 2h, 2w)."""
    rng = np.random.default_rng(seed)
    shape = 2 * HEIGHT, 2 * WIDTH
    target, sources = (np.moveaxis(normalised(rng, *first, *shape), -1, -3).copy() for first in ((2,), (2, 4)))
    poses = [moved(*rng.normal(0, 0.2, 3), rng.normal(0, 0.3)) for _ in range(8)]
    transforms = np.stack([sweep_transform(K, np.eye(4), K, pose) for pose in poses]).reshape(2, 4, 3, 4)
    bounds = np.tile(WHOLE, (2, 4, 1))
    bounds[:, 1] = 0, 8, 79, 51
    inverse = np.stack([hypotheses(rng.uniform(0.5, 6, (HEIGHT, WIDTH)), 12) for _ in range(2)])
    return target, sources, *finer(transforms, bounds), inverse


def test_the_compiled_sweep_gives_the_values_of_the_reference():
    torch = pytest.importorskip("torch")
    from sgrocc_core.network.stereo.sweep_torch import cascade, cascade_reference

    for seed in range(2):
        arguments = [torch.from_numpy(part) for part in a_batch(seed)]
        (found, seen), (wanted, wanted_seen) = cascade(*arguments), cascade_reference(*arguments)
        agree = seen == wanted_seen  # a point on the very edge may fall on either side of it
        assert agree.float().mean() > 0.999
        assert all((seen == number).any() for number in range(5)) and (seen == 1.5).any()
        assert torch.allclose(found[agree], wanted[agree], atol=1e-4)


def test_the_compiled_sweep_has_the_gradients_of_the_reference():
    torch = pytest.importorskip("torch")
    from sgrocc_core.network.stereo.sweep_torch import cascade, cascade_reference

    target, sources, *rest = (torch.from_numpy(part) for part in a_batch(3))
    weights = torch.randn(2, 12, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    gradients = []
    for way in (cascade, cascade_reference):
        features = target.clone().requires_grad_(), sources.clone().requires_grad_()
        score, _ = way(*features, *rest)
        gradients.append(torch.autograd.grad((score * weights).sum(), features))
    for found, wanted in zip(*gradients):
        assert (found - wanted).norm() < 1e-3 * wanted.norm()


def test_the_reference_projects_in_full_precision_under_autocast():
    torch = pytest.importorskip("torch")
    from sgrocc_core.network.stereo.sweep_torch import cascade_reference

    arguments = [torch.from_numpy(part) for part in a_batch(4)]
    wanted, _ = cascade_reference(*arguments)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = cascade_reference(*arguments)
    assert (found - wanted).abs().mean() < 1e-3
