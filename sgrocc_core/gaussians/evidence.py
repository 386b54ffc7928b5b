"""Depth evidence (method, section 4): increments of the log-odds of every voxel from the depth of one frame.

A voxel gains HIT kappa if at least two back-projected pixels fall into it, and at least a twentieth of the readings
that its face covers in the image; fewer are noise of a neighbouring surface. Otherwise it loses MISS kappa if it lies
more than MARGIN in front of the smallest depth of its footprint, or if the ray through its centre ends more than PASSED
behind it. Without the second condition, voxels that rays only graze, such as those above a distant floor, would never
be free. The weight kappa is 1 for a sensor and min(1, (0.05 m / sigma_g)^2) for learned depth.

A learned depth that does not know the surface to a few centimetres still knows that there is none a metre in front of
it. Its weights are therefore at least the shares of a Laplace distribution of scale sigma_g around it: for a hit, what
lies within PASSED; for a miss, CORRELATED times what lies within the distance by which the voxel is in front.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit, prange

from sgrocc_core.depth.layer import DepthLayer, footprint_minimum, trust
from sgrocc_core.errors import FrameError
from sgrocc_core.geometry.camera import NEAREST, pinhole
from sgrocc_core.geometry.lattice import BLOCK_SIZE, BLOCK_VOXELS, VOXEL_SIZE

HIT, MISS = 0.85, 0.41
"""Log-odds gained by a hit and lost by a miss, at kappa = 1: probabilities 0.7 and 0.4, OctoMap's defaults."""
MIN_HITS = 2
"""Minimum number of back-projected pixels for a hit (method, section 4)."""
MIN_SHARE = 0.05
"""Minimum share of the readings that the voxel's face covers in the image, for a hit (round guess)."""
MARGIN = 0.05
"""Minimum distance in front of the smallest depth of its footprint for a voxel to be free, metres (section 4)."""
PASSED = 0.07
"""Minimum distance of the ray's end behind a voxel's centre for it to be free, metres; about half its diagonal."""
CORRELATED = 0.5
"""Largest weight of a miss of learned depth that is not exact, since images of one place err alike; of 0.5 and 1 the
better one on generated walks."""
EVIDENCE_BOUNDS = (-2.0, 3.5)
"""Range that log-odds are clamped to: probabilities 0.12 and 0.97, OctoMap's defaults."""

MOST_BLOCKS = 20_000
"""Blocks in view of one frame beyond which it is not mapped: 42,000 m^3 and some 0.9 GB of work space. A camera of 120
degrees that sees 20 m far has 15,000 (round guess)."""


def observe(layers: list[DepthLayer], T_lc: np.ndarray, max_distance: float) -> tuple[np.ndarray, np.ndarray]:
    """Compute the increments of log-odds from one frame.

    Args:
        layers: depth of the frame, the most trusted layer first; each layer is used for the voxels without depth in the
            layers before it.
        T_lc: (4, 4) camera to lattice frame (world axes, origin of the lattice), metres.
        max_distance: maximum depth of voxels along the optical axis, metres.

    Returns:
        keys: (B, 3) int32, block coordinates.
        increments: (B, 16, 16, 16) float32.

    Raises:
        FrameError: `view_too_large`.
    """
    keys = _each_once(np.concatenate([blocks_in_view(layer, T_lc, max_distance) for layer in layers]))
    if len(keys) > MOST_BLOCKS:
        raise FrameError(
            "view_too_large",
            f"the image spans {len(keys):,} blocks of {BLOCK_SIZE:g} m up to {max_distance:g} m away; at most "
            f"{MOST_BLOCKS:,} are mapped. Lower max_distance, or crop the wide image",
        )
    increments = np.zeros((len(keys), BLOCK_VOXELS, BLOCK_VOXELS, BLOCK_VOXELS), np.float32)
    if not len(keys):
        return keys, increments
    judged = np.zeros(increments.shape, np.bool_)
    low, table = block_table(keys)
    R, t = np.ascontiguousarray(T_lc[:3, :3], np.float64), np.ascontiguousarray(T_lc[:3, 3], np.float64)
    for layer in layers:
        K = pinhole(layer.K)
        voxels = np.empty(layer.depth.shape, np.int32)
        _find(layer.depth, K, R, t, max_distance, low, table, voxels)
        hits = np.zeros(increments.shape, np.uint16)
        kappas = np.zeros(increments.shape if not layer.is_sensor else (len(keys), 0, 0, 0), np.float32)
        _hit(voxels.ravel(), layer.spread.ravel(), hits.ravel(), kappas.ravel())
        share = MIN_SHARE * np.count_nonzero(layer.depth) / layer.depth.size
        _judge(
            layer.depth,
            layer.spread,
            layer.minima,
            layer.stride,
            share,
            K,
            R,
            t,
            max_distance,
            keys,
            hits,
            kappas,
            judged,
            increments,
        )
    return keys, increments


