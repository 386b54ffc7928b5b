"""Training on several processes (`torchrun`): each takes its share of every batch.

Together they compute what one process would. Gradients are averaged by DistributedDataParallel. Denominators of losses
are summed over the processes first (`shared_total`), batch norm uses the statistics of the whole batch (`synchronise`),
random draws depend on a view's place in the whole batch, and metrics are computed from summed counts. The number of
processes therefore changes results by rounding only, except for the masks of dropout, which each process draws itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Sampler

from sgrocc_core.errors import ConfigError

TIMEOUT = timedelta(hours=6)
"""Maximum time that a process waits for the others, e.g. while the first one decodes a data set; a round guess."""


@dataclass(frozen=True)
class Processes:
    """The place of this process among those that train together.

    Attributes:
        rank: number of this process, from 0; only process 0 writes files.
        count: number of processes.
        local_rank: number of this process on its machine.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def places(self, batch: int) -> range:
        """Returns this process's places in the batch of all processes.

        Args:
            batch: size of the batch of all processes.

        Raises:
            ConfigError: the batch cannot be divided evenly.
        """
        if batch % self.count:
            raise ConfigError(f"batch is {batch}; with {self.count} processes it must be a multiple of {self.count}")
        share = batch // self.count
        return range(self.rank * share, (self.rank + 1) * share)


def here() -> Processes:
    """Returns the place of this process in the group it has joined; rank 0 of 1 without a group."""
    if not _together():
        return Processes()
    return Processes(dist.get_rank(), dist.get_world_size(), int(os.environ.get("LOCAL_RANK", dist.get_rank())))


@contextlib.contextmanager
def joined() -> Iterator[Processes]:
    """Context that joins the processes started by `torchrun`; without `torchrun` it does nothing."""
    if not {"RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"} <= set(os.environ) or dist.is_initialized():
        yield here()
        return
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend, timeout=TIMEOUT)
    try:
        yield here()
    finally:
        dist.destroy_process_group()


def _together() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def wait_for_all() -> None:
    """Return when all processes have called this."""
    if _together():
        dist.all_reduce(torch.zeros(1))  # on the CPU, also if the processes train on GPUs


def shared_total(amount: Tensor, at_least: float = 0.0) -> Tensor:
    """Returns the denominator of a process's part of a mean.

    With it, the average over the processes is the mean over the whole batch.

    Args:
        amount: scalar, this process's count or sum of weights; receives no gradient.
        at_least: lower bound of the sum over processes.

    Returns:
        max(sum over processes, at_least) / number of processes; with one process max(amount, at_least).
    """
    if not _together():
        return amount.clamp(min=at_least)
    total = amount.detach().clone().float()
    dist.all_reduce(total)
    return total.clamp(min=at_least) / dist.get_world_size()


def averaged(values: Tensor) -> Tensor:
    """Returns the mean of a tensor over the processes, without gradient."""
    if not _together():
        return values.detach()
    total = values.detach().clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def summed(values: np.ndarray) -> np.ndarray:
    """Returns the sum of an array over the processes, as float64: exact for counts up to 2^53."""
    if not _together():
        return values
    total = torch.from_numpy(values.astype(np.float64))
    dist.all_reduce(total)
    return total.numpy()


def from_first(values: list[float]) -> list[float]:
    """Returns the first process's numbers, e.g. times, which must be equal in all processes."""
    if not _together():
        return values
    shared = torch.tensor(values, dtype=torch.float64)
    dist.broadcast(shared, 0)
    return [float(value) for value in shared]


def same_everywhere(value: Any) -> bool:
    """Returns whether all processes passed an equal value (numbers, text or lists)."""
    if not _together():
        return True
    mine = np.frombuffer(json.dumps(value).encode(), np.uint8)
    sizes = torch.tensor([len(mine), -len(mine)])
    dist.all_reduce(sizes, dist.ReduceOp.MAX)
    longest, shortest = int(sizes[0]), -int(sizes[1])
    if longest != shortest:
        return False
    text = torch.from_numpy(mine.astype(np.int32))
    bounds = torch.stack([text, -text])
    dist.all_reduce(bounds, dist.ReduceOp.MAX)
    return bool((bounds[0] == -bounds[1]).all())


