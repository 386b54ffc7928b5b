"""What the last frame looked at: its Gaussians, for whoever wants to see them, and a way to forget all that it saw."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgrocc_core.gaussians.confidence import FREE, SURFACE, UNSEEN, CellView
from sgrocc_core.gaussians.gaussians import constrain_scales, sigmoid
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.geometry.lattice import BOX_CELLS, CELL_SIZE

VISIBLE = 0.25
"""Gaussians of less opacity are not shown."""
MOST = 4000
"""Gaussians that are shown at most; the most opaque ones."""


@dataclass(frozen=True)
class LastView:
    """How a frame saw the map.

    Attributes:
        stamp_ns: of the frame. corner: (3,) int, cell index of its local box's lowest corner. view: of the box's cells.
        keys: (B, 3) int block coordinates, each once. judged: (B, 16, 16, 16) bool, the voxels that the frame's depth said something of.
    """

    stamp_ns: int
    corner: np.ndarray
    view: CellView
    keys: np.ndarray
    judged: np.ndarray


@dataclass(frozen=True)
class GaussiansInView:
    """Gaussians of the map to be shown: those that lie in the last frame's view, hidden ones too, or those of a saved map.

    Attributes:
        means: (N, 3) metres, map frame. scales: (N, 3) metres, standard deviations along their own axes. rotations: (N, 4) unit quaternions
            (w, x, y, z). opacities: (N,) 0..1. labels: (N,) uint8, the likeliest class. All float32 but the labels.
    """

    means: np.ndarray
    scales: np.ndarray
    rotations: np.ndarray
    opacities: np.ndarray
    labels: np.ndarray


def gaussians_in_view(memory: GaussianMemory, last: LastView, origin: np.ndarray, most: int = MOST) -> GaussiansInView:
    """The `most` most opaque Gaussians of the cells that a frame had in its image.

    Args:
        origin: (3,) the lattice's origin in the map frame, metres.
    """
    held = memory.read(last.corner)
    shown = sigmoid(held.opacities)
    shown[last.view.state == UNSEEN] = 0.0
    cells, places = np.nonzero(shown >= VISIBLE)
    if len(cells) > most:
        chosen = np.argsort(-shown[cells, places], kind="stable")[:most]
        cells, places = cells[chosen], places[chosen]
    corner = origin + last.corner * CELL_SIZE
    return GaussiansInView(
        (held.means[cells, places] + corner).astype(np.float32), constrain_scales(held.scales[cells, places]),
        held.rotations[cells, places], shown[cells, places], (held.logits[cells, places].argmax(-1) + 1).astype(np.uint8),
    )  # fmt: skip


def forget_view(memory: GaussianMemory, last: LastView) -> None:
    """Forget what a frame saw; what is hidden from it stays.

    That is: Gaussians and evidence of the cells that lie before or in its depth's surface, and the evidence of all voxels that it judged.
    """
    anchors = np.flatnonzero((last.view.state == FREE) | (last.view.state == SURFACE))
    rows = memory.box(last.corner)[anchors]
    anchors, rows = anchors[rows >= 0], rows[rows >= 0]
    cells = np.stack(np.unravel_index(anchors, BOX_CELLS), 1) + last.corner
    memory.forget_cells(rows, cells)
    slots = memory.slots(last.keys)
    known = slots >= 0
    memory.forget_evidence(slots[known], last.judged[known])
