"""Scores a map of the ray-cast room against the room itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sgrocc_core.map_files.file import load_map
from tests.samples.rooms.box_room import BOXES, HIGH, LOW, K, look, walk

VOXEL = 0.08
NEAR = 0.12
"""Metres from a true surface within which a voxel counts as right."""
SEEN_WITHIN = 4.5
"""Metres within which surfaces are expected in the map."""


@dataclass(frozen=True)
class Score:
    """How well a map fits the room.

    Attributes:
        voxels: occupied voxels.
        near: share of them within `NEAR` of a true surface; the network completes what is hidden, so it is below 1.
        seen: share of the surface seen that has an occupied voxel in or beside its own.
        free: share of the voxels observed free that are free, with a voxel's forgiveness.
    """

    voxels: int
    near: float
    seen: float
    free: float


def score(folder: Path, count: int = 12, move: np.ndarray | None = None) -> Score:
    """Score a saved map.

    Args:
        folder: of the map.
        count: poses of the walk that it was made of.
        move: (4, 4) map to room, where they differ.
    """
    saved = load_map(folder)
    occupied, free = (_moved((voxels + 0.5) * VOXEL, move) for voxels in (saved.voxels, saved.free))
    surface = np.concatenate([_surface_seen(T_wc) for T_wc in walk(count)])
    filled = {tuple(voxel) for voxel in np.floor(occupied / VOXEL).astype(int).tolist()}
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3), -1).reshape(-1, 3)
    grown = {tuple(voxel) for step in steps for voxel in (np.array(list(filled)) + step).tolist()}
    hit = [tuple(voxel) in grown for voxel in np.floor(surface / VOXEL).astype(int).tolist()]
    return Score(
        len(occupied), float((_distance(occupied) < NEAR).mean()), float(np.mean(hit)), float(_is_free(free).mean())
    )


def _moved(points: np.ndarray, T: np.ndarray | None) -> np.ndarray:
    return points if T is None else points @ T[:3, :3].T + T[:3, 3]


def _surface_seen(T_wc: np.ndarray) -> np.ndarray:
    """(N, 3) points in the room of every fourth pixel."""
    depth = look(T_wc)[1][::4, ::4]
    v, u = np.nonzero(depth < SEEN_WITHIN)
    z = depth[v, u]
    rays = np.stack([(4 * u - K[0, 2]) / K[0, 0], (4 * v - K[1, 2]) / K[1, 1], np.ones(len(u))], 1)
    return _moved(rays * z[:, None], T_wc)


def _distance(points: np.ndarray) -> np.ndarray:
    """(N,) metres to the nearest true surface; 0 within furniture."""
    walls = np.minimum(np.abs(points - LOW), np.abs(points - HIGH)).min(1)
    outside = np.linalg.norm(points - points.clip(LOW, HIGH), axis=1)
    best = np.where(outside > 0, outside, walls)
    for low, high in BOXES:
        best = np.minimum(best, np.linalg.norm(points - points.clip(low, high), axis=1))
    return best


def _is_free(points: np.ndarray) -> np.ndarray:
    """(N,) whether points lie in the room and in none of its furniture, with a voxel's forgiveness."""
    free = ((points > LOW - VOXEL) & (points < HIGH + VOXEL)).all(1)
    for low, high in BOXES:
        free &= ~((points > np.array(low) + VOXEL) & (points < np.array(high) - VOXEL)).all(1)
    return free
