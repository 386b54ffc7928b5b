"""Published networks on this machine: in a folder, or in the user's Hugging Face cache. Nothing is downloaded here.

Weights are read as safetensors, in one file or in several with an index.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from sgrocc_core.errors import ModelError
from sgrocc_core.share import expanded

DESCRIPTION, WEIGHTS, PREPARATION = "config.json", "model.safetensors", "preprocessor_config.json"
TOKENIZERS = ("tokenizer.json", "vocab.json")
"""Files of which a folder with a tokenizer has one."""
INDEX = "model.safetensors.index.json"
"""File that tells in which of several files a tensor is."""


def require_transformers(user: str) -> Any:
    """Import the package `transformers` on demand, so that nothing else depends on it.

    Args:
        user: what needs it, for the message.

    Raises:
        ModelError: it is not installed.
    """
    if importlib.util.find_spec("transformers") is None:
        raise ModelError(f"{user} needs the Python package transformers; run `make setup-train`")
    return importlib.import_module("transformers")


class quiet:
    """Suppresses the progress bars and the log of transformers while it loads."""

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


def find_published(name: str, known: Mapping[str, str], what: str, files: str = WEIGHTS) -> Path:
    """Find the folder of a published network.

    Args:
        name: a folder, a key of `known`, or a repository on the Hugging Face hub that is in the user's cache.
        known: repositories by short name.
        what: what the network is, for the messages.
        files: pattern of the weights' files in the command that downloads them.

    Raises:
        ModelError: it is not there; the message gives the command that downloads it.
    """
    if (folder := expanded(name)).is_dir():
        lacking = [] if (folder / DESCRIPTION).is_file() else [DESCRIPTION]
        lacking += [] if _has_weights(folder) else [WEIGHTS]
        if lacking:
            raise ModelError(
                f"{folder} has no {' and no '.join(lacking)}: a {what}'s folder holds both, as `hf download "
                f"REPOSITORY --local-dir {folder}` writes them; weights other than safetensors are not read"
            )
        return folder
    repository = known.get(name, name)
    if repository.count("/") != 1 or name.startswith(("/", ".", "~")):
        raise ModelError(
            f"no {what} {name!r}: it must be a folder, {', '.join(known)}, or a repository of the Hugging Face hub"
        )
    require_transformers(f"a published {what}")
    hub = importlib.import_module("huggingface_hub")
    found = hub.try_to_load_from_cache(repository, DESCRIPTION)
    if not isinstance(found, str) or not _has_weights(Path(found).parent):
        raise ModelError(
            f"the {what} {repository} is not in the Hugging Face cache {hub.constants.HF_HUB_CACHE}; get it with "
            f"`hf download {repository} --include '*.json' --include '*.txt' --include {files}`, or name a folder "
            f"that holds {DESCRIPTION} and {WEIGHTS}"
        )
    return Path(found).parent


def _has_weights(folder: Path) -> bool:
    return (folder / WEIGHTS).is_file() or (folder / INDEX).is_file()


def describe(folder: Path) -> tuple[str, dict[str, Any]]:
    """Read config.json.

    Args:
        folder: of `find_published`.

    Returns:
        `model_type` and the whole description.

    Raises:
        ModelError: it cannot be read, or names no type.
    """
    path = folder / DESCRIPTION
    try:
        description = json.loads(path.read_text())
        return str(description["model_type"]), description
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path} does not describe a network: {error!r}") from error


def read_preparation(folder: Path) -> dict[str, Any]:
    """Contents of a folder's preprocessor_config.json; empty where there is none.

    Raises:
        ModelError: it is not a description.
    """
    path = folder / PREPARATION
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} does not describe the preparation of an image: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} does not describe the preparation of an image: it holds no object")
    return values


def read_statistics(
    folder: Path, mean: tuple[float, ...], deviation: tuple[float, ...]
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the colours that a published network expects, as shares of 255.

    Args:
        folder: of `find_published`.
        mean: where preprocessor_config.json does not say it.
        deviation: the same.

    Raises:
        ModelError: they are not three numbers each, or a deviation is not above 0.
    """
    values = read_preparation(folder)
    try:
        means, deviations = (
            tuple(map(float, values.get(key) or default))
            for key, default in (("image_mean", mean), ("image_std", deviation))
        )
        if len(means) != 3 or len(deviations) != 3 or min(deviations) <= 0:
            raise ValueError("image_mean and image_std must be three numbers each, image_std above 0")
    except (ValueError, TypeError) as error:
        raise ModelError(f"{folder / PREPARATION} does not describe the preparation of an image: {error}") from error
    return means, deviations


def load_published(folder: Path, architecture: str, what: str) -> Any:
    """Load a whole published network with `transformers`, in float32.

    Args:
        folder: of `find_published`.
        architecture: class of `transformers`.
        what: what the network is, for the messages.

    Returns:
        The network, an `nn.Module` in eval mode without gradients.

    Raises:
        ModelError: it cannot be read, or its file lacks tensors.
    """
    transformers = require_transformers(f"a published {what}")
    try:
        with quiet(transformers):
            network, report = getattr(transformers, architecture).from_pretrained(
                str(folder),
                use_safetensors=True,
                local_files_only=True,
                output_loading_info=True,
                dtype=torch.float32,
            )
    except Exception as error:  # transformers passes on its readers' exceptions
        raise ModelError(f"transformers cannot read the {what} in {folder}: {error}") from error
    if lacking := sorted(report["missing_keys"]):
        raise ModelError(f"{folder / WEIGHTS} lacks {len(lacking)} tensors, {lacking[0]} among them")
    return network.eval().requires_grad_(False)


def load_tokenizer(folder: Path, what: str) -> Any:
    """Load the tokenizer that lies beside a published network's weights.

    Args:
        folder: of `find_published`.
        what: what needs it, for the messages.

    Raises:
        ModelError: it is not there, or cannot be read.
    """
    if not any((folder / file).is_file() for file in TOKENIZERS):  # transformers would make an empty one
        raise ModelError(
            f"{what} needs the tokenizer beside its weights: {folder} has no {' and no '.join(TOKENIZERS)}"
        )
    transformers = require_transformers(what)
    try:
        return transformers.AutoTokenizer.from_pretrained(str(folder), local_files_only=True)
    except Exception as error:  # as above
        raise ModelError(f"transformers cannot read the tokenizer in {folder}: {error}") from error


def read_tensors(folder: Path, prefixes: tuple[str, ...]) -> dict[str, Tensor]:
    """Read those tensors of a published network whose names have one of the prefixes; the others stay on the disk.

    Args:
        folder: of `find_published`.
        prefixes: of the tensors' names; they are removed from them.

    Raises:
        ModelError: a file is missing or damaged.
    """
    found: dict[str, Tensor] = {}
    for path in _files_with(folder, prefixes):
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    for prefix in prefixes:
                        if name.startswith(prefix):
                            found[name.removeprefix(prefix)] = file.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise ModelError(f"cannot read the weights {path}: {error}") from error
    return found


def _files_with(folder: Path, prefixes: tuple[str, ...]) -> list[Path]:
    """The files that hold tensors with one of the prefixes."""
    if (folder / WEIGHTS).is_file():
        return [folder / WEIGHTS]
    path = folder / INDEX
    try:
        places: dict[str, str] = json.loads(path.read_text())["weight_map"]
        names = {str(file) for name, file in places.items() if name.startswith(prefixes)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path} does not tell where the weights are: {error!r}") from error
    return [folder / Path(name).name for name in sorted(names)]
