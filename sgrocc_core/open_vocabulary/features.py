"""Language features of a memory's Gaussians: read from a frame, blended like the classes, and averaged over voxels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from sgrocc_core.errors import DataError
from sgrocc_core.gaussians.confidence import SURFACE, CellView
from sgrocc_core.gaussians.gaussians import sigmoid
from sgrocc_core.gaussians.memory import BLOCK_ROWS, GaussianMemory
from sgrocc_core.geometry.camera import NEAREST
from sgrocc_core.geometry.lattice import BLOCK_CELLS, BOX_CELLS, CELL_SIZE, CELL_VOXELS

FEATURES, MODEL, FOLDER = "language", "language.model", "language.folder"
"""Names of a map's arrays: the features, the digest of the model, and its folder as UTF-8."""


def rates(memory: GaussianMemory, corner: np.ndarray, view: CellView, stamp_ns: int) -> np.ndarray:
    """Rate (A,) float32 at which a view changes each cell, as `update_cells` has it; call it before the update.

    Args:
        memory: memory before the update.
        corner: (3,) int, cell index of the lowest corner of the local box.
        view: view of the cells of the box.
        stamp_ns: time of the frame, nanoseconds.
    """
    rows, past = memory.box(corner), memory.history(corner, view, stamp_ns).past
    weight = np.where(rows >= 0, memory.fields.weight[np.maximum(rows, 0)], 0.0)
    kept = np.where(past[:, 0] > 0, past[:, 1], 0.0) * weight
    return (1.0 - kept / np.maximum(weight + view.weight, 1e-12)).astype(np.float32)


def blend(
    memory: GaussianMemory,
    corner: np.ndarray,
    view: CellView,
    rate: np.ndarray,
    seen: np.ndarray,
    K: np.ndarray,
    size: tuple[int, int],
    T_lc: np.ndarray,
) -> None:
    """Blend what an image shows into the features of the Gaussians at its surfaces; call it after the update.

    Args:
        memory: memory with language features.
        corner: (3,) int, cell index of the lowest corner of the local box.
        view: view of the cells of the box; those that are hidden or free keep their features.
        rate: of `rates`.
        seen: (h, w, D) features over the whole image.
        K: (3, 3) intrinsics, pixels.
        size: (width, height) of the image, pixels.
        T_lc: (4, 4) camera to lattice frame, metres.
    """
    if memory.language is None:
        return
    anchors = np.flatnonzero(view.state == SURFACE)
    rows = memory.box(corner)[anchors]
    anchors, rows = anchors[rows >= 0], rows[rows >= 0]
    if not len(rows):
        return
    cells = np.stack(np.unravel_index(anchors, BOX_CELLS), 1) + np.asarray(corner)
    points = (cells[:, None] + 0.5) * CELL_SIZE + memory.fields.means[rows]
    local = (points - T_lc[:3, 3]) @ T_lc[:3, :3]
    z = np.maximum(local[..., 2], NEAREST)
    u, v = K[0, 0] * local[..., 0] / z + K[0, 2], K[1, 1] * local[..., 1] / z + K[1, 2]
    inside = (local[..., 2] > NEAREST) & (u >= -0.5) & (u < size[0] - 0.5) & (v >= -0.5) & (v < size[1] - 0.5)
    new = sampled(seen, (u + 0.5) / size[0], (v + 0.5) / size[1])
    old = memory.language[rows].astype(np.float32)
    step = (rate[anchors, None] * inside)[..., None]
    memory.language[rows] = (old + step * (new - old)).astype(np.float16)


def sampled(seen: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear samples (..., D) of maps (h, w, D) at x and y, shares of the width and the height, 0 to 1."""
    height, width = seen.shape[:2]
    column, row = np.clip(x * width - 0.5, 0, width - 1), np.clip(y * height - 0.5, 0, height - 1)
    left, top = np.floor(column).astype(int), np.floor(row).astype(int)
    right, below = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    a, b = (column - left)[..., None].astype(np.float32), (row - top)[..., None].astype(np.float32)
    upper = seen[top, left] * (1 - a) + seen[top, right] * a
    return np.asarray(upper * (1 - b) + (seen[below, left] * (1 - a) + seen[below, right] * a) * b)


@dataclass(frozen=True)
class MapFeatures:
    """Language features of a map.

    Attributes:
        blocks: (B, 3) int32, block coordinates.
        language: (B, 512, G, D) float16, by cell and Gaussian; zeros where nothing was seen.
        opacities: (B, 512, G) float32, raw.
    """

    blocks: np.ndarray
    language: np.ndarray
    opacities: np.ndarray

    @classmethod
    def of(cls, memory: GaussianMemory) -> MapFeatures | None:
        """Those of a memory, without a copy; None if it has none."""
        if memory.language is None:
            return None
        count = len(memory)
        language = memory.language.reshape(-1, BLOCK_ROWS, *memory.language.shape[1:])[:count]
        opacities = memory.fields.opacities
        return cls(memory.keys, language, opacities.reshape(-1, BLOCK_ROWS, opacities.shape[1])[:count])

    @classmethod
    def saved(cls, arrays: Mapping[str, np.ndarray]) -> MapFeatures | None:
        """Those of a saved map's arrays; None if it has none.

        Raises:
            DataError: the arrays do not fit each other.
        """
        if FEATURES not in arrays:
            return None
        blocks, language, opacities = arrays["blocks"], arrays[FEATURES], arrays["opacities"]
        if language.ndim != 4 or opacities.ndim != 3 or language.shape[:3] != opacities.shape:
            raise DataError(f"the map's language features are {language.shape}; its opacities are {opacities.shape}")
        if language.shape[0] != len(blocks) or language.shape[1] != BLOCK_ROWS or not np.isfinite(language).all():
            raise DataError(
                f"the map's language features are {language.shape} and must be finite, {len(blocks)} blocks"
            )
        return cls(blocks, language, opacities)

    def of_voxels(self, voxels: np.ndarray) -> np.ndarray:
        """Features (N, D) float32 of voxels (N, 3) int of their cells' Gaussians by opacity; zeros without any."""
        cells = np.asarray(voxels, np.int64) // CELL_VOXELS
        keys, which = np.unique(cells // BLOCK_CELLS, axis=0, return_inverse=True)
        slots = {tuple(key): slot for slot, key in enumerate(self.blocks.tolist())}
        slot = np.array([slots.get(tuple(key), -1) for key in keys.tolist()], np.int64)[which.reshape(-1)]
        x, y, z = (cells % BLOCK_CELLS).T
        cell, held = (x * BLOCK_CELLS + y) * BLOCK_CELLS + z, slot >= 0
        at = np.maximum(slot, 0), cell
        weight = sigmoid(self.opacities[at].astype(np.float32)) * held[:, None]
        return np.einsum("ng,ngd->nd", weight, self.language[at].astype(np.float32))
