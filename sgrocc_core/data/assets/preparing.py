"""Prepares a model once: loads it, makes it solid, simplifies it, smooths its normals; and keeps that in the cache."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import numpy as np
from fast_simplification import simplify
from numba import njit

from sgrocc_core.data.assets.entry import Entry
from sgrocc_core.data.assets.loading import Loaded, fingerprint, load
from sgrocc_core.data.assets.model import Model
from sgrocc_core.data.assets.solid import MOST_DOUBT, PITCH, Cells, solid_cells, weld
from sgrocc_core.errors import DataError

VERSION = 1
"""Of what a cached file holds; another version is prepared again."""
TRIANGLES = 6000
"""A model keeps about this many triangles."""
LEAST_OF_PART = 40
MOST_PARTS = 8
"""Materials of a model; those of smaller parts become one."""
CREASE = np.cos(np.deg2rad(42))
"""Surfaces that meet at a smaller angle are shaded as one."""
SUPPORTED = 0.9
"""Share of a surface for objects that must be there, in cells."""


def prepared_file(entry: Entry, cache: Path) -> Path:
    """Where a model is cached: the name depends on its file, its row of the table and the version of the preparation.

    Raises:
        DataError: its file cannot be read.
    """
    row = (
        VERSION,
        fingerprint(entry),
        entry.label,
        entry.role,
        entry.size,
        entry.rotation.round(6).tolist(),
        entry.top,
    )
    return cache / f"{hashlib.sha256(repr(row).encode()).hexdigest()[:32]}.npz"


def prepare(entry: Entry, cache: Path) -> tuple[Path | None, str]:
    """Prepare a model unless it is in the cache.

    Returns:
        The prepared file, or None and why the model is left out.
    """
    try:
        path = prepared_file(entry, cache)
    except DataError as error:
        return None, str(error)
    if not path.exists() or (reason := _reason(path)) is None:
        _store(entry, path)
        reason = _reason(path)
    return (None, reason) if reason else (path, "")


def is_prepared(entry: Entry, cache: Path) -> bool:
    """Whether a model needs no preparation any more."""
    try:
        return prepared_file(entry, cache).exists()
    except DataError:
        return True


def _reason(path: Path) -> str | None:
    """Why a cached model is left out, an empty text if it is not; None if the file is damaged."""
    try:
        with np.load(path) as stored:
            return str(stored["reason"]) if "reason" in stored else ""
    except (OSError, ValueError, zipfile.BadZipFile):
        return None


def _store(entry: Entry, path: Path) -> None:
    """Write a prepared model, or the reason why there is none."""
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        model = build(entry)
        content = {
            "corners": model.corners, "normals": model.normals, "starts": model.starts, "colours": model.colours,
            "textured": model.textured, "cells": np.packbits(model.inside), "shape": np.array(model.inside.shape),
            "low": model.low, "surface": model.surface,
        }  # fmt: skip
    except DataError as error:
        content = {"reason": np.array(str(error))}
    with open(part, "wb") as file:
        np.savez_compressed(file, **content)  # type: ignore[arg-type]
    os.replace(part, path)


def build(entry: Entry) -> Model:
    """Load a model, make it solid and simplify it.

    Raises:
        DataError: it cannot be read, has another shape than its table says, or cannot be made solid.
    """
    loaded = _fewer_parts(load(entry))
    cells = solid_cells(loaded.corners)
    if cells.doubt > MOST_DOUBT:
        raise DataError(f"it cannot be made solid: {100 * cells.doubt:.0f} % of it is inside from some sides only")
    corners, part = _simplified(loaded)
    starts = np.searchsorted(part, np.arange(len(loaded.colours) + 1))
    return Model(
        corners.astype(np.float32),
        _normals(corners).astype(np.float32),
        starts,
        loaded.colours.astype(np.float32),
        loaded.textured,
        cells.inside,
        cells.low,
        _surface(cells, corners, entry),
    )


def _fewer_parts(loaded: Loaded) -> Loaded:
    """Give the parts after the first ones the colours of the last one that is kept."""
    part = np.minimum(loaded.part, MOST_PARTS - 1)
    return Loaded(loaded.corners, part, loaded.colours[:MOST_PARTS], loaded.textured[:MOST_PARTS])


def _simplified(loaded: Loaded) -> tuple[np.ndarray, np.ndarray]:
    """Fewer triangles (T, 3, 3) and their parts (T,): quadric edge collapses, each part in proportion."""
    share = min(1.0, TRIANGLES / len(loaded.corners))
    corners, parts = [], []
    for p in range(len(loaded.colours)):
        mine = loaded.corners[loaded.part == p]
        faces, kept = weld(mine)
        mine = mine[kept]
        wanted = max(int(share * len(mine)), LEAST_OF_PART)
        if wanted < 0.9 * len(mine):
            _, first, which = np.unique(faces, return_index=True, return_inverse=True)
            points, triangles = simplify(
                mine.reshape(-1, 3)[first].astype(np.float64),
                which.reshape(-1, 3).astype(np.int64),
                target_count=wanted,
            )
            fewer = np.asarray(points)[np.asarray(triangles)]
            if len(fewer) and np.isfinite(fewer).all():
                low, high = mine.reshape(-1, 3).min(0), mine.reshape(-1, 3).max(0)
                mine = np.clip(fewer, low, high)
        corners.append(mine)
        parts.append(np.full(len(mine), p))
    return np.concatenate(corners), np.concatenate(parts)


@njit(cache=True)
def _smooth(order, starts, vertex_of, flat, area, crease):  # type: ignore[no-untyped-def]
    """(T * 3, 3) normals of corners: the mean of the triangles at the vertex that are nearly in one plane."""
    out = np.zeros((len(vertex_of), 3))
    for c in range(len(vertex_of)):
        f, v = c // 3, vertex_of[c]
        for s in range(starts[v], starts[v + 1]):
            g = order[s] // 3
            dot = flat[f, 0] * flat[g, 0] + flat[f, 1] * flat[g, 1] + flat[f, 2] * flat[g, 2]
            if abs(dot) > crease:
                for a in range(3):
                    out[c, a] += np.sign(dot) * area[g] * flat[g, a]
        length = np.sqrt(out[c, 0] ** 2 + out[c, 1] ** 2 + out[c, 2] ** 2)
        for a in range(3):
            out[c, a] = out[c, a] / length if length > 0 else flat[f, a]
    return out


def _normals(corners: np.ndarray) -> np.ndarray:
    """(T, 3, 3) normal at each corner, smooth over small angles."""
    _, vertex = np.unique(np.rint(corners.reshape(-1, 3) / 2e-4).astype(np.int64), axis=0, return_inverse=True)
    vertex = vertex.reshape(-1)
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(normal, axis=1)
    flat = normal / (area[:, None] + 1e-15)
    order = np.argsort(vertex, kind="stable")
    starts = np.searchsorted(vertex[order], np.arange(vertex.max() + 2))
    return np.asarray(_smooth(order, starts, vertex, flat, area, CREASE)).reshape(-1, 3, 3)


def _surface(cells: Cells, corners: np.ndarray, entry: Entry) -> np.ndarray:
    """(3,) half width, half depth and height of the largest middle part of the top that is there; zeros: none."""
    height = entry.top or entry.size[2]
    k = int(np.floor((height - cells.low[2]) / PITCH))
    body = cells.inside.copy()
    points = np.floor((corners.mean(1) - cells.low) / PITCH).astype(int)
    body[tuple(np.clip(points, 0, np.array(body.shape) - 1).T)] = True
    there = body[:, :, max(0, k - 4) : k + 2].any(-1)
    middle = np.rint(-cells.low[:2] / PITCH).astype(int)
    for share in (0.46, 0.42, 0.36, 0.3, 0.25):
        half = (np.array(entry.size[:2]) * share / PITCH).astype(int)
        first = np.maximum(middle - half, 0)
        area = there[first[0] : middle[0] + half[0], first[1] : middle[1] + half[1]]
        if area.size and area.mean() >= SUPPORTED:
            return np.array([share * entry.size[0], share * entry.size[1], height])
    return np.zeros(3)
