"""Patterns of materials, evaluated at a hit point in the solid's frame. Compiled; shading.py calls them per ray."""

from __future__ import annotations

import math

from numba import njit

from sgrocc_core.data.synthetic.solids.materials import (
    BRICK,
    CHECKER,
    FABRIC,
    LEAVES,
    MARBLE,
    METAL,
    PAGE,
    PANELS,
    PLANKS,
    PLASTER,
    PRINT,
    SCREEN,
    STRIPES,
    TILES,
    WOOD,
)


@njit(cache=True, inline="never")
def _hash(x: int, y: int, seed: int) -> float:
    h = (x * 374761393 + y * 668265263 + seed * 974634777) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    return ((h ^ (h >> 16)) & 0xFFFFFF) / 16777216.0


@njit(cache=True)
def noise(u: float, v: float, seed: int) -> float:
    """Smooth value noise in 0..1 on a plane, with features of size 1."""
    x, y = math.floor(u), math.floor(v)
    a, b = u - x, v - y
    a, b = a * a * (3 - 2 * a), b * b * (3 - 2 * b)
    i, j = int(x), int(y)
    low = _hash(i, j, seed) * (1 - a) + _hash(i + 1, j, seed) * a
    high = _hash(i, j + 1, seed) * (1 - a) + _hash(i + 1, j + 1, seed) * a
    return low * (1 - b) + high * b


@njit(cache=True)
def _joint(u: float, width: float) -> float:
    """1 inside a joint of relative width around the integers, else 0."""
    f = u - math.floor(u)
    return 1.0 if f < width or f > 1 - width else 0.0


@njit(cache=True)
def _laid(pattern: int, u: float, v: float, scale: float, seed: int, fade: float) -> tuple[float, float]:
    """Patterns of laid pieces: share of the second colour, and a lightness factor."""
    if pattern == TILES or pattern == PANELS:
        a, b = u / scale, v / scale
        if pattern == PANELS:
            b = v / (3 * scale)
        mix = max(_joint(a, 0.012), _joint(b, 0.012)) * fade
        return mix, 0.94 + 0.12 * _hash(int(math.floor(a)), int(math.floor(b)), seed)
    if pattern == BRICK:
        row = math.floor(v / scale)
        a = u / (2.6 * scale) + 0.5 * (row % 2)
        mix = max(_joint(a, 0.025), _joint(v / scale, 0.06)) * fade
        return mix, 0.7 + 0.6 * _hash(int(math.floor(a)), int(row), seed)
    row = math.floor(v / scale)  # planks
    a = u / (9 * scale) + _hash(int(row), 7, seed)
    tone = 0.78 + 0.44 * _hash(int(math.floor(a)), int(row), seed)
    grain = noise(u / (scale * 2.5), v / (scale * 0.08), seed) * 0.5 * fade
    mix = max(grain, max(_joint(v / scale, 0.015), 0.8 * _joint(a, 0.003)) * fade)
    return mix, tone


@njit(cache=True)
def _woven(pattern: int, u: float, v: float, scale: float, seed: int, fade: float) -> tuple[float, float]:
    """Soft patterns: share of the second colour, and a lightness factor."""
    if pattern == WOOD:
        bend = noise(u * 1.5, v * 4, seed) * 3
        rings = 0.5 + 0.5 * math.sin((v / scale + bend) * 6.2832)
        return (0.55 * rings + 0.45 * noise(u * 5, v / (0.15 * scale), seed)) * (0.4 + 0.6 * fade), 1.0
    if pattern == FABRIC or pattern == LEAVES:
        fine = noise(u / scale, v / scale, seed)
        return (0.5 + (fine - 0.5) * fade), 0.92 + 0.16 * noise(u * 3, v * 3, seed + 5)
    if pattern == MARBLE:
        bend = noise(u / scale, v / scale, seed) * 4 + noise(u * 3 / scale, v * 3 / scale, seed + 1)
        return abs(math.sin((u / scale + bend) * 2.0)) ** 3, 1.0
    return noise(u / scale, v / scale, seed), 0.95 + 0.1 * noise(u * 1.7, v * 1.7, seed + 3)


