"""Solid texture for clips: the surfaces of rendered rooms are plain where those of real rooms have grain.

A random field in the world's coordinates is added to the colours of all frames of a clip. It lies still on the
surfaces, so that frames agree about it, and needs no change of the rendered videos (Perlin, "An image synthesizer",
1985).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numba import njit

from sgrocc_core.training.data.augmentation import View

TILE = 48
"""Cells of the random field along each axis, after which it repeats."""
CELLS = 0.015, 0.08
"""Range of the finest cells' size, metres."""
PATCHES = 0.7
"""Size of the patches that have grain or not, metres."""
STRENGTH = 4.0, 30.0
"""Range of the field's standard deviation, values of 0 to 255."""


def textured(views: list[View], rng: np.random.Generator) -> list[View]:
    """Views of one clip with grain on some of their surfaces; `T_bc` of a view is its pose in the world.

    Args:
        views: with depth; pixels of unknown depth stay as they are.
        rng: of the field.
    """
    tile = rng.standard_normal((TILE, TILE, TILE), np.float32)
    cell = float(np.exp(rng.uniform(*np.log(CELLS))))
    strength = float(rng.uniform(*STRENGTH))
    tint = rng.uniform(0.6, 1.4, 3).astype(np.float32)
    bare = float(rng.uniform(-0.4, 0.4))
    return [_grained(view, tile, cell, strength, tint, bare) for view in views]


def _grained(view: View, tile: np.ndarray, cell: float, strength: float, tint: np.ndarray, bare: float) -> View:
    height, width = view.depth.shape
    K = view.K
    v, u = np.mgrid[0:height, 0:width].astype(np.float32)
    rays = np.stack([(u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1], np.ones_like(u)], -1)
    points = (rays * view.depth[..., None]).reshape(-1, 3) @ view.T_bc[:3, :3].T + view.T_bc[:3, 3]
    points = np.ascontiguousarray(points, np.float32)
    grain = np.zeros(height * width, np.float32)
    for octave in range(3):
        size = cell * 2.17**octave
        # What is finer than a pixel is a mean of many cells, which is 0.
        seen = np.clip(size * K[0, 0] / np.maximum(view.depth.ravel(), 0.1) - 0.5, 0, 1)
        grain += seen * _solid(points, tile, 1 / size)
    patch = np.clip(0.5 + 2 * (_solid(points, tile, 1 / PATCHES) - bare), 0, 1)
    added = (strength * grain * patch).reshape(height, width, 1) * tint
    added[view.depth <= 0] = 0
    image = np.clip(view.image + added, 0, 255).astype(np.uint8)
    return replace(view, image=image)


@njit(cache=True, nogil=True)
def _solid(points, tile, scale):
    """The field at points (N, 3), metres: linear between the tile's cells, which repeat."""
    n = len(tile)
    out = np.empty(len(points), np.float32)
    for p in range(len(points)):
        x, y, z = points[p, 0] * scale, points[p, 1] * scale, points[p, 2] * scale
        i, j, k = np.floor(x), np.floor(y), np.floor(z)
        a, b, c = np.float32(x - i), np.float32(y - j), np.float32(z - k)
        i0, j0, k0 = int(i) % n, int(j) % n, int(k) % n
        i1, j1, k1 = (i0 + 1) % n, (j0 + 1) % n, (k0 + 1) % n
        near = (1 - b) * ((1 - c) * tile[i0, j0, k0] + c * tile[i0, j0, k1])
        near += b * ((1 - c) * tile[i0, j1, k0] + c * tile[i0, j1, k1])
        far = (1 - b) * ((1 - c) * tile[i1, j0, k0] + c * tile[i1, j0, k1])
        far += b * ((1 - c) * tile[i1, j1, k0] + c * tile[i1, j1, k1])
        out[p] = (1 - a) * near + a * far
    return out
