"""Device and precision of a training process.

The CPU or one CUDA GPU; bf16, or fp16 with scaled gradients on older GPUs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import torch
from torch import Tensor

from sgrocc_core.errors import ConfigError


@dataclass(frozen=True)
class Compute:
    """A device and the precision of network layers on it.

    Attributes:
        device: device of weights and batches.
        dtype: data type of autocast; None = float32 throughout.
    """

    device: torch.device
    dtype: torch.dtype | None = None

    def autocast(self) -> torch.autocast:
        """Returns the context in which network layers run."""
        return torch.autocast(self.device.type, self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """Returns a scaler of the loss for float16, whose small gradients would otherwise be lost.

        It does nothing in other precisions.
        """
        return torch.amp.GradScaler(self.device.type, enabled=self.dtype is torch.float16)

    def move(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Returns the batch on this device."""
        return {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}

    @property
    def description(self) -> str:
        """Device and precision, as text."""
        name = torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else "CPU"
        return f"{name}, {str(self.dtype or torch.float32).removeprefix('torch.')}"


def use_threads(count: int) -> None:
    """Set the number of CPU threads of PyTorch and of Numba (the splat).

    Idle threads of both libraries spin: with more threads than free cores, a step takes many times as long.
    """
    torch.set_num_threads(count)
    numba.set_num_threads(min(count, int(numba.config.NUMBA_NUM_THREADS)))  # type: ignore[attr-defined]


def cpu_has_bf16() -> bool:
    """Returns whether oneDNN supports bf16 on this CPU; elsewhere bf16 layers take many times as long as float32."""
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def choose(device: str, amp: bool, local_rank: int = 0) -> Compute:
    """Choose the device and precision of a process.

    Args:
        device: `cpu`, `cuda` or `auto` (CUDA if available).
        amp: mixed precision, if the device supports it.
        local_rank: number of the process on its machine; each process uses the GPU of its number.

    Raises:
        ConfigError: CUDA is requested but not available, or there are more processes than GPUs.
    """
    count = torch.cuda.device_count() if device != "cpu" and torch.cuda.is_available() else 0
    if device == "cuda" and count == 0:
        raise ConfigError(
            f"device is 'cuda', but PyTorch {torch.__version__} finds no CUDA device; use cpu, or install a CUDA build"
        )
    if count == 0:
        return Compute(torch.device("cpu"), torch.bfloat16 if amp and cpu_has_bf16() else None)
    if local_rank >= count:
        raise ConfigError(
            f"process {local_rank} of this machine has no GPU of its own: there are {count}; "
            f"start at most {count} processes"
        )
    found = torch.device("cuda", local_rank)
    torch.cuda.set_device(found)
    torch.backends.cudnn.benchmark = True  # shapes are the same in every step
    if not amp:
        return Compute(found)
    return Compute(found, torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16)