@njit(cache=True)
def _printed(pattern: int, u: float, v: float, scale: float, seed: int) -> tuple[float, float]:
    """Prints, pages and screens: share of the second colour, and a lightness factor."""
    if pattern == CHECKER:
        return float((int(math.floor(u / scale)) + int(math.floor(v / scale))) & 1), 1.0
    if pattern == STRIPES:
        return float(int(math.floor(u / scale)) & 1), 1.0
    if pattern == PAGE:
        line = math.floor(v / scale)
        ink = _joint(v / scale + 0.5, 0.25) * (
            1.0 if _hash(int(math.floor(u / (scale * 0.9))), int(line), seed) > 0.3 else 0.0
        )
        block = (
            1.0 if _hash(int(math.floor(u / (scale * 9))), int(math.floor(v / (scale * 7))), seed + 2) > 0.25 else 0.0
        )
        return ink * block, 1.0
    a = u / scale + 1.5 * noise(u / (2 * scale), v / (2 * scale), seed)
    b = v / scale + 1.5 * noise(u / (2 * scale), v / (2 * scale), seed + 9)
    cell = _hash(int(math.floor(a)), int(math.floor(b)), seed + 1)
    return (1.0 if cell > 0.55 else 0.6 * noise(a, b, seed + 4)), 0.6 + 0.8 * _hash(
        int(math.floor(a * 0.5)), int(math.floor(b * 0.5)), seed + 3
    )


@njit(cache=True)
def pattern_at(pattern: int, u: float, v: float, scale: float, seed: int, footprint: float) -> tuple[float, float]:
    """Mix of a pattern's two colours at surface coordinates u, v (metres).

    Args:
        pattern: one of the patterns in materials.py.
        u: first surface coordinate, metres.
        v: second surface coordinate, metres.
        scale: size of the pattern, metres.
        seed: seed of the pattern.
        footprint: metres covered by one pixel there; finer detail is faded out to avoid aliasing.

    Returns:
        mix: 0 for the first colour, 1 for the second.
        tone: lightness factor.
    """
    fade = min(1.0, 0.7 * scale / (footprint + 1e-6))
    if pattern == TILES or pattern == PANELS or pattern == BRICK or pattern == PLANKS:
        return _laid(pattern, u, v, scale, seed, min(1.0, 0.03 * scale / (footprint + 1e-6) + 0.25))
    if pattern == WOOD or pattern == FABRIC or pattern == LEAVES or pattern == MARBLE:
        return _woven(pattern, u, v, scale, seed, fade)
    if pattern == CHECKER or pattern == STRIPES or pattern == PRINT or pattern == PAGE or pattern == SCREEN:
        mix, tone = _printed(pattern, u, v, scale, seed)
        return 0.5 + (mix - 0.5) * min(1.0, 2 * fade), tone
    if pattern == METAL:
        return 0.5, 0.9 + 0.2 * noise(u / 0.3, v / 0.003, seed) * fade
    if pattern == PLASTER:
        return 0.0, 1.0 + (noise(u / scale, v / scale, seed) - 0.5) * (0.3 + 0.7 * fade)
    return 0.0, 1.0 + (noise(u / scale, v / scale, seed) - 0.5)


@njit(cache=True)
def outside_at(dx: float, dy: float, dz: float, seed: int) -> tuple[float, float, float]:
    """Linear colour of the outdoor scene in a direction: sky, clouds, trees, houses."""
    azimuth = math.atan2(dy, dx) * 6
    height = dz / (math.sqrt(dx * dx + dy * dy) + 1e-6)
    skyline = 0.25 * noise(azimuth * 1.5, 0.5, seed) + (
        0.2 if _hash(int(math.floor(azimuth * 1.3)), 3, seed) > 0.6 else -0.05
    )
    if height > skyline:
        cloud = noise(azimuth, height * 4, seed + 1)
        return 0.55 + 0.45 * cloud, 0.72 + 0.28 * cloud, 1.0
    if height > -0.12 and _hash(seed, 11, 2) > 0.4:
        window = 0.5 + 0.5 * _joint(azimuth * 4, 0.3) * _joint(height * 12, 0.3)
        return 0.32 * window, 0.28 * window, 0.24 * window
    leaf = 0.35 + noise(azimuth * 8, height * 25, seed + 2)
    return 0.12 * leaf, 0.25 * leaf, 0.08 * leaf
