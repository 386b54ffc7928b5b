"""The Gaussians to be drawn, out of a memory that is being mapped into or out of a saved one; never more than asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgrocc_core.gaussians.gaussians import MIN_OPACITY, constrain_scales, sigmoid
from sgrocc_core.gaussians.memory import BLOCK_ROWS, GaussianMemory, empty_fields
from sgrocc_core.gaussians.saved_memory import check_memory
from sgrocc_core.gaussians.update import CellFields
from sgrocc_core.geometry.camera import project
from sgrocc_core.geometry.lattice import BLOCK_CELLS, BOX_CELLS, CELL_SIZE, box_corner
from sgrocc_core.map_format import SavedMap
from sgrocc_core.mapper_types import MapperConfig


@dataclass(frozen=True)
class DrawnGaussians:
    """Gaussians as ellipsoids of one standard deviation, the most opaque first.

    Attributes:
        means: (N, 3) float32, metres, map frame. scales: (N, 3) float32, metres. rotations: (N, 4) float32, quaternions (w, x, y, z).
        labels: (N,) uint8, likeliest class, 1 to 11. found: how many there were to choose from.
    """

    means: np.ndarray
    scales: np.ndarray
    rotations: np.ndarray
    labels: np.ndarray
    found: int


def gaussians_in_view(
    memory: GaussianMemory, T_wc: np.ndarray, K: np.ndarray, size: tuple[int, int], config: MapperConfig, origin: np.ndarray, most: int
) -> DrawnGaussians:
    """The Gaussians of a camera's local box whose means lie in its image.

    Args:
        T_wc: (4, 4) camera to map. K: (3, 3), pixels. size: width and height of the image, pixels. config: of the mapper.
        origin: (3,) of the lattice, metres. most: how many at most.
    """
    corner = box_corner(T_wc, origin, config.box_below)
    rows = memory.box(corner)
    held = np.flatnonzero(rows >= 0)
    cells = np.stack(np.unravel_index(held, BOX_CELLS), 1) + corner
    means, at = _written(memory.fields, rows[held], cells, origin)
    u, v, z = project(means, K, T_wc)
    seen = (z > 0) & (z <= config.max_distance) & (u > -0.5) & (u < size[0] - 0.5) & (v > -0.5) & (v < size[1] - 0.5)
    return _most_opaque(memory.fields, means[seen], at[seen], most)


def gaussians_of_map(saved: SavedMap, most: int) -> DrawnGaussians:
    """The Gaussians of a saved map.

    Args:
        saved: with Gaussians or without. most: how many at most.

    Raises:
        DataError: arrays that no memory holds.
    """
    if not saved.gaussians:
        nothing = np.zeros((0, 4), np.float32)
        return DrawnGaussians(nothing[:, :3], nothing[:, :3], nothing, np.zeros(0, np.uint8), 0)
    check_memory(saved.gaussians, empty_fields(0, saved.model.gaussians_per_cell, saved.model.feature_channels))
    blocks = saved.gaussians["blocks"].astype(np.int64)
    by_block = {name: saved.gaussians[name] for name in CellFields._fields}
    fields = CellFields(**{name: array.reshape(len(blocks) * BLOCK_ROWS, *array.shape[2:]) for name, array in by_block.items()})
    local = np.stack(np.unravel_index(np.arange(BLOCK_ROWS), (BLOCK_CELLS,) * 3), 1)
    cells = (blocks[:, None] * BLOCK_CELLS + local).reshape(-1, 3)
    means, at = _written(fields, np.arange(len(cells)), cells, np.zeros(3))
    return _most_opaque(fields, means, at, most)


def _written(fields: CellFields, rows: np.ndarray, cells: np.ndarray, origin: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means (N, 3), metres, and places (N, 2), row and number, of the Gaussians that are splatted, among rows (n,) of cells (n, 3)."""
    cell, g = np.nonzero((fields.tag[rows] == 1)[:, None] & (sigmoid(fields.opacities[rows]) > MIN_OPACITY))
    at = np.stack([rows[cell], g], 1)
    return (cells[cell] + 0.5) * CELL_SIZE + fields.means[at[:, 0], g] + origin, at


def _most_opaque(fields: CellFields, means: np.ndarray, at: np.ndarray, most: int) -> DrawnGaussians:
    row, g = at.T
    chosen = np.argsort(-fields.opacities[row, g], kind="stable")[:most]
    row, g = row[chosen], g[chosen]
    labels = (fields.logits[row, g].argmax(1) + 1).astype(np.uint8)
    scales, rotations = constrain_scales(fields.scales[row, g]), fields.rotations[row, g]
    return DrawnGaussians(means[chosen].astype(np.float32), scales, rotations, labels, len(means))
