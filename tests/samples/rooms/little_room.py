"""A room of a few boxes, ray cast through its own voxel grid: packed scenes for the training tests, made in a
second."""

from __future__ import annotations

import json
from pathlib import Path

import numba
import numpy as np

from sgrocc_core.geometry.lattice import VOXEL_SIZE
from sgrocc_core.training.data.packed import FORMAT_VERSION

HUES = np.random.default_rng(5).integers(40, 220, (256, 3)).astype(np.float64)


def room(rng: np.random.Generator) -> np.ndarray:
    """(60, 60, 36) labels: floor, ceiling, walls, a table, a sofa, some furniture."""
    grid = np.zeros((60, 60, 36), np.uint8)
    grid[:, :, :2], grid[:, :, 33:] = 2, 1
    grid[:3], grid[-3:], grid[:, :3], grid[:, -3:] = 3, 3, 3, 3
    for label, size in ((8, (12, 8, 9)), (7, (20, 10, 9)), (10, (8, 8, 22)), (5, (6, 6, 10))):
        x, y = (int(rng.integers(4, 56 - s)) for s in size[:2])
        grid[x : x + size[0], y : y + size[1], 2 : 2 + size[2]] = label
    return grid


@numba.njit(cache=True)
def cast(grid: np.ndarray, K: np.ndarray, T: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """z-depth (m) and label of every pixel, by small steps along its ray."""
    depth = np.zeros((height, width), np.float32)
    labels = np.full((height, width), 255, np.uint8)
    for v in range(height):
        for u in range(width):
            x, y = (u - K[0, 2]) / K[0, 0], (v - K[1, 2]) / K[1, 1]
            d = T[:3, 0] * x + T[:3, 1] * y + T[:3, 2]
            z = 0.1
            while z < 8.0:
                p = (T[:3, 3] + d * z) / VOXEL_SIZE
                i, j, k = int(np.floor(p[0])), int(np.floor(p[1])), int(np.floor(p[2]))
                if not (0 <= i < 60 and 0 <= j < 60 and 0 <= k < 36):
                    break
                if grid[i, j, k] > 0:
                    depth[v, u], labels[v, u] = z, grid[i, j, k]
                    break
                z += 0.02
    return depth, labels


def pose(rng: np.random.Generator, grid: np.ndarray) -> np.ndarray:
    """A camera in free space at about 1.4 m, looking around horizontally and a little down."""
    while True:
        place = np.array([*rng.uniform(0.6, 4.2, 2), rng.uniform(1.1, 1.7)])
        if grid[tuple((place / VOXEL_SIZE).astype(int))] == 0:
            break
    yaw, pitch = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.4)
    forward = np.array([np.cos(yaw) * np.cos(pitch), np.sin(yaw) * np.cos(pitch), -np.sin(pitch)])
    right = np.array([np.sin(yaw), -np.cos(yaw), 0.0])
    T = np.eye(4)
    T[:3, :3] = np.stack([right, np.cross(forward, right), forward], 1)
    T[:3, 3] = place
    return T


def write_scene(folder: Path, views: int, seed: int, size: tuple[int, int] = (320, 240)) -> None:
    """Write one packed scene of `views` views of (width, height) pixels."""
    rng = np.random.default_rng(seed)
    grid, (width, height) = room(rng), size
    f = 0.9 * width
    K = np.array([[f, 0, (width - 1) / 2], [0, f, (height - 1) / 2], [0, 0, 1.0]])
    arrays: dict[str, list[np.ndarray]] = {}
    for _ in range(views):
        T = pose(rng, grid)
        depth, labels = cast(grid, K, T, height, width)
        image = np.clip(HUES[labels] * (1.2 - 0.12 * depth[..., None]), 0, 255).astype(np.uint8)
        counts = np.bincount(labels.ravel(), minlength=256)[:12]
        millimetres = (depth * 1000).astype(np.uint16)
        values = {
            "image": image,
            "depth": millimetres,
            "labels": labels,
            "target": grid,
            "K": K,
            "T_bc": T,
            "counts": counts,
        }
        for name, value in values.items():
            arrays.setdefault(name, []).append(value)
    folder.mkdir(parents=True)
    for name, columns in arrays.items():
        np.save(folder / f"{name}.npy", np.stack(columns))
    (folder / "packed.json").write_text(json.dumps({"format_version": FORMAT_VERSION, "views": views}))
