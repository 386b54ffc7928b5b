"""A selective scan over long sequences without a loop over their elements, and the orders in which lattices are read.

The recurrence is that of Mamba-2 (Dao and Gu, 2024), whose decay is a number per head:
h_t = exp(l_t) h_(t-1) + x_t b_t^T, y_t = h_t c_t, with l_t <= 0. Sequences are cut into chunks. Within a chunk the sum
over earlier elements is one matrix product with a triangular matrix of decays; between chunks the same is done with
their last states (section 6 there). So the scan consists of matrix products of fixed shapes and exports to ONNX.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 25
"""Elements per chunk. Of 15, 20, 25, 27 and 45, 20 and 25 were the fastest for the 2,025 cells at half resolution on
one core (0.14 to 0.19 s forward and back, 45: 0.22 to 0.37 s), and 25 divides 2,025."""
NEVER = -1e4
"""Logarithm of a decay that is 0 in every precision."""


def selective_scan(x: Tensor, log_decay: Tensor, b: Tensor, c: Tensor, chunk: int = CHUNK) -> Tensor:
    """Scan sequences from their first to their last element.

    Args:
        x: (B, L, H, P), inputs of H heads.
        log_decay: (B, L, H), logarithm of the decay of the state before each element, <= 0.
        b: (B, L, N), how each element enters the state.
        c: (B, L, N), how the state is read at each element.
        chunk: elements per chunk.

    Returns:
        (B, L, H, P).
    """
    batch, length, heads, width = x.shape
    count = -(-length // chunk)
    pad = count * chunk - length
    if pad:
        x, log_decay = F.pad(x, (0, 0, 0, 0, 0, pad)), F.pad(log_decay, (0, 0, 0, pad))
        b, c = F.pad(b, (0, 0, 0, pad)), F.pad(c, (0, 0, 0, pad))
    rows = x.reshape(batch, count, chunk, heads, width).transpose(2, 3)  # (B, n, H, Q, P)
    enter, read = (value.reshape(batch, count, 1, chunk, -1) for value in (b, c))  # (B, n, 1, Q, N)
    logs = log_decay.reshape(batch, count, chunk, heads).transpose(2, 3)  # (B, n, H, Q)
    ones = torch.ones(chunk, chunk, dtype=x.dtype, device=x.device)
    total = torch.matmul(logs, ones.triu())  # of each element and all before it in its chunk
    decays = _decays(total[..., :, None] - total[..., None, :], 0)
    scores = torch.matmul(read, enter.transpose(-1, -2)) * decays  # (B, n, H, Q, Q)
    inside = torch.matmul(scores, rows)
    last = total[..., -1:]
    left = rows * torch.exp(last - total)[..., None]
    states = torch.matmul(left.transpose(-1, -2), enter)  # (B, n, H, P, N), at the end of each chunk
    whole = last[..., 0].transpose(1, 2)  # (B, H, n)
    # Sums over the chunks between two; differences of sums over all chunks would lose digits.
    ones = torch.ones(count, count, dtype=x.dtype, device=x.device)
    between = torch.matmul(ones.tril(-1), whole[..., :, None] * ones.tril(-1))
    carry = _decays(between, -1)  # (B, H, n, n)
    flat = states.transpose(1, 2).reshape(batch, heads, count, -1)
    entering = torch.matmul(carry, flat).reshape(batch, heads, count, width, -1).transpose(1, 2)
    outside = torch.matmul(read, entering.transpose(-1, -2)) * torch.exp(total)[..., None]  # (B, n, H, Q, P)
    return (inside + outside).transpose(2, 3).reshape(batch, count * chunk, heads, width)[:, :length]


def _decays(logs: Tensor, diagonal: int) -> Tensor:
    """exp(logs) at [i, j] with j <= i + diagonal, else 0; (..., Q, Q)."""
    earlier = torch.ones(logs.shape[-2:], dtype=torch.bool, device=logs.device).tril(diagonal)
    return torch.exp(torch.where(earlier, logs, NEVER))


def scan_orders(shape: tuple[int, int, int]) -> Tensor:
    """Orders in which the cells of a lattice are read: three, each with another axis running fastest, and back.

    Args:
        shape: cells along x, y and z; cells are numbered in C order.

    Returns:
        (6, L) int64, the cell at each place of each order.
    """
    cells = torch.arange(shape[0] * shape[1] * shape[2]).reshape(shape)
    forward = [cells.permute(axes).flatten() for axes in ((0, 1, 2), (1, 2, 0), (2, 0, 1))]
    return torch.stack(list(itertools.chain(forward, (order.flip(0) for order in forward))))
