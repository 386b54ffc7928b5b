"""Splatting: values by hand, and the fast kernels against the PyTorch reference, values and gradients."""

import numpy as np
import pytest

from sgrocc_core.gaussians.gaussians import covariance
from sgrocc_core.voxels.splatting import splat_numba
from sgrocc_core.voxels.splatting.equations import class_probabilities_from, labels_from, probability_from
from tests.samples.random_gaussians import CORNER, SHAPE, random_gaussians


def one(mean, scale=0.05, opacity=0.8, label=3):
    p = np.zeros((1, 11))
    p[0, label - 1] = 1.0
    return np.array([mean]), covariance(np.full((1, 3), scale), np.array([[1.0, 0, 0, 0]])), np.array([opacity]), p


def test_a_gaussian_at_a_voxels_centre_fills_it_with_its_opacity():
    log_empty, weights = splat_numba.splat(*one((0.36, 0.36, 0.36)), np.zeros(3), (9, 9, 9))
    assert probability_from(log_empty)[4, 4, 4] == pytest.approx(0.8)
    variance = 0.05**2 + 0.08**2 / 12
    assert probability_from(log_empty)[5, 4, 4] == pytest.approx(0.8 * np.exp(-0.5 * 0.08**2 / variance))
    assert weights[4, 4, 4].argmax() == 2 and weights[4, 4, 4, 2] == pytest.approx(0.8)


def test_weights_end_at_the_support():
    log_empty, _ = splat_numba.splat(*one((0.36, 0.36, 0.36), scale=0.08), np.zeros(3), (9, 9, 9))
    assert log_empty[7, 4, 4] < 0 and log_empty[8, 4, 4] == 0  # three voxels away, four voxels away
    log_empty, _ = splat_numba.splat(*one((0.36, 0.36, 0.36), scale=0.02), np.zeros(3), (9, 9, 9))
    assert log_empty[5, 4, 4] < 0 and log_empty[6, 4, 4] == 0  # 0.16^2 / (0.02^2 + 0.08^2 / 12) = 27 > 18


def test_occupancies_combine_as_independent_events():
    pair = zip(one((0.36, 0.36, 0.36), opacity=0.5), one((0.36, 0.36, 0.36), opacity=0.4), strict=True)
    two = [np.concatenate([a, b]) for a, b in pair]
    log_empty, _ = splat_numba.splat(*two, np.zeros(3), (9, 9, 9))
    assert probability_from(log_empty)[4, 4, 4] == pytest.approx(1 - 0.5 * 0.6)


def test_a_thousand_opaque_gaussians_in_one_voxel_stay_finite():
    log_empty, _ = splat_numba.splat(
        *(np.repeat(a, 1000, 0) for a in one((0.36, 0.36, 0.36), opacity=1.0)), np.zeros(3), (9, 9, 9)
    )
    assert log_empty[4, 4, 4] == pytest.approx(1000 * np.log(1e-4), rel=1e-6)


def test_faint_gaussians_are_not_splatted():
    log_empty, weights = splat_numba.splat(*one((0.36, 0.36, 0.36), opacity=0.02), np.zeros(3), (9, 9, 9))
    assert not log_empty.any() and not weights.any()


def test_no_gaussians_leave_the_grid_empty():
    log_empty, weights = splat_numba.splat(*(a[:0] for a in one((0, 0, 0))), np.zeros(3), SHAPE)
    assert log_empty.shape == SHAPE and weights.shape == (*SHAPE, 11) and not log_empty.any() and not weights.any()


def test_the_label_rule_takes_the_likeliest_class_of_what_is_occupied():
    weights = np.zeros((3, 11))
    weights[:, 4], weights[:, 7] = 0.2, 0.3
    assert labels_from(np.log([0.5, 0.51, 0.1]), weights).tolist() == [8, 0, 8]
    assert labels_from(np.log([0.5, 0.51, 0.1]), weights, threshold=0.8).tolist() == [0, 0, 8]


def test_class_probabilities_sum_to_one_where_there_is_matter():
    _, weights = splat_numba.splat(*random_gaussians(400), CORNER, SHAPE)
    total = class_probabilities_from(weights).sum(-1)
    assert np.abs(total[weights.sum(-1) > 0.1] - 1).max() < 1e-4