def blocks_in_view(layer: DepthLayer, T_lc: np.ndarray, max_distance: float) -> np.ndarray:
    """Coordinates (B, 3) int32 of the blocks that may intersect the view frustum, up to the largest depth."""
    height, width = layer.depth.shape
    far = min(max_distance, float(layer.depth.max())) + VOXEL_SIZE
    if far <= VOXEL_SIZE:
        return np.zeros((0, 3), np.int32)
    fx, fy, cx, cy = pinhole(layer.K)
    left, right, top, bottom = (-0.5 - cx) / fx, (width - 0.5 - cx) / fx, (-0.5 - cy) / fy, (height - 0.5 - cy) / fy
    corners = far * np.array([(0, 0, 0), (left, top, 1), (right, top, 1), (left, bottom, 1), (right, bottom, 1)])
    world = corners @ T_lc[:3, :3].T + T_lc[:3, 3]
    low = np.floor(world.min(0) / BLOCK_SIZE).astype(np.int64)
    high = np.floor(world.max(0) / BLOCK_SIZE).astype(np.int64)
    axes = [np.arange(low[a], high[a] + 1) for a in range(3)]
    keys = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3)
    centres = ((keys + 0.5) * BLOCK_SIZE - T_lc[:3, 3]) @ T_lc[:3, :3]
    sides = np.array([(1, 0, -left), (-1, 0, right), (0, 1, -top), (0, -1, bottom), (0, 0, 1)])  # normals inwards
    reach = 0.5 * BLOCK_SIZE * np.abs(sides @ T_lc[:3, :3].T).sum(1)  # of a block along each normal
    inside = (centres @ sides.T >= -reach).all(1) & (centres[:, 2] <= far + reach[4])
    return keys[inside].astype(np.int32)


def _each_once(keys: np.ndarray) -> np.ndarray:
    """Sorted block coordinates (B, 3), each once; sorting one number per block is faster than sorting rows of three."""
    if not len(keys):
        return keys
    low, size = keys.min(0).astype(np.int64), np.ptp(keys, axis=0).astype(np.int64) + 1
    codes = np.unique(((keys[:, 0] - low[0]) * size[1] + keys[:, 1] - low[1]) * size[2] + keys[:, 2] - low[2])
    return (np.stack(np.unravel_index(codes, tuple(size)), 1) + low).astype(np.int32)


