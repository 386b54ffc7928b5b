"""Gaussians drawn at random around a box of voxels, some of them outside it."""

import numpy as np

from sgrocc_core.gaussians.gaussians import covariance

SHAPE = (20, 16, 12)
CORNER = np.array([0.3, -0.2, 0.1])


def random_gaussians(count, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    q = rng.normal(size=(count, 4))
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    means = CORNER + rng.uniform(-0.3, 1.1, (count, 3)) * np.array(SHAPE) * 0.08  # some of them outside
    probabilities = rng.dirichlet(np.ones(11), count)
    gaussians = means, covariance(rng.uniform(0.02, 0.08, (count, 3)), q), rng.uniform(0, 1, count), probabilities
    return tuple(a.astype(dtype) for a in gaussians)
