"""The covariance and the constrained parameters."""

import numpy as np
import pytest

from sgrocc_core.gaussians.gaussians import LocalGaussians, constrain_scales, covariance, sigmoid, softmax


def test_the_covariance_of_an_unrotated_gaussian_is_its_variances_and_the_voxels():
    Sigma = covariance(np.array([[0.02, 0.05, 0.08]]), np.array([[1.0, 0, 0, 0]]))
    np.testing.assert_allclose(Sigma[0], np.diag([0.0004, 0.0025, 0.0064]) + np.eye(3) * 0.0064 / 12, atol=1e-12)


def test_a_quarter_turn_about_z_swaps_the_variances_of_x_and_y():
    half = np.sqrt(0.5)
    Sigma = covariance(np.array([[0.02, 0.05, 0.08]]), np.array([[half, 0, 0, half]]))
    np.testing.assert_allclose(Sigma[0], np.diag([0.0025, 0.0004, 0.0064]) + np.eye(3) * 0.0064 / 12, atol=1e-12)


def test_any_rotation_keeps_the_eigenvalues():
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.02, 0.08, (50, 3))
    q = rng.normal(size=(50, 4))
    Sigma = covariance(scales, q / np.linalg.norm(q, axis=1, keepdims=True))
    np.testing.assert_allclose(np.linalg.eigvalsh(Sigma), np.sort(scales**2 + 0.0064 / 12, 1), atol=1e-12)


def test_tensors_give_what_arrays_give():
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    scales, q = rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 2, 4))
    q /= np.linalg.norm(q, axis=-1, keepdims=True)
    expected = covariance(constrain_scales(scales), q)
    got = covariance(constrain_scales(torch.from_numpy(scales)), torch.from_numpy(q))
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-14)


def test_scales_stay_within_their_bounds():
    np.testing.assert_allclose(constrain_scales(np.array([-1e4, 0.0, 1e4])), [0.02, 0.05, 0.08])


def test_sigmoid_and_softmax_do_not_overflow():
    with np.errstate(all="raise"):
        np.testing.assert_allclose(sigmoid(np.array([-800.0, 0.0, 800.0])), [0.0, 0.5, 1.0])
        np.testing.assert_allclose(softmax(np.array([[600.0, 600.0]])), [[0.5, 0.5]])


def test_arrays_of_different_lengths_are_refused():
    g = {
        "means": (5, 4, 3),
        "scales": (5, 4, 3),
        "rotations": (5, 4, 4),
        "opacities": (5, 4),
        "logits": (5, 4, 11),
        "features": (5, 8),
    }
    LocalGaussians(**{k: np.zeros(v, np.float32) for k, v in g.items()})
    for name, shape in {"means": (5, 3, 3), "rotations": (5, 4, 3), "features": (4, 8)}.items():
        with pytest.raises(ValueError, match=name):
            LocalGaussians(**{k: np.zeros(shape if k == name else v, np.float32) for k, v in g.items()})
