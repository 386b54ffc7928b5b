"""The OccLE network on the lattice: semantic and geometric branch, four stages of Dual Mamba, cells of both."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrocc_core.geometry.lattice import BOX_CELLS
from sgrocc_core.network.expert.dual_mamba.branches import GeometricBranch, SemanticBranch
from sgrocc_core.network.expert.dual_mamba.stages import DualStage
from sgrocc_core.network.expert.lattice_encoder import conv_norm, rows_to_volume, unfold_cells, volume_to_rows
from sgrocc_core.network.expert.lifter import SoftGatedLifter

STAGES = 4
HALF = (BOX_CELLS[0] // 2, BOX_CELLS[1] // 2, BOX_CELLS[2] // 2)


class DualMambaEncoder(nn.Module):
    """Turns an image's features and its depth into the features of the lattice's cells.

    The stages run at half the lattice's resolution (15 x 15 x 9 cells), the branches at the full one.

    Args:
        feature_channels: of the feature map.
        channels: of the cells.
        wide: channels of each branch in the stages, a multiple of four.
        exits: how often cells are handed on, evenly over the stages; the last time after the last stage.
        lifter: brings the image's features to the cells.
    """

    def __init__(self, feature_channels: int, channels: int, wide: int, exits: int, lifter: SoftGatedLifter) -> None:
        super().__init__()
        self.semantic = SemanticBranch(feature_channels, channels, lifter)
        self.geometric = GeometricBranch(feature_channels, channels)
        self.down = nn.ModuleList(conv_norm(channels, wide, stride=2) for _ in range(2))
        self.stages = nn.ModuleList(DualStage(wide, HALF) for _ in range(STAGES))
        self.exits = [round(STAGES * (k + 1) / exits) for k in range(exits)]
        self.up = nn.ModuleList(nn.Linear(2 * wide, 8 * channels) for _ in range(exits))
        self.smooth = nn.ModuleList(conv_norm(channels, channels) for _ in range(exits))
        for smooth in self.smooth:
            nn.init.zeros_(smooth.get_parameter("1.weight"))

    def forward(
        self,
        features: Tensor,
        code: Tensor,
        centres: Tensor,
        hits: Tensor,
        prior: tuple[Tensor, Tensor, Tensor, Tensor],
    ) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Yield the cells' features after every group of stages.

        Args:
            features: (B, C, h, w).
            code: (B, N, C), the cells' geometric code, embedded.
            centres: (N, 3), metres, box frame.
            hits: (B, N, 8), number of the depth's points in each voxel of a cell.
            prior: depth, thickness, intrinsics and pose; see `SpatialExpert.forward`.

        Yields:
            (B, N, C), and the logits of the two heads of pseudo labels in training mode; see `SemanticBranch.forward`.
        """
        with torch.autocast(features.device.type, enabled=False):
            semantic, logits = self.semantic(features, code.float(), centres, hits, prior)
        geometric = self.geometric(features, code, centres, prior)
        full = semantic.to(geometric.dtype) + geometric
        halves = [
            F.relu(down(rows_to_volume(rows.contiguous()))).flatten(2).transpose(1, 2)
            for down, rows in zip(self.down, (semantic.to(geometric.dtype), geometric), strict=True)
        ]
        first, second = halves
        done = 0
        for end, up, smooth in zip(self.exits, self.up, self.smooth, strict=True):
            for stage in self.stages[done:end]:
                first, second = stage(first, second)
            done = end
            low = up(torch.cat([first, second], -1)).unflatten(1, HALF)
            rows = F.relu(full + unfold_cells(low))
            yield F.relu(rows + volume_to_rows(smooth(rows_to_volume(rows)))), logits
