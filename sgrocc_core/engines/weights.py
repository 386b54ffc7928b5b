"""Construction of a model's networks and loading of their weights; needs torch.

All networks share one safetensors file, in which tensors are named `image.*`, `expert.*` and `stereo.*`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.network import weights_file
from sgrocc_core.network.expert.spatial_expert import ExpertConfig, SpatialExpert
from sgrocc_core.network.image.engine import AnyImageEngine, build_image_engine
from sgrocc_core.network.stereo.network import StereoNetwork
from sgrocc_core.share import find_shared
from sgrocc_core.yaml_file import read_mapping


def read_networks(model: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """Read the configuration of a model.

    Args:
        model: name of a file in config/models, or the path of a YAML file.

    Returns:
        name: of the model.
        networks: keyword arguments of its networks, by `image`, `expert` and, with stereo, `stereo`.
    """
    path = Path(model) if model.endswith((".yaml", ".yml")) else find_shared(f"config/models/{model}.yaml")
    sections = read_mapping(path, "model configuration", ("image", "expert", "stereo"))
    return path.stem, {key: dict(section or {}) for key, section in sections.items()}


def build_networks(networks: dict[str, dict[str, Any]]) -> tuple[AnyImageEngine, SpatialExpert]:
    """Build the two networks with random weights.

    Args:
        networks: keyword arguments under `image` (`build_image_engine`) and `expert` (ExpertConfig).

    Raises:
        ConfigError: an unknown argument, a value that is not allowed, or image features that do not fit the expert.
        ModelError: a package that the image engine needs is not installed.
    """
    image = build_image_engine(networks.get("image", {}))
    try:
        expert = SpatialExpert(ExpertConfig(**networks.get("expert", {})))
    except TypeError as error:
        raise ConfigError(f"the model's configuration does not fit the networks: {error}") from error
    if image.channels != expert.config.feature_channels:
        takes = expert.config.feature_channels
        raise ConfigError(
            f"the image engine has channels {image.channels} and the expert feature_channels {takes}; "
            "they must be equal"
        )
    return image, expert


def load_weights(path: Path, image: AnyImageEngine, expert: SpatialExpert, stereo: StereoNetwork | None = None) -> None:
    """Load the weights of the networks from a file.

    Tensors that only training uses (the 2D class head, the dense head, counters of batch norm) may be absent.

    Raises:
        ModelError: the file is missing, is not safetensors, or does not fit the networks.
    """
    try:
        tensors = load_file(str(path))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read the weights {path}: {error}") from error
    networks = {"image.": image, "expert.": expert, **({} if stereo is None else {"stereo.": stereo})}
    for prefix, network in networks.items():
        if not weights_file.load_weights(network, tensors, prefix, path):
            raise ModelError(f"{path} has no tensor {prefix}*: it holds no weights of that network")
