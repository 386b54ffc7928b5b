"""The Gaussian memory of one scene during training, in PyTorch.

It is dense: scenes of the data sets are small, so every cell has a place from the start, whereas the mapper's memory
(`gaussians/memory.py`) is sparse and unbounded. Gradients can flow back through the last views. Cells are counted
from the scene's lowest corner, like the mapper's with its lattice's origin there.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.errors import DataError
from sgrocc_core.gaussians.confidence import UNSEEN, CellView
from sgrocc_core.gaussians.gaussians import SILENT_OPACITY
from sgrocc_core.gaussians.update_torch import Cells, Look, confidence, updated
from sgrocc_core.geometry.lattice import BOX_CELLS, NUM_ANCHORS

Outputs = dict[str, Tensor]


def look_of(view: CellView, device: torch.device | None = None) -> Look:
    """Converts a CellView to tensors."""
    state = torch.from_numpy(view.state).long()
    rest = (torch.from_numpy(getattr(view, name)) for name in ("residual", "sigma", "weight"))
    return Look(*(value.to(device) for value in (state, *rest)))


class SceneMemory:
    """The memory of one scene.

    Args:
        cells: (X, Y, Z) size of the scene, cells.
        gaussians: G, Gaussians per cell.
        channels: C, feature channels per cell.
        centres: (16200, 3) centres of a box's cells, metres, box frame.
        kind: of the confidence, one of `confidence.CONFIDENCES`.

    Attributes:
        cells: all cells of the scene and of a margin of one box around it.
    """

    def __init__(
        self, cells: tuple[int, int, int], gaussians: int, channels: int, centres: Tensor, kind: str = "hybrid"
    ) -> None:
        self.kind, self.centres = kind, centres
        # With the margin, the box of any camera position in the scene fits.
        self._shape = tuple(n + 2 * b for n, b in zip(cells, BOX_CELLS))
        rows, device = int(np.prod(self._shape)), centres.device

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(rows, *shape, device=device)

        rotations = zeros(gaussians, 4)
        rotations[..., 0] = 1.0
        self.cells = Cells(
            zeros(gaussians, 3), zeros(gaussians, 3), rotations,
            zeros(gaussians) + SILENT_OPACITY, zeros(gaussians, NUM_CLASSES),
            zeros(channels), zeros(), zeros(), zeros(), zeros(), zeros(),
        )  # fmt: skip

    def rows(self, corner: np.ndarray) -> Tensor:
        """Returns the rows (16200,) of the box at a corner.

        Args:
            corner: (3,) lowest corner, cells.

        Raises:
            DataError: the box lies outside the scene.
        """
        low = np.asarray(corner) + BOX_CELLS
        if (low < 0).any() or (low + BOX_CELLS > self._shape).any():
            size = [n - 2 * b for n, b in zip(self._shape, BOX_CELLS)]
            raise DataError(f"the box at cell {np.asarray(corner).tolist()} lies outside a scene of {size} cells")
        axes = np.ix_(*(np.arange(a, a + n) for a, n in zip(low, BOX_CELLS)))
        return torch.from_numpy(np.ravel_multi_index(axes, self._shape).reshape(-1)).to(self.centres.device)

    def box(self, rows: Tensor) -> Cells:
        """Returns the cells in the given rows."""
        return Cells(*(getattr(self.cells, f.name)[rows] for f in fields(Cells)))

    def history(self, rows: Tensor, look: Look, stamp: float) -> tuple[Tensor, Tensor]:
        """Returns the box's history before a view, the network's input; see `GaussianMemory.history`.

        Args:
            rows: (16200,) of the box.
            look: how the view sees the box's cells.
            stamp: time of the view, seconds.

        Returns:
            features (16200, C), past (16200, 3).
        """
        cells = self.box(rows)
        sure = torch.where(look.state == UNSEEN, 1.0, confidence(cells, look, self.kind))
        past = torch.stack([cells.tag, sure, (stamp - cells.stamp).clamp(min=0)], -1) * cells.tag[:, None]
        return cells.features * cells.tag[:, None], past

    def update(self, rows: Tensor, outputs: Outputs, b: int, look: Look, stamp: float) -> Cells:
        """Update the box with the expert's outputs; gradients stay in the memory until `detach`.

        Args:
            rows: (16200,) of the box.
            outputs: of the expert.
            b: number of the sample in the batch.
            look: how the view sees the box's cells.
            stamp: time of the view, seconds.

        Returns:
            the box's cells after the update.
        """
        own = (outputs[name][b].float() for name in ("scales", "rotations", "opacities", "logits", "features"))
        unread = (self.cells.tag.new_zeros(NUM_ANCHORS) for _ in range(5))
        new = Cells(outputs["means"][b].float() - self.centres[:, None], *own, *unread)
        after = updated(self.box(rows), new, look, stamp, self.kind)
        values = {
            f.name: getattr(self.cells, f.name).index_copy(0, rows, getattr(after, f.name)) for f in fields(Cells)
        }
        self.cells = Cells(**values)
        return after

    def detach(self) -> None:
        """Drop the gradient history of all values."""
        self.cells = self.cells.detached()

    def splattable(self, cells: Cells) -> Outputs:
        """Returns a box's Gaussians in the form of the expert's outputs, with a batch of one.

        Cells that were never refined in view have the default opacity and are not splatted.
        """
        silent = torch.full_like(cells.opacities, SILENT_OPACITY)
        return {
            "means": (cells.means + self.centres[:, None])[None],
            "scales": cells.scales[None],
            "rotations": cells.rotations[None],
            "opacities": torch.where(cells.tag[:, None] > 0, cells.opacities, silent)[None],
            "logits": cells.logits[None],
        }