def test_the_result_does_not_depend_on_the_number_of_threads():
    import numba

    gaussians = random_gaussians(500, seed=3, dtype=np.float32)
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        single = splat_numba.splat(*gaussians, CORNER, SHAPE)
    finally:
        numba.set_num_threads(threads)
    several = splat_numba.splat(*gaussians, CORNER, SHAPE)
    assert np.array_equal(single[0], several[0]) and np.array_equal(single[1], several[1])


@pytest.mark.parametrize("dtype,tolerance", [(np.float64, 1e-11), (np.float32, 2e-5)])
def test_numba_agrees_with_the_reference(dtype, tolerance):
    torch = pytest.importorskip("torch")
    from sgrocc_core.voxels.splatting import splat_torch

    gaussians = random_gaussians(600)
    expected = splat_torch.splat(*(torch.from_numpy(a) for a in gaussians), torch.from_numpy(CORNER), SHAPE)
    got = splat_numba.splat(*(a.astype(dtype) for a in gaussians), CORNER, SHAPE)
    assert got[0].dtype == dtype and got[1].dtype == dtype
    assert (got[0] < -0.1).mean() > 0.1
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b.numpy(), atol=tolerance, rtol=tolerance)


def test_gradients_agree_with_the_reference():
    torch = pytest.importorskip("torch")
    from sgrocc_core.voxels.splatting import splat_autograd, splat_torch

    gaussians = random_gaussians(300, seed=5)
    rng = np.random.default_rng(6)
    upstream = torch.from_numpy(rng.normal(size=SHAPE)), torch.from_numpy(rng.normal(size=(*SHAPE, 11)))
    grads = []
    for splat in (splat_torch.splat, splat_autograd.splat):
        inputs = [torch.from_numpy(a).requires_grad_() for a in gaussians]
        log_empty, weights = splat(*inputs, torch.from_numpy(CORNER), SHAPE)
        ((log_empty * upstream[0]).sum() + (weights * upstream[1]).sum()).backward()
        grads.append([t.grad.numpy() for t in inputs])
    for reference, fast in zip(*grads, strict=True):
        assert np.abs(reference).max() > 0.1
        np.testing.assert_allclose(fast, reference, rtol=1e-8, atol=1e-8 * np.abs(reference).max())


def test_the_gradient_is_the_slope():
    """Finite differences are independent of the derivatives of both implementations."""
    torch = pytest.importorskip("torch")
    from sgrocc_core.voxels.splatting import splat_autograd

    inputs = [torch.from_numpy(a).requires_grad_() for a in one((0.37, 0.33, 0.35), scale=0.04)]
    log_empty, weights = splat_autograd.splat(*inputs, (0.0, 0.0, 0.0), (9, 9, 9))
    (probability_from_torch(log_empty)[5, 4, 4] + weights[4, 3, 4, 2]).backward()

    def value(mean_x, variance_xx, opacity):
        means, covariances, opacities, p = one((mean_x, 0.33, 0.35), scale=0.04, opacity=opacity)
        covariances[0, 0, 0] = variance_xx
        log_empty, weights = splat_numba.splat(means, covariances, opacities, p, np.zeros(3), (9, 9, 9))
        return probability_from(log_empty)[5, 4, 4] + weights[4, 3, 4, 2]

    variance = 0.04**2 + 0.08**2 / 12
    slope = (value(0.37 + 1e-6, variance, 0.8) - value(0.37 - 1e-6, variance, 0.8)) / 2e-6
    assert inputs[0].grad[0, 0].item() == pytest.approx(slope, rel=1e-6)
    slope = (value(0.37, variance + 1e-8, 0.8) - value(0.37, variance - 1e-8, 0.8)) / 2e-8
    assert inputs[1].grad[0, 0, 0].item() == pytest.approx(slope, rel=1e-5)
    slope = (value(0.37, variance, 0.8 + 1e-6) - value(0.37, variance, 0.8 - 1e-6)) / 2e-6
    assert inputs[2].grad[0].item() == pytest.approx(slope, rel=1e-6)


def probability_from_torch(log_empty):
    return 1 - log_empty.exp()
