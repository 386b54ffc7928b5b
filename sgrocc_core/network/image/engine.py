"""Choice of an image engine by its `kind`.

- `small`: our own backbone;
- `efficientnet_lite`: our pyramid on a published backbone;
- `depth_anything_v2`: a published depth prior.
"""

from __future__ import annotations

from typing import Any

import torch

from sgrocc_core.errors import ConfigError
from sgrocc_core.geometry.image_grid import ImageGrid
from sgrocc_core.network.image.depth_anything import DepthAnythingEngine
from sgrocc_core.network.image.efficientnet_engine import EfficientNetEngine
from sgrocc_core.network.image.small import ImageEngine

KINDS = ("small", "efficientnet_lite", "depth_anything_v2")

PriorEngine = EfficientNetEngine | DepthAnythingEngine
"""Engines that build on published weights, which their `load_prior` fills in."""
AnyImageEngine = ImageEngine | PriorEngine
"""Common to all: `grid` (sizes), `canonical_focal`, `channels`, `to_features` and the arguments of `forward`."""


def build_image_engine(options: dict[str, Any]) -> AnyImageEngine:
    """Build an image engine with random weights.

    Published weights are loaded by its `load_prior`, or are part of the model's own weights.

    Args:
        options: `kind` (default `small`) and the arguments of that engine.

    Raises:
        ConfigError: the kind or an argument is unknown.
        ModelError: a package that the kind needs is not installed.
    """
    arguments = dict(options)
    kind = arguments.pop("kind", "small")
    if kind not in KINDS:
        raise ConfigError(f"kind of the image engine is {kind!r}; it must be one of {', '.join(KINDS)}")
    try:
        if kind == "efficientnet_lite":
            return EfficientNetEngine(**arguments)
        return ImageEngine(**arguments) if kind == "small" else DepthAnythingEngine(**arguments)
    except TypeError as error:
        raise ConfigError(f"the image engine {kind} does not take these arguments: {error}") from error


def grid_of(options: dict[str, Any]) -> ImageGrid:
    """Sizes of the image engine that `build_image_engine` would build, without its weights; raises the same errors."""
    with torch.device("meta"):
        return build_image_engine(options).grid
