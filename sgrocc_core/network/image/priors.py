"""Published depth networks that the base model builds on: their sizes, construction and weights.

Depth-Anything-V2, metric and for indoor scenes, through `transformers`. Weights are read as safetensors from a folder
or from the user's Hugging Face cache. They are never downloaded here, because a robot or a cluster may have no network.
"""

from __future__ import annotations

import importlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.network.hub import DESCRIPTION, WEIGHTS, load_published, require_transformers

PATCH = 14
"""Edge of a token, pixels."""
MAX_DEPTH = 20.0
"""Maximum depth of the metric indoor networks, metres."""
CANONICAL_FOCAL = 598.0
"""Focal length for which the indoor networks' depth was learned, pixels.

Hypersim's 886.81 at 768 rows, scaled to the networks' 518 rows.
"""
USER = "the base model"


@dataclass(frozen=True)
class PriorSize:
    """One size of Depth-Anything-V2.

    Attributes:
        hidden: channels of a token.
        layers: of the transformer.
        heads: of the transformer's attention.
        taps: layers whose tokens enter the neck, counted from 1.
        neck: channels at the neck's four levels.
        fusion: channels of the neck's fused maps.
        head: channels of the depth head's last layer.
        repository: on the Hugging Face hub.
        megabytes: size of its weights.
        licence: of its weights.
    """

    hidden: int
    layers: int
    heads: int
    taps: tuple[int, ...]
    neck: tuple[int, ...]
    fusion: int
    head: int
    repository: str
    megabytes: int
    licence: str

    def advice(self, folder: Path | None = None) -> str:
        """Command that downloads the weights, into the Hugging Face cache or into a folder."""
        where = f" --local-dir {folder}" if folder is not None else ""
        command = f"hf download {self.repository} {DESCRIPTION} {WEIGHTS}{where}"
        return f"get them ({self.megabytes} MB, {self.licence}) with `{command}`"


PRIORS = {
    "small": PriorSize(
        384,
        12,
        6,
        (3, 6, 9, 12),
        (48, 96, 192, 384),
        64,
        32,
        "depth-anything/Depth-Anything-V2-Metric-Indoor-Small-hf",
        99,
        "Apache-2.0",
    ),
    "base": PriorSize(
        768,
        12,
        12,
        (3, 6, 9, 12),
        (96, 192, 384, 768),
        128,
        32,
        "depth-anything/Depth-Anything-V2-Metric-Indoor-Base-hf",
        390,
        "CC-BY-NC-4.0, not for commercial use",
    ),
}


def prior_size(size: str, architecture: dict[str, Any] | None = None) -> PriorSize:
    """Find a size by its name.

    Args:
        size: one of PRIORS.
        architecture: fields to replace, for networks of the same architecture and other widths.

    Raises:
        ConfigError: the size or a field is unknown.
    """
    if size not in PRIORS:
        raise ConfigError(f"size is {size!r}; it must be one of {', '.join(PRIORS)}")
    changes: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in (architecture or {}).items()
    }
    try:
        return replace(PRIORS[size], **changes)
    except TypeError as error:
        raise ConfigError(f"architecture: {error}") from error


def build_prior(size: PriorSize, grid: tuple[int, int]) -> nn.Module:
    """Build the network with random weights.

    Args:
        size: of the prior.
        grid: (rows, columns) of tokens. The position table has this size from the start and is not interpolated later.

    Raises:
        ModelError: transformers is not installed.
    """
    transformers = require_transformers(USER)
    backbone = transformers.Dinov2Config(
        hidden_size=size.hidden,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        patch_size=PATCH,
        image_size=[grid[0] * PATCH, grid[1] * PATCH],
        out_indices=list(size.taps),
        reshape_hidden_states=False,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=PATCH,
        reassemble_hidden_size=size.hidden,
        neck_hidden_sizes=list(size.neck),
        fusion_hidden_size=size.fusion,
        head_hidden_size=size.head,
        depth_estimation_type="metric",
        max_depth=int(MAX_DEPTH),
    )
    network: nn.Module = transformers.DepthAnythingForDepthEstimation(config)
    return network.eval().requires_grad_(False)


