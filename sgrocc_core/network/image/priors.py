"""Published depth networks that the base model builds on: which there are, how they are built, and where their weights lie.

Depth-Anything-V2, metric and for indoor scenes, through `transformers`. Weights come from a folder or from the user's Hugging Face
cache, as safetensors, and are never fetched from here: a robot's or a cluster's machine may have no network.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sgrocc_core.errors import ConfigError, ModelError

PATCH = 14
"""Edge of a token, pixels."""
MAX_DEPTH = 20.0
"""The metric indoor networks' largest depth, metres."""
CANONICAL_FOCAL = 598.0
"""Focal length that the indoor networks' depth was learned for, pixels: Hypersim's 886.81 at 768 rows, shrunk to their 518 rows."""
WEIGHTS, DESCRIPTION = "model.safetensors", "config.json"


@dataclass(frozen=True)
class PriorSize:
    """One size of Depth-Anything-V2.

    Attributes:
        hidden: channels of a token. layers, heads: of the transformer. taps: layers whose tokens the neck takes, from 1.
        neck: channels at the neck's four levels. fusion: of its fused maps. head: of the depth head's last layer.
        repository: on the Hugging Face hub. megabytes: of its weights. licence: of its weights.
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
        """How to get the weights: into the Hugging Face cache, or into a folder."""
        where = f" --local-dir {folder}" if folder is not None else ""
        return f"get them ({self.megabytes} MB, {self.licence}) with `hf download {self.repository} {DESCRIPTION} {WEIGHTS}{where}`"


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
    """A size by its name.

    Args:
        architecture: fields to replace, for networks of the same make and other widths.

    Raises:
        ConfigError: no such size or field.
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


def require_transformers() -> Any:
    """The package `transformers`, found by name so that nothing else needs it.

    Raises:
        ModelError: it is not installed.
    """
    if importlib.util.find_spec("transformers") is None:
        raise ModelError("the base model needs the Python package transformers; run `make setup-train`")
    return importlib.import_module("transformers")


def build_prior(size: PriorSize, grid: tuple[int, int]) -> nn.Module:
    """The network with random weights.

    Args:
        grid: (rows, columns) of tokens; the table of positions has that size from the start, so that nothing is interpolated later.

    Raises:
        ModelError: transformers is not installed.
    """
    transformers = require_transformers()
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
    """The folder of a prior's weights: the one given, else the one in the user's Hugging Face cache (HF_HOME, HF_HUB_CACHE).

    Raises:
        ModelError: config.json or model.safetensors is not there; says what command fetches them.
    """
    if folder is not None:
        missing = [name for name in (DESCRIPTION, WEIGHTS) if not (folder / name).is_file()]
        if missing:
            raise ModelError(f"{folder} has no {' and no '.join(missing)}; {size.advice(folder)}")
        return folder
    require_transformers()
    hub = importlib.import_module("huggingface_hub")
    found = [hub.try_to_load_from_cache(size.repository, name) for name in (DESCRIPTION, WEIGHTS)]
    if not all(isinstance(path, str) for path in found):
        where = f"in the Hugging Face cache {hub.constants.HF_HUB_CACHE}"
        raise ModelError(f"no weights of {size.repository} {where}; {size.advice()}, or name a folder that holds them")
    return Path(found[0]).parent


def load_prior(network: nn.Module, size: PriorSize, grid: tuple[int, int], folder: Path) -> None:
    """Fill a network of `build_prior` with published weights; the table of positions is resized to the grid, once, here.

    Raises:
        ModelError: the folder holds another network, or its files cannot be read.
    """
    _check_description(folder / DESCRIPTION, size)
    transformers = require_transformers()
    try:
        with _quiet(transformers):
            loaded, report = transformers.DepthAnythingForDepthEstimation.from_pretrained(
                str(folder), use_safetensors=True, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
    except Exception as error:  # transformers raises whatever its readers raise
        raise ModelError(f"transformers cannot read the prior in {folder}: {error}") from error
    lacking = sorted(report["missing_keys"])
    if lacking:
        raise ModelError(f"{folder / WEIGHTS} lacks {len(lacking)} tensors, {lacking[0]} among them")
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
    """A square table of positions for another grid, as DINOv2 does it.

    Args:
        table: (1, 1 + n * n, C), the class token's first. grid: (rows, columns).

    Returns:
        (1, 1 + rows * columns, C).
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


class _quiet:
    """Keeps transformers from drawing progress bars and logging while it loads."""

    def __init__(self, transformers: Any) -> None:
        self._logging = transformers.utils.logging

    def __enter__(self) -> None:
        self._level, self._bars = self._logging.get_verbosity(), self._logging.is_progress_bar_enabled()
        self._logging.set_verbosity_error()
        self._logging.disable_progress_bar()

    def __exit__(self, *_: object) -> None:
        self._logging.set_verbosity(self._level)
        if self._bars:
            self._logging.enable_progress_bar()
