"""Export of an image-text model for the robot: two ONNX graphs that end in the compressed features."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import torch
import yaml
from torch import Tensor, nn

from sgrocc_core.engines.graph import OPSET
from sgrocc_core.engines.model import sha256_of
from sgrocc_core.errors import ModelError
from sgrocc_core.network import hub
from sgrocc_core.open_vocabulary.model import (
    DESCRIPTION,
    FILES,
    FORMAT_VERSION,
    IMAGE,
    TEMPLATE,
    TEXT,
    TOKENIZER,
    VOCABULARY,
    padded,
)
from sgrocc_core.open_vocabulary.projection import Projection, fit
from sgrocc_core.open_vocabulary.towers import Patches, Phrase, load_model
from sgrocc_core.words.phrases import EXAMPLES, SYNONYMS

TOLERANCE = 1e-3
"""Maximum difference of a feature's numbers between ONNX Runtime and PyTorch."""
STATISTICS = {
    "siglip": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
}
"""Mean and deviation of the channels, unless preprocessor_config.json says otherwise."""
BATCH = 32
"""Texts that are encoded together."""


@dataclass(frozen=True)
class Exported:
    """What an export was.

    Attributes:
        kept: share of the variance of the vocabulary and of the patches that the features keep.
        difference: largest difference between ONNX Runtime and PyTorch.
        patches: number of patches that the projection was fitted to.
    """

    kept: tuple[float, float]
    difference: float
    patches: int


class _Compressed(nn.Module):
    """A tower and the projection behind it."""

    mean: Tensor
    axes: Tensor

    def __init__(self, tower: nn.Module, mean: np.ndarray, axes: np.ndarray) -> None:
        super().__init__()
        self.tower = tower
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("axes", torch.from_numpy(axes))

    def forward(self, values: Tensor) -> Tensor:
        found = self.tower(values)
        found = (found / found.norm(dim=-1, keepdim=True).clamp_min(1e-12) - self.mean) @ self.axes
        answer: Tensor = found / found.norm(dim=-1, keepdim=True).clamp_min(1e-12)
        return answer


def vocabulary() -> tuple[str, ...]:
    """The phrases that the projection is fitted to, and whose vectors are stored: all that `find` has words for."""
    phrases = [phrase for own in (SYNONYMS, EXAMPLES) for texts in own.values() for phrase in texts]
    return tuple(dict.fromkeys(" ".join(phrase.lower().split()) for phrase in phrases))


def export_language(name: str, folder: Path, images: Iterable[np.ndarray], numbers: int = 16) -> Exported:
    """Fit the projection and write a folder that `LanguageModel` opens.

    Args:
        name: of the image-text model, see `towers.load_model`.
        folder: to write; created if necessary.
        images: (H, W, 3) uint8 RGB each, of a recording; the projection is fitted to their patches.
        numbers: D, of a feature.

    Raises:
        ModelError: the model cannot be used, or ONNX Runtime and PyTorch differ.
    """
    tokenizers = hub.require_transformers("the export of an image-text model") and __import__("tokenizers")
    kind, model, source = load_model(name)
    if not (source / TOKENIZER).is_file():
        raise ModelError(f"{source} has no {TOKENIZER}, by which phrases are cut; get it with the model's other files")
    patches, phrase = Patches(kind, model, *_statistics(source, kind)), Phrase(kind, model)
    cutter, pad_id = tokenizers.Tokenizer.from_file(str(source / TOKENIZER)), _pad_id(model)
    phrases = vocabulary()
    ids = np.concatenate([padded(cutter, TEMPLATE.format(text), phrase.length, pad_id) for text in phrases])
    with torch.inference_mode():
        parts = [phrase(torch.from_numpy(ids[i : i + BATCH])) for i in range(0, len(ids), BATCH)]
        texts = torch.cat(parts).numpy()
        seen = [patches(_square(image, patches.edge)).flatten(0, 2).numpy() for image in images]
    if not seen:
        raise ModelError("there are no images to fit the projection to")
    projection = fit(texts, np.concatenate(seen), numbers)
    folder.mkdir(parents=True, exist_ok=True)
    example = torch.rand(1, 3, patches.edge, patches.edge, generator=torch.Generator().manual_seed(0)) * 255
    towers = (
        (IMAGE, _Compressed(patches, projection.image_mean, projection.axes), example, "image"),
        (TEXT, _Compressed(phrase, projection.text_mean, projection.axes), torch.from_numpy(ids[:1]), "ids"),
    )
    difference = max(_write_graph(folder / file, network, inputs, key) for file, network, inputs, key in towers)
    if not difference <= TOLERANCE:
        raise ModelError(f"ONNX Runtime differs from PyTorch by {difference:.1e}; at most {TOLERANCE:g} is allowed")
    np.save(folder / VOCABULARY, projection.texts(texts))
    shutil.copyfile(source / TOKENIZER, folder / TOKENIZER)
    size = {"edge": patches.edge, "side": patches.side, "text_length": phrase.length}
    _describe(folder, name, kind, {**size, "numbers": numbers, "pad_id": pad_id}, phrases, projection)
    return Exported(projection.kept, difference, sum(len(part) for part in seen))


def _square(image: np.ndarray, edge: int) -> Tensor:
    square = cv2.resize(image, (edge, edge), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(square.transpose(2, 0, 1)[None].astype(np.float32))


def _pad_id(model: Any) -> int:
    found = getattr(model.config.text_config, "pad_token_id", None)
    return 0 if found is None else int(found)


def _statistics(folder: Path, kind: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of the channels that the model expects."""
    path = folder / hub.PREPARATION
    if not path.is_file():
        return STATISTICS[kind]
    try:
        values = json.loads(path.read_text())
        mean, deviation = (tuple(map(float, values[key])) for key in ("image_mean", "image_std"))
        if len(mean) != 3 or len(deviation) != 3 or min(deviation) <= 0:
            raise ValueError("image_mean and image_std must be three numbers each, image_std above 0")
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise ModelError(f"{path} does not describe the preparation of an image: {error!r}") from error
    return mean, deviation


def _write_graph(path: Path, network: nn.Module, inputs: Tensor, name: str) -> float:
    """Write a graph; returns its largest difference from the network on an example."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the tracer warns of every constant; shapes are fixed intentionally
        torch.onnx.export(
            network, (inputs,), str(path), opset_version=OPSET, dynamo=False, input_names=[name],
            output_names=["features"],
        )  # fmt: skip
        expected = network(inputs).numpy()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return float(np.abs(session.run(None, {name: inputs.numpy()})[0] - expected).max())


def _describe(
    folder: Path, name: str, kind: str, sizes: dict[str, int], phrases: tuple[str, ...], projection: Projection
) -> None:
    values = {
        "format_version": FORMAT_VERSION, "name": name, "kind": kind, **sizes,
        "kept": [round(share, 4) for share in projection.kept],
        "files": {file: sha256_of(folder / file) for file in FILES}, "phrases": list(phrases),
    }  # fmt: skip
    text = "# Written by `sgrocc export-language`.\n" + yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    (folder / DESCRIPTION).write_text(text)