def find_prior(size: PriorSize, folder: Path | None = None) -> Path:
    """Find a prior's weights: in the given folder, else in the user's Hugging Face cache (HF_HOME, HF_HUB_CACHE).

    Raises:
        ModelError: config.json or model.safetensors is missing; the message gives the command that downloads them.
    """
    if folder is not None:
        missing = [name for name in (DESCRIPTION, WEIGHTS) if not (folder / name).is_file()]
        if missing:
            raise ModelError(f"{folder} has no {' and no '.join(missing)}; {size.advice(folder)}")
        return folder
    require_transformers(USER)
    hub = importlib.import_module("huggingface_hub")
    found = [hub.try_to_load_from_cache(size.repository, name) for name in (DESCRIPTION, WEIGHTS)]
    if not all(isinstance(path, str) for path in found):
        where = f"in the Hugging Face cache {hub.constants.HF_HUB_CACHE}"
        raise ModelError(f"no weights of {size.repository} {where}; {size.advice()}, or name a folder that holds them")
    return Path(found[0]).parent


def load_prior(network: nn.Module, size: PriorSize, grid: tuple[int, int], folder: Path) -> None:
    """Load published weights into a network of `build_prior`; the position table is resized to the grid once.

    Raises:
        ModelError: the folder contains another network, or its files cannot be read.
    """
    _check_description(folder / DESCRIPTION, size)
    loaded = load_published(folder, "DepthAnythingForDepthEstimation", "prior")
    state = loaded.state_dict()
    table = "backbone.embeddings.position_embeddings"
    state[table] = resize_positions(state[table], grid)
    own = network.state_dict()
    foreign = sorted(name for name in own if name not in state or state[name].shape != own[name].shape)
    if foreign or len(own) != len(state):
        raise ModelError(
            f"the network in {folder} is another than {size.repository}: {(foreign or ['its layers'])[0]} does not fit"
        )
    network.load_state_dict(state)


def resize_positions(table: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize a square position table to another grid, as DINOv2 does.

    Args:
        table: (1, 1 + n * n, C), the class token's entry first.
        grid: (rows, columns).

    Returns:
        (1, 1 + rows * columns, C).

    Raises:
        ModelError: the table is not square.
    """
    edge = round((table.shape[1] - 1) ** 0.5)
    if edge * edge != table.shape[1] - 1:
        raise ModelError(f"the prior's table of positions has {table.shape[1] - 1} entries, which is no square")
    square = table[:, 1:].float().reshape(1, edge, edge, -1).permute(0, 3, 1, 2)
    resized = F.interpolate(square, size=grid, mode="bicubic", align_corners=False) if grid != (edge, edge) else square
    return torch.cat([table[:, :1], resized.permute(0, 2, 3, 1).reshape(1, grid[0] * grid[1], -1)], 1)


def _check_description(path: Path, size: PriorSize) -> None:
    try:
        values = json.loads(path.read_text())
        found = {
            "model_type": values["model_type"],
            "depth_estimation_type": values.get("depth_estimation_type", "relative"),
            "max_depth": values.get("max_depth"),
            "hidden_size": values["backbone_config"]["hidden_size"],
            "out_indices": list(values["backbone_config"]["out_indices"]),
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} does not describe a Depth-Anything network: {error!r}") from error
    wanted = {
        "model_type": "depth_anything",
        "depth_estimation_type": "metric",
        "max_depth": MAX_DEPTH,
        "hidden_size": size.hidden,
        "out_indices": list(size.taps),
    }
    for key, value in wanted.items():
        if found[key] != value:
            raise ModelError(f"{path}: {key} is {found[key]!r}; {size.repository} has {value!r}")
