"""Selection of the Gaussians of a saved map that are drawn. `LiveMap.gaussians_in_view` selects those of a frame."""

from __future__ import annotations

import numpy as np

from sgrocc_core.gaussians.gaussians import constrain_scales, sigmoid
from sgrocc_core.gaussians.last_view import VISIBLE, GaussiansInView
from sgrocc_core.gaussians.memory import BLOCK_ROWS, empty_fields
from sgrocc_core.gaussians.saved_memory import check_memory
from sgrocc_core.gaussians.update import CellFields
from sgrocc_core.geometry.lattice import BLOCK_CELLS, CELL_SIZE
from sgrocc_core.map_files.format import SavedMap


def gaussians_of_map(saved: SavedMap, most: int) -> tuple[GaussiansInView, int]:
    """The most opaque Gaussians of a saved map.

    Args:
        saved: The map, with or without Gaussians.
        most: Maximum number of Gaussians.

    Returns:
        The Gaussians, sorted by falling opacity, and the number of visible Gaussians in the map.

    Raises:
        DataError: The arrays are not those of a memory.
    """
    empty = empty_fields(0, saved.model.gaussians_per_cell, saved.model.feature_channels)
    arrays = saved.gaussians or {"blocks": np.zeros((0, 3), np.int32)} | {
        name: field.reshape(0, BLOCK_ROWS, *field.shape[1:]) for name, field in empty._asdict().items()
    }
    if saved.gaussians:
        arrays = check_memory(arrays, empty)
    blocks = arrays["blocks"].astype(np.int64)
    fields = CellFields(
        *(arrays[name].reshape(len(blocks) * BLOCK_ROWS, *arrays[name].shape[2:]) for name in CellFields._fields)
    )
    opacities = sigmoid(fields.opacities)
    row, g = np.nonzero(opacities >= VISIBLE)
    chosen = np.argsort(-opacities[row, g], kind="stable")[:most]
    at, found = (row[chosen], g[chosen]), len(row)
    block, local = np.divmod(at[0], BLOCK_ROWS)
    cells = blocks[block] * BLOCK_CELLS + np.stack(np.unravel_index(local, (BLOCK_CELLS,) * 3), 1)
    means = ((cells + 0.5) * CELL_SIZE + fields.means[at]).astype(np.float32)
    labels = (fields.logits[at].argmax(-1) + 1).astype(np.uint8)
    return GaussiansInView(
        means, constrain_scales(fields.scales[at]), fields.rotations[at], opacities[at], labels
    ), found
