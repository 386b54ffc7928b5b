"""Counts of depth pixels in the voxels of the box: by hand, in Numba and in PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

from sgrocc_core.depth.hits import count_hits

K = np.array([[100.0, 0, 15.5], [0, 100.0, 11.5], [0, 0, 1]])
LEVEL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 2.4], [0, -1, 0, 1.5], [0, 0, 0, 1]])
"""Camera on the near side of the box, looking along x, 1.5 m above the bottom of the box."""


def test_a_wall_fills_the_voxels_it_lies_in() -> None:
    depth = np.full((24, 32), 2.0, np.float32)
    depth[:, :4] = 0  # no reading
    depth[:, 4:8] = 9.0  # beyond the box
    hits = count_hits(depth, K, LEVEL)
    assert hits.shape == (60, 60, 36) and hits.dtype == np.float32
    assert hits.sum() == 24 * 24 and (hits.sum((1, 2)) > 0).nonzero()[0].tolist() == [25]  # x = 2.0 m
    # Pixels are 2 cm apart there: sixteen per voxel.
    # y = 2.4 - 0.02 (u - 15.5) is 2.41 at u = 15, in voxel 30 (2.40 to 2.48 m).
    assert hits[25, 29, 18] == 16 and hits[25, 30, 18] == 16


def test_one_pixel_lies_where_it_is_back_projected() -> None:
    depth = np.zeros((24, 32), np.float32)
    depth[3, 30] = 3.0
    x, y, z = 3.0, 2.4 - 3.0 * (30 - 15.5) / 100, 1.5 - 3.0 * (3 - 11.5) / 100
    assert np.argwhere(count_hits(depth, K, LEVEL)).tolist() == [[int(x / 0.08), int(y / 0.08), int(z / 0.08)]]


def test_pytorch_counts_the_same() -> None:
    torch = pytest.importorskip("torch")
    from sgrocc_core.network.expert import projection

    draw = np.random.default_rng(4)
    depth = draw.uniform(0.3, 5.0, (3, 24, 32)).astype(np.float32)
    depth[draw.random(depth.shape) < 0.2] = 0
    poses = np.stack([LEVEL, LEVEL, LEVEL])
    poses[:, :3, 3] += draw.normal(0, 0.3, (3, 3))
    expected = np.stack([count_hits(d, K, T) for d, T in zip(depth, poses)])
    intrinsics = torch.tensor([[100.0, 100.0, 15.5, 11.5]]).expand(3, -1)
    found = projection.count_hits(torch.from_numpy(depth)[:, None], intrinsics, torch.from_numpy(poses))
    assert found.dtype == torch.float32
    np.testing.assert_array_equal(found.numpy(), expected)
