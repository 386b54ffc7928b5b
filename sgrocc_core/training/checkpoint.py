"""Checkpoints of a run as safetensors: weights, their moving average, the optimizer's moments, and where the run stood.

A file is complete or absent: it is written beside its name and renamed. No pickle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sgrocc_core.errors import DataError, ModelError

FORMAT_VERSION = 1
OPTIONAL = ("class_head", "expert.dense.", "expert.fusion.")
"""Parts of names of weights that a file may leave out: what only training uses, and fusion, which then is the identity it starts as."""


def write(path: Path, tensors: dict[str, Tensor], state: dict[str, Any]) -> None:
    """Write tensors with a JSON state beside them in the file's header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    plain = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    save_file(plain, part, metadata={"state": json.dumps({"format_version": FORMAT_VERSION, **state})})
    part.replace(path)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and state of a checkpoint.

    Raises:
        DataError: it cannot be read, or is of another version.
    """
    try:
        with safe_open(path, framework="pt") as file:
            state = json.loads((file.metadata() or {})["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(f"cannot read the checkpoint {path}: {error}") from error
    if state.get("format_version") != FORMAT_VERSION:
        raise DataError(f"checkpoint {path} has format version {state.get('format_version')}; this program reads {FORMAT_VERSION}")
    return tensors, state


def read_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a weights file or a checkpoint.

    Raises:
        ModelError: it cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read the weights {path}: {error}") from error


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: dict[Tensor, str]) -> dict[str, Tensor]:
    """Moments and step counts of every parameter the optimizer has moved, by the parameter's name."""
    out = {}
    for parameter, moments in optimizer.state.items():
        for key, value in moments.items():
            out[f"optimizer.{names[parameter]}.{key}"] = value if isinstance(value, Tensor) else torch.tensor(float(value))
    return out


@torch.no_grad()
def restore_optimizer(optimizer: torch.optim.Optimizer, names: dict[Tensor, str], tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` gave."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            prefix = f"optimizer.{names[parameter]}."
            found = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            if found:
                # Counts of steps stay on the CPU, where AdamW keeps them; moments lie in memory as their parameter does.
                optimizer.state[parameter] = {
                    key: value.clone() if key == "step" else torch.empty_like(parameter).copy_(value)
                    for key, value in found.items()
                }


def load_weights(module: nn.Module, tensors: dict[str, Tensor], prefix: str, source: Path) -> bool:
    """Load the tensors under a prefix into a module.

    Returns:
        whether the file had any.

    Raises:
        ModelError: names or shapes do not fit.
    """
    found = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    if not found:
        return False
    own = module.state_dict()
    optional = (*OPTIONAL, "num_batches_tracked")
    missing = [name for name in own if name not in found and not any(part in prefix + name for part in optional)]
    foreign = [name for name in found if name not in own or own[name].shape != found[name].shape]
    if missing or foreign:
        raise ModelError(f"{source} does not fit this network: missing {missing[:3]}, foreign or of another shape {foreign[:3]}")
    module.load_state_dict(found, strict=False)
    return True


def save_model(path: Path, image: nn.Module, expert: nn.Module | None, tensors: dict[str, Tensor] | None = None) -> None:
    """Write a model's weights file, `image.*` and `expert.*`.

    Args:
        tensors: values to write instead of the modules' own (a moving average), by the same names.
    """
    values: dict[str, Tensor] = {}
    for prefix, module in (("image.", image), ("expert.", expert)):
        if module is not None:
            values |= {prefix + name: value for name, value in module.state_dict().items()}
    values |= {name: value for name, value in (tensors or {}).items() if name in values}
    plain = {name: value.detach().contiguous() for name, value in values.items() if not name.endswith("num_batches_tracked")}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    save_file(plain, part)
    part.replace(path)
