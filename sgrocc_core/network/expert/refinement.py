"""Ray-constrained refinement (Eq. 3): a cell's Gaussians move along the viewing ray only.

mu' = mu + delta (mu - o) / (|mu - o| + eps), delta = delta_max tanh(.), o the camera centre. A mean stays within its
own cell widened by 0.08 m. Scale, rotation, opacity and logits are refined additively, in unconstrained form.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrocc_core.classes import NUM_CLASSES
from sgrocc_core.geometry.lattice import CELL_SIZE

REFINEMENTS = ("ray", "free", "none")
MAX_STEP = 0.10
"""delta_max of the first block, metres; halved in each further block."""
OUTSIDE = 0.08
"""Maximum distance of a mean from its own cell, metres."""
START_OPACITY = -4.0


@dataclass(frozen=True)
class GaussianState:
    """The Gaussians of a batch of boxes, N cells with G Gaussians each.

    Attributes:
        means: (B, N, G, 3), metres, box frame.
        scales: (B, N, G, 3), raw.
        rotations: (B, N, G, 4) wxyz, not normalised.
        opacities: (B, N, G), raw.
        logits: (B, N, G, 11).
    """

    means: Tensor
    scales: Tensor
    rotations: Tensor
    opacities: Tensor
    logits: Tensor


def start_offsets(gaussians: int) -> Tensor:
    """Initial offsets of a cell's Gaussians from its centre, (G, 3), metres.

    They are alternate corners of the cube of its voxel centres; the first four form a tetrahedron.
    """
    if gaussians == 1:
        return torch.zeros(1, 3)
    corners = [(1, 1, 1), (1, -1, -1), (-1, 1, -1), (-1, -1, 1), (-1, -1, -1), (-1, 1, 1), (1, -1, 1), (1, 1, -1)]
    return torch.tensor(corners[:gaussians], dtype=torch.float32) * 0.04


def start_state(centres: Tensor, gaussians: int) -> GaussianState:
    """Make the Gaussians before refinement: nearly transparent, isotropic, 5 cm in size.

    Values that are the same for all cells have length 1 along that axis.

    Args:
        centres: (N, 3), metres, box frame.
        gaussians: G.
    """
    means = (centres[:, None] + start_offsets(gaussians).to(centres))[None]
    zeros = centres.new_zeros(1, 1, 1, NUM_CLASSES)
    rotations = torch.cat([torch.ones_like(zeros[..., :1]), zeros[..., :3]], -1)
    return GaussianState(means, zeros[..., :3], rotations, zeros[..., 0] + START_OPACITY, zeros)


def move_along_ray(means: Tensor, raw: Tensor, origin: Tensor, max_step: float) -> Tensor:
    """Move means along their viewing rays (Eq. 3).

    Args:
        means: (B, N, G, 3), metres.
        raw: (B, N, G, 1), network output before tanh.
        origin: (B, 3), camera centre, metres, same frame.
        max_step: delta_max, metres.
    """
    ray = means - origin[:, None, None]
    return means + max_step * torch.tanh(raw) * ray / (ray.norm(dim=-1, keepdim=True) + 1e-6)


def bound_to_cell(means: Tensor, centres: Tensor) -> Tensor:
    """Clamp means (B, N, G, 3) to their own cells, with centres (N, 3), widened by OUTSIDE; metres."""
    reach = CELL_SIZE / 2 + OUTSIDE
    middle = centres[:, None]
    return torch.minimum(torch.maximum(means, middle - reach), middle + reach)


class Refinement(nn.Module):
    """Refines the G Gaussians of each cell from its feature and geometric code.

    The code skips the convolutions and enters this head directly, so its sub-voxel distances can place a Gaussian
    within a cell.

    Args:
        inputs: channels of feature and code together.
        hidden: width of the hidden layer.
        gaussians: G.
        kind: one of REFINEMENTS.
        max_step: delta_max, metres.
        dropout: probability.
    """

    def __init__(self, inputs: int, hidden: int, gaussians: int, kind: str, max_step: float, dropout: float) -> None:
        super().__init__()
        self.gaussians, self.kind, self.max_step = gaussians, kind, max_step
        self.moves = {"ray": 1, "free": 3, "none": 0}[kind]
        self.widths = [self.moves, 3, 4, 1, NUM_CLASSES]
        self.hidden = nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU())
        self.dropout = dropout
        self.each = nn.Linear(hidden, gaussians * sum(self.widths))
        self.cell_logits = nn.Linear(hidden, NUM_CLASSES)
        nn.init.normal_(self.each.weight, std=0.01)
        nn.init.zeros_(self.each.bias)

    def forward(
        self, inputs: Tensor, state: GaussianState, centres: Tensor, origin: Tensor
    ) -> tuple[GaussianState, Tensor]:
        """Refine the Gaussians.

        Args:
            inputs: (B, N, C).
            state: Gaussians before refinement.
            centres: (N, 3), metres, box frame.
            origin: (B, 3), camera centre, metres, box frame.

        Returns:
            The refined Gaussians and the hidden layer (B, N, hidden).
        """
        hidden = self.hidden(inputs)
        if self.training and self.dropout > 0:  # whole channels, the same for all cells, so that the mask is small
            hidden = hidden * F.dropout(torch.ones_like(hidden[:, :1]), self.dropout)
        batch, cells = inputs.shape[:2]
        raw = self.each(hidden).float().reshape(batch, cells, self.gaussians, -1)
        move, scale, rotation, opacity, logits = raw.split(self.widths, -1)
        means = state.means
        if self.kind == "ray":
            means = bound_to_cell(move_along_ray(means, move, origin, self.max_step), centres)
        elif self.kind == "free":
            means = bound_to_cell(means + self.max_step * torch.tanh(move), centres)
        logits = state.logits + logits + self.cell_logits(hidden).float()[:, :, None]
        refined = GaussianState(
            means, state.scales + scale, state.rotations + rotation, state.opacities + opacity[..., 0], logits
        )
        return refined, hidden
