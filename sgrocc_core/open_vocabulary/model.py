"""An exported image-text model: compressed language features of images and phrases, by ONNX Runtime alone.

A folder of `sgrocc export-language` holds language.yaml, image_tower.onnx, text_tower.onnx, tokenizer.json and
vocabulary.npy. The vectors of the vocabulary's phrases are stored; other phrases need the package `tokenizers`.
"""

from __future__ import annotations

import importlib
import importlib.util
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import yaml

from sgrocc_core.engines.model import sha256_of
from sgrocc_core.engines.runtimes.onnxruntime_engine import session_options
from sgrocc_core.errors import ModelError, QueryError
from sgrocc_core.open_vocabulary.projection import FEWEST, MOST
from sgrocc_core.share import expanded
from sgrocc_core.words.phrases import LONGEST
from sgrocc_core.yaml_file import read_yaml

FORMAT_VERSION = 1
DESCRIPTION, IMAGE, TEXT, TOKENIZER, VOCABULARY = (
    "language.yaml", "image_tower.onnx", "text_tower.onnx", "tokenizer.json", "vocabulary.npy",
)  # fmt: skip
FILES = (IMAGE, TEXT, TOKENIZER, VOCABULARY)
TEMPLATE = "a photo of a {}"
"""Sentence in which phrases are encoded, as these models were trained with captions."""
BOUNDS = {
    "edge": (8, 2048),
    "side": (1, 256),
    "numbers": (FEWEST, MOST),
    "text_length": (4, 1024),
    "pad_id": (0, 10**7),
}
"""Allowed whole numbers of a description."""


@dataclass(frozen=True)
class LanguageSpec:
    """The contents of a `language.yaml`.

    Attributes:
        name: of the model.
        kind: `siglip` or `clip`.
        edge: side of the square that an image is resized to, pixels.
        side: patches along a side of that square.
        numbers: D, numbers of a feature.
        text_length: pieces of a text.
        pad_id: piece that fills a text up.
        phrases: of the vocabulary.
        digest: (32,) uint8, SHA-256 of language.yaml, which names that of every other file.
    """

    name: str
    kind: str
    edge: int
    side: int
    numbers: int
    text_length: int
    pad_id: int
    phrases: tuple[str, ...]
    digest: np.ndarray


def read_spec(folder: Path) -> LanguageSpec:
    """Read and check a folder's description and the digests of its files.

    Raises:
        ModelError: a file is missing, damaged, or of another version.
    """
    path = folder / DESCRIPTION
    if not path.is_file():
        raise ModelError(f"{folder} has no {DESCRIPTION}; see sgrocc export-language")
    try:
        values = read_yaml(path)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise ModelError(f"{path} is no description of an exported image-text model")
    if values.get("format_version") != FORMAT_VERSION:
        raise ModelError(
            f"{path} is of format version {values.get('format_version')}; this program reads {FORMAT_VERSION}: run "
            "sgrocc export-language again"
        )
    for key, (low, high) in BOUNDS.items():
        value = values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ModelError(f"{path}: {key} is {value!r}; it must be a whole number from {low} to {high}")
    phrases, files = values.get("phrases"), values.get("files")
    if not isinstance(phrases, list) or not all(isinstance(phrase, str) for phrase in phrases):
        raise ModelError(f"{path}: phrases must be a list of texts")
    for file in FILES:
        if not (folder / file).is_file():
            raise ModelError(f"{folder} lacks {file}; run sgrocc export-language again")
        if not isinstance(files, dict) or files.get(file) != sha256_of(folder / file):
            raise ModelError(f"{folder / file} is damaged: its SHA-256 is not that in {DESCRIPTION}")
    numbers = {key: int(values[key]) for key in BOUNDS}
    digest = np.frombuffer(bytes.fromhex(sha256_of(path)), np.uint8).copy()
    name, kind = str(values.get("name")), str(values.get("kind"))
    return LanguageSpec(name=name, kind=kind, phrases=tuple(phrases), digest=digest, **numbers)


