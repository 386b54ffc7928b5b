"""Dual Mamba: stages in which a semantic and a geometric branch scan the lattice side by side and gate each other."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgrocc_core.network.expert.dual_mamba.scan import scan_orders, selective_scan

STATE = 8
"""N, size of the state per channel; a round guess, small beside Mamba's 16, since a sequence is read in six orders."""
HEADS = 4
MIN_STEP, MAX_STEP = 0.001, 0.1
"""Range of the initial steps, as in Mamba."""


class LatticeScan(nn.Module):
    """Selective scans of one branch over the lattice in several orders; their results are summed.

    Args:
        channels: of the cells, a multiple of HEADS.
        shape: cells along x, y and z.
    """

    orders: Tensor
    back: Tensor

    def __init__(self, channels: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.shape, self.channels = shape, channels
        orders = scan_orders(shape)
        count, length = orders.shape
        self.count = count
        self.register_buffer("orders", orders.flatten(), persistent=False)
        places = torch.argsort(orders, 1) + length * torch.arange(count)[:, None]
        self.register_buffer("back", places.flatten(), persistent=False)
        self.norm = nn.LayerNorm(channels)
        self.enter = nn.Linear(channels, 2 * channels)
        self.near = nn.Conv3d(channels, channels, 3, padding=1, groups=channels)
        self.select = nn.Linear(channels, count * (2 * STATE + HEADS))
        steps = torch.exp(torch.empty(count, HEADS).uniform_(*torch.tensor([MIN_STEP, MAX_STEP]).log().tolist()))
        self.raw_step = nn.Parameter(torch.log(torch.expm1(steps)))
        self.log_rate = nn.Parameter(torch.log(torch.empty(count, HEADS).uniform_(1, 16)))
        self.skip = nn.Parameter(torch.ones(channels))

    def forward(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Scan the cells.

        Args:
            rows: (B, L, C).

        Returns:
            (B, L, C), what the scans read; (B, L, C), the gate before its activation.
        """
        batch, _, channels = rows.shape
        x, gate = self.enter(self.norm(rows)).chunk(2, -1)
        volume = x.transpose(1, 2).reshape(batch, channels, *self.shape)
        x = F.silu(self.near(volume)).flatten(2).transpose(1, 2)
        with torch.autocast(rows.device.type, enabled=False):  # decays over thousands of cells need float32
            y = self._scan(x.float(), self.select(x.float()))
        return y.to(gate.dtype) + x * self.skip, gate

    def _scan(self, x: Tensor, selected: Tensor) -> Tensor:
        """The sum of the scans in all orders, (B, L, C)."""
        batch, length, channels = x.shape
        values = selected.reshape(batch, length, self.count, -1).transpose(1, 2)  # (B, K, L, 2 N + H)
        values = torch.cat([x[:, None].expand(-1, self.count, -1, -1), values], -1).flatten(1, 2)
        where = self.orders + length * torch.arange(self.count, device=x.device).repeat_interleave(length)
        values = values.index_select(1, where).reshape(batch * self.count, length, -1)
        x, b, c, raw = values.split([channels, STATE, STATE, HEADS], -1)
        step = F.softplus(raw.reshape(batch, self.count, length, HEADS) + self.raw_step[:, None])
        log_decay = (-torch.exp(self.log_rate)[:, None] * step).reshape(batch * self.count, length, HEADS)
        heads = x.reshape(batch * self.count, length, HEADS, -1) * step.reshape(log_decay.shape)[..., None]
        y = selective_scan(heads, log_decay, b, c).reshape(batch, self.count * length, channels)
        return y.index_select(1, self.back).reshape(batch, self.count, length, channels).sum(1)


class DualStage(nn.Module):
    """One stage: both branches scan; each branch's result is gated by its own cells and by those of the other branch.

    Args:
        channels: of the cells of each branch.
        shape: cells along x, y and z.
    """

    def __init__(self, channels: int, shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.scans = nn.ModuleList(LatticeScan(channels, shape) for _ in range(2))
        self.others = nn.ModuleList(nn.Linear(channels, channels) for _ in range(2))
        self.leave = nn.ModuleList(nn.Linear(channels, channels) for _ in range(2))
        self.feeds = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(channels), nn.Linear(channels, 2 * channels), nn.ReLU(), nn.Linear(2 * channels, channels)
            )
            for _ in range(2)
        )

    def forward(self, semantic: Tensor, geometric: Tensor) -> tuple[Tensor, Tensor]:
        """Exchange along the scans, then per cell.

        Args:
            semantic: (B, L, C).
            geometric: (B, L, C).

        Returns:
            the same two.
        """
        branches = [semantic, geometric]
        found = [scan(rows) for scan, rows in zip(self.scans, branches, strict=True)]
        gates = [gate for _, gate in found]
        for i, (y, own) in enumerate(found):
            gated = y * F.silu(own) * torch.sigmoid(self.others[i](gates[1 - i]))
            rows = branches[i] + self.leave[i](gated)
            branches[i] = rows + self.feeds[i](rows)
        return branches[0], branches[1]
