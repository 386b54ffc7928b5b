"""A model's weights file: one safetensors file with `image.*`, `expert.*` and `stereo.*`, written atomically."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sgrocc_core.errors import ModelError

OPTIONAL = ("class_head", "image.matching.", "expert.dense.", "expert.fusion.")
"""Parts of names of weights that a file or a network may lack: those used in training only, the matching head of
earlier files, and fusion, which stays the identity."""
ADDED = ("stereo.regulariser.more.", "stereo.cascade.")
"""Parts of names of weights that a file may lack, but a network may not: what changes nothing before it is trained."""


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weights file or a checkpoint.

    Raises:
        ModelError: the file cannot be read.
    """
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise ModelError(f"cannot read the weights {path}: {error}") from error


def load_weights(module: nn.Module, tensors: dict[str, Tensor], prefix: str, source: Path) -> bool:
    """Load the tensors whose names have a prefix into a module.

    Args:
        module: network to fill.
        tensors: contents of the file by name.
        prefix: prefix of the network's tensors.
        source: path of the file, for error messages.

    Returns:
        Whether the file has any tensors with the prefix.

    Raises:
        ModelError: names or shapes do not fit.
    """
    found = {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}
    if not found:
        return False
    own = module.state_dict()
    required = {name for name in (*own, *found) if not _is_optional(prefix + name)}
    missing = [name for name in own if name not in found and name in required and not _begins_anew(prefix + name)]
    foreign = [name for name in found if (name not in own and name in required) or _misshapen(own, found, name)]
    if missing or foreign:
        raise ModelError(
            f"{source} does not fit this network: missing {missing[:3]}, foreign or of another shape {foreign[:3]}"
        )
    module.load_state_dict(found, strict=False)
    return True


def load_networks(networks: Mapping[str, nn.Module], tensors: dict[str, Tensor], source: Path) -> list[str]:
    """Load those networks of which a file has tensors.

    Args:
        networks: by the prefix of their tensors' names.
        tensors: contents of the file by name.
        source: path of the file, for error messages.

    Returns:
        The prefixes of the networks loaded.

    Raises:
        ModelError: names or shapes do not fit.
    """
    return [prefix for prefix, network in networks.items() if load_weights(network, tensors, prefix, source)]


def mean_of(first: Path, second: Path, out: Path) -> None:
    """Write the mean of two weights files of the same networks, where one was trained on from the other.

    Weights of one run of training lie near enough for their mean to work, and it holds better than the later ones where
    pictures differ from those of the training (Wortsman et al., "Robust fine-tuning of zero-shot models", 2022).

    Args:
        first: weights file.
        second: weights file.
        out: file to write; tensors that a file may lack are taken from the one that has them.

    Raises:
        ModelError: a file cannot be read, or the two hold different networks.
    """
    one, other = read_weights(first), read_weights(second)
    needed = [name for name in one.keys() ^ other.keys() if not _is_optional(name)]
    both = one.keys() & other.keys()
    if differing := sorted([*needed, *(name for name in both if _misshapen(one, other, name))]):
        raise ModelError(
            f"{first} and {second} hold different networks ({', '.join(differing[:3])}), which have no mean; give "
            "weights that were trained on from the others"
        )
    mean = {**one, **other}
    for name in both:
        if one[name].is_floating_point():
            mean[name] = ((one[name].float() + other[name].float()) / 2).to(one[name].dtype)
    save_model(out, {}, mean)


def _is_optional(name: str) -> bool:
    return any(part in name for part in (*OPTIONAL, "num_batches_tracked"))


def _begins_anew(name: str) -> bool:
    return any(part in name for part in ADDED)


def _misshapen(own: Mapping[str, Tensor], found: Mapping[str, Tensor], name: str) -> bool:
    return name in own and own[name].shape != found[name].shape


def save_model(path: Path, networks: Mapping[str, nn.Module], tensors: dict[str, Tensor] | None = None) -> None:
    """Write a model's weights file.

    Args:
        path: of the file; its folder is made if it is missing.
        networks: by the prefix of their tensors' names (`image.`, `expert.`, `stereo.`).
        tensors: values to write instead of the networks' own (a moving average), by the same names, and those of
            networks that are not at hand.
    """
    values = {
        prefix + name: value for prefix, module in networks.items() for name, value in module.state_dict().items()
    }
    values |= tensors or {}
    plain = {
        name: value.detach().contiguous() for name, value in values.items() if not name.endswith("num_batches_tracked")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    save_file(plain, part)
    part.replace(path)