class LanguageModel:
    """Compresses what an image shows, and what a phrase means, to vectors of the same few numbers.

    Args:
        folder: of `sgrocc export-language`.
        threads: CPU threads; 0 = all cores.

    Attributes:
        folder: the folder.
        spec: its description.

    Raises:
        ModelError: the folder cannot be used.
    """

    def __init__(self, folder: str | Path, threads: int = 0) -> None:
        self.folder, self._threads = expanded(folder), threads
        self.spec = read_spec(self.folder)
        vectors = np.load(self.folder / VOCABULARY, allow_pickle=False)
        if vectors.shape != (len(self.spec.phrases), self.spec.numbers) or not np.isfinite(vectors).all():
            raise ModelError(f"{self.folder / VOCABULARY} does not fit {DESCRIPTION}; run sgrocc export-language again")
        self._known = dict(zip(self.spec.phrases, vectors.astype(np.float32)))
        self._sessions: dict[str, Any] = {}

    def look(self, image: np.ndarray) -> np.ndarray:
        """Features of the patches of an image.

        Args:
            image: (H, W, 3) uint8 RGB; it is resized to a square, without a crop.

        Returns:
            (side, side, D) float32 of unit length, over the whole image.

        Raises:
            ModelError: the network's answer has another shape or is not finite.
        """
        edge = self.spec.edge
        square = cv2.resize(image, (edge, edge), interpolation=cv2.INTER_AREA)
        feed = square.transpose(2, 0, 1)[None].astype(np.float32)
        found = self._run(IMAGE, {"image": feed}, (1, self.spec.side, self.spec.side, self.spec.numbers))
        return found[0]

    def phrase(self, phrase: str) -> np.ndarray:
        """The vector (D,) float32, of unit length, of a phrase.

        Raises:
            QueryError: the phrase is empty or too long.
            ModelError: it is not in the vocabulary, and `tokenizers` is not installed.
        """
        text = " ".join(phrase.lower().split())
        if not text or len(text) > LONGEST:
            raise QueryError(f"the phrase has {len(text)} characters; it must have 1 to {LONGEST}")
        if text not in self._known:
            self._known[text] = self._run(TEXT, {"ids": self._ids(text)}, (1, self.spec.numbers))[0]
        return self._known[text]

    def _ids(self, text: str) -> np.ndarray:
        if importlib.util.find_spec("tokenizers") is None:
            raise ModelError(
                f"the phrase {text!r} is not in the vocabulary of {self.folder}; other phrases need the Python package "
                "tokenizers: run `pip install tokenizers`"
            )
        tokenizers = importlib.import_module("tokenizers")
        try:
            cutter = tokenizers.Tokenizer.from_file(str(self.folder / TOKENIZER))
        except Exception as error:  # tokenizers raises plain exceptions
            raise ModelError(f"{self.folder / TOKENIZER} cannot be read: {error}") from error
        return padded(cutter, TEMPLATE.format(text), self.spec.text_length, self.spec.pad_id)

    def _run(self, graph: str, feed: dict[str, np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        if graph not in self._sessions:
            try:
                self._sessions[graph] = onnxruntime.InferenceSession(
                    str(self.folder / graph), session_options(self._threads), providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # ONNX Runtime has many types
                raise ModelError(f"{self.folder / graph} cannot be opened: {error}") from error
        found = np.asarray(self._sessions[graph].run(None, feed)[0], np.float32)
        if found.shape != shape or not np.isfinite(found).all():
            raise ModelError(f"{self.folder / graph} answers {found.shape}; it must be finite numbers of shape {shape}")
        return found


def padded(cutter: Any, text: str, length: int, pad_id: int) -> np.ndarray:
    """Pieces (1, length) int64 of a text, cut or filled up to a length.

    Args:
        cutter: a `tokenizers.Tokenizer`.
        text: the text.
        length: number of pieces.
        pad_id: piece that fills it up.
    """
    cutter.enable_truncation(length)
    cutter.enable_padding(length=length, pad_id=pad_id)
    return np.array([cutter.encode(text).ids], np.int64)


@lru_cache(maxsize=2)
def open_language(folder: str, threads: int = 0) -> LanguageModel:
    """Open an exported model, once for a process.

    Args:
        folder: of `sgrocc export-language`.
        threads: CPU threads; 0 = all cores.

    Raises:
        ModelError: the folder cannot be used.
    """
    return LanguageModel(folder, threads)
