"""Made-up data for the tests of the stream: views of a wall, boxes of Gaussians with chosen cells filled."""

import numpy as np

from sgrocc_core.depth.layer import DepthLayer
from sgrocc_core.gaussians.confidence import CellView
from sgrocc_core.gaussians.gaussians import LocalGaussians
from sgrocc_core.geometry.lattice import BOX_CELLS, NUM_ANCHORS
from sgrocc_core.geometry.poses import make_pose

LEVEL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""Rotation of a level camera that looks along the world's x: its right is -y, its down is -z."""
K = np.array([[100.0, 0, 79.5], [0, 100.0, 59.5], [0, 0, 1]])
"""Intrinsics of a depth image of 160 x 120."""


def camera_at(*position):
    return make_pose(LEVEL, np.array(position, float))


def wall_depth(distance, shape=(120, 160)):
    return np.full(shape, distance, np.float32)


def sensor(depth):
    return DepthLayer.sensor(depth, K)


def anchor(i, j, k):
    return (i * BOX_CELLS[1] + j) * BOX_CELLS[2] + k


def box_of(filled=(), opacity=3.0, label=3, channels=8, seed=None):
    """Gaussians at their cells' centres, silent but for the cells (i, j, k) in `filled`; with a seed, random shapes."""
    cells = np.stack(np.unravel_index(np.arange(NUM_ANCHORS), BOX_CELLS), 1)
    means = np.repeat(((cells + 0.5) * 0.16)[:, None], 4, 1)
    opacities, logits = np.full((NUM_ANCHORS, 4), -9.0), np.zeros((NUM_ANCHORS, 4, 11))
    rotations, scales = np.zeros((NUM_ANCHORS, 4, 4)), np.zeros((NUM_ANCHORS, 4, 3))
    rotations[..., 0] = 1.0
    features = np.zeros((NUM_ANCHORS, channels))
    for cell in filled:
        opacities[anchor(*cell)] = opacity
        logits[anchor(*cell), :, label - 1] = 8.0
    if seed is not None:
        rng = np.random.default_rng(seed)
        means = means + rng.uniform(-0.15, 0.15, means.shape)
        rotations = rng.normal(size=rotations.shape)
        rotations /= np.linalg.norm(rotations, axis=-1, keepdims=True)
        scales, features = rng.normal(size=scales.shape), rng.normal(size=features.shape)
        logits = logits + rng.normal(size=logits.shape)
    return LocalGaussians(*(a.astype(np.float32) for a in (means, scales, rotations, opacities, logits, features)))


def looks(state, cells, residual=0.0, sigma=0.05, weight=1.0):
    """A view in which the cells (i, j, k) have one state and all others are unseen."""
    view = CellView(np.zeros(NUM_ANCHORS, np.uint8), *(np.zeros(NUM_ANCHORS, np.float32) for _ in range(3)))
    for cell in cells:
        a = anchor(*cell)
        view.state[a], view.residual[a], view.sigma[a], view.weight[a] = state, residual, sigma, weight
    return view
