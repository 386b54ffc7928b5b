"""The view of the last frame: its Gaussians for display, and the removal of what it observed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sgrocc_core.gaussians.confidence import FREE, SURFACE, UNSEEN, CellView
from sgrocc_core.gaussians.gaussians import constrain_scales, sigmoid
from sgrocc_core.gaussians.memory import GaussianMemory
from sgrocc_core.geometry.lattice import CELL_SIZE

VISIBLE = 0.25
"""Minimum opacity of a displayed Gaussian (round guess)."""
MOST = 4000
"""Maximum number of displayed Gaussians, the most opaque ones (round guess)."""


@dataclass(frozen=True)
class LastView:
    """View of the map in one frame.

    Attributes:
        stamp_ns: time of the frame, nanoseconds.
        corner: (3,) int, cell index of the lowest corner of its local box.
        view: view of the cells of the box.
        keys: (B, 3) int block coordinates, each once.
        judged: (B, 16, 16, 16) bool, the voxels for which the depth of the frame gave evidence.
    """

    stamp_ns: int
    corner: np.ndarray
    view: CellView
    keys: np.ndarray
    judged: np.ndarray


@dataclass(frozen=True)
class GaussiansInView:
    """Gaussians for display: those in the view of the last frame, including hidden ones, or those of a saved map.

    Attributes:
        means: (N, 3) float32, metres, map frame.
        scales: (N, 3) float32, standard deviations along the axes of each Gaussian, metres.
        rotations: (N, 4) float32, unit quaternions (w, x, y, z).
        opacities: (N,) float32, 0..1.
        labels: (N,) uint8, the most probable class.
    """

    means: np.ndarray
    scales: np.ndarray
    rotations: np.ndarray
    opacities: np.ndarray
    labels: np.ndarray


def gaussians_in_view(memory: GaussianMemory, last: LastView, origin: np.ndarray, most: int = MOST) -> GaussiansInView:
    """The most opaque Gaussians of the cells that are in the image of a frame.

    Args:
        memory: memory that holds the Gaussians.
        last: view of the frame.
        origin: (3,) origin of the lattice in the map frame, metres.
        most: maximum number of Gaussians.
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
        held.rotations[cells, places], shown[cells, places],
        (held.logits[cells, places].argmax(-1) + 1).astype(np.uint8),
    )  # fmt: skip


def forget_view(memory: GaussianMemory, last: LastView) -> None:
    """Remove from the memory what a frame observed, but not what was hidden from it.

    This removes the Gaussians and the evidence of cells that were free or at a surface, and the evidence of all voxels
    for which the depth of the frame gave evidence.
    """
    anchors = np.flatnonzero((last.view.state == FREE) | (last.view.state == SURFACE))
    rows = memory.box(last.corner)[anchors]
    memory.forget_cells(rows[rows >= 0])
    slots = memory.slots(last.keys)
    known = slots >= 0
    memory.forget_evidence(slots[known], last.judged[known])
