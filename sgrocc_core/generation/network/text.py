"""Texts as token sequences for the U-Net's cross-attention.

`read` runs where data is loaded and returns a plain array; the module turns a batch of these into tokens. The sentence
encoder is frozen and reads the text and its clauses, so that each named thing has a token of its own. `words` is the
fall-back: embeddings of hashed words, trained with the U-Net.
"""

from __future__ import annotations

import re
import zlib
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from sgrocc_core.errors import ConfigError, ModelError
from sgrocc_core.generation.config import GenerationConfig

VOCABULARY = 2048
"""Buckets of hashed words; generated captions have a few hundred different words."""
LONGEST = 2000
"""Characters of a prompt, at most; a round guess far above what the tokens hold."""
CLAUSES = re.compile(r"[,.;:!?()]|\b(?:and|with|there are|there is|has|beside|next to|facing|against)\b")


def check_prompt(text: str) -> str:
    """Returns the text without surrounding blanks.

    Raises:
        ConfigError: it is empty or too long.
    """
    text = " ".join(text.split())
    if not text:
        raise ConfigError('the prompt is empty; describe a room, such as "a bedroom with a bed and two chairs"')
    if len(text) > LONGEST:
        raise ConfigError(f"the prompt has {len(text)} characters; at most {LONGEST} are read: describe one room")
    return text


def clauses(text: str, most: int) -> list[str]:
    """Returns the parts of a text between punctuation and link words, at most `most` of them."""
    parts = (part.strip() for part in CLAUSES.split(text.lower()))
    return [part for part in parts if part][:most]


class TextEncoder(Protocol):
    """Turns texts into tokens; an `nn.Module`."""

    def read(self, text: str) -> np.ndarray:
        """Returns the text as an array of fixed shape; the empty text is all zeros."""
        ...

    def __call__(self, texts: Tensor) -> Tensor:
        """Returns (B, L, C) tokens of stacked results of `read`."""
        ...


class SentenceText(nn.Module):
    """The frozen sentence encoder: the first token is the whole text, the others are its clauses.

    Args:
        width: of the tokens.
        tokens: maximum number of them.
        encoder: with `width` and `encode(texts)`, (N, width); None: the installed one.

    Raises:
        ModelError: the encoder's weights are not installed.
    """

    def __init__(self, width: int, tokens: int, encoder: Any = None) -> None:
        super().__init__()
        if encoder is None:
            from sgrocc_core.words.encoder import open_encoder

            try:
                encoder = open_encoder()
            except ModelError as error:
                raise ModelError(f"{error}; or train with `text: words`, which needs none") from error
        self.encoder, self.tokens = encoder, tokens
        self.project = nn.Linear(encoder.width, width)
        self.places = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.norm = nn.LayerNorm(width)

    def read(self, text: str) -> np.ndarray:
        """See `TextEncoder`."""
        found = np.zeros((self.tokens, self.encoder.width), np.float32)
        if text:
            vectors = self.encoder.encode([text, *clauses(text, self.tokens - 1)])
            found[: len(vectors)] = vectors
        return found

    def forward(self, texts: Tensor) -> Tensor:
        """See `TextEncoder`; texts (B, L, E)."""
        # Vectors of unit length have components of 1 / sqrt(E): scaled to the size that layers expect.
        out: Tensor = self.norm(self.project(texts * texts.shape[-1] ** 0.5) + self.places)
        return out


class WordText(nn.Module):
    """Embeddings of hashed words with a layer of attention among them.

    Args:
        width: of the tokens.
        tokens: maximum number of words.
    """

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens
        self.embed = nn.Embedding(VOCABULARY, width, padding_idx=0)
        self.places = nn.Parameter(0.02 * torch.randn(tokens, width))
        self.mix = nn.TransformerEncoderLayer(width, 4, 2 * width, 0.0, batch_first=True, norm_first=True)

    def read(self, text: str) -> np.ndarray:
        """See `TextEncoder`."""
        words = re.findall(r"\w+", text.lower())[: self.tokens]
        found = np.zeros(self.tokens, np.int64)
        found[: len(words)] = [1 + zlib.crc32(word.removesuffix("s").encode()) % (VOCABULARY - 1) for word in words]
        return found

    def forward(self, texts: Tensor) -> Tensor:
        """See `TextEncoder`; texts (B, L)."""
        out: Tensor = self.mix(self.embed(texts) + self.places)
        return out


class ClipText(nn.Module):
    """The frozen text encoder of a pretrained model, from the user's cache.

    Args:
        name: of the model on the Hugging Face hub.

    Raises:
        ModelError: it is not in the cache.
    """

    def __init__(self, name: str) -> None:
        super().__init__()
        from transformers import CLIPTextModel, CLIPTokenizer

        try:
            self.tokenizer = CLIPTokenizer.from_pretrained(name, subfolder="tokenizer", local_files_only=True)
            self.clip = CLIPTextModel.from_pretrained(name, subfolder="text_encoder", local_files_only=True)
        except (OSError, ValueError) as error:
            raise not_cached(name) from error
        self.clip.requires_grad_(False)

    def read(self, text: str) -> np.ndarray:
        """See `TextEncoder`."""
        ids = self.tokenizer(text, padding="max_length", truncation=True, max_length=77)["input_ids"]
        return np.array(ids, np.int64)

    @torch.no_grad()
    def forward(self, texts: Tensor) -> Tensor:
        """See `TextEncoder`; texts (B, 77)."""
        out: Tensor = self.clip(texts).last_hidden_state
        return out


def not_cached(name: str) -> ModelError:
    """The error for a pretrained model that is not in the user's cache."""
    return ModelError(
        f"{name} is not in the cache of Hugging Face models: `hf download {name}` fetches it (about 5 GB); "
        "`--start none` begins from random weights"
    )


def build_text(config: GenerationConfig, pretrained: bool) -> nn.Module:
    """Build the text encoder of a configuration.

    Args:
        config: of the framework.
        pretrained: whether weights of `config.pretrained` are used; without, `clip` is replaced by `words`.

    Raises:
        ModelError: weights are not installed or not in the cache.
        ConfigError: `clip` without a pretrained model.
    """
    if config.text == "sentence":
        return SentenceText(config.text_width, config.tokens)
    if config.text == "words" or not pretrained:
        return WordText(config.text_width, config.tokens)
    if not config.pretrained:
        raise ConfigError("text is clip, which is a part of a pretrained model, but pretrained is empty")
    return ClipText(config.pretrained)
