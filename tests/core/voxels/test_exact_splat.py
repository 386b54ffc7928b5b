"""The published map against the exact splat of all Gaussians and the formula of the evidence, voxel by voxel."""

import numpy as np
import pytest

from sgrocc_core.gaussians.confidence import FREE, HIDDEN, SURFACE
from sgrocc_core.gaussians.gaussians import constrain_scales, covariance, sigmoid, softmax
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.voxels.splatting import splat_numba
from sgrocc_core.voxels.voxel_map import VoxelMap
from tests.samples.recordings.streams import box_of, looks

EDGE = 16
STEP = 1 / 16


def walked(threshold=0.5, seed=0):
    """A memory after ten frames from places that overlap, with evidence that comes and goes, published after each."""
    memory, rng = GaussianMemory(4, 8), np.random.default_rng(seed)
    voxel_map = VoxelMap(memory, threshold)
    for step in range(10):
        cells = [tuple(c) for c in rng.integers(0, [30, 30, 18], (1500, 3)).tolist()]
        box = box_of(cells[:900], opacity=-0.5, label=int(rng.integers(1, 12)), seed=step)
        box.opacities[:] += rng.normal(size=box.opacities.shape).astype(np.float32)
        state = (SURFACE, HIDDEN, FREE)[step % 3]
        memory.update(rng.integers(-4, 5, 3), box, looks(state, cells), step)
        keys = memory.keys[rng.random(len(memory)) < 0.5]
        moved = rng.normal(size=(len(keys), EDGE, EDGE, EDGE)) * (rng.random((len(keys), EDGE, EDGE, EDGE)) < 0.5)
        memory.add_evidence(keys, moved.astype(np.float32))
        voxel_map.update()
    return memory, voxel_map


def exactly(memory):
    """Log-odds of the splat, its class weights and the cells' tags on one dense grid, and the grid's first voxel."""
    low = memory.keys.min(0).astype(int)
    blocks = memory.keys.max(0) - low + 1
    fields, count = memory.fields, len(memory) * 512
    cells = np.repeat(memory.keys * 8, 512, 0) + np.tile(np.argwhere(np.ones((8, 8, 8))), (len(memory), 1))
    rows = np.flatnonzero(fields.tag[:count] == 1)
    means = ((cells[rows] + 0.5) * 0.16)[:, None] + fields.means[rows].astype(np.float64)
    Sigma = covariance(constrain_scales(fields.scales[rows].astype(np.float64)), fields.rotations[rows].astype(float))
    opacities, shares = sigmoid(fields.opacities[rows].astype(float)), softmax(fields.logits[rows].astype(float))
    flat = (a.reshape(-1, *a.shape[2:]) for a in (means, Sigma, opacities, shares))
    log_empty, weights = splat_numba.splat(*flat, low * 1.28, tuple(blocks * EDGE))
    tags = np.zeros(blocks * 8, np.uint8)
    tags[tuple((cells[rows] - low * 8).T)] = 1
    for axis in range(3):
        tags = tags.repeat(2, axis)
    return log_empty, weights, tags == 1, low * EDGE


def on_grid(memory, first, shape, values):
    dense = np.zeros(shape, values.dtype)
    for key, block in zip(memory.keys, values, strict=False):
        at = key * EDGE - first
        dense[at[0] : at[0] + EDGE, at[1] : at[1] + EDGE, at[2] : at[2] + EDGE] = block
    return dense


@pytest.mark.parametrize("threshold", [0.5, 0.3, 0.8])
def test_the_published_map_is_the_exact_splat_with_its_evidence(threshold):
    memory, voxel_map = walked(threshold)
    log_empty, weights, tagged, first = exactly(memory)
    e = on_grid(memory, first, log_empty.shape, memory.evidence[: len(memory)]).astype(np.float64)
    with np.errstate(divide="ignore"):
        prior = np.log(np.expm1(-np.maximum(np.where(tagged, log_empty, 0.0), -20.0)))
    bound = np.maximum(0.8, 6.0 - 5.2 * np.abs(e) / 0.8)
    odds = np.clip(prior, np.where(e > 0, -bound, -6.0), np.where(e < 0, bound, 6.0)) + e
    expected = 1 / (1 + np.exp(-odds))
    occupied = (expected >= threshold) & (tagged | (e > 0))

    labels, sixteenths = voxel_map.published()
    labels, got = (on_grid(memory, first, log_empty.shape, a) for a in (labels, sixteenths))
    clear = np.abs(expected - threshold) > 1e-3
    assert occupied.sum() > 5000 and (tagged & (e < -0.8)).sum() > 5000
    assert np.array_equal((labels > 0)[clear], occupied[clear])
    both = (labels > 0) & occupied
    assert np.abs(got * STEP - expected)[both].max() <= STEP
    assert (np.abs(got * STEP - expected)[both] <= STEP / 2 + 1e-4).mean() > 0.999
    best, second = np.sort(weights, -1)[..., -1], np.sort(weights, -1)[..., -2]
    sure = both & tagged & (best > 1e-4) & (best > 1.001 * second)
    assert sure.sum() > 3000 and np.array_equal(labels[sure], weights.argmax(-1)[sure] + 1)