def block_table(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dense table of the blocks in a list, for `find_voxel`.

    Args:
        keys: (B, 3) int block coordinates, B > 0.

    Returns:
        low: (3,) int64, the lowest coordinates.
        table: (X, Y, Z) int32, row in `keys` of each block between the lowest and the highest coordinates; -1 = none.
    """
    low = keys.min(0).astype(np.int64)
    table = np.full(keys.max(0) - low + 1, -1, np.int32)
    table[tuple((keys - low).T)] = np.arange(len(keys))
    return low, table


@njit(cache=True, forceinline=True)
def find_voxel(d, x, y, R, t, low, table):
    """Voxel on the camera ray (x, y, 1) at depth d, metres: row of its block, -1 = none, and its index there."""
    i = int(np.floor((d * (R[0, 0] * x + R[0, 1] * y + R[0, 2]) + t[0]) / VOXEL_SIZE))
    j = int(np.floor((d * (R[1, 0] * x + R[1, 1] * y + R[1, 2]) + t[1]) / VOXEL_SIZE))
    k = int(np.floor((d * (R[2, 0] * x + R[2, 1] * y + R[2, 2]) + t[2]) / VOXEL_SIZE))
    bi, bj, bk = (i >> 4) - low[0], (j >> 4) - low[1], (k >> 4) - low[2]
    b = -1
    if 0 <= bi < table.shape[0] and 0 <= bj < table.shape[1] and 0 <= bk < table.shape[2]:
        b = table[bi, bj, bk]
    return b, i & 15, j & 15, k & 15


@njit(cache=True)
def hit_weight(sigma):
    """Weight of a hit of learned depth with spread sigma, metres."""
    return max(trust(sigma), 1.0 - math.exp(-PASSED / sigma))


@njit(cache=True)
def miss_weight(gap, sigma):
    """Weight of a miss of learned depth with spread sigma by a voxel that lies a gap in front of it, both in metres."""
    return max(trust(sigma), CORRELATED * (1.0 - math.exp(-gap / sigma)))


@njit(parallel=True, cache=True)
def _find(depth, K, R, t, max_distance, low, table, voxels):
    """Write to voxels (H, W) the index, in the blocks of the table, of the voxel of each pixel; -1 = none."""
    for row in prange(depth.shape[0]):
        y = (row - K[3]) / K[1]
        for column in range(depth.shape[1]):
            d = float(depth[row, column])
            found = -1
            if NEAREST <= d <= max_distance:
                b, i, j, k = find_voxel(d, (column - K[2]) / K[0], y, R, t, low, table)
                if b >= 0:
                    found = ((b * BLOCK_VOXELS + i) * BLOCK_VOXELS + j) * BLOCK_VOXELS + k
            voxels[row, column] = found


@njit(cache=True)
def _hit(voxels, spread, hits, kappas):
    """Count the back-projected pixels in every voxel; sum their kappas if the depth is learned. All are flat."""
    for pixel in range(len(voxels)):
        v = voxels[pixel]
        if v >= 0 and hits[v] < 65535:
            hits[v] += 1
            if spread.size:
                kappas[v] += hit_weight(float(spread[pixel]))


@njit(parallel=True, cache=True)
def _judge(depth, spread, minima, stride, share, K, R, t, max_distance, keys, hits, kappas, judged, increments):
    """Hit, miss or nothing for every voxel that is not judged yet; share: MIN_SHARE times the share of valid pixels."""
    for b in prange(len(keys)):
        _judge_block(
            keys[b], depth, spread, minima, stride, share, K, R, t, max_distance, hits[b], kappas[b], judged[b],
            increments[b],
        )  # fmt: skip


@njit(cache=True, error_model="numpy")
def _judge_block(key, depth, spread, minima, stride, share, K, R, t, max_distance, hits, kappas, judged, increments):
    height, width = depth.shape
    sensor = spread.size == 0
    fx, fy, cx, cy = K[0], K[1], K[2], K[3]
    first = np.zeros(3)  # centre of the first voxel in the camera's frame, metres
    for axis in range(3):
        first += ((key[axis] * BLOCK_VOXELS + 0.5) * VOXEL_SIZE - t[axis]) * R[axis]
    steps = R * VOXEL_SIZE
    x_k, y_k, z_k = steps[2, 0], steps[2, 1], steps[2, 2]
    for i in range(BLOCK_VOXELS):
        for j in range(BLOCK_VOXELS):
            x_ij = first[0] + i * steps[0, 0] + j * steps[1, 0]
            y_ij = first[1] + i * steps[0, 1] + j * steps[1, 1]
            z_ij = first[2] + i * steps[0, 2] + j * steps[1, 2]
            for k in range(BLOCK_VOXELS):
                if judged[i, j, k]:
                    continue
                z = z_ij + k * z_k
                count = hits[i, j, k]
                if count >= MIN_HITS:
                    across = VOXEL_SIZE / max(z, NEAREST)
                    if count >= share * fx * fy * across * across:
                        increments[i, j, k] = HIT if sensor else HIT * kappas[i, j, k] / count
                        judged[i, j, k] = True
                        continue
                if z < NEAREST or z > max_distance:
                    continue
                u, v = fx * (x_ij + k * x_k) / z + cx, fy * (y_ij + k * y_k) / z + cy
                if not (-0.5 <= u < width - 0.5 and -0.5 <= v < height - 0.5):
                    continue
                row, column = min(max(int(v + 0.5), 0), height - 1), min(max(int(u + 0.5), 0), width - 1)
                here = float(depth[row, column])
                if here > 0.0 and here - MARGIN <= z:
                    judged[i, j, k] = True  # the smallest depth of the footprint is at most that here
                    continue
                if sensor and here - PASSED > z:
                    increments[i, j, k], judged[i, j, k] = -MISS, True
                    continue
                nearest = footprint_minimum(minima, stride, u, v, 0.5 * VOXEL_SIZE * fx / z)
                if nearest == np.inf:
                    continue
                judged[i, j, k] = True
                gap = max(nearest - MARGIN, here - PASSED) - z
                if gap > 0:
                    weight = 1.0 if sensor else miss_weight(gap, float(spread[row, column]))
                    increments[i, j, k] = -MISS * weight


@njit(cache=True)
def has_evidence(increments):
    """Whether any increment of a block is not 0: (B,) bool, of increments (B, 16, 16, 16)."""
    some = np.zeros(len(increments), np.bool_)
    for b in range(len(increments)):
        found = False
        for value in increments[b].ravel():
            found |= value != 0.0
        some[b] = found
    return some


@njit(cache=True)
def add_log_odds(slots, increments, low, high, evidence, changed):
    """Add increments to the evidence, within bounds, and mark the blocks where that changed something.

    Args:
        slots: (B,) int64, -1 for increments that are left out.
        increments: (B, 16, 16, 16) float32.
        low: lower bound.
        high: upper bound.
        evidence: (slots, 16, 16, 16) float32, changed in place.
        changed: (slots,) bool, changed in place.
    """
    lower, upper = np.float32(low), np.float32(high)
    for b in range(len(slots)):
        if slots[b] < 0:
            continue
        here, more = evidence[slots[b]].ravel(), increments[b].ravel()
        differs = False
        for v in range(len(here)):
            new = min(max(here[v] + more[v], lower), upper)
            differs |= new != here[v]
            here[v] = new
        if differs:
            changed[slots[b]] = True