class RankShare(Sampler[list[Any]]):
    """A sampler that reduces each batch of another sampler to this process's places.

    Args:
        batches: sampler of whole batches.
        processes: see `Processes`.
        batch: size of a whole batch.
    """

    def __init__(self, batches: Sampler[list[Any]], processes: Processes, batch: int) -> None:
        self.batches, self.places = batches, processes.places(batch)

    def __len__(self) -> int:
        return len(self.batches)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[list[Any]]:
        for whole in self.batches:
            yield whole[self.places.start : self.places.stop]


def shared_loader(whole: DataLoader[Any], processes: Processes, batch: int) -> DataLoader[Any]:
    """Returns a loader of this process's share of each batch; the other processes' views are not loaded.

    Args:
        whole: loader of whole batches.
        processes: see `Processes`.
        batch: size of a whole batch.
    """
    if processes.count == 1:
        return whole
    return DataLoader(
        whole.dataset,
        batch_sampler=RankShare(whole.batch_sampler, processes, batch),  # type: ignore[arg-type]
        num_workers=whole.num_workers,
        worker_init_fn=whole.worker_init_fn,
        prefetch_factor=whole.prefetch_factor,
        collate_fn=whole.collate_fn,
        pin_memory=whole.pin_memory,
    )


class _SumOverProcesses(torch.autograd.Function):
    """The sum over processes; its gradient is the sum of the gradients over processes."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, group: dist.ProcessGroup) -> Tensor:  # type: ignore[override]
        ctx.group = group
        total = values.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        total = gradient.contiguous().clone()
        dist.all_reduce(total, group=ctx.group)
        return total, None


class SharedBatchNorm(nn.modules.batchnorm._BatchNorm):
    """Batch normalisation over the batches of all processes; PyTorch's `nn.SyncBatchNorm` supports GPUs only.

    Its parameters and buffers have the names of `nn.BatchNorm2d`, so weights fit both.

    Attributes:
        group: process group used by these layers only, because gradients are averaged in another one at the same time.
    """

    group: dist.ProcessGroup

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (B, C, ...), got {input.dim()} dimensions")

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, ...)."""
        if not self.training:
            return super().forward(x)
        wide = x.float()
        dims = [0, *range(2, x.dim())]
        shape = [1, -1] + [1] * (x.dim() - 2)
        count = wide.new_full((1,), x.numel() / x.shape[1])
        sums = _SumOverProcesses.apply(torch.cat([wide.sum(dims), count]), self.group)
        total = sums[-1].detach()
        mean = sums[:-1] / total
        centred = wide - mean.view(shape)  # two passes: a difference of sums of squares would lose precision
        variance = _SumOverProcesses.apply((centred * centred).sum(dims), self.group) / total
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            momentum = 0.1 if self.momentum is None else self.momentum
            with torch.no_grad():
                self.running_mean.lerp_(mean.detach(), momentum)
                self.running_var.lerp_(variance.detach() * total / (total - 1).clamp(min=1), momentum)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        y = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            y = y * self.weight.view(shape) + self.bias.view(shape)
        return y.to(x.dtype)


def distributed(module: nn.Module) -> nn.Module:
    """Wrap a module so that its gradients are averaged over the processes; it takes the first process's weights.

    Parameters may be unused by a loss, because stages and variants of the networks use different ones. Buffers are
    not broadcast: batch norms share their statistics, so buffers are already equal.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # newer PyTorch renames broadcast_buffers
        return DistributedDataParallel(module, find_unused_parameters=True, broadcast_buffers=False)


def synchronise(module: nn.Module, device: torch.device) -> nn.Module:
    """Make the batch norms of a network use the statistics of all processes' batches, in place.

    Weights and names are kept.

    Args:
        module: network.
        device: on CUDA PyTorch's SyncBatchNorm is used, on CPUs `SharedBatchNorm`.

    Returns:
        the network.
    """
    if not _together():
        return module
    group = dist.new_group()
    if device.type == "cuda":
        converted: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(module, group)
        return converted
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm) and not isinstance(child, SharedBatchNorm):
                shared = SharedBatchNorm(
                    child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
                )
                shared.load_state_dict(child.state_dict())
                for own, its in zip(shared.parameters(), child.parameters(), strict=True):
                    own.requires_grad_(its.requires_grad)
                shared.group = group
                setattr(parent, name, shared.train(child.training))
    return module
