"""Checkpoints of a training run, as safetensors files.

They contain the weights, their moving average, the optimizer's moments and the progress of the run. A file is
complete or absent: it is written under a temporary name and renamed. No pickle is involved.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from sgrocc_core.errors import DataError

FORMAT_VERSION = 1


def write(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors, with a JSON state in the file's header.

    Args:
        path: of the checkpoint; its folder is created if necessary.
        tensors: by name.
        state: plain JSON.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(plain, part, metadata={"state": json.dumps({"format_version": FORMAT_VERSION, **state})})
    part.replace(path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint.

    Returns:
        tensors by name, and the state.

    Raises:
        DataError: the file cannot be read, or has another format version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"cannot read the checkpoint {path}: {error}") from error
    if state.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"checkpoint {path} has format version {state.get('format_version')}; this program reads {FORMAT_VERSION}"
        )
    return tensors, state


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: dict[Tensor, str]) -> dict[str, Tensor]:
    """Returns the moments and step counts of all parameters that have been updated.

    Args:
        optimizer: AdamW.
        names: names of its parameters.
    """
    out = {}
    for parameter, moments in optimizer.state.items():
        for key, value in moments.items():
            out[f"optimizer.{names[parameter]}.{key}"] = (
                value if isinstance(value, Tensor) else torch.tensor(float(value))
            )
    return out


@torch.no_grad()
def restore_optimizer(optimizer: torch.optim.Optimizer, names: dict[Tensor, str], tensors: dict[str, Tensor]) -> None:
    """Restore the state that `optimizer_tensors` returned.

    Args:
        optimizer: AdamW, without a state.
        names: names of its parameters.
        tensors: of a checkpoint.
    """
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            prefix = f"optimizer.{names[parameter]}."
            found = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            if found:
                # AdamW keeps step counts on the CPU; moments have the device and memory layout of their parameter.
                optimizer.state[parameter] = {
                    key: value.clone() if key == "step" else torch.empty_like(parameter).copy_(value)
                    for key, value in found.items()
                }
