"""A model's weights: one safetensors file for both networks, tensors named `image.*` and `expert.*`; needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.network.small_backbone import ImageEngine
from sgrocc_core.network.spatial_expert import ExpertConfig, SpatialExpert


def build_networks(networks: dict[str, dict[str, Any]]) -> tuple[ImageEngine, SpatialExpert]:
    """The two networks, with fresh weights.

    Args:
        networks: keyword arguments under `image` (ImageEngine) and `expert` (ExpertConfig).

    Raises:
        ConfigError: an argument that is not known, or a value that is not allowed.
    """
    try:
        return ImageEngine(**networks.get("image", {})), SpatialExpert(ExpertConfig(**networks.get("expert", {})))
    except TypeError as error:
        raise ConfigError(f"the model's configuration does not fit the networks: {error}") from error


def load_weights(path: Path, image: ImageEngine, expert: SpatialExpert) -> None:
    """Fill both networks from a file.

    Tensors that only training uses (the 2D class head, the dense head, counters of batch norm) may be absent or extra.

    Raises:
        ModelError: no such file, not safetensors, or a tensor is missing or of another shape.
    """
    try:
        tensors = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read the weights {path}: {error}") from error
    for prefix, network in (("image", image), ("expert", expert)):
        _fill(path, prefix, network, tensors)


def _fill(path: Path, prefix: str, network: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    own = network.state_dict()
    given = {name.removeprefix(prefix + "."): value for name, value in tensors.items() if name.startswith(prefix + ".")}
    for name, value in own.items():
        optional = name.endswith("num_batches_tracked") or name.startswith(("class_head", "dense."))
        if name not in given:
            if not optional:
                raise ModelError(f"{path} has no tensor {prefix}.{name}: it is not of this network")
            given[name] = value
        elif given[name].shape != value.shape:
            raise ModelError(f"{path}: {prefix}.{name} is {tuple(given[name].shape)}; this network needs {tuple(value.shape)}")
    network.load_state_dict({name: given[name].to(value.dtype) for name, value in own.items()})
